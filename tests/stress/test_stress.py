"""Everything at once: clients that reset at every point, slow readers, bodies that break off, threads that hold the GIL, requests
beyond their limit. Afterwards every thread answers, nothing was left open, and nobody who did nothing wrong got an error.

A few seconds for each server; `make stress` takes NEAT_STRESS seconds for each, with another seed at every run.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

import pytest

from harness.abuse import Abuse
from harness.processes import alive, descriptors
from harness.recipe import EVENT, EVENT_DAEMON, NGINX, NGINX_DAEMON, Mount, Recipe
from harness.wait import until

ONLY = (NGINX, NGINX_DAEMON, EVENT, EVENT_DAEMON)
THREADS = 12
SECONDS = float(os.environ.get("NEAT_STRESS", "4"))
SEED = int(os.environ.get("NEAT_STRESS_SEED", "0")) or (int(time.time()) if "NEAT_STRESS" in os.environ else 1)
RECIPE = Recipe(
    mounts={"/app": "stress.wsgi", "/streamed": Mount("stress.wsgi", nginx="wsgi_request_buffering off; wsgi_buffering off;")},
    threads=THREADS,
    # Whoever holds the GIL holds up the others: far from their limit.
    group={"request-timeout": "8", "interrupt-timeout": "2", "processes": "2"},
    tls=True,
    http2=True,
)
pytestmark = pytest.mark.timeout(SECONDS + 300)


def all_threads_answer(site) -> None:
    """So many requests are inside at once as there are threads."""
    threads = THREADS * (2 if site.is_daemon and site.is_nginx else 1)
    notes = site.notes()
    with ExitStack() as stack:
        wires = [stack.enter_context(site.wire()) for _ in range(threads)]
        for wire in wires:
            wire.request("/app/inside", notes.field)
        notes.wait_for("inside", threads)
        notes.allow("go")
        assert [wire.read_answer().body for wire in wires] == [b"was inside"] * threads


def is_open(site) -> int:
    """How many descriptors the server's processes have open that lead to connections."""
    kinds = [kind for pid in site.workers() for kind in descriptors(pid).values()]
    return sum(kind.startswith("socket:") for kind in kinds)


def test_everything_at_once(start):
    """No request is lost, no thread, no process and no descriptor."""
    site = start(RECIPE)
    if site.is_daemon:
        site.log.wait_for("generation 1 serves")
        until(lambda: len(site.daemon_workers()) == 2, "both processes of the group")
    assert site.ask("/app/hello").body == b"hello"
    workers = site.workers()
    print(f"seed {SEED}")
    with Abuse(site.port, site.tls_port, seed=SEED) as abuse:
        abuse.run_for(SECONDS)
    print(abuse.done)
    assert not abuse.wrong, "\n".join(abuse.wrong[:20])
    # No process of the server's has ended over it.
    assert site.workers() == workers
    assert all(alive(pid) for pid in workers)
    all_threads_answer(site)
    if site.is_nginx:
        # What is kept for the next request is bounded by the group's threads and its processes.
        until(lambda: is_open(site) < 4 * THREADS, lambda: f"connections to be closed; open are {is_open(site)}")
    site.log.allow_failures()
