"""New code takes over when it is ready, and not one request is lost."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from harness import processes
from harness.load import Load
from harness.recipe import DAEMON, NGINX_DAEMON, Mount, Recipe, declare
from harness.wait import until

ONLY = DAEMON
LONG = bool(os.environ.get("NEAT_SOAK"))
SCRIPT = "def application(e, s):\n    s('200 OK', [('Content-Type', 'text/plain')])\n    return [b'{}']\n"


def recipe(text: str, **group: str) -> Recipe:
    """A site with one script of its own."""
    return Recipe(mounts={"/": "@DIR@/scripts/own.wsgi"}, files={"scripts/own.wsgi": text}, group=group)


def test_changed_script_takes_over_without_loss(start):
    """The group is replaced: the old code answers until the new one does."""
    site = start(recipe(SCRIPT.format("one"), processes="2"))
    with Load(site.port, "/") as load:
        for text in ("two", "three"):
            site.write_script("own.wsgi", SCRIPT.format(text))
            until(lambda text=text: site.ask("/").body == text.encode(), lambda: f"the new code\n{site.log.text()[-2000:]}")
    assert load.bad == []
    assert load.good > 10


def test_script_that_breaks_leaves_the_old_one_serving(start):
    """The log has the traceback, the clients have the old code; mended, the new one takes over."""
    site = start(recipe(SCRIPT.format("one")))
    assert site.ask("/").body == b"one"
    site.write_script("own.wsgi", "import no_such_module_here\n")
    site.log.traceback("no_such_module_here.*the old goes on serving")
    assert site.ask("/").body == b"one"
    site.write_script("own.wsgi", SCRIPT.format("two"))
    until(lambda: site.ask("/").body == b"two", "the mended code")


def test_first_start_that_fails_is_503_and_tried_again(start):
    """No process is ready: 503 with Retry-After, and the next try mends it."""
    site = start(recipe("import no_such_module_here\n"))
    answer = site.ask("/")
    assert answer.status == 503
    assert int(answer.head.get("Retry-After")) >= 1
    site.log.traceback("no_such_module_here")
    site.write_script("own.wsgi", SCRIPT.format("mended"))
    until(lambda: site.ask("/").body == b"mended", lambda: f"the mended code\n{site.log.text()[-2000:]}")
    site.log.allow_failures()


def test_group_that_nothing_is_left_of_is_503_and_tried_again(start):
    """The script is broken, the zygote is killed, then the process: 503 at once, and the next try mends it."""
    site = start(recipe(SCRIPT.format("one")))
    assert site.ask("/").body == b"one"
    site.write_script("own.wsgi", "import no_such_module_here\n")
    site.log.traceback("the old goes on serving")
    os.kill(site.neatd("zygote app")[0], signal.SIGKILL)
    site.log.wait_for("its zygote .* was ended by SIGKILL")
    assert site.ask("/").body == b"one"
    worker = until(lambda: processes.titled("(wsgi:app)", site.neatd("warden app")[0]), "the process of the old generation")[0]
    os.kill(worker, signal.SIGKILL)
    answer = until(lambda: (answer := site.ask("/")).status == 503 and answer, "503")
    assert int(answer.head.get("Retry-After")) >= 1
    site.write_script("own.wsgi", SCRIPT.format("mended"))
    until(lambda: site.ask("/").body == b"mended", lambda: f"the mended code\n{site.log.text()[-2000:]}")
    site.log.allow_failures()
    site.log.traceback("no_such_module_here")


def test_processes_that_die_young_are_replaced(start):
    """Killed again and again: who asks waits for the next one, and is served."""
    site = start(recipe(SCRIPT.format("one"), processes="2"))
    for _ in range(6):
        for worker in site.daemon_workers():
            os.kill(worker, signal.SIGKILL)
        until(lambda: site.ask("/").status == 200, lambda: site.log.text()[-2000:], 10)


#: The second process that imports it waits for the test.
SLOW_SECOND = """
import os, time

