"""Ranges are the application's: no server cuts a part out of its response (RFC 9110 section 14.2: a server may ignore Range)."""

from __future__ import annotations

import pytest

from harness.recipe import Recipe

RECIPE = Recipe(mounts={"/": "responses.wsgi"})


@pytest.mark.parametrize("ranges", ["bytes=0-0", "bytes=2-4", "bytes=0-0,3-4", "bytes=-3", "bytes=90-99"])
@pytest.mark.parametrize("case", ["a-list", "a-generator", "no-ranges"])
def test_response_is_whole_whatever_range_was_asked_for(site, case, ranges):
    """The same for one block and for many, whose length the server does not know."""
    whole = site.ask(f"/{case}")
    answer = site.ask(f"/{case}", f"Range: {ranges}")
    assert (answer.status, answer.body) == (200, whole.body)
    assert answer.head.get("Content-Range") is None


def test_applications_own_range_stays(site):
    """RFC 9110 section 15.3.7."""
    answer = site.ask("/a-part", "Range: bytes=2-4")
    assert (answer.status, answer.body, answer.head.get("Content-Range")) == (206, b"234", "bytes 2-4/10")


def test_accept_ranges_is_the_applications(site):
    """RFC 9110 section 14.3."""
    assert site.ask("/no-ranges").head.get("Accept-Ranges") == "none"
    assert site.ask("/a-list").head.get("Accept-Ranges") is None
