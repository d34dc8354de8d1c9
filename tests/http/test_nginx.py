"""What nginx offers around a content handler."""

from __future__ import annotations

import json

import pytest

from harness.recipe import Mount, Recipe
from harness.wait import until

ONLY = ("nginx",)
RECIPE = Recipe(
    mounts={
        "/app": Mount("plain.wsgi", nginx='add_header X-Added "by nginx" always;'),
        "/environ": Mount(
            "environ.wsgi",
            nginx='wsgi_param X_FIXED "a fixed value"; wsgi_param X_VARIABLE "$arg_a/$request_method";'
            "wsgi_param X_EMPTY $arg_none; wsgi_param X_ABSENT $arg_none if_not_empty; wsgi_param HTTP_X_OWN own;"
            "wsgi_param REMOTE_USER $arg_user if_not_empty;",
        ),
        "= /exact": "environ.wsgi",
        "~ ^/regex/(?<name>[a-z]+)/": Mount("environ.wsgi", nginx="wsgi_param X_NAME $name;"),
        "~ ^/scripts/([a-z]+)(/.*)?$": "@DIR@/scripts/$1.wsgi",
        "/module": "module_app:application",
        "/module-factory": "module_app:make()",
        "/behind": Mount("plain.wsgi", nginx="auth_request /ticket;"),
        "/ssi": Mount("plain.wsgi", nginx="ssi on;"),
        "/internal": Mount("plain.wsgi", nginx="internal;"),
        "/limited": Mount("plain.wsgi", nginx="limit_req zone=one;"),
        "/intercepted": Mount("plain.wsgi", nginx="error_page 500 =503 /errors/500.txt;"),
        "/failing": Mount("failing.wsgi", nginx="error_page 500 /errors/500.txt;"),
        "/to-app": Mount("failing.wsgi", nginx="error_page 500 =200 /app/hello;"),
        "/try": Mount("plain.wsgi", nginx="try_files /nothing @fallback;"),
        "@fallback": "plain.wsgi",
        "/rewritten": Mount("environ.wsgi", nginx="rewrite ^/rewritten/(.*)$ /environ/new/$1 last;"),
        "/sub": Mount("plain.wsgi", nginx='sub_filter hello goodbye; sub_filter_types "*";'),
        "/cut-off": Mount("plain.wsgi", nginx="return 204;"),
        "/basic": Mount("plain.wsgi", nginx='auth_basic "area"; auth_basic_user_file @DIR@/users;'),
    },
    main={
        "nginx": "limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;"
        'log_format own "$request_uri|$status|$body_bytes_sent|$bytes_sent|$sent_http_x_own|$upstream_status|'
        '$request_length|$content_type";'
    },
    conf={
        "nginx": "access_log @DIR@/own.log own; location = /ticket { internal; wsgi_pass @APPS@/plain.wsgi;"
        "rewrite ^ /allow break; }"
        "location /hidden/ { internal; alias @DIR@/htdocs/; }"
    },
    files={
        "htdocs/errors/500.txt": "the server's 500",
        "scripts/alpha.wsgi": "def application(e, s):\n    s('200 OK', [])\n    return [b'alpha ' + e['PATH_INFO'].encode()]\n",
        "users": "ada:{PLAIN}lovelace\n",
    },
)


def environ(site, target: str, *fields: str) -> dict:
    """The environ of a request, without the types."""
    answer = site.ask(target, *fields)
    assert answer.status == 200, answer
    return {key: value for key, (_, value) in json.loads(answer.body).items()}


def test_wsgi_param_sets_keys(site):
    """As uwsgi_param: constants and variables; an empty value stays unless if_not_empty was said."""
    found = environ(site, "/environ?a=b")
    assert found["X_FIXED"] == "a fixed value"
    assert found["X_VARIABLE"] == "b/GET"
    assert found["X_EMPTY"] == ""
    assert "X_ABSENT" not in found
    assert found["HTTP_X_OWN"] == "own"


def test_wsgi_param_wins_over_the_request(site):
    """What the administrator wrote is not for the client to change."""
    assert environ(site, "/environ", "X-Own: the client's")["HTTP_X_OWN"] == "own"
    assert environ(site, "/environ?user=ada")["REMOTE_USER"] == "ada"


