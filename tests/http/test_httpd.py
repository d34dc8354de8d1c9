"""What httpd offers around a handler."""

from __future__ import annotations

import json
import socket

import pytest

from harness.recipe import EVENT, PREFORK, WORKER, Mount, Recipe
from harness.wait import until

ONLY = (EVENT, WORKER, PREFORK)
HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%s " + environ["SCRIPT_NAME"].encode() + b" " + environ["PATH_INFO"].encode()]
"""
RECIPE = Recipe(
    mounts={
        "/app": "plain.wsgi",
        "/environ": Mount(
            "environ.wsgi",
            httpd="SetEnv OWN_KEY own\nSetEnvIf X-Tag (.+) TAGGED=$1\nSetEnvIf X-Proto https HTTPS=on\nRequestHeader set X-Set v",
        ),
        "/scripts": "@DIR@/scripts",
        "/guarded": Mount(
            "plain.wsgi",
            httpd='AuthType Basic\nAuthName "area"\nAuthUserFile @DIR@/users\nAuthBasicProvider file\nRequire valid-user',
        ),
        "/hidden-script": "@DIR@/forbidden/x.wsgi",
        "/failing": Mount("failing.wsgi", httpd="ErrorDocument 500 /errors/500.txt"),
        "/guessed": Mount("responses.wsgi", httpd="AddType text/x-guessed .wsgi"),
        "/filtered": Mount("plain.wsgi", httpd='Header set X-Added "by httpd"\nRequestHeader unset X-Ticket'),
    },
    conf={
        "httpd": r"""
WSGIScriptAliasMatch ^/match/([a-z]+) @DIR@/scripts/$1.wsgi
WSGIScriptAlias /options @APPS@/environ.wsgi callable-object=other pass-authorization=On
<Directory @DIR@/forbidden>
    Require all denied
</Directory>
<Directory @DIR@/htdocs/handlers>
    Options ExecCGI
    AddHandler wsgi-script .wsgi
    AllowOverride FileInfo AuthConfig Options
</Directory>
<Directory @DIR@/htdocs/set>
    Options ExecCGI
    SetHandler wsgi-script
</Directory>
<Directory @DIR@/htdocs/noexec>
    AddHandler wsgi-script .wsgi
</Directory>
RewriteEngine On
RewriteRule ^/rewritten/(.*)$ /environ/$1 [PT]
"""
    },
    files={
        "scripts/alpha.wsgi": HELLO % "alpha",
        "scripts/sub/beta.wsgi": HELLO % "beta",
        "forbidden/x.wsgi": HELLO % "never",
        "htdocs/handlers/gamma.wsgi": HELLO % "gamma",
        "htdocs/handlers/access/delta.wsgi": HELLO % "delta",
        "htdocs/handlers/access/.htaccess": "SetEnv FROM_HTACCESS yes\nWSGICallableObject other\n",
        "htdocs/handlers/bad/epsilon.wsgi": HELLO % "epsilon",
        "htdocs/handlers/bad/.htaccess": "WSGIPassAuthorization perhaps\n",
        "htdocs/set/zeta.py": HELLO % "zeta",
        "htdocs/noexec/eta.wsgi": HELLO % "eta",
        "htdocs/errors/500.txt": "the server's 500",
        # ada:lovelace
        "users": "ada:{SHA}MJgvYgf2tRctgBqviyzN0HpBdyY=\n",
    },
)


def environ(site, target: str, *fields: str) -> dict:
    """The environ of a request, without the types."""
    answer = site.ask(target, *fields)
    assert answer.status == 200, answer
    return {key: value for key, (_, value) in json.loads(answer.body).items()}


def test_ipv6_host_has_brackets_in_server_name(site):
    """RFC 3875 section 4.1.14: SERVER_NAME has the form of a URL's host. httpd takes the brackets off."""
    with site.wire() as wire:
        wire.send(b"GET /environ HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n")
        found = {key: value for key, (_, value) in json.loads(wire.read_answer().body).items()}
    assert (found["SERVER_NAME"], found["HTTP_HOST"]) == ("[::1]", "[::1]:8080")


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/scripts/alpha.wsgi", b"alpha /scripts/alpha.wsgi "),
        ("/scripts/alpha.wsgi/x/y", b"alpha /scripts/alpha.wsgi /x/y"),
        ("/scripts/sub/beta.wsgi/z", b"beta /scripts/sub/beta.wsgi /z"),
    ],
)
def test_target_directory_serves_the_scripts_in_it(site, target, body):
    """WSGIScriptAlias with a directory: the script's name belongs to SCRIPT_NAME."""
    assert site.ask(target).body == body


