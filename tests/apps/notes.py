"""What passes between an application and its test beside HTTP: the tests' side is tests/harness/notes.py."""

import os
import time

PATIENCE = 20.0


def note(environ, text):
    """Appends a line for the test to read."""
    path = environ.get("HTTP_X_NOTES")
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, text.encode() + b"\n")
        finally:
            os.close(descriptor)


def wait_for(environ, name):
    """Waits until the test allows `name`."""
    path = f"{environ['HTTP_X_NOTES']}.{name}"
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            note(environ, f"never allowed: {name}")
            raise TimeoutError(f"the test never allowed {name!r}")
        time.sleep(0.005)


class Body:
    """An iterable that notes each block that is asked for, its end and its close()."""

    def __init__(self, environ, blocks):
        self.environ = environ
        self.blocks = iter(blocks)

    def __iter__(self):
        return self

    def __next__(self):
        note(self.environ, "next")
        return next(self.blocks)

    def close(self):
        note(self.environ, "close")
