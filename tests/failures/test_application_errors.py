"""An application that fails: the right status, one traceback, nothing leaked, the process alive, the next request fine."""

from __future__ import annotations

import contextlib

import pytest

from harness.recipe import EVERY_MPM, Recipe
from harness.wire import Cut

ONLY = EVERY_MPM
RECIPE = Recipe(mounts={"/": "failing.wsgi"})
SECRET = b"the-secret-of-the-application"


def lives_on(site, workers: list[int]) -> None:
    """The same processes, and the next request is fine."""
    assert site.ask("/fine").body == b"fine"
    assert site.workers() == workers


def told(site, pattern: str, case: str) -> None:
    """One traceback (counted when the test ends) that says method, path and script."""
    log = site.log.failure(pattern)
    assert f"GET /{case}" in log, log
    assert "failing.wsgi" in log, log


@pytest.mark.parametrize(
    ("case", "pattern"),
    [
        ("raises", "ValueError: the-secret"), ("raises-after-start", "ValueError: the-secret"),
        ("exits", "SystemExit: the-secret"), ("exits-with-zero", "SystemExit"),
        ("interrupts", "KeyboardInterrupt: the-secret"), ("strange", "Strange: the-secret"),
        ("generator-exit", "GeneratorExit"), ("returns-none", "None"), ("returns-text", "str"),
        ("returns-text-in-a-list", "str"), ("returns-a-number", "int"), ("returns-bytearray", "bytearray"),
        ("recurses", "RecursionError"), ("out-of-memory", "MemoryError"), ("unprintable", "Unprintable"),
    ],
)  # fmt: skip
def test_failure_before_the_head_is_500(site, case, pattern):
    """Neat's rule: 500 of the server's own, one traceback with the request's method and path, the process lives."""
    workers = site.workers()
    with site.wire() as wire:
        answer = wire.ask(f"/{case}")
        assert answer.status == 500
        assert SECRET not in answer.body
        assert b"Traceback" not in answer.body
        assert b".wsgi" not in answer.body
        told(site, pattern, case)
        lives_on(site, workers)


@pytest.mark.parametrize("case", ["raises-after-a-block", "raises-after-declaring", "raises-after-write"])
def test_failure_after_the_head_is_a_cut(site, case):
    """Neat's rule: after the head is out the connection is cut, so that no client takes a part for the whole."""
    workers = site.workers()
    with site.wire() as wire:
        wire.request(f"/{case}")
        head = wire.read_head()
        assert head.status == 200
        with pytest.raises(Cut) as cut:
            wire.read_rest(head)
        assert SECRET not in cut.value.received
    told(site, "ValueError: the-secret", case)
    lives_on(site, workers)


def test_failure_after_the_head_closes_for_http_1_0(site):
    """HTTP/1.0 without a length cannot tell a cut from an end; nothing but the application's bytes is sent."""
    with site.wire() as wire:
        wire.request("/raises-after-a-block", version="1.0")
        with contextlib.suppress(Cut):
            assert wire.read_answer().body == b"part"
    told(site, "ValueError: the-secret", "raises-after-a-block")


def test_wrong_block_in_the_middle_is_a_cut(site):
    """PEP 3333: each block is a byte string."""
    with site.wire() as wire:
        wire.request("/returns-none-in-a-list")
        with pytest.raises(Cut):
            wire.read_answer()
    told(site, "NoneType", "returns-none-in-a-list")


def test_chained_exceptions_are_told_whole(site):
    """One entry with the cause and the exception."""
    assert site.ask("/cause").status == 500
    assert "the first" in site.log.failure("the second")
    site.log.traceback("direct cause")


def test_failed_head_request(site):
    """RFC 9110 section 9.3.2: the answer to HEAD has no body, an error's neither."""
    with site.wire() as wire:
        assert wire.ask("/raises", method="HEAD").status == 500
        site.log.failure("ValueError")
    assert site.ask("/fine").body == b"fine"


def test_failure_with_an_unread_body(site):
    """The error page, and a connection that is closed or usable."""
    with site.wire() as wire:
        wire.request("/raises", "Content-Length: 50000", method="POST", body=b"b" * 50_000)
        answer = wire.read_answer()
        assert answer.status == 500
        if (answer.head.get("Connection") or "").lower() != "close":
            assert wire.ask("/fine").body == b"fine"
    site.log.failure("ValueError")


def test_what_is_kept_beyond_the_request_is_harmless(site):
    """PEP 3333 gives them the life of a request: later use is an exception or nothing, never another request's affair."""
    notes = site.notes()
    workers = site.workers()
    assert site.ask("/keeps-everything", notes.field).body == b"kept"
    notes.allow("later")
    lines = notes.wait_for("over")
    assert not [line for line in lines if line == "write: None"], lines
    lives_on(site, workers)


def test_cleared_environ(site):
    """PEP 3333: the application may modify environ in any way."""
    assert site.ask("/deletes-itself").body == b"cleared"
    assert site.ask("/fine").body == b"fine"
