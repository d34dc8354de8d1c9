"""subprocess, multiprocessing, fork, threads and asyncio from a request."""

from __future__ import annotations

import json

import pytest

from harness.recipe import Recipe

RECIPE = Recipe(mounts={"/": "children.wsgi"}, threads=2)


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ("return-codes", [0, 1] * 20), ("output", 150000), ("terminate", -15), ("fork-and-wait", [0, 7]),
        ("processes", [0, 3]), ("pool", [1, 2, 3]), ("terminated-process", -15), ("thread-pool", 328350),
        ("asyncio-run", [1, 0]), ("local-data", True),
    ],
)  # fmt: skip
def test_child_works(site, case, answer):
    """Exit codes are right, terminate works, the process of the server lives on."""
    workers = site.workers()
    for _ in range(2):
        assert json.loads(site.ask(f"/{case}").body) == answer
    assert site.workers() == workers


def test_child_inherits_no_blocked_signals(site):
    """A child that ignores SIGTERM because the server's thread blocked it cannot be stopped."""
    status = json.loads(site.ask("/signals-of-a-child").body)
    assert int(status["SigBlk"], 16) & (1 << 14 | 1 << 16 | 1 << 1) == 0, status


def test_child_that_comes_back_does_not_answer(site):
    """A forked child that leaves the application by an exception: one answer, the parent's."""
    with site.wire() as wire:
        assert json.loads(wire.ask("/child-that-comes-back").body) == "the parent"
        assert json.loads(wire.ask("/fork-and-wait").body) == [0, 7]
    site.log.allow_failures()


def test_application_cannot_take_the_servers_signals(site):
    """WSGIRestrictSignal is on: signal.signal raises or does nothing, and the server can be stopped afterwards."""
    site.ask("/signal-handlers")
    site.log.allow_failures()
    assert json.loads(site.ask("/thread-pool").body) == 328350


def test_stop_after_taking_signals(start):
    """SIGTERM ends the server although the application asked to ignore it."""
    site = start(RECIPE)
    for _ in range(4):
        site.ask("/signal-handlers")
    site.log.allow_failures()
    assert site.stop(site.backend.STOP) == 0


def test_programs_inherit_no_socket_of_the_server(site):
    """A program that outlives its request would keep the listener's port, and the connections of clients."""
    for seen in json.loads(site.ask("/descriptors-of-programs").body):
        assert "1 -> " in seen
        assert "socket:" not in seen
