"""wsgi.input: the request's body (PEP 3333, "Input and Error Streams")."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.recipe import EMBEDDED, EVERY_MPM, HTTPD_DAEMON, Mount, Recipe
from harness.wire import Cut, chunked

ONLY = EVERY_MPM
STREAMED = Mount("input.wsgi", nginx="wsgi_request_buffering off;")
RECIPE = Recipe(
    mounts={"/": "input.wsgi", "/streamed": STREAMED},
    conf={"nginx": "client_body_buffer_size 16k; keepalive_timeout 20;"},
)
#: A mount's prefix: nginx spools the body first by default and hands it on with buffering off; httpd streams always.
PREFIXES = ["", "/streamed"]
both = pytest.mark.parametrize("prefix", PREFIXES)


def post(wire, target: str, body: bytes, *fields: str, in_chunks: int = 0):
    """Sends a body with its length, or in chunks of so many bytes."""
    if in_chunks:
        parts = [body[at : at + in_chunks] for at in range(0, len(body), in_chunks)]
        wire.request(target, "Transfer-Encoding: chunked", *fields, method="POST", body=chunked(*parts))
    else:
        wire.request(target, f"Content-Length: {len(body)}", *fields, method="POST", body=body)
    return wire.read_answer()


@both
@pytest.mark.parametrize("size", [0, 1, 100, 20_000, 3_000_000])
@pytest.mark.parametrize("in_chunks", [0, 4096])
def test_body_arrives_whole(site, prefix, size, in_chunks):
    """RFC 9112 section 6: by length or in chunks; in memory, in a temporary file, or streamed."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with site.wire() as wire:
        answer = post(wire, f"{prefix}/digest", body, in_chunks=in_chunks)
        assert answer.body.decode() == f"{size} bytes, {hashlib.sha256(body).hexdigest()}"
        assert wire.ask("/ignores").body == b"not read"


@both
def test_read_to_the_declared_length(site, prefix):
    """PEP 3333: an application that reads CONTENT_LENGTH bytes gets them all at once."""
    body = b"y" * 100_000
    with site.wire() as wire:
        assert post(wire, f"{prefix}/echo", body).body == body


@both
def test_read_ends_at_the_end_of_the_body(site, prefix):
    """PEP 3333: the server simulates an end of file; a pipelined request behind the body is not part of it."""
    with site.wire() as wire:
        wire.request(f"{prefix}/echo-all", "Content-Length: 5", method="POST", body=b"hello")
        wire.request("/ignores")
        assert wire.read_answer().body == b"hello"
        assert wire.read_answer().body == b"not read"


@both
def test_after_the_end_there_is_nothing(site, prefix):
    """Every method gives an empty result at the end, again and again."""
    with site.wire() as wire:
        assert post(wire, f"{prefix}/after-the-end", b"abc\ndef").body == b"[b'', b'', b'', [], []]"


def test_request_without_body_has_an_empty_input(site):
    """No Content-Length and no chunks: no body (RFC 9112 section 6.3)."""
    assert site.ask("/echo-all").body == b""


@both
def test_chunked_body_has_no_length_unless_the_server_knows_it(site, prefix):
    """wsgi.input_terminated: reading to the end is right without CONTENT_LENGTH; the coding is taken off in any case."""
    with site.wire() as wire:
        length, coding, read = post(wire, f"{prefix}/length", b"0123456789", in_chunks=3).body.decode().split()
    assert read == "10"
    assert (length, coding) in [("10", "none"), ("none", "none")]


@both
def test_operations_are_those_of_bytesio(site, prefix):
    """Any mix of read, readline, readlines and iteration; the property below goes further."""
    check_operations(site, prefix, b"one\ntwo\n\nthree", [["readline"], ["read", 2], ["readlines", 1], ["iterate"]], 0)


OPERATION = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 40)).map(list),
    st.tuples(st.just("readline"), st.integers(-1, 40)).map(list),
    st.tuples(st.just("readlines"), st.integers(-1, 40)).map(list),
    st.sampled_from([["read"], ["readline"], ["readlines"], ["iterate"], ["next"]]),
)
BODY = st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\r\n", b"\0", b"\xff", b"x" * 30, b"y" * 9000]), max_size=20)


