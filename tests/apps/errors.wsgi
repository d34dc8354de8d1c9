"""Ways to write to the server's error log."""

import logging
import sys
import threading

from cases import Cases, text
from notes import note, wait_for

print("printed while loading")
logging.basicConfig(level=logging.INFO, format="%(levelname)s from logging: %(message)s")
application = cases = Cases()


@cases.case
def wsgi_errors(environ, start_response):
    errors = environ["wsgi.errors"]
    errors.write("through wsgi.errors\n")
    errors.writelines(["line one\n", "line two\n"])
    errors.flush()
    return text(start_response, b"done")


@cases.case
def printed(environ, start_response):
    print("printed to stdout")
    print("printed to stderr", file=sys.stderr)
    return text(start_response, b"done")


@cases.case
def in_parts(environ, start_response):
    print("one ", end="")
    print("line ", end="")
    print("in parts")
    print("without an end", end="")
    return text(start_response, b"done")


@cases.case
def logged(environ, start_response):
    logging.getLogger("some.logger").warning("a warning")
    return text(start_response, b"done")


@cases.case
def logged_exception(environ, start_response):
    try:
        raise KeyError("caught and logged")
    except KeyError:
        logging.exception("this went wrong")
    return text(start_response, b"done")


@cases.case
def not_ascii(environ, start_response):
    print("caf\u00e9 \u20ac")
    print("lone surrogate \udc80")
    return text(start_response, b"done")


@cases.case
def control_characters(environ, start_response):
    """What a client sent must not be able to forge a line of the log, or to send escapes to a terminal."""
    environ["wsgi.errors"].write("before\x1b[31m\0after\n")
    return text(start_response, b"done")


@cases.case
def very_long(environ, start_response):
    print("x" * 20000 + " the end")
    return text(start_response, b"done")


@cases.plain
def from_a_thread(environ, start_response):
    thread = threading.Thread(target=lambda: print("printed by a thread"))
    thread.start()
    thread.join()
    return text(start_response, b"done")


@cases.plain
def from_two_requests(environ, start_response):
    """Two requests print in turns; each line has its own request's context."""
    name = environ["QUERY_STRING"]
    note(environ, name)
    wait_for(environ, "print")
    print(f"printed by {name}")
    return text(start_response, b"done")


@cases.plain
def descriptor(environ, start_response):
    """sys.stderr has a real descriptor, which subprocesses inherit."""
    import subprocess

    subprocess.run(["sh", "-c", "echo written by a child >&2"], stderr=sys.stderr, check=True)
    return text(start_response, str(sys.stderr.fileno()).encode())


@cases.plain
def warns(environ, start_response):
    import warnings

    warnings.warn("look at this", UserWarning, stacklevel=1)
    return text(start_response, b"done")
