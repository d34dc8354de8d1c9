"""Several small applications in one script: the first segment of PATH_INFO says which one."""

from wsgiref.validate import validator


class Cases:
    """Holds a script's cases; `application = cases` mounts them all."""

    def __init__(self):
        self.cases = {}

    def __call__(self, environ, start_response):
        name = environ["PATH_INFO"].strip("/").split("/")[0].replace("-", "_")
        if name not in self.cases:
            start_response("404 No Such Case", [("Content-Type", "text/plain")])
            return [f"no case {name!r}; there are {sorted(self.cases)}".encode()]
        return self.cases[name](environ, start_response)

    def case(self, application):
        """Adds an application that keeps the rules: wsgiref.validate watches over it and over the server."""
        self.cases[application.__name__] = validator(application)
        return application

    def plain(self, application):
        """Adds an application that breaks a rule on purpose, or does what the validator forbids."""
        self.cases[application.__name__] = application
        return application


def text(start_response, *blocks, status="200 OK", headers=()):
    """Starts a plain text response and hands the blocks back."""
    start_response(status, [("Content-Type", "text/plain"), *headers])
    return list(blocks)