def results(model: io.BufferedIOBase, operations: list) -> list:
    """What the calls give on one of the standard library's files."""
    expected = []
    for name, *arguments in operations:
        if name == "iterate":
            expected.append([line.decode("latin-1") for line in model])
        elif name == "next":
            expected.append(next(iter(model), b"").decode("latin-1"))
        else:
            result = getattr(model, name)(*arguments)
            expected.append([line.decode("latin-1") for line in result] if isinstance(result, list)
                            else result.decode("latin-1"))  # fmt: skip
    return expected


def check_operations(site, prefix: str, body: bytes, operations: list, in_chunks: int) -> None:
    """The same calls on wsgi.input and on io.BytesIO give the same results, or, where the body was not at hand when the request
    began, those of io.BufferedReader: readlines() goes on where the lines so far are as long as the hint, and BytesIO's ends."""
    expected = [results(model, operations) for model in (io.BytesIO(body), io.BufferedReader(io.BytesIO(body)))]
    with site.wire() as wire:
        field = "X-Operations: " + json.dumps(operations)
        answer = post(wire, f"{prefix}/operations", body, field, in_chunks=in_chunks)
        assert answer.status == 200, answer
        assert json.loads(answer.body) in expected
        assert wire.ask("/ignores").body == b"not read", "the connection is not usable afterwards"


@both
@settings(max_examples=60, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
@given(
    body=BODY.map(b"".join),
    operations=st.lists(OPERATION, min_size=1, max_size=8),
    in_chunks=st.sampled_from([0, 0, 1, 7, 5000]),
)
def test_any_mix_of_reads_is_bytesio(site, prefix, body, operations, in_chunks):
    """PEP 3333 names Python's own file semantics; io.BytesIO is the model, over the wire, by length and in chunks."""
    if in_chunks == 1 and len(body) > 2000:
        in_chunks = 997
    check_operations(site, prefix, body, operations, in_chunks)


@both
@pytest.mark.parametrize("case", ["ignores", "reads-some", "refuses"])
@pytest.mark.parametrize(("size", "in_chunks"), [(10, 0), (60_000, 0), (60_000, 5000)])
def test_unread_body_leaves_keep_alive_intact(site, prefix, case, size, in_chunks):
    """RFC 9112 section 9.3: the rest of a body is read and thrown away, or the connection is closed; never misread."""
    with site.wire() as wire:
        answer = post(wire, f"{prefix}/{case}", b"Z" * size, in_chunks=in_chunks)
        assert answer.status in (200, 403)
        if (answer.head.get("Connection") or "").lower() != "close":
            assert wire.ask("/ignores").body == b"not read"
        else:
            assert size > 10, "closed where reading ten bytes would have done"


@both
def test_answer_before_the_body_was_read(site, prefix):
    """A response that begins, and then reads."""
    with site.wire() as wire:
        assert post(wire, f"{prefix}/reads-after-the-answer", b"body").body == b"answer body"


@both
def test_big_answer_while_the_body_is_unread(site, prefix):
    """A known fault of the peer: a large response while the body was unread dead-locked."""
    with site.wire() as wire:
        assert len(post(wire, f"{prefix}/big-answer-before-reading", b"u" * 60_000).body) == 160 * 65536


def test_streamed_body_is_handed_on_as_it_comes(site):
    """httpd, and nginx with wsgi_request_buffering off: the first part can be read before the second was sent."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/streamed/first-part", "Content-Length: 11", notes.field, method="POST", body=b"hello")
        notes.wait_for("hello")
        wire.send(b" world")
        assert wire.read_answer().body == b" world"


@pytest.mark.servers("nginx")
def test_buffered_body_takes_no_thread(site):
    """nginx: wsgi_request_buffering is on by default, so that slow clients cost no Python thread."""
    notes = site.notes()
    with site.wire() as slow:
        slow.request("/until-error", "Content-Length: 11", notes.field, method="POST", body=b"hello")
        assert site.ask("/ignores").body == b"not read"
        assert notes.lines() == []
        slow.send(b" world")
        assert slow.read_answer().body == b"hello world"


# Expect: 100-continue (RFC 9110 section 10.1.1)


@pytest.mark.servers(*EMBEDDED, *HTTPD_DAEMON)
def test_refusal_without_reading_sends_no_100(site):
    """PEP 3333, "HTTP 1.1 Expect/Continue": an application can refuse a streamed body without having it sent.

    In front of a process group nginx begins to read by itself, as for every upstream of its.
    """
    with site.wire() as wire:
        wire.request("/streamed/refuses", "Content-Length: 100000", "Expect: 100-continue", method="POST")
        assert wire.read_head().status == 403


@both
def test_reading_sends_100_first(site, prefix):
    """PEP 3333: 100 Continue when the body is first read (nginx buffered: when the server reads it)."""
    with site.wire() as wire:
        wire.request(f"{prefix}/echo", "Content-Length: 5", "Expect: 100-continue", method="POST")
        head = wire.read_head()
        assert head.status == 100
        wire.send(b"hello")
        assert wire.read_answer().body == b"hello"


@pytest.mark.servers(*EMBEDDED, *HTTPD_DAEMON)
def test_100_comes_with_the_first_read_and_not_before(site):
    """As above for nginx's upstreams. The application is inside, and has not read: nothing was sent yet."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/streamed/waits-before-reading", "Content-Length: 5", "Expect: 100-continue", notes.field,
                     method="POST")  # fmt: skip
        notes.wait_for("inside")
        wire.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            wire.socket.recv(1)
        wire.socket.settimeout(20)
        notes.allow("go")
        assert wire.read_head().status == 100
        wire.send(b"hello")
        assert wire.read_answer().body == b"hello"


