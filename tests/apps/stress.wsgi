"""What clients abuse, and what others ask for meanwhile."""

import hashlib
import os
import tempfile
import time

from cases import Cases, text
from notes import note, wait_for

application = cases = Cases()
BLOCK = bytes(range(256)) * 256


@cases.plain
def hello(environ, start_response):
    return text(start_response, b"hello")


@cases.plain
def echo(environ, start_response):
    """The body's length and digest."""
    body = environ["wsgi.input"].read()
    return text(start_response, f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode())


@cases.plain
def large(environ, start_response):
    """Two megabytes in one block."""
    return text(start_response, BLOCK * 32)


@cases.plain
def stream(environ, start_response):
    """The same as a stream, with a word in the log now and then."""

    def blocks():
        for number in range(32):
            if number % 8 == 0:
                print("a line of the stream", number, file=environ["wsgi.errors"])
            yield BLOCK

    text(start_response)
    return blocks()


@cases.plain
def file(environ, start_response):
    """The same as a file."""
    content = tempfile.TemporaryFile()
    content.write(BLOCK * 32)
    content.seek(0)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BLOCK) * 32))])
    return environ["wsgi.file_wrapper"](content)


@cases.plain
def hog(environ, start_response):
    """Holds the GIL for a while: one call of a built-in that does not let go of it."""
    total = sum(range(6_000_000))
    return text(start_response, str(total).encode())


@cases.plain
def overlong(environ, start_response):
    """Runs for longer than a process group allows."""
    deadline = time.monotonic() + 12
    while time.monotonic() < deadline:
        time.sleep(0.01)
    return text(start_response, b"was not stopped")


@cases.plain
def waits_for_the_body(environ, start_response):
    """Begins its answer, and reads what comes of the body behind that."""

    def blocks():
        yield b"begun"
        try:
            yield str(len(environ["wsgi.input"].read())).encode()
        except OSError as error:
            yield type(error).__name__.encode()

    text(start_response)
    return blocks()


@cases.plain
def inside(environ, start_response):
    note(environ, "inside")
    wait_for(environ, "go")
    return text(start_response, b"was inside")


@cases.plain
def pid(environ, start_response):
    return text(start_response, str(os.getpid()).encode())
