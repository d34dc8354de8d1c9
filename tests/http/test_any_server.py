"""What both servers offer around any handler, and therefore around an application."""

from __future__ import annotations

import gzip
import json

import pytest

from harness.recipe import EVERY_MPM, Mount, Recipe, is_prefork
from harness.site import Site
from harness.wait import until

ONLY = EVERY_MPM
RECIPE = Recipe(
    mounts={
        "/app": "plain.wsgi",
        "/environ": "environ.wsgi",
        "/other": Mount("environ.wsgi", callable="other"),
        "/factory": Mount("environ.wsgi", callable="factory()"),
        "/dotted": Mount("environ.wsgi", callable="Holder.inner"),
        "/no-chunks": Mount("plain.wsgi", nginx="wsgi_chunked_request off;", httpd="WSGIChunkedRequest Off"),
        "/small": Mount("plain.wsgi", nginx="client_max_body_size 1k;", httpd="LimitRequestBody 1024"),
        "/small-streamed": Mount(
            "plain.wsgi", nginx="client_max_body_size 1k; wsgi_request_buffering off;", httpd="LimitRequestBody 1024"
        ),
        "/packed": Mount(
            "plain.wsgi", nginx="gzip on; gzip_types text/plain; gzip_min_length 1;", httpd="SetOutputFilter DEFLATE"
        ),
        "/denied": Mount("plain.wsgi", nginx="deny all;", httpd="Require all denied"),
    },
    conf={
        "nginx": "error_page 404 /errors/404.txt; error_page 502 503 /errors/50x.txt;",
        "httpd": "ErrorDocument 404 /errors/404.txt\nErrorDocument 500 /errors/500.txt",
    },
    files={"htdocs/errors/404.txt": "the server's 404", "htdocs/errors/500.txt": "the server's 500"},
    tls=True,
    http2=True,
)


@pytest.fixture
def http2_site(site: Site) -> Site:
    """A server that has HTTP/2."""
    if is_prefork(site.server):
        pytest.skip("mod_http2 does not work with the prefork MPM")
    return site


def secure_environ(site: Site, *, http2: bool) -> dict:
    """The environ of a request over TLS."""
    with site.secure_client(http2=http2) as client:
        answer = client.get("/environ/x?y")
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        return {key: value for key, (_, value) in json.loads(answer.content).items()}


def is_secure(site: Site, environ: dict) -> None:
    """wsgi.url_scheme is https; the rest is as without."""
    assert environ["wsgi.url_scheme"] == environ["REQUEST_SCHEME"] == "https"
    assert environ["SERVER_PORT"] == str(site.tls_port)
    assert environ["PATH_INFO"] == "/x"
    assert environ["HTTP_HOST"] == f"localhost:{site.tls_port}"
    assert environ.get("HTTPS", "on") in ("on", "1")


def test_tls(site):
    """PEP 3333: wsgi.url_scheme."""
    environ = secure_environ(site, http2=False)
    is_secure(site, environ)
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_http2(http2_site):
    """RFC 9113 section 8.3.1: :authority is HTTP_HOST."""
    environ = secure_environ(http2_site, http2=True)
    is_secure(http2_site, environ)
    assert environ["SERVER_PROTOCOL"] == "HTTP/2.0"


def test_http2_many_streams(http2_site):
    """RFC 9113: 50 requests on one connection, bodies both ways."""
    with http2_site.secure_client(http2=True) as client:
        for number in range(50):
            body = b"%d " % number * 1000
            assert client.post("/app/echo", content=body).content == body
        assert client.get("/app/long-blocks").content.count(b"\n") == 500


def test_http2_has_no_hop_by_hop_headers(http2_site):
    """RFC 9113 section 8.2.2: neither Connection nor Transfer-Encoding."""
    with http2_site.secure_client(http2=True) as client:
        headers = client.get("/app/long-blocks").headers
    assert not {"connection", "transfer-encoding", "keep-alive"} & set(headers)


def test_http2_upload(http2_site):
    """A body of 5 MB over HTTP/2 without and with a length."""
    with http2_site.secure_client(http2=True) as client:
        assert client.post("/app/read-all", content=b"u" * 5_000_000).content == b"5000000"
        assert client.post("/app/read-all", content=iter([b"u" * 1000] * 1000)).content == b"1000000"


def test_keep_alive(site):
    """RFC 9112 section 9.3: many requests on one connection."""
    with site.wire() as wire:
        for _ in range(100):
            assert wire.ask("/app/hello").body == b"hello from the application\n"


def test_close_is_honoured(site):
    """RFC 9112 section 9.6."""
    with site.wire() as wire:
        assert wire.ask("/app/hello", "Connection: close").status == 200
        assert wire.at_end()


@pytest.mark.parametrize("case", ["long-text", "long-blocks"])
def test_compression(site, case):
    """gzip and mod_deflate see an application's response as any other; a length that is no more true is taken off."""
    plain = site.ask(f"/app/{case}").body
    answer = site.ask(f"/packed/{case}", "Accept-Encoding: gzip")
    assert answer.head.get("Content-Encoding") == "gzip"
    assert len(answer.body) < len(plain)
    assert gzip.decompress(answer.body) == plain


