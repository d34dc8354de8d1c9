"""What dies is replaced, its request is answered at once, and the log says why it died."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from harness import processes
from harness.recipe import DAEMON, Recipe
from harness.wait import until

ONLY = DAEMON
LIMITS = {"request-timeout": "1", "interrupt-timeout": "0.5", "deadlock-timeout": "2", "graceful-timeout": "3"}
RECIPE = Recipe(mounts={"/": "daemon.wsgi"}, threads=2, group=LIMITS)


def served(site) -> None:
    """The group answers again."""
    until(lambda: site.ask("/about").status == 200, lambda: f"an answer\n{site.log.text()[-2000:]}")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/crash", r"was ended by SIGSEGV.*while it served GET /crash"),
        ("/leave", r"ended by itself with exit status 3, while it served GET /leave"),
    ],
)
def test_process_that_dies_in_a_request(site, target, why):
    """502 at once, and one line that says how and in which request."""
    answer = site.ask(target)
    assert answer.status == 502, answer
    site.log.wait_for(why)
    served(site)


def test_process_that_is_killed_in_a_request(site):
    """kill -9: the client gets 502, not silence."""
    answers = []
    asking = threading.Thread(target=lambda: answers.append(site.ask("/sleep?20")))
    asking.start()
    worker = until(lambda: site.daemon_workers(), "a worker")[0]
    until(lambda: _serves(site, worker), "the request to be served")
    os.kill(worker, signal.SIGKILL)
    asking.join(10)
    assert [answer.status for answer in answers] == [502]
    site.log.wait_for(rf"process {worker} was ended by SIGKILL.*while it served GET /sleep")
    served(site)


def _serves(site, worker: int) -> bool:
    return any("sleep" in line for line in _waits(worker))


def _waits(worker: int) -> list[str]:
    found = []
    for task in os.listdir(f"/proc/{worker}/task"):
        with open(f"/proc/{worker}/task/{task}/wchan") as file:
            found.append(file.read())
    return [*found, "sleep" if any("nanosleep" in one for one in found) else ""]


def test_endless_loop_in_python(site):
    """request-timeout: the stack is in the log, the client gets 504, and the thread goes on with the next request."""
    answer = site.ask("/loop")
    assert answer.status == 504
    site.log.wait_for(r"GET /loop of the process group app has run for .*in loop")
    served(site)


def test_endless_loop_in_c(site):
    """The GIL is never let go: the client gets 504 all the same, and the process is killed and replaced."""
    before = site.daemon_workers()
    answer = site.ask("/loop-in-c")
    assert answer.status in (502, 504)
    site.log.wait_for(r"(deadlock-timeout|did not end on RequestTimeout)")
    until(lambda: (now := site.daemon_workers()) and not set(now) & set(before), "another process", 20)
    served(site)


def test_zygote_that_is_killed(site):
    """Its processes go on serving until a new generation is ready."""
    zygote = site.neatd("zygote app")[0]
    os.kill(zygote, signal.SIGKILL)
    for _ in range(20):
        assert site.ask("/about").status == 200
    until(lambda: (now := site.neatd("zygote app")) and zygote not in now and site.daemon_workers(), "another zygote")
    served(site)
    site.log.wait_for(rf"its zygote {zygote} was ended by SIGKILL")


def test_supervisor_that_is_killed(site):
    """The keeper starts it anew; requests are served all the time."""
    supervisor = site.neatd("supervisor")[0]
    os.kill(supervisor, signal.SIGKILL)
    for _ in range(20):
        assert site.ask("/about").status == 200
    until(lambda: (now := site.neatd("supervisor")) and supervisor not in now, "another supervisor")
    until(lambda: len(site.neatd("zygote app")) == 1 and site.daemon_workers(), "the old generation to leave")
    served(site)
    site.log.allow("supervisor was ended by SIGKILL")


def test_master_that_is_killed(start):
    """When the last process of the server is gone, nothing of neatd's is left."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}))
    served(site)
    left = [site.pid, *site.workers()]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    site.process.wait(10)
    site.wait_until_nothing_is_left()
    assert not any(processes.alive(pid) for pid in left)


def test_memory_over_the_soft_limit(start):
    """memory-limit: the process is replaced while it finishes its requests."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"memory-limit": "100m:400m"}))
    served(site)
    before = site.daemon_workers()
    assert [site.ask("/memory").status for _ in range(2)] == [200, 200]
    until(lambda: (now := site.daemon_workers()) and not set(now) & set(before), lambda: site.log.text()[-2000:])
    site.log.wait_for("memory-limit, soft")
    served(site)


def test_maximum_requests_lose_none(start):
    """maximum-requests: recycled under constant load, and every request is answered."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"maximum-requests": "50", "processes": "2"}))
    pids = set()

    def recycled() -> bool:
        for _ in range(50):
            answer = site.get("/about")
            assert answer.status_code == 200
            pids.add(answer.json()["pid"])
        return len(pids) > 4

    until(recycled, lambda: f"more than {pids}")
