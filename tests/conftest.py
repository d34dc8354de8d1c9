"""Fixtures: every end-to-end test runs in nginx and in httpd with the event and the prefork MPM, and in both servers'
daemon mode; a module whose tests depend on what an MPM does says `ONLY = EVERY_MPM` (harness/recipe.py), and runs with the
event, worker and prefork MPM in both modes.

A test module says `RECIPE = Recipe(...)` and its tests take `site`: one server for the module. A test that needs a server of
its own takes `start` and says `start(Recipe(...))`. Either way the test ends by reading the error log.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from harness import certificate as certificates
from harness.recipe import SERVERS
from harness.site import Site, backend

_current: dict[str, Site] = {}
#: Set on a test that failed already: its log is shown, not judged a second time.
FAILED = pytest.StashKey[bool]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrises what takes `server`, directly or through `site` and `start`."""
    if "server" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("servers")
        names = marker.args if marker else getattr(metafunc.module, "ONLY", SERVERS)
        metafunc.parametrize("server", names, indirect=True, scope="module")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves the long runs to `make soak`, and keeps together what shares a server, for runs in several processes."""
    for item in items:
        if "module_site" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.name}/{item.callspec.params['server']}"))
        if item.get_closest_marker("soak") and not os.environ.get("NEAT_SOAK"):
            item.add_marker(pytest.mark.skip(reason="a long run: make soak"))


@pytest.fixture(scope="session")
def certificate():
    """A certificate and its key for the TLS ports."""
    directory = Path(tempfile.mkdtemp(prefix="neat-certificate-"))
    directory.chmod(0o755)
    yield certificates.make(directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> str:
    """The server's name, `nginx` or `httpd-<mpm>`."""
    if not backend(request.param).binary(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def module_site(request: pytest.FixtureRequest, server: str, certificate):
    """The server of a test module's RECIPE."""
    site = Site(server, request.module.RECIPE, certificate)
    try:
        yield site
        site.log.begin()
        assert site.stop() == 0, site.said()[-4000:]
        site.log.check()
    finally:
        site.remove()


@pytest.fixture
def site(module_site: Site, request: pytest.FixtureRequest):
    """The module's server, for one test."""
    module_site.log.begin()
    _current[request.node.nodeid] = module_site
    yield module_site
    _current.pop(request.node.nodeid, None)
    if not request.node.stash.get(FAILED, False):
        module_site.log.check()


@pytest.fixture
def start(server: str, certificate, request: pytest.FixtureRequest):
    """Starts servers of the test's own; they are stopped and their logs read at its end."""
    started: list[Site] = []

    def begin(recipe) -> Site:
        site = Site(server, recipe, certificate)
        started.append(site)
        _current[request.node.nodeid] = site
        return site

    try:
        yield begin
        for site in started:
            if site.process.poll() is None:
                assert site.stop() == 0, site.said()[-4000:]
            if not request.node.stash.get(FAILED, False):
                site.log.check()
    finally:
        _current.pop(request.node.nodeid, None)
        for site in started:
            site.remove()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Puts the server's error log into the report of a test that failed."""
    outcome = yield
    report = outcome.get_result()
    site = _current.get(item.nodeid)
    if report.failed:
        item.stash[FAILED] = True
    if report.failed and site:
        report.sections.append(("the server's error log", site.log.text()[-6000:]))
