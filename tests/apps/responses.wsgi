"""Responses, one small application per rule of start_response, write and iteration."""

import sys

from cases import Cases, text
from notes import Body, note, wait_for

application = cases = Cases()
PLAIN = [("Content-Type", "text/plain")]


@cases.plain
def a_list(environ, start_response):
    return text(start_response, b"one")


@cases.case
def a_long_list(environ, start_response):
    return text(start_response, b"one", b"two", b"", b"three")


@cases.plain
def a_tuple(environ, start_response):
    return tuple(text(start_response, b"one"))


@cases.plain
def an_empty_list(environ, start_response):
    return text(start_response)


@cases.case
def a_generator(environ, start_response):
    def blocks():
        yield b"one"
        yield b"two"

    text(start_response)
    return blocks()


@cases.plain
def a_late_generator(environ, start_response):
    """A generator function: start_response is called when the first block is asked for."""
    text(start_response)
    yield b"late"


@cases.plain
def an_empty_block_before_start(environ, start_response):
    text(start_response)
    yield b""
    yield b"after"


@cases.plain
def a_getitem_sequence(environ, start_response):
    class Old:
        def __getitem__(self, index):
            return [b"old ", b"style"][index]

    text(start_response)
    return Old()


@cases.plain
def a_list_subclass(environ, start_response):
    class Closing(list):
        def close(self):
            note(environ, "close")

    return Closing(text(start_response, b"sub", b"class"))


@cases.plain
def a_bytes_subclass(environ, start_response):
    class Bytes(bytes):
        pass

    return text(start_response, Bytes(b"subclass"))


@cases.plain
def bytes_themselves(environ, start_response):
    text(start_response)
    return b"abc"


@cases.plain
def one_of_length_one(environ, start_response):
    """len() is 1, so the server may tell the length from the first block (PEP 3333)."""

    class One:
        def __len__(self):
            return 1

        def __iter__(self):
            return iter([b"just one"])

    text(start_response)
    return One()


@cases.case
def declared(environ, start_response):
    return text(start_response, b"12345", b"67890", headers=[("Content-Length", "10")])


@cases.plain
def too_short(environ, start_response):
    text(start_response, headers=[("Content-Length", "10")])
    return Body(environ, [b"1234", b"56"])


@cases.plain
def too_long(environ, start_response):
    text(start_response, headers=[("Content-Length", "10")])
    return Body(environ, [b"1234567", b"89012345", b"never"])


@cases.plain
def too_long_list(environ, start_response):
    return text(start_response, b"123456789012345", headers=[("Content-Length", "10")])


@cases.plain
def writes(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"written ")
    write(b"")
    write(b"twice, ")
    return [b"and returned"]


@cases.plain
def writes_only(environ, start_response):
    start_response("200 OK", PLAIN)(b"written")
    return []


@cases.plain
def writes_and_waits(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"first")
    wait_for(environ, "second")
    write(b"second")
    return []


@cases.plain
def writes_text(environ, start_response):
    start_response("200 OK", PLAIN)("text")
    return []


@cases.case
def yields_and_waits(environ, start_response):
    def blocks():
        yield b"first"
        wait_for(environ, "second")
        yield b"second"
        wait_for(environ, "third")
        yield b"third"

    text(start_response)
    return blocks()


@cases.plain
def head_waits_for_the_first_block(environ, start_response):
    """PEP 3333: the head is not sent before the first non-empty block, so that start_response may still replace it."""
    start_response("200 OK", [*PLAIN, ("X-First", "1")])

    def blocks():
        yield b""
        try:
            raise ValueError("replaced")
        except ValueError:
            start_response("500 Replaced", [*PLAIN, ("X-Second", "2")], sys.exc_info())
        yield b"replaced"

    return blocks()


@cases.plain
def exc_info_after_the_head(environ, start_response):
    start_response("200 OK", PLAIN)

    def blocks():
        yield b"on its way"
        try:
            raise ValueError("too late to replace")
        except ValueError:
            start_response("500 Too Late", PLAIN, sys.exc_info())
        yield b"never"

    return blocks()


