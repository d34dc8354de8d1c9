"""What users of mod_wsgi's daemon mode know."""

from __future__ import annotations

import json

from harness.recipe import HTTPD_DAEMON, Mount, Recipe

ONLY = HTTPD_DAEMON
RECIPE = Recipe(
    mounts={
        "/": "daemon.wsgi",
        "/override": Mount("daemon.wsgi", httpd="WSGIErrorOverride On\nErrorDocument 404 default"),
        "/embedded": Mount("daemon.wsgi", httpd="WSGIProcessGroup %{GLOBAL}"),
    },
    main={"httpd": "WSGIRestrictEmbedded On"},
)


def test_location_with_200_is_an_internal_redirect(site):
    """200 and a path in Location, as CGI has it."""
    answer = site.ask("/elsewhere")
    assert answer.status == 200
    assert json.loads(answer.body)["group"] == "app"


def test_error_override(site):
    """WSGIErrorOverride: httpd's own page replaces the application's."""
    assert b"the application's own" not in site.ask("/override/missing").body
    assert site.ask("/missing").body == b"the application's own"


def test_embedded_is_refused_where_it_is_restricted(site):
    """WSGIRestrictEmbedded: 500, and the log says why."""
    assert site.ask("/embedded/about").status == 500
    site.log.wait_for("WSGIRestrictEmbedded is on")
