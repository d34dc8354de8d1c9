"""An application in a module, made by a factory: what wsgi_pass names as shop:create_app()."""

GREETING = b"Welcome to the shop.\n"


def create_app():
    """Makes the application; called once in each process."""

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [GREETING]

    return app
