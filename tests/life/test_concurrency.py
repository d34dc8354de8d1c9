"""Threads and processes at work at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from harness.processes import resident
from harness.recipe import EVERY_MPM, Recipe
from harness.streams import Http2
from harness.wait import until

ONLY = EVERY_MPM
#: nginx's upstreams take what they can into buffers and files; here the application is to feel its reader.
RECIPE = Recipe(mounts={"/app": "life.wsgi"}, threads=20, main={"nginx": "wsgi_buffering off;"})


def test_twenty_requests_are_inside_at_once(site):
    """20 Python threads (prefork: processes): the last comes in while the first nineteen wait."""
    notes = site.notes()
    with ExitStack() as stack:
        wires = [stack.enter_context(site.wire()) for _ in range(20)]
        for wire in wires:
            wire.request("/app/inside", notes.field)
        notes.wait_for("inside", 20)
        notes.allow("go")
        assert [wire.read_answer().body for wire in wires] == [b"was inside"] * 20


@pytest.mark.servers("nginx")
def test_static_file_while_every_thread_is_blocked(site):
    """nginx: no Python runs on the event loop, so that static files and other locations do not wait."""
    notes = site.notes()
    with ExitStack() as stack:
        wires = [stack.enter_context(site.wire()) for _ in range(25)]
        for wire in wires:
            wire.request("/app/inside", notes.field)
        notes.wait_for("inside", 20)
        for _ in range(10):
            assert site.ask("/static.txt").body == b"a static file\n"
        assert notes.lines().count("inside") == 20, "the others wait in the backlog"
        notes.allow("go")
        assert [wire.read_answer().body for wire in wires] == [b"was inside"] * 25


@pytest.mark.servers("nginx")
def test_static_file_while_python_spins(site):
    """A thread that holds the GIL does not hold the event loop."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/app/spins", notes.field)
        notes.wait_for("inside")
        for _ in range(10):
            assert site.ask("/static.txt").body == b"a static file\n"
        notes.allow("go")
        assert wire.read_answer().body == b"spun"


def test_short_request_while_another_spins(site):
    """A busy thread does not keep the others from their turns."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/app/spins", notes.field)
        notes.wait_for("inside")
        for _ in range(5):
            assert site.ask("/app/hello").body == b"hello"
        notes.allow("go")
        assert wire.read_answer().body == b"spun"


def test_stopped_reader_does_not_make_memory_grow(site):
    """100 MB from a generator to a client that does not read: the application waits, the server holds a window's worth."""
    assert site.ask("/app/hello").status == 200
    before = {pid: resident(pid) for pid in site.workers()}
    notes = site.notes()
    with site.wire(receive_buffer=65536) as wire:
        wire.request("/app/hundred-megabytes", notes.field)
        assert wire.read_head().status == 200
        notes.wait_for("block 0")
        with site.wire() as other:
            assert other.ask("/app/hello").body == b"hello"
        seen = [-1]

        def still() -> bool:
            seen.append(len(notes.lines()))
            return len(seen) > 20 and len(set(seen[-20:])) == 1

        until(still, "the application to stand still")
        grown = max(resident(pid) - before.get(pid, 0) for pid in site.workers())
        assert grown < 32 << 20, f"{grown >> 20} MiB more for a reader that does not read"
        assert "block 1500" not in notes.lines(), "the whole response was taken though nobody read it"
        answer = wire.read_chunk()
        assert answer.startswith(b"00000000")
        while wire.read_chunk():
            pass
    assert "block 1500" in notes.lines()


@pytest.mark.servers("nginx")
@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_request_whose_client_has_gone_is_not_begun(start, protocol):
    """A client that leaves while its request waits for a thread: nobody waits for it, and no thread takes it."""
    site = start(Recipe(mounts={"/app": "life.wsgi"}, threads=2, tls=True, http2=True))
    held, gone = site.notes(), site.notes()
    with ExitStack() as stack:
        wires = [stack.enter_context(site.wire()) for _ in range(2)]
        for wire in wires:
            wire.request("/app/inside", held.field)
        held.wait_for("inside", 2)
        # More than the queue holds: a full one would refuse the last.
        for _ in range(3 if protocol == "http2" else 12):
            if protocol == "http2":
                with Http2(site.tls_port) as client:
                    name, value = gone.field.split(": ")
                    for _ in range(100):
                        client.open("GET", "/app/inside", {name: value}, end=True).reset()
            else:
                leaving = [site.wire() for _ in range(100)]
                for wire in leaving:
                    wire.request("/app/inside", gone.field)
                for wire in leaving:
                    wire.vanish()
        assert site.ask("/static.txt").status == 200
        last = stack.enter_context(site.wire())
        last.request("/app/hello")
        held.allow("go")
        assert [wire.read_answer().body for wire in wires] == [b"was inside"] * 2
        assert last.read_answer().body == b"hello"
    assert gone.lines() == []


def test_vanished_reader_gives_its_thread_back(site):
    """30 clients that go in the middle of a response, on 20 threads."""
    for _ in range(30):
        with site.wire(receive_buffer=65536) as wire:
            wire.request("/app/hundred-megabytes")
            wire.read_head()
            wire.vanish()
    assert site.ask("/app/hello").body == b"hello"