try:
    os.close(os.open("@DIR@/notes/first", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    end = time.monotonic() + 30
    while not os.path.exists("@DIR@/notes/second") and time.monotonic() < end:
        time.sleep(0.01)


def application(environ, start_response):
    open("@DIR@/notes/inside", "w").close()
    end = time.monotonic() + 30
    while not os.path.exists("@DIR@/notes/go") and time.monotonic() < end:
        time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def test_reload_before_every_process_serves_loses_no_request(start):
    """The first process of a first generation has a request while the second one loads: it finishes it."""
    site = start(recipe(SLOW_SECOND, processes="2", preload="off"))
    with site.wire() as wire:
        wire.request("/", "Connection: close")
        until(lambda: (site.directory / "notes/inside").exists(), "the first process to have the request")
        os.kill(site.neatd("supervisor")[0], signal.SIGHUP)
        (site.directory / "notes/second").touch()
        site.log.wait_for("generation 2 serves")
        # When this is seen, the time of whoever is to leave has been looked at, too.
        site.write_script("own.wsgi", SCRIPT.format("changed"))
        site.log.wait_for("a script has changed")
        (site.directory / "notes/go").touch()
        assert wire.read_answer().status == 200


def test_reloads_of_the_server_lose_nothing(start):
    """nginx -s reload, apachectl graceful: the old generation finishes what it has."""
    site = start(recipe(SCRIPT.format("one"), processes="2"))
    with Load(site.port, "/") as load:
        for _ in range(5):
            site.reload()
    assert load.bad == []
    assert load.good > 10


def test_reload_brings_other_options_and_other_groups(start, server):
    """What the configuration says now: more processes, one group less, one more."""
    one = recipe(SCRIPT.format("one"), processes="2")
    other = Mount("@DIR@/scripts/own.wsgi", nginx="wsgi_process_group leaves;", httpd="WSGIProcessGroup leaves")
    site = start(replace(one, mounts={**one.mounts, "/other": other}, main=declare(server, "leaves")))
    until(lambda: len(site.daemon_workers()) == 2 and len(site.daemon_workers("leaves")) == 1, "both groups")
    text = site.place.configuration.read_text()
    with Load(site.port, "/") as load, Load(site.port, "/other") as moving:
        load.wait(10)
        changed = text.replace("processes=2", "processes=3").replace("leaves", "comes")
        site.place.configuration.write_text(changed)
        site.reload()
        until(
            lambda: len(site.daemon_workers()) == 3
            and len(site.daemon_workers("comes")) == 1
            and not site.neatd("zygote leaves"),
            lambda: f"three processes, and the other group: {processes.of_site(site.prefix)}",
        )
        load.wait(10)
        moving.wait(10)
    assert load.bad == []
    assert moving.bad == []
    until(lambda: not (site.directory / "run/wsgi.leaves.sock").exists(), "the socket of the group that left to go")


#: Notes how many import it at the same time.
COUNTING = """
import os, time
place = "@DIR@/notes/loading-%d" % os.getpid()
open(place, "w").close()
seen = sum(name.startswith("loading-") for name in os.listdir("@DIR@/notes"))
open("@DIR@/notes/seen-%d-%d" % (seen, os.getpid()), "w").close()
time.sleep(0.1)
os.remove(place)
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"counted"]
"""


# In nginx only: there every fixed wsgi_pass is loaded ahead, in httpd the first request loads what a <Location> gives to a group.
@pytest.mark.servers(NGINX_DAEMON)
def test_many_groups_start_in_turns(start):
    """Twenty groups: each is served, and only as many load at a time as the machine has room for."""
    names = [f"group{number}" for number in range(20)]
    main = declare(NGINX_DAEMON, *(f"{name} threads=1" for name in names))
    mounts = {f"/{name}": Mount("@DIR@/scripts/own.wsgi", nginx=f"wsgi_process_group {name};") for name in names}
    site = start(Recipe(mounts=mounts, main=main, files={"scripts/own.wsgi": COUNTING}))
    for name in names:
        assert site.ask(f"/{name}").body == b"counted"
    seen = [int(name.split("-")[1]) for name in os.listdir(site.directory / "notes") if name.startswith("seen-")]
    assert len(seen) >= len(names)
    assert max(seen) <= 2 * len(os.sched_getaffinity(0))


def test_signal_of_neatds_own(start):
    """SIGHUP to the supervisor renews every group."""
    site = start(recipe(SCRIPT.format("one")))
    before = site.neatd("zygote app")
    with Load(site.port, "/") as load:
        os.kill(site.neatd("supervisor")[0], signal.SIGHUP)
        until(lambda: (now := site.neatd("zygote app")) and not set(now) & set(before), "another generation")
    assert load.bad == []


def footprint(site) -> dict[str, tuple[int, int]]:
    """Memory and descriptors of what lives longer than a generation."""
    named = {"master": site.pid, "keeper": site.neatd("keeper")[0], "supervisor": site.neatd("supervisor")[0]}
    return {name: (processes.resident(pid), len(processes.descriptors(pid))) for name, pid in named.items()}


def settled(site) -> None:
    """Waits until one generation is left, with the group's socket, its own and the supervisor's."""

    def sockets() -> list[str]:
        return [entry for entry in os.listdir(site.directory / "run") if ".sock" in entry]

    until(
        lambda: len(site.neatd("zygote app")) == 1 and len(site.daemon_workers()) == 2 and len(sockets()) == 3,
        lambda: f"the old generations to leave: {processes.of_site(site.prefix)} {sockets()}",
    )


@pytest.mark.timeout(1200)
def test_many_reloads_under_load(start):
    """20 of them (soak: 300): no request is lost, and nothing grows: no memory, no descriptor, no process, no socket."""
    site = start(recipe(SCRIPT.format("one"), processes="2"))
    with Load(site.port, "/") as load:
        for _ in range(10):
            site.reload()
        settled(site)
        before = footprint(site)
        for _ in range(300 if LONG else 20):
            site.reload()
            assert load.bad == []
    assert load.bad == []
    settled(site)
    for name, (memory, files) in footprint(site).items():
        assert memory - before[name][0] < 2 << 20, f"{name}: {(memory - before[name][0]) >> 10} KiB more"
        assert files <= before[name][1] + 2, name
