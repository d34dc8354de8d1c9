"""close() is called exactly once in every course of events (PEP 3333, "Specification Details")."""

from __future__ import annotations

import pytest

from harness.recipe import EVERY_MPM, Recipe
from harness.wire import Cut

ONLY = EVERY_MPM
RECIPE = Recipe(mounts={"/": "closing.wsgi", "/responses": "responses.wsgi"})


def closed_once(notes) -> None:
    """close() was called, and not again."""
    assert notes.wait_for("close").count("close") == 1


@pytest.mark.parametrize("case", ["normal", "empty", "no-content", "responses/a-list-subclass"])
def test_close_after_a_whole_response(site, case):
    """PEP 3333: upon completion of the current request."""
    notes = site.notes()
    assert site.ask(f"/{case}", notes.field).status in (200, 204)
    closed_once(notes)
    assert notes.lines()[-1] == "close"


@pytest.mark.parametrize(
    ("case", "pattern"),
    [
        ("raises-at-once", "before the first block"),
        ("never-starts", "start_response"),
        ("yields-text", "TypeError"),
        ("raises-in-iter", "__iter__"),
        ("starts-twice-while-iterating", "start_response"),
    ],
)
def test_close_when_nothing_was_sent(site, case, pattern):
    """PEP 3333: whether it completed normally, or terminated early due to an application error."""
    notes = site.notes()
    assert site.ask(f"/{case}", notes.field).status == 500
    closed_once(notes)
    site.log.failure(pattern)


@pytest.mark.parametrize(("case", "pattern"), [("raises-later", "after the first block"), ("exits-later", "SystemExit")])
def test_close_when_the_response_is_cut(site, case, pattern):
    """PEP 3333: terminated early due to an application error during iteration."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request(f"/{case}", notes.field)
        with pytest.raises(Cut):
            wire.read_answer()
    closed_once(notes)
    site.log.failure(pattern)


def test_exception_in_close_is_logged(site):
    """The response was whole before; the exception of close() is one traceback, and close() is not called again."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/raises-in-close", notes.field)
        try:
            assert wire.read_answer().body == b"whole"
        except Cut as cut:
            assert cut.received  # noqa: PT017 - whether the end was out before close() ran is the server's affair
    closed_once(notes)
    site.log.failure("from close")


@pytest.mark.parametrize("case", ["normal", "empty"])
def test_close_after_head(site, case):
    """A HEAD request is a request."""
    notes = site.notes()
    assert site.ask(f"/{case}", notes.field, method="HEAD").status == 200
    closed_once(notes)


def test_close_when_more_came_than_declared(site):
    """The rest of the iteration is of no use, close() is called all the same."""
    notes = site.notes()
    assert site.ask("/too-long", notes.field).body == b"1"
    closed_once(notes)


@pytest.mark.parametrize("block", ["more", ""])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_iteration_stops_when_enough_was_sent(site, method, block):
    """PEP 3333, "Handling the Content-Length Header": the response is whole, its thread serves the next request."""
    notes = site.notes()
    with site.wire() as wire:
        answer = wire.ask(f"/endless-past-the-length?{block}", notes.field, method=method)
        assert answer.body == (b"whole" if method == "GET" else b"")
        closed_once(notes)
        assert notes.lines() == ["next", "close"]
        assert wire.ask("/normal", site.notes().field).body == b"ab"


def test_write_past_the_length_is_an_error(site):
    """PEP 3333, "Handling the Content-Length Header": the client has a whole response all the same."""
    with site.wire() as wire:
        assert wire.ask("/writes-past-the-length").body == b"whole"
        assert wire.ask("/normal", site.notes().field).body == b"ab"
    site.log.failure("goes on behind the end of the body")


def test_blocks_without_content_end_with_the_client(site):
    """PEP 3333: an early disconnect of the browser; nothing is sent that would fail."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/endless-without-content", notes.field)
        wire.read_head()
        wire.vanish()
    closed_once(notes)


@pytest.mark.parametrize("case", ["endless", "waits"])
def test_close_when_the_client_is_gone(site, case):
    """PEP 3333: an early disconnect of the browser."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request(f"/{case}", notes.field)
        wire.read_head()
        wire.vanish()
    notes.allow("go")
    closed_once(notes)


def test_finally_of_a_generator_runs_when_the_client_is_gone(site):
    """A generator's close() is what runs its finally blocks."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/a-generator-with-finally", notes.field)
        wire.read_head()
        wire.vanish()
    assert notes.wait_for("finally").count("finally") == 1


def test_vanished_client_is_an_oserror_for_write(site):
    """write() has a caller to tell: an OSError. It is the client's doing: whether it is logged is the server's affair."""
    site.log.allow_failures()
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/writes-until-gone", notes.field)
        wire.read_head()
        wire.vanish()
    notes.wait_for("OSError")


def test_client_that_goes_leaves_no_traceback(site):
    """A vanished client is not an application's error."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/endless", notes.field)
        wire.read_head()
        wire.vanish()
    closed_once(notes)
    assert site.ask("/normal", site.notes().field).body == b"ab"
