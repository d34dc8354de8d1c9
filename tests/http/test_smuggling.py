"""What follows a body that failed, or that nobody read to its end, is never taken for a request.

RFC 9112 section 11.2 (request smuggling) and section 9.3: a server that does not know where a message ends closes the connection.
"""

from __future__ import annotations

import contextlib
import itertools
import os

import pytest

from harness.recipe import Mount, Recipe
from harness.wire import Cut

STREAMED = "wsgi_request_buffering off; client_max_body_size 1k;"
SPOOLED = "client_max_body_size 1k;"
RECIPE = Recipe(
    mounts={
        "/streamed": Mount("smuggling.wsgi", nginx=STREAMED, httpd="LimitRequestBody 1024"),
        "/spooled": Mount("smuggling.wsgi", nginx=SPOOLED, httpd="LimitRequestBody 1024"),
        "/other": "smuggling.wsgi",
    },
)
CHUNKED = "Transfer-Encoding: chunked"
#: Bodies that fail, by what is wrong with them; what stands behind a mark is sent as it is, and looks like a request.
FAILED = {
    "no size of a chunk": b"5\r\nfirst\r\nzz\r\n@SMUGGLED@",
    "a chunk that is longer than it says": b"5\r\nfirst and more\r\n@SMUGGLED@",
    "no line end behind a chunk": b"5\r\nfirstX@SMUGGLED@",
    "a size beyond all": b"5\r\nfirst\r\nfffffffffffffffff\r\n@SMUGGLED@",
    "a chunk that is too long": b"5\r\nfirst\r\n900\r\n@SMUGGLED@",
    "a first chunk that is too long": b"900\r\n@SMUGGLED@",
}
_numbers = itertools.count(1)


class Smuggled:
    """A request that is a part of the body before it."""

    def __init__(self, site) -> None:
        self.site = site
        self.target = f"/other/smuggled?{next(_numbers)}-{os.getpid()}"
        self.text = f"GET {self.target} HTTP/1.1\r\nHost: localhost:{site.port}\r\n\r\n".encode()

    def check(self) -> None:
        """It was not answered."""
        # What was answered before this is in the log.
        assert self.site.ask("/other/ignores").status == 200
        assert self.target not in self.site.access_log()


def answers(wire) -> list[int]:
    """The statuses of all responses until the server closes the connection."""
    found = []
    while True:
        try:
            found.append(wire.read_answer().status)
        except Cut:
            return found


def try_to_send(wire, data: bytes) -> None:
    """Sends to a server that may have closed the connection."""
    with contextlib.suppress(OSError):
        wire.send(data)


@pytest.mark.parametrize("what", FAILED)
@pytest.mark.parametrize("place", ["streamed", "spooled"])
@pytest.mark.parametrize("case", ["reads-all", "reads-some", "answers-first", "ignores"])
@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
def test_body_that_fails_ends_its_connection(site, place, case, what, together):
    """Whatever the application does about the error, what follows is not answered."""
    smuggled = Smuggled(site)
    first, _, _ = FAILED[what].partition(b"@SMUGGLED@")
    with site.wire() as wire:
        wire.request(f"/{place}/{case}", CHUNKED, method="POST", body=first + (smuggled.text if together else b""))
        if not together and "too long" not in what and "line end" not in what:
            # Every server knows by now what is wrong.
            with contextlib.suppress(Cut):
                wire.read_answer()
        if not together:
            try_to_send(wire, smuggled.text)
        with contextlib.suppress(OSError):
            wire.end_sending()
        assert len(answers(wire)) <= 1
    smuggled.check()
    site.log.allow_failures()


@pytest.mark.parametrize("place", ["streamed", "spooled"])
@pytest.mark.parametrize("case", ["reads-some", "answers-first", "ignores"])
def test_body_that_was_not_read_is_no_request(site, place, case):
    """A body with a length, whose application answers before it has come: its bytes are not a request."""
    smuggled = Smuggled(site)
    with site.wire() as wire:
        wire.request(f"/{place}/{case}", f"Content-Length: {len(smuggled.text) + 10}", method="POST", body=b"x" * 10)
        if site.is_nginx and place == "streamed" and case != "answers-first":
            # httpd reads the body before it lets go of the answer.
            assert wire.read_answer().status == 200
        try_to_send(wire, smuggled.text)
        with contextlib.suppress(OSError):
            wire.end_sending()
        assert len(answers(wire)) <= 1
    smuggled.check()
    site.log.allow_failures()
