"""What nginx's upstream machinery is about: answers that are asked for again, kept, stored, slowed down."""

import hashlib
import os

from cases import Cases, text
from notes import note, wait_for

application = cases = Cases()


def turn(environ, *names):
    """Which request of these notes this is, from 0; its method and some of its headers are noted."""
    path = environ["HTTP_X_NOTES"]
    note(environ, " ".join([environ["REQUEST_METHOD"], *(environ.get(name, "-") for name in names)]))
    with open(path) as notes:
        return len(notes.readlines()) - 1


@cases.plain
def answers(environ, start_response):
    """The first request of the notes meets what the first word of the query says, the second one what the second says."""
    words = environ["QUERY_STRING"].split(",")
    body = environ["wsgi.input"].read()
    word = words[min(turn(environ), len(words) - 1)]
    if word == "exit":
        os._exit(3)
    if word == "raise":
        raise RuntimeError("raised as told")
    if word.startswith("wait"):
        wait_for(environ, "go")
        word = word[4:]
    if word == "file":
        start_response("503 As Told", [("Content-Type", "text/plain")])
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if word == "big":
        start_response("200 OK", [("X-Big", "b" * 8000), ("Content-Type", "text/plain")])
        return [b"never read"]
    if word == "204":
        start_response("204 No Content", [])
        return []
    status = word if word.isdigit() else "200"
    told = f"{environ['REQUEST_METHOD']} {len(body)} {hashlib.md5(body).hexdigest()}"
    return text(start_response, told.encode(), status=f"{status} As Told")


@cases.plain
def kept(environ, start_response):
    """An answer that may be kept for so many seconds, or the part of it, or the news that there is none, that is asked for."""
    number = turn(environ, "HTTP_RANGE", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE")
    headers = [("ETag", '"one"'), ("Last-Modified", "Mon, 28 Sep 1970 06:00:00 GMT")]
    if environ["QUERY_STRING"]:
        headers.append(("Cache-Control", f"max-age={environ['QUERY_STRING']}"))
    if environ.get("HTTP_IF_NONE_MATCH") == '"one"':
        start_response("304 Not Modified", headers)
        return []
    if "HTTP_RANGE" in environ:
        start_response("206 Partial Content", [*headers, ("Content-Range", "bytes 0-1/9"), ("Content-Length", "2")])
        return [b"ra"]
    body = b"answer %d\n" % number
    start_response("200 OK", [*headers, ("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


@cases.plain
def big(environ, start_response):
    """More than the buffers hold."""
    return text(start_response, *[b"0123456789abcdef" * 1024] * int(environ["QUERY_STRING"] or 16))
