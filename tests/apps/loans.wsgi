"""Responses whose blocks are so large that embedded nginx sends them from where they lie."""

from cases import Cases, text
from notes import note, wait_for

application = cases = Cases()

LARGE = b"0123456789abcde\n" * (200 * 64)


@cases.case
def small_head(environ, start_response):
    return text(start_response, LARGE)


@cases.case
def large_head(environ, start_response):
    """A head that nginx sends at once: it is longer than postpone_output."""
    return text(start_response, LARGE, headers=[("X-Long", "x" * 3000)])


@cases.case
def bare_partial(environ, start_response):
    """206 without Content-Range, which nginx's slice filter refuses."""
    return text(start_response, LARGE, status="206 Partial Content")


@cases.case
def page(environ, start_response):
    """80 KB in one block, with a fragment in front of them."""
    include = b'<!--#include virtual="/app/fragment" -->'
    return text(start_response, include + b"p" * 80_000, headers=[("X-Page", "1")])


@cases.case
def pages(environ, start_response):
    """A megabyte in small blocks behind the fragment."""
    return text(start_response, b'<!--#include virtual="/app/fragment" -->', *[b"p" * 20_000] * 50)


@cases.case
def two_fragments(environ, start_response):
    """The second one waits for the first, and its head leaves with an empty block."""
    first = b'<!--#include virtual="/app/waits" -->'
    return text(start_response, first + b'<!--#include virtual="/app/begins-with-nothing" -->')


@cases.plain
def begins_with_nothing(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"")
    note(environ, "began")
    for number in range(3):
        write(b"(%d)" % number + b"b" * 40_000)
        write(b"")
    return []


@cases.plain
def waits(environ, start_response):
    """Answers when the test allows."""
    note(environ, "waits")
    wait_for(environ, "go")
    return text(start_response, b"the first,")


@cases.case
def bare_page(environ, start_response):
    """A page without a directive; what is added to it is the server's affair."""
    return text(start_response, b"p" * 80_000, b"p" * 2_000_000)


@cases.case
def fragment(environ, start_response):
    return text(start_response, b"the fragment")


@cases.case
def large_fragment(environ, start_response):
    return text(start_response, LARGE)


@cases.plain
def inside(environ, start_response):
    """Notes that it is inside, and leaves when the test allows."""
    note(environ, "inside")
    wait_for(environ, "go")
    return text(start_response, b"was inside")