# A body that does not come


@pytest.mark.parametrize("case", ["until-error", "lines-until-error"])
@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("way", ["end_sending", "vanish"])
@pytest.mark.servers(*EMBEDDED, *HTTPD_DAEMON)
def test_upload_cut_short_is_an_oserror(site, case, in_chunks, way):
    """Never a short read taken for the end of the body. What the client did is no application's traceback. (nginx may see the end
    before it asks a process group at all, and answers by itself.)"""
    site.log.allow_failures()
    notes = site.notes()
    with site.wire() as wire:
        field, body = ("Transfer-Encoding: chunked", b"5\r\nhel\nl") if in_chunks else ("Content-Length: 100", b"hel\nlo")
        wire.request(f"/streamed/{case}", field, notes.field, method="POST", body=body)
        # A request whose client has gone is not begun.
        notes.wait_for("started")
        getattr(wire, way)()
        assert "OSError" in notes.wait_for("OSError")
        assert not [line for line in notes.lines() if line.startswith(("read", "end"))]


@pytest.mark.servers(*EMBEDDED, *HTTPD_DAEMON)
def test_application_may_catch_a_body_cut_short(site):
    """As above for nginx's upstreams. An OSError is an ordinary exception; the process serves on."""
    site.log.allow_failures()
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/streamed/catches-the-error", "Content-Length: 100", notes.field, method="POST", body=b"part")
        notes.wait_for("begun")
        wire.end_sending()
        notes.wait_for("OSError")
    assert site.ask("/ignores").body == b"not read"


@both
def test_malformed_chunk_is_refused(site, prefix):
    """RFC 9112 section 7.1: 400, and never a body that ends at the bad chunk."""
    site.log.allow_failures()
    notes = site.notes()
    with site.wire() as wire:
        wire.request(f"{prefix}/until-error", "Transfer-Encoding: chunked", notes.field, method="POST",
                     body=b"5\r\nhello\r\nnonsense\r\n\r\n")  # fmt: skip
        try:
            assert wire.read_answer().status == 400
        except Cut as cut:
            assert cut.received == b""  # noqa: PT017 - a cut is an answer too
    assert not [line for line in notes.lines() if line.startswith("read")]
