"""A Python for each group: several versions serve at the same time, under one server."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from harness.recipe import EVENT_DAEMON, NGINX_DAEMON, Mount, Recipe, declare

ONLY = (NGINX_DAEMON, EVENT_DAEMON)
#: In a run of several processes all of it is one's: the copies take a while.
pytestmark = pytest.mark.xdist_group("pythons")


def installations() -> dict[int, Path]:
    """Pythons beside the system's that have a shared library, by their minor version."""
    found = {}
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for home in [Path("/usr/local"), *sorted(versions.glob("3.*"))]:
        version = re.fullmatch(r"python3\.(\d+)", (home / "bin/python3").resolve().name)
        if version and int(version[1]) >= 9 and (home / f"lib/libpython3.{version[1]}.so.1.0").exists():
            found[int(version[1])] = home
    return found


@pytest.fixture(scope="module")
def pythons():
    """The oldest and the newest of them, copied to where a group's user may read them."""
    found = installations()
    if len(found) < 2:
        pytest.skip("this needs two Pythons (3.9 or newer, with a shared library) beside the system's: pyenv has them")
    top = Path(tempfile.mkdtemp(prefix="neat-pythons-"))
    top.chmod(0o755)
    copied = {}
    for minor in (min(found), max(found)):
        home = top / f"3.{minor}"
        (home / "bin").mkdir(parents=True)
        shutil.copy2((found[minor] / "bin/python3").resolve(), home / f"bin/python3.{minor}")
        (home / "bin/python3").symlink_to(f"python3.{minor}")
        (home / "lib").mkdir()
        shutil.copy2(found[minor] / f"lib/libpython3.{minor}.so.1.0", home / "lib")
        leave_out = shutil.ignore_patterns("test", "tests", "idlelib", "site-packages", "config-*", "*.opt-*.pyc", "ensurepip")
        shutil.copytree(found[minor] / f"lib/python3.{minor}", home / f"lib/python3.{minor}", ignore=leave_out)
        copied[minor] = home
    yield copied
    shutil.rmtree(top)


def test_each_group_has_its_own_python(start, server, pythons):
    """Three versions at once, each with its own standard library."""
    mounts, declared = {"/system": "daemon.wsgi"}, []
    for minor, home in pythons.items():
        name = f"python{minor}"
        mounts[f"/{name}"] = Mount("daemon.wsgi", nginx=f"wsgi_process_group {name};", httpd=f"WSGIProcessGroup {name}")
        declared.append(f"{name} threads=2 python-home={home}")
    site = start(Recipe(mounts=mounts, main=declare(server, *declared)))
    assert site.get("/system/about").json()["group"] == "app"
    for minor, home in pythons.items():
        answer = site.get(f"/python{minor}/about")
        assert answer.status_code == 200, site.log.text()[-3000:]
        about = answer.json()
        assert (about["group"], about["python"]) == (f"python{minor}", [3, minor])
        assert about["prefix"] == str(home)
        assert any(str(home) in entry for entry in about["path"])
