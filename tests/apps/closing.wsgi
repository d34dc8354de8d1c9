"""close(): every course of events in which it has to be called once."""

import sys
import time

from cases import Cases, text
from notes import Body, note, wait_for

application = cases = Cases()
PLAIN = [("Content-Type", "text/plain")]


class Closing:
    """An iterable that notes only its close(): an endless one would fill the disk."""

    def __init__(self, blocks, environ):
        self.blocks = blocks
        self.environ = environ

    def __iter__(self):
        return self.blocks

    def close(self):
        note(self.environ, "close")


@cases.plain
def normal(environ, start_response):
    text(start_response)
    return Body(environ, [b"a", b"b"])


@cases.plain
def empty(environ, start_response):
    text(start_response)
    return Body(environ, [])


@cases.plain
def raises_at_once(environ, start_response):
    def blocks():
        raise ValueError("before the first block")
        yield

    text(start_response)
    return Body(environ, blocks())


@cases.plain
def raises_later(environ, start_response):
    def blocks():
        yield b"first"
        raise ValueError("after the first block")

    text(start_response)
    return Body(environ, blocks())


@cases.plain
def exits_later(environ, start_response):
    def blocks():
        yield b"first"
        sys.exit(3)

    text(start_response)
    return Body(environ, blocks())


@cases.plain
def yields_text(environ, start_response):
    text(start_response)
    return Body(environ, ["text"])


@cases.plain
def never_starts(environ, start_response):
    return Body(environ, [b"x"])


@cases.plain
def starts_twice_while_iterating(environ, start_response):
    def blocks():
        start_response("201 Again", PLAIN)
        yield b"x"

    text(start_response)
    return Body(environ, blocks())


@cases.plain
def raises_in_close(environ, start_response):
    class Failing(Body):
        def close(self):
            super().close()
            raise ValueError("from close()")

    text(start_response)
    return Failing(environ, [b"whole"])


@cases.plain
def raises_in_iter(environ, start_response):
    class Failing(Body):
        def __iter__(self):
            raise ValueError("from __iter__()")

    text(start_response)
    return Failing(environ, [])


@cases.plain
def no_content(environ, start_response):
    start_response("204 No Content", [])
    return Body(environ, [])


@cases.plain
def too_long(environ, start_response):
    text(start_response, headers=[("Content-Length", "1")])
    return Body(environ, [b"12", b"3"])


@cases.plain
def endless(environ, start_response):
    """Goes on until its client is gone."""

    def blocks():
        while True:
            yield b"x" * 65536

    text(start_response)
    return Body(environ, blocks())


@cases.plain
def endless_past_the_length(environ, start_response):
    """Goes on behind the declared length, with blocks or without anything in them."""

    def blocks():
        yield b"whole"
        while True:
            yield environ["QUERY_STRING"].encode()

    text(start_response, headers=[("Content-Length", "5")])
    return Body(environ, blocks())


@cases.plain
def endless_without_content(environ, start_response):
    """Gives nothing any more, until its client is gone."""

    def blocks():
        yield b"first"
        while True:
            time.sleep(0.001)
            yield b""

    text(start_response)
    return Closing(blocks(), environ)


@cases.plain
def writes_past_the_length(environ, start_response):
    write = start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    while True:
        write(b"whole")


@cases.plain
def waits(environ, start_response):
    def blocks():
        yield b"first"
        wait_for(environ, "go")
        for _ in range(2000):
            yield b"x" * 65536

    text(start_response)
    return Body(environ, blocks())


@cases.plain
def writes_until_gone(environ, start_response):
    write = start_response("200 OK", PLAIN)
    try:
        while True:
            write(b"x" * 65536)
    except OSError:
        note(environ, "OSError")
        raise


@cases.plain
def a_generator_with_finally(environ, start_response):
    def blocks():
        try:
            while True:
                yield b"x" * 65536
        finally:
            note(environ, "finally")

    text(start_response)
    return blocks()