def test_compressed_stream_is_flushed(site):
    """A flush goes through the compressor: the first block can be read while the application waits."""
    import zlib

    notes = site.notes()
    with site.wire() as wire:
        wire.request("/packed/stream", "Accept-Encoding: gzip", notes.field)
        head = wire.read_head()
        assert head.get("Content-Encoding") == "gzip"
        unpack, seen = zlib.decompressobj(31), b""
        while seen != b"first":
            seen += unpack.decompress(wire.read_chunk())
        notes.allow("go")
        while block := wire.read_chunk():
            seen += unpack.decompress(block)
    assert seen == b"firstsecond"


def test_callable_of_another_name(site):
    """WSGICallableObject, wsgi_callable: a name, a dotted name, a factory."""
    assert site.ask("/other").body == b"the other callable"
    assert site.ask("/dotted").body == b"the other callable"
    assert site.ask("/factory").body == b"made by a factory"


def test_chunked_request_off_is_411(site):
    """WSGIChunkedRequest Off: 411 Length Required (RFC 9110 section 15.5.12)."""
    with site.wire() as wire:
        wire.request("/no-chunks/read-all", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\n\r\n")
        assert wire.read_answer().status == 411
    assert site.ask("/no-chunks/read-all", "Content-Length: 3", method="POST", body=b"abc").body == b"3"


@pytest.mark.parametrize("mount", ["/small", "/small-streamed"])
def test_body_over_the_servers_limit_is_413(site, mount):
    """client_max_body_size, LimitRequestBody: 413 Content Too Large, by the length."""
    assert site.ask(f"{mount}/read-all", "Content-Length: 1000", method="POST", body=b"s" * 1000).body == b"1000"
    with site.wire() as wire:
        wire.request(f"{mount}/read-all", "Content-Length: 2000", method="POST", body=b"s" * 2000)
        assert wire.read_answer().status == 413
    site.log.allow_failures()


@pytest.mark.parametrize("mount", ["/small", "/small-streamed"])
def test_chunked_body_over_the_limit_is_413(site, mount):
    """The same limit counts a body without a length while it is read."""
    with site.wire() as wire:
        body = b"7d0\r\n" + b"s" * 2000 + b"\r\n0\r\n\r\n"
        wire.request(f"{mount}/read-all", "Transfer-Encoding: chunked", method="POST", body=body)
        assert wire.read_answer().status == 413
    site.log.allow_failures()


def test_applications_own_error_page_stays(site):
    """Without intercepting, the application's 404 and its body are what the client gets."""
    answer = site.ask("/app/status?404+Gone+Missing")
    assert (answer.status, answer.body) == (404, b"the application's own page")


def test_servers_error_page_for_its_own_errors(site):
    """error_page, ErrorDocument: for what the server itself answers."""
    assert site.ask("/nothing-here").body == b"the server's 404"


def test_denied_request_runs_nothing(site):
    """Access control is before the handler."""
    notes = site.notes()
    assert site.ask("/denied/inside", notes.field).status == 403
    assert notes.lines() == []


def test_access_log_has_status_and_size(site):
    """One line for each request, with the right status and length."""
    marker = "/app/status?418+Teapot&only-this-request"
    answer = site.ask(marker.replace("&", "%26"))
    assert answer.status == 418

    def line() -> list[str]:
        return [line for line in site.access_log().splitlines() if "only-this-request" in line]

    until(line, "the request in the access log")
    assert f" 418 {len(answer.body)}" in line()[0]


def test_static_files_stay_the_servers(site):
    """What is not mounted is not the application's."""
    assert site.ask("/static.txt").body == b"a static file\n"


def test_two_mounts_are_two_applications(site):
    """Each mount has its own application in the one interpreter."""
    assert site.ask("/app/hello").body == b"hello from the application\n"
    assert site.ask("/other").body == b"the other callable"
    assert site.ask("/app/hello").body == b"hello from the application\n"


def test_bad_requests_are_the_servers_to_refuse(site):
    """RFC 9112: nothing malformed reaches an application; the server serves on."""
    for request in (b"GET /app/hello HTTP/9.9\r\n\r\n", b"GET /app/hello HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n",
                    b"POST /app/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
                    b"POST /app/echo HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n",
                    b"GET /app/hello HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n"):  # fmt: skip
        with site.wire() as wire:
            wire.send(request)
            answer = wire.read_answer()
            assert answer.status in (400, 505), (request, answer)
    assert site.ask("/app/hello").status == 200


@pytest.mark.parametrize("codings", ["chunked, chunked", "gzip, chunked", "gzip", "chunked, gzip", "identity, chunked"])
def test_other_codings_than_chunked_are_refused(site, codings):
    """RFC 9112 section 6.1: chunked is applied once, and a coding that the server does not know is 501 (or 400). Whatever
    stands behind such a head is not taken for another request."""
    with site.wire() as wire:
        wire.send(b"POST /app/read-all HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: " + codings.encode()
                  + b"\r\n\r\n0\r\n\r\nGET /app/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")  # fmt: skip
        assert wire.read_answer().status in (400, 501)
        assert wire.at_end()


def test_smuggled_request_is_not_run(site):
    """RFC 9112 section 6.1: Transfer-Encoding beside Content-Length is refused, or chunked alone counts."""
    with site.wire() as wire:
        wire.send(b"POST /app/read-all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")  # fmt: skip
        answer = wire.read_answer()
        assert answer.status == 400 or answer.body == b"0"
