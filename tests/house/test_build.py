"""What is built anew, and what is not."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check() -> str:
    """Checks both modules, and says what cargo did for each package."""
    command = ["cargo", "check", "--locked", "-v", "-p", "ngx-http-wsgi-module", "-p", "mod-neat"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NGINX_")}
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=900).stderr


@pytest.mark.timeout(1900)
def test_nothing_is_built_twice():
    """A build without a change compiles nothing: every file that a build script watches is there."""
    check()
    again = check()
    assert re.search(r"^ *Fresh ngx-http-wsgi-module", again, re.MULTILINE)
    assert not re.findall(r"^ *(?:Dirty|Compiling|Checking) .*", again, re.MULTILINE)
