"""Applications that answer whatever becomes of the request's body."""

from cases import Cases, text
from notes import note

application = cases = Cases()


def _read(environ, *size):
    try:
        environ["wsgi.input"].read(*size)
    except OSError as error:
        note(environ, type(error).__name__)
    note(environ, "read")


@cases.plain
def reads_all(environ, start_response):
    _read(environ)
    return text(start_response, b"answered")


@cases.plain
def reads_some(environ, start_response):
    _read(environ, 3)
    return text(start_response, b"answered")


@cases.plain
def answers_first(environ, start_response):
    """The head, and a block, are out before the body is read."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "8")])

    def blocks():
        yield b"answ"
        _read(environ)
        yield b"ered"

    return blocks()


@cases.plain
def ignores(environ, start_response):
    return text(start_response, b"answered")


@cases.plain
def smuggled(environ, start_response):
    note(environ, "smuggled")
    return text(start_response, b"smuggled")
