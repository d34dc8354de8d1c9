"""What users of nginx's upstreams know."""

from __future__ import annotations

from harness.recipe import NGINX_DAEMON, Mount, Recipe
from harness.wait import until

ONLY = (NGINX_DAEMON,)
RECIPE = Recipe(
    mounts={
        "/": "daemon.wsgi",
        "/cached": Mount("daemon.wsgi", nginx="wsgi_cache one; wsgi_cache_valid 1m; add_header X-Cache $upstream_cache_status;"),
        "/teapot": Mount("daemon.wsgi", nginx="wsgi_intercept_errors on; error_page 418 /internal/static.txt;"),
        "/chosen": Mount("daemon.wsgi", nginx="wsgi_process_group $arg_group;"),
        "/restricted": Mount("daemon.wsgi", nginx="wsgi_process_group $arg_group; wsgi_restrict_process other;"),
    },
    main={
        "nginx": "wsgi_cache_path @DIR@/tmp/cache keys_zone=one:1m;"
        'log_format own "$request_uri|$upstream_addr|$upstream_status|$upstream_response_time";'
    },
    conf={"nginx": "access_log @DIR@/own.log own; location /internal/ { internal; alias @DIR@/htdocs/; }"},
)


def test_x_accel_redirect(site):
    """The application's answer is another of nginx's locations."""
    assert site.ask("/accel").body == b"a static file\n"


def test_cache(site):
    """wsgi_cache: the second request does not reach the application."""
    first, second = site.ask("/cached/cached"), site.ask("/cached/cached")
    assert (first.head.get("X-Cache"), second.head.get("X-Cache")) == ("MISS", "HIT")
    assert first.body == second.body
    assert second.head.get("Content-Type") == "text/plain"


def test_intercepted_errors(site):
    """wsgi_intercept_errors: error_page replaces the application's own."""
    answer = site.ask("/teapot/teapot")
    assert answer.body == b"a static file\n"


def test_upstream_variables(site):
    """$upstream_addr and its kin."""
    assert site.ask("/about?log-me").status == 200
    log = site.directory / "own.log"
    lines = until(lambda: [line for line in log.read_text().splitlines() if "log-me" in line], "the request in own.log")
    _, address, status, time = lines[0].split("|")
    assert address == f"unix:{site.prefix}.app.sock"
    assert status == "200"
    assert float(time) >= 0


def test_variable_chooses_the_group(site):
    """wsgi_process_group $variable: declared groups only, and only those that wsgi_restrict_process names."""
    assert site.ask("/chosen?group=ghost").status == 500
    site.log.wait_for('"ghost" is not declared')
    assert site.ask("/restricted?group=app").status == 500
    site.log.wait_for("may choose here")
