"""An application whose load does not end: the log says where it is, and requests get 503 instead of waiting."""

from __future__ import annotations

from harness.recipe import EVERY_MPM, Recipe

ONLY = EVERY_MPM
#: What a development server's `run()` does in a script that calls it unguarded.
STUCK = """
import time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]

def run():
    while True:
        time.sleep(0.01)

run()
"""
RECIPE = Recipe(
    mounts={"/stuck": "@DIR@/scripts/stuck.wsgi", "/": "plain.wsgi"},
    files={"scripts/stuck.wsgi": STUCK},
    main={"nginx": "wsgi_startup_timeout 1;", "httpd": "WSGIStartupTimeout 1"},
    group={"startup-timeout": "1"},
)


def test_request_for_what_is_not_loaded_in_time_is_503(start):
    """RFC 9110 section 15.6.4; the log has the stack of the load, and how such a script is mended."""
    site = start(RECIPE)
    site.log.allow_failures()
    for _ in range(2):
        assert site.ask("/stuck").status == 503
    site.log.wait_for(r"stuck\.wsgi is still being loaded after [0-9.]+ s")
    site.log.wait_for(r"__main__")
    site.log.wait_for(r"in run\b")
