"""wsgi.file_wrapper (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import hashlib
import zlib

import pytest

from harness.processes import descriptors
from harness.recipe import EVERY_MPM, Recipe, is_prefork
from harness.wait import until
from harness.wire import Cut

ONLY = EVERY_MPM
RECIPE = Recipe(
    mounts={"/": "files.wsgi"},
    tls=True,
    http2=True,
    conf={
        "nginx": "sendfile on; gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;",
        "httpd": "EnableSendfile On\nSetOutputFilter DEFLATE",
    },
)


def content(size: int) -> bytes:
    """What tests/apps/files.wsgi makes."""
    return b"".join(b"%015d\n" % number for number in range(size // 16))


def digest(data: bytes) -> str:
    """Short enough to compare in a message."""
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("case", ["whole", "with-length"])
@pytest.mark.parametrize("size", [16, 160000, 50 << 20])
def test_file_arrives_byte_identical(site, case, size):
    """PEP 3333: from the file's current position to its end."""
    answer = site.ask(f"/{case}?{size}")
    assert answer.status == 200
    assert digest(answer.body) == digest(content(size))


@pytest.mark.parametrize(
    ("case", "start"), [("from-offset", 100), ("bytesio", 100), ("unbuffered", 48), ("only-read", 0), ("iterated", 0),
                        ("through-middleware", 0), ("overridden-fileno", 0)]
)  # fmt: skip
def test_transmission_begins_at_the_current_position(site, case, start):
    """PEP 3333: transmission should begin at the current position within the file; anything with read() will do."""
    assert digest(site.ask(f"/{case}").body) == digest(content(160000)[start:])


@pytest.mark.parametrize("case", ["empty", "at-its-end"])
def test_nothing_left_is_an_empty_body(site, case):
    """A file at its end."""
    with site.wire() as wire:
        answer = wire.ask(f"/{case}")
        assert (answer.status, answer.body) == (200, b"")
        assert wire.ask("/whole?16").body == content(16)


def test_pipe_is_read(site):
    """A descriptor that is no regular file."""
    assert site.ask("/a-pipe").body == b"through a pipe"


def test_declared_length_limits_a_file(site):
    """PEP 3333: no more than Content-Length is transmitted; the connection stays usable."""
    with site.wire() as wire:
        assert wire.ask("/less-declared").body == content(160000)[:1000]
        assert wire.ask("/whole?16").body == content(16)


@pytest.mark.parametrize("case", ["more-declared", "shrinks"])
def test_file_shorter_than_declared_is_cut(site, case):
    """PEP 3333, "Handling the Content-Length Header": never a part for the whole."""
    with site.wire() as wire:
        wire.request(f"/{case}")
        try:
            answer = wire.read_answer()
        except Cut:
            return
        assert answer.status == 500, "a part was taken for the whole"


def test_text_of_a_file_is_refused(site):
    """A str is no byte string, from a file either."""
    assert site.ask("/text-file").status == 500
    site.log.failure("TypeError")


def test_file_is_closed_once(site):
    """PEP 3333: the wrapper's close() calls the file's."""
    notes = site.notes()
    assert b"wsgi.file_wrapper" in site.ask("/closes", notes.field).body
    assert notes.wait_for("close") == ["close"]


def test_wrapper_has_close_only_if_the_file_has(site):
    """PEP 3333: if and only if the file-like object has a close() method."""
    assert site.ask("/without-close").body == b"(False, True)"


def test_write_then_file(site):
    """What was written stands before the file."""
    assert site.ask("/written-after").body == b"before " + content(1600)


def test_head_sends_no_file(site):
    """RFC 9110 section 9.3.2."""
    with site.wire() as wire:
        assert wire.ask("/with-length?160000", method="HEAD").status == 200
        assert wire.ask("/whole?16").body == content(16)


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("case", ["whole", "with-length"])
def test_file_through_tls_and_http2(site, case, http2):
    """A known fault of the peer: file_wrapper cut under HTTP/2."""
    if http2 and is_prefork(site.server):
        pytest.skip("mod_http2 does not work with the prefork MPM")
    with site.secure_client(http2=http2) as client:
        answer = client.get(f"/{case}?5000000", headers={"Accept-Encoding": "identity"})
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert digest(answer.content) == digest(content(5000000))


def test_file_through_gzip(site):
    """A filter that needs the bytes gets them."""
    answer = site.ask("/whole?160000", "Accept-Encoding: gzip")
    assert answer.head.get("Content-Encoding") == "gzip"
    assert digest(zlib.decompress(answer.body, 31)) == digest(content(160000))


def test_descriptors_of_files_are_closed(site):
    """A duplicate that is needed longer than the call is closed when the request ends."""
    for _ in range(20):
        assert site.ask("/whole?160000").status == 200

    def deleted() -> list[str]:
        return [path for pid in site.workers() for path in descriptors(pid).values() if "(deleted)" in path]

    until(lambda: not [path for path in deleted() if "/tmp/" in path and "neat-" not in path],
          lambda: f"descriptors of temporary files to be closed: {deleted()}")  # fmt: skip
