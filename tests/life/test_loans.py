"""Blocks that a Python thread lends to nginx's event loop come back, however the request ends: no thread waits for good."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import h2.connection
import pytest

from harness.recipe import Mount, Recipe
from harness.wire import Wire

ONLY = ("nginx",)
THREADS = 4
RECIPE = Recipe(
    mounts={
        "/app": "loans.wsgi",
        "/sliced": Mount("loans.wsgi", nginx="slice 1m; wsgi_param X_SLICE $slice_range;"),
    },
    threads=THREADS,
    tls=True,
    http2=True,
)
#: A page and its fragments share one thread.
ONE_THREAD = Recipe(
    mounts={
        "/app": "loans.wsgi",
        "/ssi": Mount("loans.wsgi", nginx='ssi on; ssi_types "*";'),
        "/before": Mount("loans.wsgi", nginx='add_before_body /app/fragment; addition_types "*";'),
        "/after": Mount("loans.wsgi", nginx='add_after_body /app/large-fragment; addition_types "*";'),
    },
    threads=1,
)
TWO_THREADS = replace(ONE_THREAD, threads=3)
LARGE = b"0123456789abcde\n" * (200 * 64)


def all_threads_answer(site) -> None:
    """So many requests are inside at once as there are threads."""
    notes = site.notes()
    with ExitStack() as stack:
        wires = [stack.enter_context(site.wire()) for _ in range(THREADS)]
        for wire in wires:
            wire.request("/app/inside", notes.field)
        notes.wait_for("inside", THREADS)
        notes.allow("go")
        assert [wire.read_answer().body for wire in wires] == [b"was inside"] * THREADS


def ask_over_http2(site, streams: int) -> Wire:
    """A connection with requests on it, none of them answered."""
    wire = Wire(site.tls_port, tls=True)
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    for number in range(streams):
        head = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/app/small-head")]
        connection.send_headers(2 * number + 1, head, end_stream=True)
    wire.send(connection.data_to_send())
    return wire


@pytest.mark.parametrize("target", ["/app/large-head", "/app/small-head"])
def test_clients_that_reset_at_once_cost_no_thread(site, target):
    """HTTP/1.1: sending the head fails before the block behind it was noted."""
    for number in range(600):
        wire = site.wire()
        wire.request(target)
        # Now and then the answer has begun.
        sum(range(number % 40 * 200))
        wire.vanish()
    all_threads_answer(site)
    assert site.ask(target).body == LARGE


def test_clients_that_reset_over_http2_cost_no_thread(site):
    """HTTP/2 sends each head at once."""
    for number in range(100):
        wire = ask_over_http2(site, 8)
        sum(range(number % 40 * 200))
        wire.vanish()
    all_threads_answer(site)


def test_a_header_filter_that_refuses_costs_no_thread(site):
    """nginx's slice filter takes no 206 without Content-Range, as its image filter takes no picture that is too large."""
    for _ in range(3 * THREADS):
        with site.wire() as wire:
            wire.request("/sliced/bare-partial")
            assert wire.at_end(), "the connection is closed without an answer"
    site.log.wait_for("invalid range in slice response")
    all_threads_answer(site)


def test_a_fragment_that_begins_with_nothing_is_sent_once(start):
    """Its head leaves with an empty block while it waits for its turn; no block behind that comes twice."""
    site = start(TWO_THREADS)
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/ssi/two-fragments", notes.field)
        notes.wait_for("waits")
        notes.wait_for("began")
        notes.allow("go")
        body = wire.read_answer().body
    assert body == b"the first," + b"".join(b"(%d)" % number + b"b" * 40_000 for number in range(3))


def test_a_page_and_its_fragment_do_with_one_thread(start):
    """The page lends nothing while its fragment may need the thread, and does not wait for the client either."""
    site = start(ONE_THREAD)
    assert site.ask("/ssi/page").body == b"the fragment" + b"p" * 80_000
    assert site.ask("/ssi/pages").body == b"the fragment" + b"p" * 1_000_000
    assert site.ask("/before/bare-page").body == b"the fragment" + b"p" * 2_080_000
    assert site.ask("/after/bare-page").body == b"p" * 2_080_000 + LARGE
