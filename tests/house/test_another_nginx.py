"""A module that was built for another nginx does not serve, although version and signature agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import nginx
from harness.recipe import MODULES, NGINX, Recipe
from harness.site import check_configuration

ROOT = Path(__file__).resolve().parents[2]
SOURCE, BUILD = os.environ.get("NEAT_NGINX_SOURCE"), os.environ.get("NEAT_NGINX_BUILD")
ONLY = (NGINX,)
pytestmark = pytest.mark.skipif(not SOURCE, reason="the sources of the nginx under test are needed: make test-matrix")


@pytest.fixture
def build_for_another():
    """Builds the module against the headers of the nginx under test, with one more member in a structure."""
    # A worker, who is another user than root, reads the modules.
    top = Path(tempfile.mkdtemp(prefix="neat-another-"))
    top.chmod(0o755)

    def build(header: str, before: str) -> Path:
        assert SOURCE
        assert BUILD
        source, objects, modules = top / "source", top / "objs", top / "modules"
        shutil.copytree(Path(SOURCE) / "src", source / "src", ignore=lambda _, names: [n for n in names if n.endswith(".c")])
        objects.mkdir()
        for name in ("ngx_auto_config.h", "ngx_auto_headers.h"):
            shutil.copy(Path(BUILD) / name, objects)
        # The makefile has the place of the configured headers, absolute or as seen from the sources.
        makefile = (Path(BUILD) / "Makefile").read_text()
        (objects / "Makefile").write_text(makefile.replace(str(BUILD), str(objects)).replace("-I objs", f"-I {objects}"))
        file = source / "src" / header
        text, count = re.subn(f"(?m)^{before}", r"\g<0> void *one_more;", file.read_text())
        assert count == 1
        file.write_text(text)
        environment = {**os.environ, "NGINX_SOURCE_DIR": str(source), "NGINX_BUILD_DIR": str(objects)}
        command = ["cargo", "build", "--locked", "--quiet", "-p", "ngx-http-wsgi-module"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=900)
        shutil.copytree(MODULES, modules)
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        shutil.copy(target / "debug/libngx_http_wsgi_module.so", modules / "ngx_http_wsgi_module.so")
        return modules

    yield build
    shutil.rmtree(top)


@pytest.mark.timeout(1000)
@pytest.mark.parametrize(
    ("header", "before", "name"),
    [
        ("core/ngx_buf.h", r"struct ngx_buf_s \{", "ngx_buf_t"),
        ("http/ngx_http_core_module.h", r"struct ngx_http_core_loc_conf_s \{", "ngx_http_core_loc_conf_t"),
    ],
)
def test_module_of_another_build_is_refused(build_for_another, monkeypatch, certificate, header, before, name):
    """`nginx -t` says for which nginx it was built, what differs, and what to do."""
    modules = build_for_another(header, before)
    monkeypatch.setattr(nginx, "MODULE", modules / "ngx_http_wsgi_module.so")
    code, said = check_configuration(NGINX, Recipe(mounts={"/": "plain.wsgi"}), certificate)
    assert code == 1
    assert re.search(rf"\[emerg\].* this module was built for nginx/[0-9.]+ \(.*{name}.* Build the module anew", said), said


@pytest.mark.timeout(1000)
def test_requests_of_another_build_are_refused(build_for_another, monkeypatch, start):
    """What is known only with a request: none is served, and the log says why."""
    modules = build_for_another("http/ngx_http_request.h", r"    ngx_http_cleanup_t +\*cleanup;")
    monkeypatch.setattr(nginx, "MODULE", modules / "ngx_http_wsgi_module.so")
    site = start(Recipe(mounts={"/": "plain.wsgi"}))
    site.log.allow("this module was built for")
    assert site.ask("/hello").status == 500
    site.log.wait_for("this module was built for .* the size of ngx_http_request_t")
    assert site.ask("/hello").status == 500
