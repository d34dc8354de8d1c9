"""wsgi.file_wrapper: real files, parts of them, and things that only look like files."""

import io
import tempfile

from cases import Cases
from notes import note

application = cases = Cases()
PLAIN = [("Content-Type", "application/octet-stream")]


def content(size):
    """Bytes in which no part is like another, so that a mix-up shows."""
    return b"".join(b"%015d\n" % number for number in range(size // 16))


def real_file(size, at=0):
    file = tempfile.TemporaryFile()
    file.write(content(size))
    file.seek(at)
    return file


@cases.plain
def whole(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](real_file(int(environ["QUERY_STRING"])))


@cases.plain
def with_length(environ, start_response):
    size = int(environ["QUERY_STRING"])
    start_response("200 OK", [*PLAIN, ("Content-Length", str(size))])
    return environ["wsgi.file_wrapper"](real_file(size), 4096)


@cases.plain
def from_offset(environ, start_response):
    """Read buffered first, so that Python's position and the descriptor's differ."""
    file = real_file(160000)
    file.read(100)
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](file)


@cases.plain
def less_declared(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "1000")])
    return environ["wsgi.file_wrapper"](real_file(160000))


@cases.plain
def more_declared(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "320000")])
    return environ["wsgi.file_wrapper"](real_file(160000))


@cases.plain
def empty(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](real_file(0))


@cases.plain
def at_its_end(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](real_file(1600, 1600))


@cases.plain
def bytesio(environ, start_response):
    file = io.BytesIO(content(160000))
    file.seek(100)
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](file)


@cases.plain
def only_read(environ, start_response):
    class OnlyRead:
        def __init__(self):
            self.file = io.BytesIO(content(160000))

        def read(self, size):
            return self.file.read(size)

    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](OnlyRead(), 1000)


@cases.plain
def unbuffered(environ, start_response):
    file = tempfile.TemporaryFile(buffering=0)
    file.write(content(160000))
    file.seek(48)
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](file)


@cases.plain
def text_file(environ, start_response):
    """A text file gives str: refused as any other str."""
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](io.StringIO("text"))


@cases.plain
def a_pipe(environ, start_response):
    """A descriptor that cannot be sent from an offset."""
    import subprocess

    process = subprocess.Popen(["printf", "%s", "through a pipe"], stdout=subprocess.PIPE)
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](process.stdout)


@cases.plain
def overridden_fileno(environ, start_response):
    """gzip.GzipFile has a fileno() that is another file's: read() is what counts."""
    import gzip

    file = tempfile.NamedTemporaryFile()
    with gzip.open(file.name, "wb") as packed:
        packed.write(content(160000))
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](gzip.open(file.name, "rb"))


@cases.plain
def iterated(environ, start_response):
    """The wrapper is an iterable like any other, so that middleware can go over it."""
    start_response("200 OK", PLAIN)
    return list(environ["wsgi.file_wrapper"](real_file(160000), 1000))


@cases.plain
def through_middleware(environ, start_response):
    def upper(blocks):
        yield from blocks

    start_response("200 OK", PLAIN)
    return upper(environ["wsgi.file_wrapper"](real_file(160000)))


@cases.plain
def closes(environ, start_response):
    class Noting(io.FileIO):
        def close(self):
            if not self.closed:
                note(environ, "close")
            super().close()

    file = Noting(__file__)
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](file)


@cases.plain
def without_close(environ, start_response):
    """PEP 3333: the wrapper has close() only if the file has it."""

    class OnlyRead:
        def read(self, size):
            return b""

    start_response("200 OK", PLAIN)
    wrapper = environ["wsgi.file_wrapper"]
    return [repr((hasattr(wrapper(OnlyRead()), "close"), hasattr(wrapper(io.BytesIO()), "close"))).encode()]


@cases.plain
def shrinks(environ, start_response):
    """The file is cut while it is on its way."""
    file = real_file(160000)
    start_response("200 OK", [*PLAIN, ("Content-Length", "160000")])
    wrapped = environ["wsgi.file_wrapper"](file)
    file.truncate(1600)
    return wrapped


@cases.plain
def written_after(environ, start_response):
    """write() before the file."""
    write = start_response("200 OK", PLAIN)
    write(b"before ")
    return environ["wsgi.file_wrapper"](real_file(1600))
