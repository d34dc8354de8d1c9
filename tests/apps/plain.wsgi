"""An application for tests of the server around it."""

import os

from cases import Cases, text
from notes import note, wait_for

application = cases = Cases()


@cases.case
def hello(environ, start_response):
    return text(start_response, b"hello from the application\n")


@cases.case
def long_text(environ, start_response):
    return text(start_response, b"the same line again and again\n" * 2000)


@cases.case
def long_blocks(environ, start_response):
    def blocks():
        for number in range(500):
            yield b"line %d of the text\n" % number

    text(start_response)
    return blocks()


@cases.case
def pid(environ, start_response):
    return text(start_response, str(os.getpid()).encode())


@cases.case
def key(environ, start_response):
    """The key of environ that the query names."""
    value = environ.get(environ["QUERY_STRING"])
    return text(start_response, repr(value).encode())


@cases.plain
def status(environ, start_response):
    return text(start_response, b"the application's own page", status=environ["QUERY_STRING"].replace("+", " "))


@cases.case
def echo(environ, start_response):
    return text(start_response, environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


@cases.plain
def read_all(environ, start_response):
    return text(start_response, b"%d" % len(environ["wsgi.input"].read()))


@cases.case
def redirect(environ, start_response):
    return text(start_response, status="302 Found", headers=[("X-Accel-Redirect", "/hidden/static.txt"),
                                                            ("Location", "/elsewhere")])  # fmt: skip


@cases.case
def allow(environ, start_response):
    """For auth_request: yes to those who ask with the right header."""
    if environ.get("HTTP_X_TICKET") == "yes":
        return text(start_response, status="200 OK", headers=[("X-User", "ada")])
    return text(start_response, status="403 Forbidden")


@cases.case
def page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b'<p>before <!--#include virtual="/app/hello" --> after</p>']


@cases.plain
def inside(environ, start_response):
    note(environ, "inside")
    wait_for(environ, "go")
    return text(start_response, b"was inside")


@cases.plain
def stream(environ, start_response):
    def blocks():
        yield b"first"
        wait_for(environ, "go")
        yield b"second"

    text(start_response)
    return blocks()


@cases.case
def user(environ, start_response):
    found = [environ.get(name, "none") for name in ("REMOTE_USER", "AUTH_TYPE")]
    return text(start_response, " ".join(found).encode())
