"""wsgi.errors, print and logging: lines of the server's own error log (PEP 3333, "Input and Error Streams")."""

from __future__ import annotations

import pytest

from harness.recipe import Recipe
from harness.wire import Wire

RECIPE = Recipe(mounts={"/": "errors.wsgi"})


def logged_line(site, text: str) -> str:
    """The one line of the log that has the text."""
    site.log.wait_for(text.replace("(", r"\("))
    (line,) = [line for line in site.log.text().splitlines() if text in line]
    return line


def has_context(site, line: str, target: str) -> None:
    """The line says which client and which request it belongs to, as the server's own lines do."""
    assert "127.0.0.1" in line, line
    if site.is_nginx:
        assert f'request: "GET {target} HTTP/1.1"' in line, line


@pytest.mark.parametrize(
    ("case", "texts"),
    [
        ("wsgi-errors", ["through wsgi.errors", "line one", "line two"]),
        ("printed", ["printed to stdout", "printed to stderr"]),
        ("in-parts", ["one line in parts", "without an end"]),
        ("logged", ["WARNING from logging: a warning"]),
        ("warns", ["UserWarning: look at this"]),
    ],
)
def test_line_reaches_the_error_log_with_its_context(site, case, texts):
    """The server's own error log, one entry a line, with the request's context."""
    assert site.ask(f"/{case}").status == 200
    for text in texts:
        has_context(site, logged_line(site, text), f"/{case}")


def test_logged_exception_is_readable(site):
    """logging.exception prints a traceback: it stands in the log."""
    assert site.ask("/logged-exception").body == b"done"
    assert "caught and logged" in site.log.traceback("this went wrong")


def test_text_that_is_no_ascii(site):
    """PEP 3333: wsgi.errors takes any text; what cannot be encoded is escaped, never an exception."""
    assert site.ask("/not-ascii").body == b"done"
    site.log.wait_for(r"caf(é|\\xc3\\xa9) ")
    site.log.wait_for("lone surrogate")


def test_control_characters_do_not_reach_the_log(site):
    """No escape sequence or NUL of an application's (or its client's) text gets into the file as it is."""
    assert site.ask("/control-characters").body == b"done"
    site.log.wait_for("before")
    assert "\x1b" not in site.log.text()
    assert "\0" not in site.log.text()
    site.log.wait_for("after")


def test_very_long_line_loses_nothing(site):
    """nginx and httpd cut entries of about 2 and 8 KiB: a long line leaves in parts."""
    assert site.ask("/very-long").body == b"done"
    site.log.wait_for("the end")
    assert site.log.text().count("x" * 50) * 50 > 19000


def test_thread_of_the_application_may_print(site):
    """What belongs to no request goes to the server's log."""
    assert site.ask("/from-a-thread").body == b"done"
    site.log.wait_for("printed by a thread")


def test_concurrent_requests_keep_their_contexts(site):
    """Two requests inside at once; each line has its own request's context."""
    notes = site.notes()
    with Wire(site.port) as one, Wire(site.port) as two:
        one.request("/from-two-requests?one", notes.field)
        two.request("/from-two-requests?two", notes.field)
        notes.wait_for("one")
        notes.wait_for("two")
        notes.allow("print")
        assert one.read_answer().body == two.read_answer().body == b"done"
    for name in ("one", "two"):
        has_context(site, logged_line(site, f"printed by {name}"), f"/from-two-requests?{name}")


def test_stderr_has_a_real_descriptor(site):
    """subprocess may be given sys.stderr."""
    answer = site.ask("/descriptor")
    assert answer.status == 200
    assert int(answer.body) >= 0


def test_print_while_loading(start):
    """The script's own lines, printed when it is loaded by its first request."""
    site = start(Recipe(mounts={"/": "errors.wsgi"}))
    assert site.ask("/printed").status == 200
    site.log.wait_for("printed while loading")
