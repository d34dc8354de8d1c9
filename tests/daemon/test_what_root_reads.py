"""What root reads of a user's, and where it writes: an error, never a hang, and no line of another's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.recipe import DAEMON, NGINX_DAEMON, Mount, Recipe, as_root, declare
from harness.site import check_configuration
from harness.wait import until

ONLY = DAEMON
#: At its import it prints what would pass for another line of the log, and what a terminal obeys.
FORGING = r"""
import sys
print("first\n2026/11/21 14:50:09 [emerg] 1#1: FORGED \x1b]0;owned\x07 \x9b2J \u202egnp.exe", file=sys.stderr, flush=True)
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]
"""


@pytest.fixture
def venv():
    """A directory of a user's that is named as the home of a virtual environment."""
    directory = Path(tempfile.mkdtemp(prefix="neat-venv-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


TRAPS = [("fifo", "is not a regular file"), ("device", "is a link"), ("huge", "is larger than 64 KiB")]


@pytest.mark.parametrize(("kind", "why"), TRAPS)
def test_home_that_its_user_made_a_trap(server, certificate, venv, kind, why):
    """fifo(7), zero(4): `nginx -t` and `apache2 -t` end, with the file's name and what is wrong with it."""
    config = venv / "pyvenv.cfg"
    if kind == "fifo":
        os.mkfifo(config)
    elif kind == "device":
        config.symlink_to("/dev/zero")
    else:
        config.touch()
        os.truncate(config, 1 << 40)
    code, said = check_configuration(server, Recipe(mounts={"/": "plain.wsgi"}, python_home=str(venv)), certificate)
    assert code != 0, said
    assert f'"{config}" {why}' in said, said


@as_root
def test_prefix_in_a_directory_that_others_write_to(start):
    """What others could put in a socket's place is refused by the configuration test."""
    site = start(Recipe(mounts={"/": "plain.wsgi"}))
    run = site.directory / "run"
    run.chmod(0o1777)
    try:
        done = subprocess.run(site.backend.command(site.place, "-t"), capture_output=True, text=True, timeout=60, check=False)
    finally:
        run.chmod(0o755)
    assert done.returncode != 0
    assert "others than root may write" in done.stdout + done.stderr + site.said()
    site.log.allow("others than root may write")


def test_line_of_a_group_is_labelled_and_only_text(start):
    """What an application prints outside of a request is a line of its own group's, each time."""
    site = start(Recipe(mounts={"/": "@DIR@/scripts/forging.wsgi"}, files={"scripts/forging.wsgi": FORGING}))
    assert site.ask("/").body == b"served"
    site.log.wait_for("FORGED")
    (line,) = [line for line in site.log.text().splitlines() if "FORGED" in line]
    assert re.search(r"process group app: 2026/11/21 14:50:09 \[emerg\] 1#1: FORGED", line), line
    assert r"\x1b]0;owned\x07" in line
    assert r"\u009b2J \u202egnp.exe" in line
    site.log.allow("process group app: .*FORGED")


@pytest.mark.servers(NGINX_DAEMON)
def test_group_that_never_started_leaves_no_socket(start, server):
    """Its first start failed, and the configuration has it no more: what servers knew it by goes."""
    recipe = Recipe(
        mounts={"/bad": Mount("@DIR@/scripts/bad.wsgi", nginx="wsgi_process_group bad;"), "/": "plain.wsgi"},
        main=declare(server, "bad"),
        files={"scripts/bad.wsgi": "import no_such_module_here\n"},
    )
    site = start(recipe)
    site.log.traceback("process group bad cannot be started")
    without = replace(recipe, mounts={"/": "plain.wsgi"}, main={})
    site.place.configuration.write_text(site.backend.render(server, without, site.place))
    site.reload()
    until(lambda: not list((site.directory / "run").glob("wsgi.bad.*")), "its socket to be removed")
    assert site.ask("/pid").status == 200
    site.log.allow_failures()
