"""Pythons that turn out to be unfit when they are loaded, after the configuration was found good."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.pythons import VENV, pretender
from harness.recipe import NGINX, Recipe, as_root
from harness.site import check_configuration
from harness.wait import until

FREE_THREADED_HOME = os.environ.get("NEAT_TEST_FREE_THREADED_HOME")


@pytest.mark.skipif(not FREE_THREADED_HOME, reason="needs a Python without the GIL: make test-matrix gets one")
@pytest.mark.parametrize("name", ["python3", "python{version}", "python{version}t"])
def test_free_threaded_build(server, certificate, tmp_path, name):
    """A real one, as a home and as what made a virtual environment, by each of its names: the configuration test refuses both."""
    home = Path(FREE_THREADED_HOME)
    version = re.search(r"3\.\d+", next(home.glob("lib/libpython3.*t.so.1.0")).name)[0]
    venv = tmp_path / "venv"
    command = [home / "bin" / name.format(version=version), "-m", "venv", "--without-pip", venv]
    subprocess.run(command, check=True, timeout=120)
    for used, what in ((home, "use a build with the GIL"), (venv, f"python{version} -m venv --clear")):
        code, said = check_configuration(server, Recipe(mounts={"/": "plain.wsgi"}, python_home=str(used)), certificate)
        assert code != 0, said
        assert f"a free-threaded build of Python {version}, which Neat does not support yet" in said
        assert what in said, said


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("3.13.5 experimental free-threading build (main)", r"is a free-threaded build of Python \(3.13.5\).*with the GIL"),
        ("3.12.1 (main)", r"is Python 3.12.1, where Python 3.13 was expected"),
    ],
)
def test_library_of_another_build_than_its_name_says(start, version, said):
    """Py_GetVersion: no application runs in it, and the log says why."""
    with pretender(version) as home:
        site = start(Recipe(mounts={"/": "plain.wsgi"}, python_home=str(home)))
        site.log.allow(r"no application can run|\[emerg\].*libpython3.13.so.1.0")
        assert site.ask("/hello").status in (500, 503)
        site.log.wait_for(rf"libpython3.13.so.1.0.*{said}")


@as_root
@pytest.mark.servers(NGINX)
def test_virtual_environment_that_was_closed_since(start):
    """A worker that is started later looks again, as who it is: no application runs with other packages than its own."""
    text = VENV.format(home=f"{sys.base_prefix}/bin", version=platform.python_version())
    site = start(Recipe(mounts={"/": "plain.wsgi"}, python_home="@DIR@/venv", files={"venv/pyvenv.cfg": text}))
    assert site.ask("/hello").status == 200
    (site.directory / "venv").chmod(0o700)
    before = site.workers()
    os.kill(before[0], signal.SIGKILL)
    until(lambda: (now := site.workers()) and not set(now) & set(before), "another worker")
    site.log.allow(r"exited on signal 9|\[emerg\].*cannot be read")
    assert site.ask("/hello").status in (500, 503)
    site.log.wait_for(rf'cannot be read: the user www-data may not enter "{site.directory}/venv" .*mode 0700')
