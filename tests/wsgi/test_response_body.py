"""What an application returns: iterables, write(), lengths, and when bytes leave."""

from __future__ import annotations

import hashlib

import pytest

from harness.recipe import EVERY_MPM, Recipe
from harness.wire import Cut

ONLY = EVERY_MPM
RECIPE = Recipe(mounts={"/": "responses.wsgi"})


@pytest.mark.parametrize(
    ("case", "body"),
    [
        ("a-list", b"one"), ("a-long-list", b"onetwothree"), ("a-tuple", b"one"), ("an-empty-list", b""),
        ("a-generator", b"onetwo"), ("a-late-generator", b"late"), ("an-empty-block-before-start", b"after"),
        ("a-getitem-sequence", b"old style"), ("a-list-subclass", b"subclass"), ("a-bytes-subclass", b"subclass"),
        ("one-of-length-one", b"just one"), ("declared", b"1234567890"),
        ("writes", b"written twice, and returned"), ("writes-only", b"written"),
        ("changes-after-yield", b"mutablechanged"),
    ],
)  # fmt: skip
def test_iterable_is_sent_in_order(site, case, body):
    """PEP 3333: any iterable of byte strings; empty blocks are no end; write()'s bytes come first."""
    assert site.ask(f"/{case}").body == body


@pytest.mark.parametrize("case", ["a-list", "a-tuple", "an-empty-list"])
def test_length_of_a_single_block_is_told(site, case):
    """PEP 3333, "Handling the Content-Length Header": len() of 1 lets the server tell it."""
    answer = site.ask(f"/{case}")
    assert (answer.framing, answer.head.get("Content-Length")) == ("length", str(len(answer.body)))


def test_unknown_length_is_chunked_for_http_1_1(site):
    """RFC 9112 section 7.1; the connection stays open."""
    with site.wire() as wire:
        assert wire.ask("/a-generator").framing == "chunked"
        assert wire.ask("/a-list").body == b"one"


def test_unknown_length_closes_for_http_1_0(site):
    """RFC 9112 section 6.3: HTTP/1.0 knows no chunks, the end of the connection is the end of the body."""
    with site.wire() as wire:
        answer = wire.ask("/a-generator", version="1.0")
        assert (answer.framing, answer.body) == ("close", b"onetwo")
        assert answer.head.get("Transfer-Encoding") is None


def test_http_1_0_keep_alive_with_a_length(site):
    """A known length lets an HTTP/1.0 connection stay."""
    with site.wire() as wire:
        for _ in range(2):
            assert wire.ask("/a-list", "Connection: keep-alive", version="1.0").body == b"one"


def test_declared_length_is_sent_as_declared(site):
    """PEP 3333, "Handling the Content-Length Header"."""
    answer = site.ask("/declared")
    assert (answer.framing, answer.body) == ("length", b"1234567890")


def test_body_shorter_than_content_length_is_cut(site):
    """PEP 3333: the connection must be closed, so that no client takes a part for the whole; the log says so."""
    with site.wire() as wire:
        wire.request("/too-short")
        with pytest.raises(Cut) as cut:
            wire.read_answer()
    assert b"123456".startswith(cut.value.received)
    site.log.wait_for("Content-Length")


@pytest.mark.parametrize("case", ["too-long", "too-long-list"])
def test_body_longer_than_content_length_is_dropped(site, case):
    """PEP 3333: no more than the declared length; the next response on the connection is whole; the log says so."""
    with site.wire() as wire:
        answer = wire.ask(f"/{case}")
        assert answer.body == b"1234567890"[: len(answer.body)]
        assert answer.head.get("Content-Length") == "10"
        assert wire.ask("/a-list").body == b"one"
    site.log.wait_for("Content-Length")


@pytest.mark.parametrize(("case", "blocks"), [("yields-and-waits", 3), ("writes-and-waits", 2)])
def test_each_block_is_on_its_way_before_the_next(site, case, blocks):
    """PEP 3333, "Buffering and Streaming": a block reaches the client before the next is asked for."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request(f"/{case}", notes.field)
        head = wire.read_head()
        assert head.get("Transfer-Encoding") == "chunked"
        for name in ("first", "second", "third")[:blocks]:
            notes.allow(name)
            assert wire.read_chunk() == name.encode()
        assert wire.read_chunk() == b""


def test_bytes_themselves_are_refused(site):
    """PEP 3333 asks for an iterable of byte strings; iterating bytes gives numbers."""
    assert site.ask("/bytes-themselves").status == 500
    site.log.failure("int")


def test_text_in_write_is_refused(site):
    """PEP 3333: write() takes byte strings."""
    answer = site.ask("/writes-text")
    assert answer.status == 500
    site.log.failure("TypeError")


@pytest.mark.parametrize("case", ["a-list", "a-generator", "big?160000", "declared", "writes"])
def test_head_has_the_head_and_no_body(site, case):
    """RFC 9110 section 9.3.2: the same fields as for GET, no body; the connection stays."""
    with site.wire() as wire:
        got = wire.ask(f"/{case}").head
        head = wire.ask(f"/{case}", method="HEAD").head
        assert head.status == got.status
        if got.get("Content-Length"):
            assert head.get("Content-Length") == got.get("Content-Length")
        assert wire.ask("/a-list").body == b"one"


@pytest.mark.parametrize("case", ["no-content", "no-content-with-body", "not-modified", "not-modified-with-length"])
def test_status_without_body_has_none(site, case):
    """RFC 9110 sections 15.3.5 and 15.4.5: the message ends with its head; the connection stays."""
    with site.wire() as wire:
        answer = wire.ask(f"/{case}")
        assert answer.status in (204, 304)
        assert answer.head.get("Transfer-Encoding") is None
        if answer.status == 204:
            assert answer.head.get("Content-Length") is None
        assert wire.ask("/a-list").body == b"one"


@pytest.mark.parametrize("size", [16, 4096, 65536, 1 << 20, 50 << 20])
def test_large_block_arrives_whole(site, size):
    """Big bytes objects are sent from where they lie."""
    answer = site.ask(f"/big?{size}")
    assert answer.framing == "length"
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(b"0123456789abcdef" * (size // 16)).digest()


def test_many_small_blocks_arrive_in_order(site):
    """5000 blocks, each flushed."""
    assert site.ask("/many-blocks?5000").body == b"".join(b"%08d" % number for number in range(5000))


def test_pipelined_requests_are_answered_in_order(site):
    """RFC 9112 section 9.3.2."""
    with site.wire() as wire:
        for case in ("a-list", "a-generator", "declared", "no-content", "a-list"):
            wire.request(f"/{case}")
        bodies = [wire.read_answer().body for _ in range(5)]
    assert bodies == [b"one", b"onetwo", b"1234567890", b"", b"one"]
