"""An application in a module, for wsgi_pass package.module:callable."""


def application(environ, start_response):
    """Says where it comes from."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"from a module"]


def make():
    """A factory."""

    def made(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"from a factory of a module"]

    return made
