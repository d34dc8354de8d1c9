"""Scripts that cannot be loaded, and scripts that change."""

from __future__ import annotations

import os
import stat

import pytest

from harness.recipe import EMBEDDED, EVERY_MPM, Mount, Recipe

ONLY = EVERY_MPM
GOOD = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%s"]
"""
BROKEN = {
    "import-error.wsgi": ("import no_such_module_anywhere\n" + GOOD, "no_such_module_anywhere"),
    "syntax-error.wsgi": ("def application(:\n", "SyntaxError"),
    "exits.wsgi": ("import sys\nsys.exit('at once')\n", "SystemExit"),
    "interrupts.wsgi": ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
    "no-callable.wsgi": ("other = 1\n", "application"),
    "not-callable.wsgi": ("application = 7\n", "callable"),
    "not-utf8.wsgi": ("# -*- coding: nonsense -*-\n", "nonsense"),
}
MODULE = """
import inspect

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    kinds = [type(value).__name__ for value in (__file__, __name__, __spec__, __loader__, __cached__)]
    return [repr((kinds, __file__, inspect.stack()[0].filename)).encode()]
"""
RECIPE = Recipe(
    mounts={
        "/module": "@DIR@/scripts/module.wsgi",
        **{f"/{name}": f"@DIR@/scripts/{name}" for name in BROKEN},
        "/changing": "@DIR@/scripts/changing.wsgi",
        "/fixed": Mount("@DIR@/scripts/fixed.wsgi", nginx="wsgi_script_reloading off;", httpd="WSGIScriptReloading Off"),
        "/missing": "@DIR@/scripts/missing.wsgi",
        "/fine": "environ.wsgi",
    },
    files={
        **{f"scripts/{name}": text for name, (text, _) in BROKEN.items()},
        "scripts/module.wsgi": MODULE,
        "scripts/changing.wsgi": GOOD % "first",
        "scripts/fixed.wsgi": GOOD % "first",
    },
    threads=1,
)


@pytest.mark.parametrize("name", BROKEN)
def test_script_that_cannot_be_loaded_is_500(site, name):
    """Neat's rule: that request gets 500 with one traceback, nothing leaks, the process lives, the others are fine."""
    workers = site.workers()
    for _ in range(2):
        answer = site.ask(f"/{name}")
        assert answer.status == 500, answer
        assert b"Traceback" not in answer.body
        assert name.encode() not in answer.body
        log = site.log.failure(BROKEN[name][1])
        assert f"GET /{name}" in log
        assert f"scripts/{name}" in log
    assert site.ask("/fine").status == 200
    assert site.workers() == workers


def test_script_has_what_an_imported_module_has(site):
    """Python's reference, "Import-related attributes on module objects": `__file__` is a str, which inspect relies on."""
    path = str(site.directory / "scripts/module.wsgi")
    kinds = ["str", "str", "ModuleSpec", "ScriptLoader", "NoneType"]
    assert site.ask("/module").body.decode() == repr((kinds, path, path))


def test_script_that_does_not_exist(site):
    """404 or 500 as the server has it for files that are missing; never a silent 200, and the log names the file."""
    assert site.ask("/missing").status in (404, 500)
    site.log.allow_failures()
    site.log.wait_for("missing.wsgi")
    assert site.ask("/fine").status == 200


@pytest.mark.servers(*EMBEDDED)
def test_changed_script_is_loaded_anew(site):
    """WSGIScriptReloading, on by default: the next request after the change runs the new code. That is embedded mode;
    tests/daemon/test_generations.py has what a process group does."""
    site.write_script("changing.wsgi", GOOD % "before")
    assert site.ask("/changing").body == b"before"
    workers = site.workers()
    site.write_script("changing.wsgi", GOOD % "after")
    assert site.ask("/changing").body == b"after"
    assert site.workers() == workers, "embedded mode loads the script anew in the same process"


@pytest.mark.servers(*EMBEDDED)
def test_broken_script_can_be_mended(site):
    """Embedded mode, likewise: 500 while it is broken, and at once the new code when it is mended."""
    site.write_script("changing.wsgi", GOOD % "sound")
    assert site.ask("/changing").body == b"sound"
    site.write_script("changing.wsgi", "raise ValueError('broken now')\n")
    assert site.ask("/changing").status == 500
    site.log.failure("broken now")
    site.write_script("changing.wsgi", GOOD % "mended")
    assert site.ask("/changing").body == b"mended"


@pytest.mark.servers(*EMBEDDED)
def test_touched_script_is_loaded_anew(site):
    """The modification time is what counts; a touch is a reload (the way of every mod_wsgi deployment). Embedded mode, too."""
    counting = "import time\nloaded = str(time.monotonic_ns()).encode()\n" + GOOD.replace('b"%s"', "loaded")
    script = site.write_script("changing.wsgi", counting)
    first = site.ask("/changing").body
    assert site.ask("/changing").body == first
    os.utime(script, ns=(script.stat().st_mtime_ns + 5_000_000_000,) * 2)
    assert site.ask("/changing").body != first


def test_script_stays_without_reloading(site):
    """WSGIScriptReloading Off: loaded once for the life of the process."""
    assert site.ask("/fixed").body == b"first"
    site.write_script("fixed.wsgi", GOOD % "second")
    assert site.ask("/fixed").body == b"first"


@pytest.mark.servers(*EMBEDDED)
def test_script_of_the_wrong_mode_is_no_secret_kept(site):
    """A script that the worker's user cannot read: an error that names it, and no content of it. (A process group goes on with
    what it has loaded.)"""
    script = site.write_script("changing.wsgi", GOOD % "secret")
    mode = stat.S_IMODE(script.stat().st_mode)
    if os.geteuid() != 0:
        pytest.skip("needs root, so that the worker is another user")
    try:
        script.chmod(0o600)
        answer = site.ask("/changing")
        assert answer.status in (403, 500)
        assert b"secret" not in answer.body
        site.log.allow_failures()
        site.log.wait_for("ermission denied")
    finally:
        script.chmod(mode)
    assert site.ask("/fine").status == 200
