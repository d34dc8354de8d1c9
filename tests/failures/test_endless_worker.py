"""A worker that says nothing of a response, and goes on saying it, holds up nobody else (shared/src/wire)."""

from __future__ import annotations

import threading

import pytest

from harness.recipe import DAEMON, NGINX_DAEMON, Mount, Recipe
from harness.scripted_worker import ScriptedWorker, chunk, end, failed, head, log, whole
from harness.wait import until

ONLY = DAEMON
CACHED = "wsgi_cache one; wsgi_cache_key $uri; wsgi_buffer_size 4k;add_header X-Cache $upstream_cache_status always;"
RECIPE = Recipe(
    mounts={
        "/app": "daemon.wsgi",
        "/cached": Mount("daemon.wsgi", nginx=CACHED + "wsgi_cache_valid 200 1m;"),
        "/stale": Mount("daemon.wsgi", nginx=CACHED + "wsgi_cache_valid 200 1s; wsgi_cache_use_stale http_503;"),
    },
    main={"nginx": "wsgi_cache_path @DIR@/tmp/cache keys_zone=one:1m;"},
)
FLUSH, TRAILERS = 21, 22


@pytest.fixture
def worker(start):
    """A site in daemon mode, and how a scripted worker takes the place of its group's."""
    site = start(RECIPE)
    site.log.wait_for("process group app: generation 1 serves")
    path = site.directory / "run" / "wsgi.app.sock"
    path.unlink()
    started = []

    def begin(*scripts):
        started.append(ScriptedWorker(path, *scripts))
        return site, started[-1]

    yield begin
    for one in started:
        one.__exit__()


def empty(kind: int, exchange: int) -> bytes:
    """A frame without bytes of its own."""
    return len(b"").to_bytes(4, "little") + bytes([kind, 0]) + exchange.to_bytes(2, "little")


@pytest.mark.parametrize("place", ["before the head", "in the body"])
@pytest.mark.parametrize("kind", ["log", "flush"])
def test_frames_that_deliver_nothing_hold_up_nobody(worker, place, kind):
    """Lines of the log, or flushes, without an end: other requests are answered meanwhile, and the log stays small."""
    if (place, kind) == ("before the head", "flush"):
        pytest.skip("a flush before the head is out of order")
    enough = threading.Event()

    def flood(peer):
        frame = log(peer.exchange, b"x" * 1000) if kind == "log" else empty(FLUSH, peer.exchange)
        begun = head(peer.exchange) + chunk(peer.exchange, b"begun")
        if place == "in the body":
            peer.connection.sendall(begun)
        while not enough.is_set():
            peer.connection.sendall(frame * 200)
        peer.send((b"" if place == "in the body" else begun) + end(peer.exchange))

    site, _ = worker(flood)
    with site.wire() as wire:
        wire.request("/app/it")
        if kind == "log":
            # It is heard so far, and no further.
            site.log.wait_for("what else it writes is left out")
        for _ in range(20):
            assert site.ask("/static.txt").body == b"a static file\n"
        size = site.place.error_log.stat().st_size
        for _ in range(20):
            assert site.ask("/static.txt").body == b"a static file\n"
        if kind == "log":
            assert site.place.error_log.stat().st_size - size < 65536, "the log grows"
        enough.set()
        assert wire.read_answer().body == b"begun"


def test_nothing_follows_the_fields_behind_a_body(worker):
    """They come once (RFC 9112 section 7.1.2)."""

    def send(peer):
        trailers = empty(TRAILERS, peer.exchange)
        peer.send(head(peer.exchange) + chunk(peer.exchange, b"body") + trailers + trailers + end(peer.exchange))

    site, _ = worker(send)
    with site.wire() as wire:
        wire.request("/app/it", "Connection: close")
        wire.read_to_end()
    site.log.wait_for("a Trailers frame out of order")


@pytest.mark.servers(NGINX_DAEMON)
@pytest.mark.parametrize("size", [10, 3000, 4000, 20_000])
def test_lines_of_the_log_are_no_part_of_what_is_cached(worker, size):
    """A line that came in part before the head: what lies in the cache begins with the head."""

    def send(peer):
        line = log(peer.exchange, b"x" * size)
        # The first half comes alone.
        peer.send(line[: len(line) // 2])
        until(lambda: site.ask("/static.txt").status == 200, "nginx to have looked at it")
        peer.send(line[len(line) // 2 :] + whole(peer.exchange))

    site, seen = worker(send)
    found = [site.ask("/cached/it") for _ in range(3)]
    assert [(answer.status, answer.body) for answer in found] == [(200, b"served")] * 3
    assert [answer.head.get("X-Cache") for answer in found] == ["MISS", "HIT", "HIT"]
    assert seen.requests == 1


@pytest.mark.servers(NGINX_DAEMON)
def test_stale_answer_has_no_retry_after(worker):
    """wsgi_cache_use_stale: the answer is an old one, and nothing to come back for."""
    site, _ = worker(
        lambda peer: peer.send(whole(peer.exchange)),
        lambda peer: peer.send(failed(peer.exchange, 503, 7)),
    )
    assert site.ask("/stale/it").head.get("X-Cache") == "MISS"
    answer = until(lambda: (found := site.ask("/stale/it")).head.get("X-Cache") == "STALE" and found, "the answer to expire")
    assert (answer.status, answer.body, answer.head.get("Retry-After")) == (200, b"served", None)