def test_target_directory_without_the_script_is_404(site):
    """A script that is not there."""
    assert site.ask("/scripts/nothing.wsgi").status == 404
    assert site.ask("/scripts/").status in (403, 404)


def test_target_directory_cannot_be_left(site):
    """No path leads out of it."""
    for target in ("/scripts/../server.conf", "/scripts/%2e%2e/server.conf", "/scripts/sub/..%2f..%2fserver.conf"):
        answer = site.ask(target)
        assert answer.status in (400, 403, 404)
        assert b"LoadModule" not in answer.body


def test_script_alias_match(site):
    """WSGIScriptAliasMatch: $1 in the target."""
    assert site.ask("/match/alpha/x").body.startswith(b"alpha ")
    assert site.ask("/match/nothing").status == 404


def test_options_of_the_alias(site):
    """WSGIScriptAlias ... callable-object= pass-authorization=."""
    assert site.ask("/options").body == b"the other callable"


def test_directory_access_control_holds_for_scripts(site):
    """<Directory> of the script's file: Require all denied is 403."""
    assert site.ask("/hidden-script").status == 403


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/handlers/gamma.wsgi", b"gamma /handlers/gamma.wsgi "),
        ("/handlers/gamma.wsgi/x", b"gamma /handlers/gamma.wsgi /x"),
        ("/set/zeta.py/y", b"zeta /set/zeta.py /y"),
    ],
)
def test_handlers(site, target, body):
    """AddHandler wsgi-script, SetHandler wsgi-script, with Options ExecCGI."""
    assert site.ask(target).body == body


def test_handler_needs_exec_cgi(site):
    """Without Options ExecCGI: 403, and never the script's source."""
    answer = site.ask("/noexec/eta.wsgi")
    assert answer.status == 403
    assert b"def application" not in answer.body


def test_htaccess(site):
    """Directives with the htaccess place; a callable that is not there is an error of that place only."""
    assert site.ask("/handlers/access/delta.wsgi").status == 500
    site.log.failure("other")


def test_bad_value_in_htaccess_is_told(site):
    """500 for that directory, with the directive's name and what it takes in the log."""
    assert site.ask("/handlers/bad/epsilon.wsgi").status == 500
    site.log.wait_for("WSGIPassAuthorization")
    site.log.allow("core:alert.*WSGIPassAuthorization")


def test_keys_of_other_modules_are_in_environ(site):
    """SetEnv, SetEnvIf, RequestHeader: what other modules left in the request."""
    found = environ(site, "/environ", "X-Tag: t")
    assert (found["OWN_KEY"], found["TAGGED"], found["HTTP_X_SET"]) == ("own", "t", "v")


def test_type_that_a_name_suggests_is_not_the_responses(site):
    """mod_mime says what the script is; only the application says what its response is."""
    assert site.ask("/guessed/no-content-type").head.get("Content-Type") is None


def test_scheme_follows_https_of_the_servers_environment(site):
    """As with mod_wsgi: a server behind a proxy that ends TLS sets HTTPS by SetEnvIf."""
    for field, scheme in [("X-Proto: https", "https"), ("X-Proto: http", "http")]:
        assert environ(site, "/environ", field)["wsgi.url_scheme"] == scheme


def test_rewrite_with_pass_through(site):
    """mod_rewrite [PT]: REQUEST_URI is as sent."""
    found = environ(site, "/rewritten/x?q")
    assert (found["SCRIPT_NAME"], found["PATH_INFO"], found["REQUEST_URI"]) == ("/environ", "/x", "/rewritten/x?q")


