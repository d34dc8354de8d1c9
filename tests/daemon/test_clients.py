"""Clients that take their time, while others are served."""

from __future__ import annotations

from contextlib import ExitStack

from harness.recipe import DAEMON, Mount, Recipe
from harness.wait import until

ONLY = DAEMON
UNBUFFERED = "wsgi_buffering off; wsgi_request_buffering off;"
RECIPE = Recipe(
    mounts={
        "/": "daemon.wsgi",
        "/app": "life.wsgi",
        "/unbuffered": Mount("life.wsgi", nginx=UNBUFFERED),
        "/input": "input.wsgi",
    },
    threads=3,
)


def test_slow_upload_and_slow_download(site):
    """One client sends half of its body, another reads a little of 100 MB: others are answered all the time, and both get all of
    their answers in the end."""
    with site.wire() as up, site.wire() as down:
        up.send(b"POST /input/echo-all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"u" * 100_000)
        down.request("/unbuffered/hundred-megabytes", site.notes().field, "Connection: close")
        head = down.read_head()
        assert head.status == 200
        for _ in range(50):
            assert site.ask("/about").status == 200
        up.send(b"u" * 100_000)
        answer = up.read_answer()
        assert answer.status == 200
        assert len(answer.body) == 200_000
        received = len(down.read_rest(head).body)
    assert received == 1600 * 65536


def test_clients_that_vanish_leave_the_threads(site):
    """A client that goes away in the middle of a body or of a response gives its thread back."""
    for _ in range(6):
        with site.wire() as wire:
            wire.send(b"POST /input/echo-all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"u" * 1000)
            wire.vanish()
        with site.wire() as wire:
            wire.request("/unbuffered/hundred-megabytes", site.notes().field)
            assert wire.read_head().status == 200
            wire.vanish()
    site.log.allow_failures()
    until(lambda: site.ask("/about").status == 200, "an answer")


#: Yields more than any socket holds, and prints so much about each block that it is most likely in the middle of that when
#: nothing more can leave.
PRINTING = """
def application(environ, start_response):
    start_response("200 OK", [])
    def blocks():
        for number in range(5000):
            yield b"x" * 2000
            print("block", number, "." * 700)
    return blocks()
"""


def test_client_that_does_not_read_what_prints_holds_up_nobody(start):
    """A line of the log takes the way of the response; where that is full it does not wait with the GIL."""
    place = Mount("@DIR@/scripts/printing.wsgi", nginx=UNBUFFERED)
    recipe = Recipe(mounts={"/": "daemon.wsgi", "/printing": place}, files={"scripts/printing.wsgi": PRINTING}, threads=5)
    site = start(recipe)
    with ExitStack() as stack:
        for _ in range(3):
            wire = stack.enter_context(site.wire(receive_buffer=4096))
            wire.request("/printing", "Connection: close")
            assert wire.read_head().status == 200
        for _ in range(50):
            assert site.ask("/about").status == 200
        wire.socket.settimeout(60)
        assert len(wire.read_to_end()) > 5000 * 2000
    # A group that writes faster than its log is read has some of its lines dropped, and counted.
    site.log.wait_for("block 4999|[0-9]+ lines were dropped")
    site.log.allow_failures()
