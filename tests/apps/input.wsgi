"""wsgi.input: everything that a request body can be asked for."""

import hashlib
import json

from cases import Cases, text
from notes import note, wait_for

application = cases = Cases()


@cases.plain
def operations(environ, start_response):
    """Does what the header X-Operations lists and answers with what each call gave, in latin-1."""
    source = environ["wsgi.input"]
    results = []
    for name, *arguments in json.loads(environ["HTTP_X_OPERATIONS"]):
        if name == "iterate":
            results.append([line.decode("latin-1") for line in source])
        elif name == "next":
            results.append(next(iter(source), b"").decode("latin-1"))
        else:
            result = getattr(source, name)(*arguments)
            results.append([line.decode("latin-1") for line in result] if isinstance(result, list)
                           else result.decode("latin-1"))  # fmt: skip
    return text(start_response, json.dumps(results).encode())


@cases.case
def echo(environ, start_response):
    return text(start_response, environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


@cases.plain
def echo_all(environ, start_response):
    return text(start_response, environ["wsgi.input"].read())


@cases.plain
def echo_as_it_comes(environ, start_response):
    source = environ["wsgi.input"]
    text(start_response)
    return iter(lambda: source.read1(65536) if hasattr(source, "read1") else source.read(1), b"")


@cases.case
def digest(environ, start_response):
    total, size = hashlib.sha256(), 0
    while block := environ["wsgi.input"].read(65536):
        total.update(block)
        size += len(block)
    return text(start_response, f"{size} bytes, {total.hexdigest()}".encode())


@cases.plain
def length(environ, start_response):
    found = [environ.get(key, "none") for key in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")]
    return text(start_response, f"{' '.join(found)} {len(environ['wsgi.input'].read())}".encode())


@cases.case
def ignores(environ, start_response):
    return text(start_response, b"not read")


@cases.plain
def reads_some(environ, start_response):
    return text(start_response, environ["wsgi.input"].read(5))


@cases.plain
def refuses(environ, start_response):
    return text(start_response, b"refused", status="403 Forbidden")


@cases.plain
def reads_after_the_answer(environ, start_response):
    def blocks():
        yield b"answer "
        yield environ["wsgi.input"].read()

    text(start_response)
    return blocks()


@cases.plain
def until_error(environ, start_response):
    """Reads everything; notes an OSError and lets it go on, as an application without a handler would."""
    note(environ, "started")
    try:
        body = environ["wsgi.input"].read()
        note(environ, f"read {len(body)}")
    except OSError as error:
        note(environ, "OSError")
        note(environ, str(error))
        raise
    return text(start_response, body)


@cases.plain
def catches_the_error(environ, start_response):
    note(environ, "begun")
    try:
        environ["wsgi.input"].read()
        note(environ, "read")
    except OSError:
        note(environ, "OSError")
    return text(start_response, b"caught")


@cases.plain
def lines_until_error(environ, start_response):
    seen = 0
    note(environ, "started")
    try:
        for _ in environ["wsgi.input"]:
            seen += 1
        note(environ, f"end after {seen}")
    except OSError:
        note(environ, "OSError")
        raise
    return text(start_response, b"%d" % seen)


@cases.plain
def first_part(environ, start_response):
    """Tells the test when the first part of a streamed body is there."""
    source = environ["wsgi.input"]
    note(environ, source.read(5).decode())
    return text(start_response, source.read())


@cases.plain
def waits_before_reading(environ, start_response):
    note(environ, "inside")
    wait_for(environ, "go")
    return text(start_response, environ["wsgi.input"].read())


@cases.plain
def after_the_end(environ, start_response):
    source = environ["wsgi.input"]
    source.read()
    again = [source.read(), source.read(1), source.readline(), source.readlines(), list(source)]
    return text(start_response, repr(again).encode())


@cases.plain
def big_answer_before_reading(environ, start_response):
    """A response of 10 MB while the request's body is unread: the peer's half-duplex protocol locked up here."""
    text(start_response)
    return (b"x" * 65536 for _ in range(160))
