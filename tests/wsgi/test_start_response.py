"""start_response: the head of a response, every rule of it."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from harness.recipe import EMBEDDED, NGINX_DAEMON, Recipe
from harness.wire import Cut

RECIPE = Recipe(mounts={"/": "responses.wsgi"})


def refused(site, target: str, pattern: str) -> None:
    """The request is answered with 500, nothing of the application's reaches the client, the log says why."""
    answer = site.ask(target)
    assert answer.status == 500, answer
    assert b"never" not in answer.body
    assert b"Traceback" not in answer.body
    site.log.failure(pattern)


# Not in httpd's daemon mode: 200 with a path in Location is an internal redirect there, as in mod_wsgi (daemon/test_httpd.py).
@pytest.mark.servers(*EMBEDDED, NGINX_DAEMON)
def test_status_and_headers_arrive_as_given(site):
    """PEP 3333, "The start_response() Callable"."""
    head = site.ask("/known-headers").head
    assert (head.status, head.reason) == (200, "Fine Indeed")
    for name, value in [
        ("Content-Type", "text/x; charset=utf-8"), ("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT"),
        ("ETag", '"tag"'), ("Cache-Control", "no-store"), ("Content-Language", "de"), ("Location", "/elsewhere"),
        ("Expires", "0"), ("Content-Encoding", "x-own"), ("X-Latin", "caf\xe9"), ("X-Empty", ""),
    ]:  # fmt: skip
        assert head.all(name) == [value], name


def test_repeated_headers_stay_apart_and_in_order(site):
    """RFC 6265 section 3: Set-Cookie is never folded."""
    head = site.ask("/same-header-twice").head
    assert head.all("Set-Cookie") == ["a=1", "b=2"]
    assert [value for field in head.all("WWW-Authenticate") for value in field.split(", ")] == ["Basic", "Digest"]
    assert [value for field in head.all("Link") for value in field.split(", ")] == ["<a>", "<b>"]


def test_date_and_server_stand_once(site):
    """RFC 9110 sections 6.6.1 and 10.2.4: one Date, one Server, whoever says it."""
    head = site.ask("/own-server-and-date").head
    assert len(head.all("Date")) == 1
    assert len(head.all("Server")) == 1


def test_no_content_type_is_invented(site):
    """PEP 3333 leaves the headers to the application."""
    assert site.ask("/no-content-type").body == b"untyped"


@pytest.mark.parametrize("status", ["200 OK", "299 Own", "404 Not Found", "418 I'm a teapot", "599 x", "200 ", "301 Caf\xe9"])
def test_status_is_passed_on(site, status):
    """RFC 9112 section 4: three digits and a reason, which may be empty."""
    head = site.ask("/status-of-the-query?" + quote(status, encoding="latin-1")).head
    assert head.status == int(status[:3])
    if status[4:]:
        assert head.reason == status[4:]


@pytest.mark.parametrize(
    "status",
    ["", "20", "2000 OK", "200OK", "abc OK", " 200 OK", "+20 OK", "100 Continue", "101 Switching", "199 x",
     "200 OK\r\nX-Evil: 1", "200 OK\n", "200 O\0K"],
)  # fmt: skip
def test_malformed_status_is_refused(site, status):
    """PEP 3333: no control characters, no CR/LF; 1xx is not an application's to send (RFC 9110 section 15.2)."""
    refused(site, "/status-of-the-query?" + quote(status, encoding="latin-1"), "status")


@pytest.mark.parametrize(
    "field",
    ["X=a\r\nX-Evil: 1", "X=a\nb", "X=a\rb", "X=a\0b", "X=\x7f", "X Y=a", "=a", "X:=a", "X\r\n=a", "caf\xe9=a"],
)
def test_malformed_header_is_refused(site, field):
    """PEP 3333: no control characters in a value; RFC 9110 section 5.1: a name is a token."""
    refused(site, "/header-of-the-query?" + quote(field, encoding="latin-1"), "header")


@pytest.mark.parametrize(
    "name",
    ["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers",
     "Transfer-Encoding", "Upgrade", "transfer-encoding"],
)  # fmt: skip
def test_hop_by_hop_header_is_refused(site, name):
    """PEP 3333, "Other HTTP Features"."""
    refused(site, f"/header-of-the-query?{name}=x", "hop-by-hop")


@pytest.mark.parametrize("value", ["x", "-1", "+4", "4, 4", "0x4", "99999999999999999999999"])
def test_content_length_is_digits(site, value):
    """RFC 9110 section 8.6."""
    refused(site, "/header-of-the-query?Content-Length=" + quote(value), "Content-Length")


@pytest.mark.parametrize(
    "call",
    ["bytes-status", "int-status", "tuple-headers", "dict-headers", "three-in-a-header", "bytes-name", "bytes-value",
     "int-value", "not-latin-1", "no-arguments", "one-argument", "bad-exc-info"],
)  # fmt: skip
def test_wrong_argument_is_refused(site, call):
    """PEP 3333: status is a native string, headers a list of (name, value) tuples of native strings, latin-1."""
    refused(site, f"/bad-call?{call}", "Error")


def test_second_call_without_exc_info_is_refused(site):
    """PEP 3333: it is a fatal error to call start_response without exc_info after it was called."""
    refused(site, "/starts-twice", "start_response")


def test_exc_info_of_none_is_no_exc_info(site):
    """PEP 3333: exc_info, if supplied and not None."""
    refused(site, "/starts-twice-with-none", "start_response")


def test_start_response_not_called(site):
    """PEP 3333: the application must call start_response before its first block."""
    refused(site, "/never-starts", "start_response")


def test_exc_info_replaces_a_head_that_was_not_sent(site):
    """PEP 3333, "Error Handling": headers are replaced as long as no output has been written."""
    answer = site.ask("/head-waits-for-the-first-block")
    assert (answer.status, answer.head.reason, answer.body) == (500, "Replaced", b"replaced")
    assert answer.head.get("X-Second") == "2"
    assert answer.head.get("X-First") is None


def test_exc_info_after_the_head_raises_and_cuts(site):
    """PEP 3333, "Error Handling": if headers were sent, start_response must raise the exception; no clean end then."""
    with site.wire() as wire:
        wire.request("/exc-info-after-the-head")
        head = wire.read_head()
        assert head.status == 200
        with pytest.raises(Cut):
            wire.read_rest(head)
    site.log.failure("too late to replace")


def test_exc_info_may_be_a_keyword(site):
    """mod_wsgi and wsgiref take it so."""
    assert site.ask("/by-keyword").body == b"keyword"


def test_server_serves_on_after_refusals(site):
    """One bad response harms no other."""
    before = site.workers()
    refused(site, "/never-starts", "start_response")
    assert site.ask("/a-list").body == b"one"
    assert site.workers() == before
