"""Applications that fail."""

import sys
import threading

from cases import Cases, text
from notes import note, wait_for

application = cases = Cases()
PLAIN = [("Content-Type", "text/plain")]
SECRET = "the-secret-of-the-application"


class Strange(BaseException):
    pass


@cases.plain
def fine(environ, start_response):
    return text(start_response, b"fine")


@cases.plain
def raises(environ, start_response):
    raise ValueError(SECRET)


@cases.plain
def raises_after_start(environ, start_response):
    start_response("200 OK", PLAIN)
    raise ValueError(SECRET)


@cases.plain
def raises_after_a_block(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"part"
    raise ValueError(SECRET)


@cases.plain
def raises_after_declaring(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "100")])
    yield b"part"
    raise ValueError(SECRET)


@cases.plain
def raises_after_write(environ, start_response):
    start_response("200 OK", PLAIN)(b"part")
    raise ValueError(SECRET)


@cases.plain
def exits(environ, start_response):
    sys.exit(SECRET)


@cases.plain
def exits_with_zero(environ, start_response):
    sys.exit(0)


@cases.plain
def interrupts(environ, start_response):
    raise KeyboardInterrupt(SECRET)


@cases.plain
def strange(environ, start_response):
    raise Strange(SECRET)


@cases.plain
def generator_exit(environ, start_response):
    raise GeneratorExit(SECRET)


@cases.plain
def returns_none(environ, start_response):
    start_response("200 OK", PLAIN)


@cases.plain
def returns_text(environ, start_response):
    start_response("200 OK", PLAIN)
    return "text"


@cases.plain
def returns_text_in_a_list(environ, start_response):
    start_response("200 OK", PLAIN)
    return ["text"]


@cases.plain
def returns_a_number(environ, start_response):
    start_response("200 OK", PLAIN)
    return 7


@cases.plain
def returns_none_in_a_list(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"a", None]


@cases.plain
def returns_bytearray(environ, start_response):
    start_response("200 OK", PLAIN)
    return [bytearray(b"not bytes")]


@cases.plain
def recurses(environ, start_response):
    return recurses(environ, start_response)


@cases.plain
def out_of_memory(environ, start_response):
    return [b"x" * (1 << 60)]


@cases.plain
def cause(environ, start_response):
    try:
        raise KeyError("the first")
    except KeyError as error:
        raise ValueError("the second") from error


@cases.plain
def unprintable(environ, start_response):
    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    raise Unprintable


@cases.plain
def keeps_everything(environ, start_response):
    """Keeps environ and start_response, and uses them when the request is long over."""
    kept = (environ["wsgi.input"], start_response("200 OK", PLAIN), start_response)

    def later():
        wait_for(environ, "later")
        for name, call in [("read", lambda: kept[0].read()), ("write", lambda: kept[1](b"late")),
                           ("start", lambda: kept[2]("200 OK", PLAIN))]:  # fmt: skip
            try:
                note(environ, f"{name}: {call()!r}")
            except Exception as error:
                note(environ, f"{name}: {type(error).__name__}")
        note(environ, "over")

    threading.Thread(target=later).start()
    return [b"kept"]


@cases.plain
def deletes_itself(environ, start_response):
    environ.clear()
    start_response("200 OK", PLAIN)
    return [b"cleared"]


@cases.plain
def reports_pid(environ, start_response):
    import os

    return text(start_response, str(os.getpid()).encode())
