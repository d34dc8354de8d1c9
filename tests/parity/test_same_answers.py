"""The same answers, byte for byte, in nginx and in httpd with every MPM, embedded and in daemon mode."""

from __future__ import annotations

import json

import pytest

from harness.recipe import EVENT, EVERY_MPM, NGINX, Recipe, is_daemon, is_nginx
from harness.site import Site
from harness.wire import Cut, chunked

RECIPE = Recipe(
    mounts={
        "/responses": "responses.wsgi", "/closing": "closing.wsgi", "/failing": "failing.wsgi", "/input": "input.wsgi",
        "/files": "files.wsgi", "/environ": "environ.wsgi",
    },
    threads=2,
)  # fmt: skip
#: The servers' own affairs: when, who, and how the connection goes on.
OWN = {"date", "server", "connection", "keep-alive"}

#: In a run of several processes all of it is one's.
pytestmark = pytest.mark.xdist_group("parity")

TARGETS = [
    "/responses/a-list", "/responses/a-long-list", "/responses/a-tuple", "/responses/an-empty-list", "/responses/a-generator",
    "/responses/a-late-generator", "/responses/an-empty-block-before-start", "/responses/a-getitem-sequence",
    "/responses/a-list-subclass", "/responses/a-bytes-subclass", "/responses/one-of-length-one", "/responses/declared",
    "/responses/too-long-list", "/responses/writes", "/responses/writes-only", "/responses/head-waits-for-the-first-block",
    "/responses/starts-twice", "/responses/never-starts", "/responses/writes-text", "/responses/by-keyword",
    "/responses/status-of-the-query?404%20Not%20Here", "/responses/status-of-the-query?299%20",
    "/responses/status-of-the-query?bad", "/responses/header-of-the-query?X-Y=z",
    "/responses/header-of-the-query?Connection=close", "/responses/bad-call?int-value", "/responses/same-header-twice",
    "/responses/known-headers", "/responses/no-content-type", "/responses/no-content", "/responses/no-content-with-body",
    "/responses/not-modified", "/responses/big?160000", "/responses/many-blocks?50", "/failing/raises", "/failing/exits",
    "/failing/returns-none", "/failing/recurses", "/failing/raises-after-a-block", "/closing/normal", "/closing/raises-later",
    "/closing/raises-in-close", "/files/whole?160000", "/files/with-length?160000", "/files/from-offset", "/files/bytesio",
    "/files/less-declared", "/files/empty", "/files/a-pipe",
]  # fmt: skip


@pytest.fixture(scope="module")
def sites(certificate):
    """All of them at once."""
    started: dict[str, Site] = {}
    try:
        for server in EVERY_MPM:
            started[server] = Site(server, RECIPE, certificate)
        yield started
        for server, site in started.items():
            assert site.stop() == 0, (server, site.said()[-2000:])
    finally:
        for site in started.values():
            site.remove()


def answers(sites: dict[str, Site], target: str, *fields: str, **more) -> dict[str, tuple]:
    """Each server's answer without what is its own affair; the body of a server's own error page is too."""
    found = {}
    for server, site in sites.items():
        with site.wire() as wire:
            wire.request(target, *fields, **more)
            try:
                answer = wire.read_answer(more.get("method", "GET"))
            except Cut as cut:
                found[server] = ("cut",) if cut.received else ("cut before everything",)
                continue
        head = sorted((name.lower(), value) for name, value in answer.head.fields if name.lower() not in OWN)
        own_page = answer.status >= 500 and (answer.head.get("Content-Type") or "").startswith("text/html")
        if more.get("method") == "HEAD" and ("content-length", "0") in head:
            # httpd leaves a length of 0 out of the answer to HEAD, whoever said it (RFC 9110 section 9.3.2 lets it).
            head.remove(("content-length", "0"))
        found[server] = (
            answer.status,
            () if own_page else (answer.head.reason, answer.framing, head, answer.body),
        )
    return found


def is_internal_redirect(server: str, target: str) -> bool:
    """Whether httpd's daemon mode follows the application's Location itself: a path in an answer of 200, as in mod_wsgi."""
    return is_daemon(server) and not is_nginx(server) and target == "/responses/known-headers"


def agree(found: dict[str, tuple]) -> None:
    """All the same."""
    assert set(found) >= {NGINX, EVENT}
    for server, answer in found.items():
        assert answer == found[NGINX], f"{server} and nginx differ"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", TARGETS)
def test_answers_agree(sites, target, method):
    """Status, reason, framing, headers and body."""
    chosen = {server: site for server, site in sites.items() if not is_internal_redirect(server, target)}
    agree(answers(chosen, target, method=method))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_versions_agree(sites, version):
    """HTTP/1.0 closes where HTTP/1.1 sends chunks."""
    agree(answers(sites, "/responses/a-generator", version=version))


@pytest.mark.parametrize("case", ["echo-all", "digest", "ignores", "reads-some", "refuses", "after-the-end"])
def test_bodies_agree(sites, case):
    """By length and in chunks."""
    agree(answers(sites, f"/input/{case}", "Content-Length: 9", method="POST", body=b"one\ntwo\n3"))
    agree(answers(sites, f"/input/{case}", "Transfer-Encoding: chunked", method="POST", body=chunked(b"one\n", b"2")))


@pytest.mark.parametrize("target", ["/environ", "/environ/", "/environ/a%20b/%C3%A9?q=%20", "/environ//x", "/environ/a;b"])
def test_environs_agree(sites, target):
    """The same keys with the same values, but for what is the server's own."""
    fields = ("X-One: 1", "Accept: a", "Accept: b", "Cookie: c=d", "X_Under: no", "Proxy: no", "Authorization: no")
    found = {}
    for server, site in sites.items():
        with site.wire() as wire:
            wire.host = "localhost:80"
            environ = json.loads(wire.ask(target, *fields).body)
        assert environ["mod_wsgi.process_group"] == ["str", "app" if is_daemon(server) else ""], server
        for key in (
            "SERVER_SOFTWARE", "REMOTE_PORT", "SERVER_PORT", "DOCUMENT_ROOT", "mod_wsgi.request_start",
            "mod_wsgi.queue_start", "mod_wsgi.application_start", "mod_wsgi.request_id", "mod_wsgi.connection_id",
            "mod_wsgi.thread_id", "mod_wsgi.server_pid", "mod_wsgi.listener_port", "mod_wsgi.daemon_start",
            "nginx.version", "apache.version", "wsgi.multithread", "wsgi.multiprocess", "wsgi.input", "wsgi.errors",
            "mod_wsgi.process_group", "SERVER_ADMIN", "CONTEXT_PREFIX", "CONTEXT_DOCUMENT_ROOT", "wsgi.file_wrapper",
        ):  # fmt: skip
            environ.pop(key, None)
        found[server] = environ
    for server, environ in found.items():
        assert environ == found[NGINX], f"{server} and nginx differ"
