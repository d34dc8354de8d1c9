"""Requests whose clients gave up are not begun: whoever still waits would wait for them, too."""

from __future__ import annotations

from harness.recipe import DAEMON, NGINX, Recipe, is_prefork
from harness.wait import until

#: In httpd's embedded mode no request waits: each has a thread of httpd's own.
ONLY = (NGINX, *DAEMON)
CLIENTS = 4


def one_thread(server: str) -> Recipe:
    """One Python thread, and room for clients that wait for it."""
    mounts = {"/": "closing.wsgi", "/responses": "responses.wsgi"}
    threads = 2 * CLIENTS if is_prefork(server) else 1
    conf = {"nginx": "location = /ping { return 204; }", "httpd": "Redirect 204 /ping"}
    return Recipe(mounts=mounts, conf=conf, threads=threads, group={"threads": "1"})


def test_request_whose_client_has_gone_is_not_begun(start, server):
    """The thread is busy, clients ask for it and leave; when it is free it serves the one that has not."""
    site = start(one_thread(server))
    busy, gone, patient = site.notes(), site.notes(), site.notes()
    with site.wire() as first, site.wire() as last:
        first.request("/responses/yields-and-waits", busy.field)
        first.read_head()
        clients = [site.wire() for _ in range(CLIENTS)]
        for client in clients:
            client.request("/normal", gone.field)
        last.request("/normal", patient.field)
        # What came before it has been read, too.
        assert site.ask("/ping").status == 204
        for client in clients:
            client.socket.close()
        until(
            lambda: site.access_log().count("GET /normal") == CLIENTS,
            lambda: f"the server to see that its clients have gone:\n{site.access_log()}",
        )
        for name in ("second", "third"):
            busy.allow(name)
        assert last.read_answer().body == b"ab"
    assert patient.lines()
    assert not gone.lines(), "requests were begun that nobody waited for"
