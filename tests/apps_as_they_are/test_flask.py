"""A Flask application, driven by a client library."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from harness.recipe import Mount, Recipe

RECIPE = Recipe(
    mounts={"/": "flask_app.wsgi", "/mounted": Mount("flask_app.wsgi", nginx="wsgi_request_buffering off;")}, threads=2
)
CONTENT = b"".join(b"%07d\n" % number for number in range(20000))
both = pytest.mark.parametrize("mount", ["", "/mounted"])


@both
def test_template_and_urls(site, mount):
    """Jinja, url_for below a mount point."""
    page = site.get(f"{mount}/?name=Ada").text
    assert f'Hello Ada at "{mount}"' in page
    assert f'href="{mount}/who"' in page


@both
def test_session(site, mount):
    """A signed cookie, a form, a redirect."""
    with httpx.Client(base_url=f"http://127.0.0.1:{site.port}", trust_env=False) as client:
        answer = client.post(f"{mount}/login", data={"user": "adä"}, follow_redirects=True)
        assert answer.json()["user"] == "adä"
        assert answer.url.path == f"{mount}/who"
        assert client.get(f"{mount}/who").json()["user"] == "adä"
    assert site.get(f"{mount}/who").json()["user"] is None


@both
def test_upload_of_30_megabytes(site, mount):
    """multipart/form-data through werkzeug's parser."""
    content = bytes(range(256)) * (30 * 4096)
    answer = site.client.post(f"{mount}/upload", data={"note": "big"}, files={"file": ("größe.bin", content)}).json()
    assert answer == {
        "name": "größe.bin", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "note": "big",
    }  # fmt: skip


@both
def test_chunked_upload(site, mount):
    """werkzeug trusts wsgi.input_terminated."""
    answer = site.client.post(f"{mount}/raw", content=iter([b"x" * 1000] * 500))
    assert answer.json() == {"size": 500_000}


@both
def test_streaming(site, mount):
    """stream_with_context."""
    assert site.get(f"{mount}/stream?count=3000").text == "".join(f"{number}\n" for number in range(3000))


@both
@pytest.mark.parametrize(("wanted", "part"), [("0-99", slice(0, 100)), ("1000-1999", slice(1000, 2000)), ("-8", slice(-8, None)),
                                              ("159992-", slice(159992, None))])  # fmt: skip
def test_send_file_with_a_range(site, mount, wanted, part):
    """RFC 9110 section 14: 206 with the part, through wsgi.file_wrapper."""
    answer = site.get(f"{mount}/file", headers={"Range": f"bytes={wanted}"})
    assert answer.status_code == 206
    assert answer.content == CONTENT[part]
    assert answer.headers["Content-Range"].endswith("/160000")


@both
def test_send_file_whole_and_unchanged(site, mount):
    """200, then 304 for the same ETag."""
    answer = site.get(f"{mount}/file")
    assert answer.content == CONTENT
    again = site.get(f"{mount}/file", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert site.get(f"{mount}/attachment").headers["Content-Disposition"].startswith("attachment;")


@both
def test_flasks_own_error_page(site, mount):
    """Flask answers a bug in a view itself; its logger's traceback reaches the server's log."""
    assert site.get(f"{mount}/abort").status_code == 500
    site.log.traceback("a bug in a view")
    assert site.get(f"{mount}/nothing").status_code == 404
    assert site.get(f"{mount}/thread").json() == {"sum": 499500}