@pytest.mark.parametrize(
    ("target", "script_name", "path_info"),
    [("/exact", "/exact", ""), ("/regex/abc/x", "", "/regex/abc/x")],
)
def test_location_is_the_mount_point(site, target, script_name, path_info):
    """A prefix or exact location is the mount point; a regular expression has none."""
    found = environ(site, target)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == (script_name, path_info)


def test_named_capture_is_a_variable(site):
    """Captures of a regex location work in wsgi_param."""
    assert environ(site, "/regex/abc/x")["X_NAME"] == "abc"


def test_captures_in_wsgi_pass(site):
    """regex locations with captures in wsgi_pass; a script that is not there is 404."""
    assert site.ask("/scripts/alpha/x").body.startswith(b"alpha ")
    site.log.allow_failures()
    assert site.ask("/scripts/beta").status in (404, 500)


def test_module_with_its_callable(site):
    """wsgi_pass package.module:callable, and a factory."""
    assert site.ask("/module").body == b"from a module"
    assert site.ask("/module-factory").body == b"from a factory of a module"


def test_auth_request_asks_an_application(site):
    """auth_request: the subrequest's status decides; its body goes nowhere."""
    assert site.ask("/behind/hello", "X-Ticket: yes").body == b"hello from the application\n"
    assert site.ask("/behind/hello").status == 403


def test_ssi_includes_an_application(site):
    """SSI: a subrequest's output in the middle of the page."""
    assert site.ask("/ssi/page").body == b"<p>before hello from the application\n after</p>"


def test_internal_location_is_not_for_clients(site):
    """internal: 404 from outside."""
    assert site.ask("/internal/hello").status == 404


def test_limit_req_refuses_before_python(site):
    """limit_req: 503 for what is too much."""
    notes = site.notes()
    notes.allow("go")
    first = site.ask("/limited/inside", notes.field)
    second = site.ask("/limited/inside", notes.field)
    assert (first.status, second.status) == (200, 503)
    assert notes.lines() == ["inside"]


def test_error_page_for_a_failed_application(site):
    """error_page 500: a file, or another location that is an application too."""
    assert site.ask("/failing/raises").body == b"the server's 500"
    site.log.failure("ValueError")
    answer = site.ask("/to-app/raises")
    assert (answer.status, answer.body) == (200, b"hello from the application\n")
    site.log.failure("ValueError")


def test_try_files_falls_back_to_an_application(site):
    """try_files ... @named."""
    assert site.ask("/try/hello").status in (200, 404)
    assert site.ask("/try/hello").head.get("Content-Type") == "text/plain"


def test_rewrite_changes_the_path(site):
    """rewrite: PATH_INFO follows, REQUEST_URI is as sent."""
    found = environ(site, "/rewritten/x?q=1")
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/environ", "/new/x")
    assert (found["REQUEST_URI"], found["QUERY_STRING"]) == ("/rewritten/x?q=1", "q=1")


def test_body_filters_see_the_response(site):
    """sub_filter."""
    assert site.ask("/sub/hello").body == b"goodbye from the application\n"


def test_headers_of_the_server_are_added(site):
    """add_header."""
    assert site.ask("/app/hello").head.get("X-Added") == "by nginx"


def test_basic_authentication_sets_remote_user(site):
    """auth_basic: REMOTE_USER is whom nginx knows."""
    assert site.ask("/basic/user").status == 401
    answer = site.ask("/basic/user", "Authorization: Basic YWRhOmxvdmVsYWNl")
    assert answer.body.startswith(b"ada")


def test_access_log_variables(site):
    """$status, $body_bytes_sent, $sent_http_*: an application's response as any other."""
    assert site.ask("/app/long-blocks?log-me").status == 200
    log = site.directory / "own.log"
    line = until(lambda: [line for line in log.read_text().splitlines() if "log-me" in line], "the request in own.log")[0].split(
        "|"
    )
    assert line[1] == "200"
    assert int(line[3]) > int(line[2]) > 10000
