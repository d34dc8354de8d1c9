"""What dies is replaced, its request is answered at once, and the log says why it died."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import pytest

from harness import processes
from harness.load import Load
from harness.recipe import DAEMON, Mount, Recipe
from harness.wait import until
from harness.wire import Cut

ONLY = DAEMON
LIMITS = {"request-timeout": "1", "interrupt-timeout": "0.5", "deadlock-timeout": "2", "graceful-timeout": "3"}
RECIPE = Recipe(mounts={"/": "daemon.wsgi", "/app": Mount("life.wsgi", nginx="wsgi_buffering off;")}, threads=2, group=LIMITS)


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
    """kill -9: the client gets 502, not silence; the log says that it was neither Neat nor the kernel."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/app/inside", notes.field)
        notes.wait_for("inside")
        worker = site.daemon_workers()[0]
        os.kill(worker, signal.SIGKILL)
        assert wire.read_answer().status == 502
    site.log.wait_for(
        rf"process {worker} was ended by SIGKILL, neither by Neat nor by the kernel.*while it served GET /app/inside"
    )
    served(site)


def test_response_that_is_cut_is_no_whole_one(site):
    """kill -9 in the middle of a response: the client sees that the end is missing."""
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/app/inside-streaming", notes.field)
        assert wire.read_head().status == 200
        assert wire.read_chunk() == b"first"
        os.kill(site.daemon_workers()[0], signal.SIGKILL)
        with pytest.raises(Cut):
            wire.read_chunk()
    site.log.wait_for("was ended by SIGKILL.*while it served GET /app/inside-streaming")
    served(site)


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
    served(site)
    zygote = site.neatd("zygote app")[0]
    os.kill(zygote, signal.SIGKILL)
    for _ in range(20):
        assert site.ask("/about").status == 200
    until(lambda: (now := site.neatd("zygote app")) and zygote not in now and site.daemon_workers(), "another zygote")
    served(site)
    site.log.wait_for(rf"its zygote {zygote} was ended by SIGKILL")


def test_zygote_that_dies_while_it_is_to_fork(start):
    """It was asked for a process and never forked it: a new generation serves, the supervisor rests, and neatd ends with the
    server."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, threads=1, group={"maximum-requests": "5"}))
    served(site)
    zygote = site.neatd("zygote app")[0]
    os.kill(zygote, signal.SIGSTOP)
    until(lambda: site.ask("/about").status == 200 and "maximum-requests" in site.log.text(), "the replacement to be asked for")
    os.kill(zygote, signal.SIGKILL)
    until(lambda: (now := site.neatd("zygote app")) and zygote not in now and site.daemon_workers(), "another zygote")
    site.log.wait_for(rf"its zygote {zygote} was ended by SIGKILL")
    served(site)
    assert site.stop() == 0
    site.wait_until_nothing_is_left()


def test_zygote_that_is_stopped_does_not_outlive_the_server(start):
    """What it is told does not reach its workers: when it has been killed they are told by who inherits them."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, threads=1, group={"processes": "2", "shutdown-timeout": "1"}))
    served(site)
    os.kill(site.neatd("zygote app")[0], signal.SIGSTOP)
    assert site.stop() == 0
    site.log.allow("was ended by|did not finish")


#: Prints, outside of any request, more than a socket holds.
PRINTING = """
import threading
def flood():
    for _ in range(3000):
        print("x" * 1000)
def application(environ, start_response):
    if environ["PATH_INFO"] == "/flood":
        thread = threading.Thread(target=flood)
        thread.start()
        thread.join()
    start_response("200 OK", [])
    return [b"printed"]
"""


def test_death_is_noticed_whatever_is_logged(start):
    """Lines of the log may be dropped; that a process died may not: it is replaced."""
    site = start(Recipe(mounts={"/": "@DIR@/printing.wsgi"}, files={"printing.wsgi": PRINTING}))
    until(lambda: site.ask("/").status == 200, "an answer")
    (worker,) = site.daemon_workers()
    (warden,) = site.neatd("warden app")
    os.kill(warden, signal.SIGSTOP)
    try:
        assert site.ask("/flood").status == 200
        os.kill(worker, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{worker}"), "its zygote to have reaped it")
    finally:
        os.kill(warden, signal.SIGCONT)
    site.log.wait_for(rf"process {worker} was ended by SIGKILL")
    until(lambda: site.ask("/").status == 200, lambda: f"another process\n{site.log.text()[-2000:]}")


def test_supervisor_that_is_killed(site):
    """The keeper starts it anew; requests are served all the time."""
    served(site)
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


def test_memory_over_the_hard_limit(start):
    """memory-limit=soft:hard: the process is killed in the middle of a request, and the log says why."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"memory-limit": "40m:80m"}))
    served(site)
    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(lambda target: site.ask(target).status, ["/memory", "/hold-memory"]))
    assert statuses in ([200, 502], [502, 502])
    site.log.wait_for(
        r"was killed: it takes \d+ bytes of memory \(memory-limit, hard: 83886080\), while it served .*GET /hold-memory"
    )
    served(site)


def test_keeper_that_is_killed(start):
    """The supervisor and the group serve on, and end with the server."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}))
    served(site)
    os.kill(site.neatd("keeper")[0], signal.SIGKILL)
    until(lambda: not site.neatd("keeper"), "the keeper to end")
    served(site)
    site.reload()
    served(site)


def test_what_a_killed_process_left_behind_is_ended_with_the_server(start):
    """Five processes that an application started: their parent is killed, they end when the server does."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}))
    left = site.get("/children").json()["pids"]
    os.kill(site.daemon_workers()[0], signal.SIGKILL)
    served(site)
    site.log.wait_for("was ended by SIGKILL")
    assert site.stop() == 0
    until(lambda: not any(processes.alive(pid) for pid in left), "the application's own children to end")


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


def test_warden_that_is_killed(start):
    """Its processes serve until another warden's do, and no request is lost."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"processes": "2"}))
    served(site)
    (warden,), (zygote,) = site.neatd("warden app"), site.neatd("zygote app")
    with Load(site.port, "/about") as load:
        os.kill(warden, signal.SIGKILL)
        until(lambda: (now := site.neatd("warden app")) and warden not in now, "another warden")
        until(lambda: zygote not in site.neatd("zygote app"), lambda: f"the old generation to leave\n{site.log.text()[-2000:]}")
    assert load.bad == []
    site.log.wait_for("its warden was ended by SIGKILL; it is started anew")
    served(site)


@pytest.mark.parametrize(
    "ranks",
    list(combinations(("supervisor", "warden app", "zygote app", "worker"), 2))
    + [("keeper", "warden app"), ("keeper", "zygote app")],
)
def test_two_that_are_killed_at_once(start, ranks):
    """Supervision is whole again without a reload, the group serves, and nothing outlives the server."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, threads=1))
    served(site)
    pids = [pid for rank in ranks for pid in (site.daemon_workers() if rank == "worker" else site.neatd(rank))]
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(processes.alive(pid) for pid in pids), "them to end")
    for rank in ("supervisor", "warden app", "zygote app"):
        until(lambda rank=rank: len(site.neatd(rank)) == 1, lambda rank=rank: f"one {rank}\n{site.log.text()[-2000:]}")
    served(site)
    site.log.allow("supervisor was ended by SIGKILL")
    assert site.stop() == 0
