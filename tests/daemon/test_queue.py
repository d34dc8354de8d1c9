"""Requests that wait: bounded by number and by time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from harness.recipe import DAEMON, Recipe

ONLY = DAEMON


def ask_many(site, count: int) -> list:
    """So many sleeping requests at once."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: site.ask("/sleep?1.5"), range(count)))


def test_queue_that_is_full_is_503(start):
    """queue-size: more than one that waits is refused at once, with Retry-After."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, threads=1, group={"queue-size": "1"}))
    answers = ask_many(site, 4)
    assert sorted(answer.status for answer in answers) == [200, 200, 503, 503]
    assert all(answer.head.get("Retry-After") for answer in answers if answer.status == 503)
    site.log.wait_for("queue-size")


def test_request_that_waits_too_long_is_503(start):
    """queue-timeout: the clock runs while it waits."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, threads=1, group={"queue-timeout": "0.5"}))
    answers = ask_many(site, 3)
    assert sorted(answer.status for answer in answers) == [200, 503, 503]
    site.log.wait_for("queue-timeout")
