"""An application that ends its process ends no more than that, whatever status it gives."""

from __future__ import annotations

import pytest

from harness.recipe import EMBEDDED, Recipe
from harness.wait import until
from harness.wire import Cut

ONLY = EMBEDDED


@pytest.mark.parametrize("status", [0, 1, 2, 7, 15])
def test_exit_costs_one_process_of_the_server(start, status):
    """nginx does not replace a worker that exits with 2, httpd ends when a child exits with 15: neither status leaves."""
    site = start(Recipe(mounts={"/app": "life.wsgi"}))
    for _ in range(2):
        assert site.ask("/app/hello").body == b"hello"
        before = site.workers()
        with pytest.raises(Cut):
            site.ask(f"/app/exits?{status}")
        until(
            lambda before=before: (now := site.workers()) and set(now) != set(before),
            lambda: f"the process to be replaced; the server said {site.said()[-2000:]}",
        )
    assert site.ask("/app/hello").body == b"hello"
    site.log.allow(r"exited with code \d+")
