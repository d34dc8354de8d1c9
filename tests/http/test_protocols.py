"""nginx's protocols: uploads, responses and what is given up in the middle, over HTTP/1.1, HTTP/2 and HTTP/3."""

from __future__ import annotations

import hashlib

import pytest

from harness import nginx
from harness.recipe import NGINX, NGINX_DAEMON, Mount, Recipe
from harness.streams import HTTP3, PROTOCOLS, connect

ONLY = (NGINX, NGINX_DAEMON)
STREAMED = Mount("input.wsgi", nginx="wsgi_request_buffering off;")
RECIPE = Recipe(
    mounts={
        "/": "input.wsgi",
        "/streamed": STREAMED,
        "/plain": "plain.wsgi",
        "/unbuffered": Mount("plain.wsgi", nginx="wsgi_buffering off;"),
    },
    conf={"nginx": "client_body_buffer_size 16k;"},
    tls=True,
    http2=True,
    http3=nginx.has_http3(),
)
#: A mount's prefix: the body is spooled first, or handed on as it comes.
PREFIXES = ["", "/streamed"]
both = pytest.mark.parametrize("prefix", PREFIXES)


@pytest.fixture(params=PROTOCOLS)
def client(request, site):
    """A client of each protocol."""
    if request.param == HTTP3 and not nginx.has_http3():
        pytest.skip(f"{nginx.version()} has no HTTP/3")
    with connect(request.param, site.port, site.tls_port) as client:
        yield client


def content(size: int) -> bytes:
    """So many bytes, of which no two neighbouring blocks are alike."""
    return b"".join(b"%015d\n" % number for number in range(size // 16 + 1))[:size]


@both
@pytest.mark.parametrize("size", [0, 1, 20_000, 3_000_000])
@pytest.mark.parametrize("with_length", [True, False])
def test_body_arrives_whole(client, prefix, size, with_length):
    """RFC 9110 section 8.6: with its length or without; in memory, in a file, or streamed."""
    body = content(size)
    status, answer = client.post(f"{prefix}/digest", body, with_length=with_length)
    assert (status, answer.decode()) == (200, f"{size} bytes, {hashlib.sha256(body).hexdigest()}")


@both
def test_length_is_told(client, prefix):
    """PEP 3333, "environ Variables": CONTENT_LENGTH is the field's value, and the body has it."""
    status, answer = client.post(f"{prefix}/length", content(5000))
    assert (status, answer) == (200, b"5000 none 5000")


@both
def test_echo_of_a_long_body(client, prefix):
    """An application that reads to the end and answers with all of it."""
    body = content(400_000)
    assert client.post(f"{prefix}/echo-all", body) == (200, body)


def test_streamed_body_is_there_before_its_end(site, client):
    """`wsgi_request_buffering off`: the application has the first part while the client holds the rest back."""
    notes = site.notes()
    stream = client.open("POST", "/streamed/first-part", notes.headers, length=11)
    stream.send(b"first")
    client.pump(lambda: "first" in notes.lines(), "the first part to be read")
    stream.send(b" other", end=True)
    assert stream.answer() == (200, b" other")


@both
def test_upload_that_is_given_up(site, client, prefix):
    """RFC 9113 section 5.4.2, RFC 9114 section 4.1.1: one request is given up, the next ones are served."""
    notes = site.notes()
    for _ in range(2 * site.recipe.threads):
        stream = client.open("POST", f"{prefix}/catches-the-error", notes.headers, length=100_000)
        stream.send(content(30_000))
        if prefix:
            # An unbuffered body's reader is told; one that is spooled has no reader yet.
            before = notes.lines().count("OSError")
            stream.reset()
            client.pump(lambda before=before: notes.lines().count("OSError") > before, "the reader to be told")
        else:
            stream.reset()
    body = content(100_000)
    assert client.post(f"{prefix}/echo-all", body) == (200, body)
    assert "read" not in notes.lines()


@pytest.mark.parametrize("mount", ["/plain", "/unbuffered"])
def test_response_that_is_given_up(site, client, mount):
    """All threads answer still after responses that nobody wanted to the end."""
    for _ in range(2 * site.recipe.threads):
        notes = site.notes()
        stream = client.open("GET", f"{mount}/stream", notes.headers, end=True)
        if mount == "/unbuffered":
            stream.read(5)
        stream.reset()
        notes.allow("go")
    for _ in range(2 * site.recipe.threads):
        assert client.ask(f"{mount}/hello") == (200, b"hello from the application\n")


def test_big_response_beside_others(client):
    """RFC 9113 section 5.2: a long response under flow control, and short ones beside it."""
    long = client.open("POST", "/streamed/big-answer-before-reading", length=4)
    short = [client.ask("/plain/hello") for _ in range(5)]
    long.send(b"body", end=True)
    assert short == [(200, b"hello from the application\n")] * 5
    status, body = long.answer()
    assert (status, len(body)) == (200, 160 * 65536)


def test_many_uploads_at_once(client):
    """More requests than threads, each sent in turns with the others."""
    bodies = [content(50_000 + 1000 * number) for number in range(12)]
    streams = [client.open("POST", "/streamed/digest", length=len(body)) for body in bodies]
    for at in range(0, 70_000, 7_000):
        for stream, body in zip(streams, bodies, strict=True):
            if part := body[at : at + 7_000]:
                stream.send(part, end=at + len(part) == len(body))
    for stream, body in zip(streams, bodies, strict=True):
        assert stream.answer() == (200, f"{len(body)} bytes, {hashlib.sha256(body).hexdigest()}".encode())
