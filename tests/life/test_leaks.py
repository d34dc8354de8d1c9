"""Memory and descriptors stay flat over requests and reloads."""

from __future__ import annotations

import os

import pytest

from harness.processes import descriptors, resident, threads
from harness.recipe import EVERY_MPM, Recipe
from harness.wait import until
from harness.wire import Answer, Wire

ONLY = EVERY_MPM
RECIPE = Recipe(mounts={"/app": "life.wsgi", "/failing": "failing.wsgi", "/files": "files.wsgi"}, threads=8)
#: 200 reloads take longer than any other test.
pytestmark = pytest.mark.timeout(900)
LONG = bool(os.environ.get("NEAT_SOAK"))


def some_of_everything(site, count: int) -> None:
    """Requests of every kind, fifty on a connection (httpd ends one after a hundred)."""
    for start in range(0, count, 50):
        with Wire(site.port) as wire:
            for number in range(start, start + 50):
                assert one_of_a_kind(wire, number).status == 200


def one_of_a_kind(wire: Wire, number: int) -> Answer:
    """A body, no body, a file, chunks, HEAD in turns."""
    kind = number % 5
    if kind == 0:
        return wire.ask("/app/everything", "Content-Length: 5000", method="POST", body=b"e" * 5000)
    if kind == 1:
        return wire.ask(f"/app/hello?{number}", f"X-Number: {number}")
    if kind == 2:
        return wire.ask("/files/whole?16000")
    if kind == 3:
        return wire.ask("/app/everything", "Transfer-Encoding: chunked", method="POST", body=b"0\r\n\r\n")
    return wire.ask("/app/hello", method="HEAD")


def state(site) -> dict[int, tuple[int, int, int]]:
    """Resident memory, descriptors and threads of each worker, and in daemon mode of each process of the group."""
    pids = [*site.workers(), *site.daemon_workers()]
    return {pid: (resident(pid), len(descriptors(pid)), threads(pid)) for pid in pids}


def test_requests_leave_nothing_behind(site):
    """2,000 requests (soak: 20,000) after a warm-up: flat memory, descriptors and threads."""
    some_of_everything(site, 600)
    before = state(site)
    some_of_everything(site, 20_000 if LONG else 2_000)
    after = state(site)
    assert after.keys() == before.keys()
    for pid, (memory, files, count) in after.items():
        assert memory - before[pid][0] < 4 << 20, f"{(memory - before[pid][0]) >> 10} KiB more"
        # Each thread or child of the server keeps a connection to the group.
        assert files <= before[pid][1] + RECIPE.threads, descriptors(pid)
        assert count <= before[pid][2] + 1


def test_failures_leave_nothing_behind(site):
    """200 requests that fail, and 100 clients that vanish."""
    site.log.allow_failures()

    def fail(count: int) -> None:
        for _ in range(count):
            assert site.ask("/failing/raises").status == 500
            with site.wire() as wire:
                wire.request("/app/everything", "Content-Length: 5000", method="POST", body=b"cut")
                wire.vanish()

    fail(50)
    before = state(site)
    fail(1_000 if LONG else 200)
    assert site.ask("/app/hello").status == 200
    for pid, (memory, files, _) in before.items():
        assert resident(pid) - memory < 4 << 20, f"{(resident(pid) - memory) >> 10} KiB more"
        # A client that vanished is closed when a thread comes to it, and each thread keeps a connection to the group.
        most = files + RECIPE.threads
        until(lambda pid=pid, most=most: len(descriptors(pid)) <= most, lambda pid=pid: f"{pid}: {descriptors(pid)}")


def test_reloads_leave_nothing_behind(start):
    """20 reloads (soak: 200): the master's memory and descriptors stay flat."""
    site = start(RECIPE)

    def reload(count: int) -> None:
        for _ in range(count):
            site.reload()
            assert site.ask("/app/hello").body == b"hello"

    reload(5)
    memory, files = resident(site.pid), len(descriptors(site.pid))
    reload(200 if LONG else 20)
    assert resident(site.pid) - memory < 2 << 20, f"{(resident(site.pid) - memory) >> 10} KiB more"
    assert len(descriptors(site.pid)) <= files + 1, descriptors(site.pid)


@pytest.mark.soak
def test_big_bodies_leave_nothing_behind(start):
    """100 uploads and downloads of 20 MB.

    With one malloc arena: otherwise glibc keeps some 40 MB for each thread that ever held such a body, which levels off
    (319 MiB with 8 threads, over 400 rounds) but hides a leak for as long as there are threads that had none yet.
    """
    site = start(Recipe(mounts=RECIPE.mounts, threads=1, environment={"MALLOC_ARENA_MAX": "1"}))
    body = b"b" * 20_000_000

    def both_ways(count: int) -> None:
        for _ in range(count):
            assert len(site.ask("/app/one-big-block").body) == 20_000_000
            assert site.ask("/app/everything", f"Content-Length: {len(body)}", method="POST", body=body).status == 200

    both_ways(30)
    before = state(site)
    both_ways(100)
    after = state(site)
    assert after.keys() == before.keys()
    for pid, (memory, files, _) in after.items():
        assert memory - before[pid][0] < 8 << 20, f"{(memory - before[pid][0]) >> 10} KiB more"
        assert files <= before[pid][1] + 4
