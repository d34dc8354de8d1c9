"""The smallest application that shows who it runs in."""


def application(environ, start_response):
    body = f"Hello from {environ['SERVER_SOFTWARE']}, at {environ['SCRIPT_NAME'] or '/'}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [body]