@cases.plain
def starts_twice(environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("201 Created", PLAIN)
    return [b"never"]


@cases.plain
def starts_twice_with_none(environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("201 Created", PLAIN, None)
    return [b"never"]


@cases.plain
def never_starts(environ, start_response):
    return [b"never"]


@cases.plain
def by_keyword(environ, start_response):
    """PEP 3333 says positional; wsgiref's and mod_wsgi's names are accepted where the server likes."""
    start_response("200 OK", PLAIN, exc_info=None)
    return [b"keyword"]


@cases.plain
def status_of_the_query(environ, start_response):
    from urllib.parse import unquote

    start_response(unquote(environ["QUERY_STRING"], "latin-1"), PLAIN)
    return [b"body"]


@cases.plain
def header_of_the_query(environ, start_response):
    from urllib.parse import unquote

    name, value = unquote(environ["QUERY_STRING"], "latin-1").split("=", 1)
    start_response("200 OK", [*PLAIN, (name, value)])
    return [b"body"]


@cases.plain
def bad_call(environ, start_response):
    """start_response with arguments of a wrong type; which one says the query."""
    arguments = {
        "bytes-status": (b"200 OK", PLAIN),
        "int-status": (200, PLAIN),
        "tuple-headers": ("200 OK", tuple(PLAIN)),
        "dict-headers": ("200 OK", dict(PLAIN)),
        "list-header": ("200 OK", [["Content-Type", "text/plain"]]),
        "three-in-a-header": ("200 OK", [("A", "b", "c")]),
        "bytes-name": ("200 OK", [(b"A", "b")]),
        "bytes-value": ("200 OK", [("A", b"b")]),
        "int-value": ("200 OK", [("A", 1)]),
        "not-latin-1": ("200 OK", [("A", "\u20ac")]),
        "no-arguments": (),
        "one-argument": ("200 OK",),
        "bad-exc-info": ("200 OK", PLAIN, 7),
    }[environ["QUERY_STRING"]]
    start_response(*arguments)
    return [b"never"]


@cases.plain
def same_header_twice(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Set-Cookie", "a=1"), ("X-Between", "x"), ("Set-Cookie", "b=2"),
                              ("WWW-Authenticate", "Basic"), ("WWW-Authenticate", "Digest"), ("Vary", "A"),
                              ("Link", "<a>"), ("Link", "<b>")])  # fmt: skip
    return [b"cookies"]


@cases.plain
def known_headers(environ, start_response):
    start_response("200 Fine Indeed", [("Content-Type", "text/x; charset=utf-8"), ("Last-Modified",
                   "Mon, 02 Jan 2006 15:04:05 GMT"), ("ETag", '"tag"'), ("Cache-Control", "no-store"),
                   ("Content-Language", "de"), ("Location", "/elsewhere"), ("Expires", "0"),
                   ("Content-Encoding", "x-own"), ("X-Latin", "caf\xe9"), ("X-Empty", "")])  # fmt: skip
    return [b"known"]


@cases.plain
def own_server_and_date(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Server", "own"), ("Date", "Mon, 02 Jan 2006 15:04:05 GMT")])
    return [b"x"]


@cases.plain
def a_part(environ, start_response):
    """The application answers a Range by itself."""
    start_response("206 Partial Content", [*PLAIN, ("Content-Range", "bytes 2-4/10")])
    return [b"234"]


@cases.plain
def no_ranges(environ, start_response):
    return text(start_response, b"0123456789", headers=[("Accept-Ranges", "none"), ("ETag", '"tag"')])


@cases.plain
def no_content_type(environ, start_response):
    start_response("200 OK", [])
    return [b"untyped"]


@cases.plain
def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


@cases.plain
def no_content_with_body(environ, start_response):
    start_response("204 No Content", [])
    return [b"smuggled"]


@cases.plain
def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


@cases.plain
def not_modified_with_length(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"'), ("Content-Length", "5")])
    return [b"12345"]


@cases.plain
def big(environ, start_response):
    """As many bytes as the query says, in one block."""
    return text(start_response, b"0123456789abcdef" * (int(environ["QUERY_STRING"]) // 16))


@cases.plain
def many_blocks(environ, start_response):
    count = int(environ["QUERY_STRING"])
    text(start_response)
    return (b"%08d" % number for number in range(count))


@cases.plain
def changes_after_yield(environ, start_response):
    """A block may be reused by the application once the next is asked for: only bytes are allowed, so it cannot change."""
    text(start_response)
    block = bytearray(b"mutable")
    yield bytes(block)
    block[:] = b"changed"
    yield bytes(block)
