"""Processes of a group are killed, of every rank: memory, mappings, descriptors and processes stay as they were."""

from __future__ import annotations

import os
import signal

import pytest

from harness.processes import descriptors, mappings, resident
from harness.recipe import EVENT_DAEMON, NGINX_DAEMON, Recipe
from harness.wait import until
from harness.wire import Wire

ONLY = (NGINX_DAEMON, EVENT_DAEMON)
WORKERS = 2
RECIPE = Recipe(mounts={"/": "life.wsgi"}, threads=2, workers=WORKERS)
pytestmark = pytest.mark.timeout(900)
LONG = bool(os.environ.get("NEAT_SOAK"))
RANKS = ("worker", "zygote app", "supervisor", "keeper")
#: A keeper that is killed is followed by another one at the next reload.
KILLED = RANKS[:3]
#: What stays of a process from when it had few requests behind it until it had many.
MOST_MEMORY, MOST_MAPPINGS, MOST_DESCRIPTORS = 4 << 20, 24, 6


def processes_of(site, rank: str) -> list[int]:
    """The processes of a rank."""
    return site.daemon_workers() if rank == "worker" else site.neatd(rank)


def is_whole(site) -> bool:
    """Whether everybody is there."""
    return len(site.daemon_workers()) == WORKERS and all(len(site.neatd(rank)) == 1 for rank in RANKS[1:])


def kill_one(site, rank: str) -> None:
    """Kills a process and waits until another one is in its place and serves."""
    until(lambda: is_whole(site), lambda: f"the group to be whole: {[processes_of(site, rank) for rank in RANKS]}")
    killed = processes_of(site, rank)[0]
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in processes_of(site, rank) and is_whole(site), f"another {rank}", timeout=60)
    until(lambda: site.ask("/hello").status == 200, "the group to serve")


def ask_many(site, count: int) -> None:
    """Requests, fifty on a connection."""
    for _ in range(0, count, 50):
        with Wire(site.port) as wire:
            for _ in range(50):
                assert wire.ask("/hello").status == 200


def state(site) -> dict[str, list[int]]:
    """The largest of each rank: memory, mappings, descriptors; and how many there are."""
    until(lambda: is_whole(site), "the group to be whole")
    found = {}
    for rank in ("server", *RANKS):
        pids = [site.pid] if rank == "server" else processes_of(site, rank)
        of_each = zip(*((resident(pid), mappings(pid), len(descriptors(pid))) for pid in pids))
        found[rank] = [len(pids), *map(max, of_each)]
    return found


def test_crashes_leave_nothing_behind(start):
    """9 crashes and 1,000 requests (soak: 45 and 20,000)."""
    site = start(RECIPE)
    site.log.allow("was ended by|did not finish")

    def crash(times: int) -> None:
        for _ in range(times):
            for rank in KILLED:
                kill_one(site, rank)

    crash(1)
    ask_many(site, 500)
    before = state(site)
    crash(15 if LONG else 3)
    ask_many(site, 20_000 if LONG else 1_000)
    after = state(site)
    for rank, (count, memory, maps, files) in after.items():
        assert count == before[rank][0], f"{rank}: {before[rank]} became {after[rank]}"
        assert memory <= before[rank][1] + MOST_MEMORY, f"{rank}: {before[rank]} became {after[rank]}"
        assert maps <= before[rank][2] + MOST_MAPPINGS, f"{rank}: {before[rank]} became {after[rank]}"
        assert files <= before[rank][3] + MOST_DESCRIPTORS, f"{rank}: {before[rank]} became {after[rank]}"