def test_basic_authentication(site):
    """AuthType Basic: 401, then REMOTE_USER and AUTH_TYPE."""
    assert site.ask("/guarded/user").status == 401
    assert site.ask("/guarded/user", "Authorization: Basic YWRhOmxvdmVsYWNl").body == b"ada Basic"


def test_error_document_for_a_failed_application(site):
    """ErrorDocument 500."""
    answer = site.ask("/failing/raises")
    assert (answer.status, answer.body) == (500, b"the server's 500")
    site.log.failure("ValueError")


def test_header_directives(site):
    """mod_headers: both directions."""
    assert site.ask("/filtered/hello").head.get("X-Added") == "by httpd"
    assert site.ask("/filtered/allow", "X-Ticket: yes").status == 403


def test_slow_body_is_ended_by_reqtimeout(start):
    """mod_reqtimeout: 408 for a body that does not come; the reader sees an OSError."""
    site = start(Recipe(mounts={"/": "input.wsgi"}, main={"httpd": "RequestReadTimeout header=20 body=1"}))
    site.log.allow_failures()
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/until-error", "Content-Length: 100", notes.field, method="POST", body=b"part")
        assert wire.read_answer().status == 408
    notes.wait_for("OSError")


def test_slow_body_is_ended_by_timeout(start):
    """Timeout: the same."""
    site = start(Recipe(mounts={"/": "input.wsgi"}, main={"httpd": "Timeout 1\nRequestReadTimeout header=0 body=0"}))
    site.log.allow_failures()
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/until-error", "Content-Length: 100", notes.field, method="POST", body=b"part")
        assert wire.read_answer().status in (400, 408)
    notes.wait_for("OSError")


@pytest.mark.parametrize("value", ["On", "Off"])
def test_enable_sendfile(start, value):
    """WSGIEnableSendfile: the same bytes either way."""
    site = start(Recipe(mounts={"/": "files.wsgi"}, main={"httpd": f"WSGIEnableSendfile {value}"}))
    body = b"".join(b"%015d\n" % number for number in range(10000))
    assert site.ask("/whole?160000").body == body
    assert site.ask("/from-offset").body == body[100:]


@pytest.mark.servers(PREFORK)
def test_process_is_replaced_after_its_requests(start):
    """MaxConnectionsPerChild: a new process, a new interpreter, nothing lost."""
    site = start(Recipe(mounts={"/": "plain.wsgi"}, main={"httpd": "MaxConnectionsPerChild 5"}, threads=1))
    pids = {site.ask("/pid").body for _ in range(30)}
    assert len(pids) > 3
    until(lambda: site.workers(), "a worker")


STUBBORN = """
def application(environ, start_response):
    try:
        environ["wsgi.input"].read()
    except OSError:
        pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a second answer"]
"""


def test_nothing_follows_the_answer_to_a_broken_chunk(start):
    """RFC 9112 section 7.1: httpd's own filter answers 400; an application that goes on all the same is not heard."""
    site = start(Recipe(mounts={"/": "@DIR@/scripts/stubborn.wsgi"}, files={"scripts/stubborn.wsgi": STUBBORN}))
    with socket.create_connection(("127.0.0.1", site.port), 20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"a second answer" not in received


LATE = """
def application(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"begun")
    try:
        body = environ["wsgi.input"].read()
    except OSError as error:
        print("refused:", error)
        raise
    print("taken for whole:", body)
    return []
"""


def test_broken_chunk_after_the_head_is_an_error(start):
    """An upload that breaks off is an OSError, never a short read taken for the end, although the head is out already."""
    site = start(Recipe(mounts={"/": "@DIR@/scripts/late.wsgi"}, files={"scripts/late.wsgi": LATE}))
    site.log.allow_failures()
    with socket.create_connection(("127.0.0.1", site.port), 20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nZZ\r\n")
        until(lambda: "refused:" in site.log.text() or "taken for whole:" in site.log.text(), "the application's word")
    assert "taken for whole:" not in site.log.text()
