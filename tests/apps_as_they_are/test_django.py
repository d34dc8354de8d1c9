"""A Django project, driven by a client library: the admin, static files, streaming, uploads, sqlite."""

from __future__ import annotations

import hashlib
import re

import httpx
import pytest

from harness.recipe import Mount, Recipe

RECIPE = Recipe(
    mounts={"/": Mount("@DIR@/scripts/shop.wsgi")},
    files={
        # The database is the site's, not the process's: prefork has several.
        "scripts/shop.wsgi": "import os\nos.environ['SHOP_DATABASE'] = '@DIR@/tmp/shop.sqlite3'\n"
        "path = '@APPS@/django_app.wsgi'\n__file__ = path\nexec(compile(open(path).read(), path, 'exec'))\n"
    },
    threads=2,
)


@pytest.fixture
def client(site):
    """A browser of its own."""
    with httpx.Client(base_url=f"http://127.0.0.1:{site.port}", trust_env=False, timeout=60, follow_redirects=True) as client:
        yield client


def token(page: str) -> str:
    """The form's CSRF token."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found, page
    return found[1]


def test_admin(site, client):
    """Log in, add an item, see it in the list, log out."""
    page = client.get("/admin/").text
    assert "Log in" in page
    page = client.post(
        "/admin/login/?next=/admin/", data={"username": "ada", "password": "lovelace", "csrfmiddlewaretoken": token(page)}
    ).text
    assert "Site administration" in page
    page = client.get("/admin/shop/item/add/").text
    answer = client.post("/admin/shop/item/add/", data={"name": "a tëst item", "csrfmiddlewaretoken": token(page)})
    assert answer.status_code == 200
    assert "a tëst item" in client.get("/admin/shop/item/").text


def test_wrong_password(site, client):
    """Stays out."""
    page = client.get("/admin/").text
    page = client.post(
        "/admin/login/?next=/admin/", data={"username": "ada", "password": "x", "csrfmiddlewaretoken": token(page)}
    ).text
    assert "Site administration" not in page


def test_csrf_protection(site, client):
    """A post without a token is 403."""
    assert client.post("/admin/login/", data={"username": "ada", "password": "lovelace"}).status_code == 403


def test_static_file(site, client):
    """Through Django, whole, then 304."""
    answer = client.get("/static/admin/css/base.css")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/css")
    assert len(answer.content) > 5000
    again = client.get("/static/admin/css/base.css", headers={"If-Modified-Since": answer.headers["Last-Modified"]})
    assert again.status_code == 304


def test_sqlite(site, client):
    """Written by one request, read by another, whatever thread or process serves it."""
    names = [f"item {number}" for number in range(5)]
    for name in names:
        assert name in client.post("/items/", data={"name": name}).json()["items"]
    for _ in range(5):
        assert set(names) <= set(client.get("/items/").json()["items"])


def test_upload(site, client):
    """10 MB: Django spools it into a temporary file."""
    content = bytes(range(256)) * (10 * 4096)
    answer = client.post("/upload/", files={"file": ("a.bin", content)}).json()
    assert answer == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def test_streaming(site, client):
    """StreamingHttpResponse."""
    assert client.get("/stream/").text == "".join(f"{number}\n" for number in range(1000))


def test_download(site, client):
    """FileResponse uses wsgi.file_wrapper."""
    answer = client.get("/download/")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert b"def download(request)" in answer.content
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_failing_view(site, client):
    """Django's own 500 page; its logger's traceback reaches the server's log."""
    assert client.get("/fail/").status_code == 500
    site.log.traceback("a bug in a Django view")
    assert client.get("/nothing/").status_code == 404
