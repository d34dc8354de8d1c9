"""Answers with environ: {key: [type, value]}, strings as they are and the rest as repr."""

import json
from wsgiref.validate import validator


@validator
def application(environ, start_response):
    shown = {
        key: [type(value).__name__, value if isinstance(value, (str, int, float)) else repr(value)]
        for key, value in environ.items()
    }
    body = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


def other(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the other callable"]


def factory():
    def made(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"made by a factory"]

    return made


class Holder:
    inner = staticmethod(other)
