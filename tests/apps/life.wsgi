"""For the tests of reloading, stopping, threads and memory."""

import atexit
import os
import threading
import time

from cases import Cases, text
from notes import note, wait_for

application = cases = Cases()
PLAIN = [("Content-Type", "text/plain")]


@cases.plain
def hello(environ, start_response):
    return text(start_response, b"hello")


@cases.plain
def pid(environ, start_response):
    return text(start_response, str(os.getpid()).encode())


@cases.plain
def prints(environ, start_response):
    print("printed by the application", file=environ["wsgi.errors"])
    return text(start_response, b"printed")


@cases.plain
def inside(environ, start_response):
    """Notes that it is inside, and leaves when the test allows."""
    note(environ, "inside")
    wait_for(environ, "go")
    return text(start_response, b"was inside")


@cases.plain
def inside_streaming(environ, start_response):
    def blocks():
        yield b"first"
        wait_for(environ, "go")
        yield b"last"

    text(start_response)
    return blocks()


@cases.plain
def hundred_megabytes(environ, start_response):
    def blocks():
        for number in range(1600):
            if number % 100 == 0:
                note(environ, f"block {number}")
            yield b"%08d" % number * 8192

    text(start_response)
    return blocks()


@cases.plain
def one_big_block(environ, start_response):
    return text(start_response, b"x" * 20_000_000)


@cases.plain
def everything(environ, start_response):
    """A bit of everything that could leak: a body, headers, a generator, a closure over environ."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [*PLAIN, ("X-Length", str(len(body))), ("Set-Cookie", "a=b")])

    def blocks():
        yield body[:100]
        yield environ["PATH_INFO"].encode()

    return blocks()


@cases.plain
def never_ending_thread(environ, start_response):
    """A thread, not a daemon, that never ends; and an atexit function."""

    def forever():
        while True:
            time.sleep(3600)

    threading.Thread(target=forever).start()
    atexit.register(note, dict(environ), "atexit")
    return text(start_response, b"started")


@cases.plain
def registers_atexit(environ, start_response):
    atexit.register(note, dict(environ), "atexit")
    return text(start_response, b"registered")


@cases.plain
def slow_atexit(environ, start_response):
    atexit.register(time.sleep, 3600)
    return text(start_response, b"registered")


@cases.plain
def spins(environ, start_response):
    """Holds the GIL as much as a thread can, until allowed to stop."""
    note(environ, "inside")
    path = f"{environ['HTTP_X_NOTES']}.go"
    deadline = time.monotonic() + 20
    while not os.path.exists(path) and time.monotonic() < deadline:
        sum(range(20000))
    return text(start_response, b"spun")


@cases.plain
def exits(environ, start_response):
    """Ends its process."""
    os._exit(int(environ["QUERY_STRING"]))
