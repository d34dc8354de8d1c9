"""What the processes of a server hold of neatd's, and what a process of a group holds: none of it tells root anything."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from harness.load import Load
from harness.processes import alive, descriptors
from harness.recipe import DAEMON, Mount, Recipe, as_root, declare
from harness.wait import until

ONLY = DAEMON
pytestmark = as_root

#: Says what is open at its first line, and does the worst to it when it is asked to.
MALLORY = """
import json, os, socket, stat

def opened():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = (os.readlink("/proc/self/fd/" + name), stat.S_IFMT(os.fstat(int(name)).st_mode))
        except OSError:
            continue
    return found

AT_FIRST = opened()

def attack():
    for number, (path, kind) in opened().items():
        if number < 3:
            continue
        if kind == stat.S_IFSOCK:
            end = socket.socket(fileno=os.dup(number))
            try:
                end.recv(64, socket.MSG_DONTWAIT)
            except OSError:
                pass
            for word in (b"r", b"configuration", b"\\0" * 64):
                try:
                    end.send(word, socket.MSG_DONTWAIT)
                except OSError:
                    pass
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
        for attempt in (
            lambda: os.set_blocking(number, True), lambda: os.ftruncate(number, 0), lambda: os.pwrite(number, b"{}", 0),
        ):
            try:
                attempt()
            except OSError:
                pass
        try:
            os.close(os.open("/proc/self/fd/%d" % number, os.O_RDWR | os.O_NONBLOCK))
        except OSError:
            pass

def forge(victim):
    # Says of the victim that it is a process of this group, and leaves root to look after it.
    for number, (path, kind) in opened().items():
        if kind == stat.S_IFSOCK:
            end = socket.socket(fileno=os.dup(number))
            for slot in range(4):
                try:
                    end.send(json.dumps({"Forked": {"slot": slot, "pid": victim}}).encode(), socket.MSG_DONTWAIT)
                except OSError:
                    break
            end.detach()
    os.kill(os.getppid(), 9)

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    if environ["PATH_INFO"] == "/attack":
        attack()
    if environ["PATH_INFO"] == "/forge":
        forge(int(environ["QUERY_STRING"]))
    return [json.dumps(AT_FIRST).encode()]
"""


def mallory(server: str) -> Recipe:
    """A group beside `app`, whose user is not the server's."""
    place = {"nginx": "wsgi_process_group mallory;", "httpd": "WSGIProcessGroup mallory"}
    group = "mallory user=nobody group=nogroup threads=1"
    return Recipe(
        mounts={"/mallory": Mount("@DIR@/scripts/mallory.wsgi", **place), "/": "plain.wsgi"},
        main=declare_as(server, group),
        files={"scripts/mallory.wsgi": MALLORY},
    )


def declare_as(server: str, group: str) -> dict[str, str]:
    """The declaration of a group with a user of its own."""
    name, words = group.split(" ", 1)
    declared = declare(server, name)
    return {kind: text.replace(" user=www-data", f" {words}") for kind, text in declared.items()}


def access_mode(pid: int, number: int) -> int:
    """With which flags a process has a descriptor open (proc(5), fdinfo)."""
    lines = Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("flags:")), 8) & os.O_ACCMODE


def supervisors(site) -> tuple[list[int], list[int]]:
    """neatd's processes that are root."""
    return site.neatd("keeper"), site.neatd("supervisor")


def packet_sockets(pid: int) -> list[str]:
    """Descriptors of sockets that keep messages apart: of the server's, the master's for configurations alone (unix(7))."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    packets = {f"socket:[{line.split()[6]}]" for line in lines if line.split()[4] == "0005"}
    return [f"descriptor {number}" for number, path in descriptors(pid).items() if path in packets]


def test_servers_processes_hold_nothing_that_neatd_obeys(start, server):
    """A worker, or a child, has no writable memory of neatd's, no socket to it, and only the reading end of the lifeline."""
    site = start(Recipe(mounts={"/": "plain.wsgi"}, workers=2))
    keeper, supervisor = supervisors(site)
    opened = [path for pid in (*keeper, *supervisor) for path in descriptors(pid).values()]
    neatd_pipes = {path for path in opened if path.startswith("pipe:")}
    # httpd's child closes its parent's socket before anything else, which is a moment after it was forked.
    for pid in site.workers():
        until(lambda pid=pid: not packet_sockets(pid), lambda pid=pid: f"{server}: {pid} holds neatd's {packet_sockets(pid)}")
    lifelines = 0
    for pid in site.workers():
        for number, path in descriptors(pid).items():
            assert "memfd:neat" not in path, f"{server}: descriptor {number} of {pid} is {path}"
            if path in neatd_pipes and number > 2:
                assert access_mode(pid, number) == os.O_RDONLY, f"{server}: descriptor {number} of {pid} is {path}"
                lifelines += 1
    assert lifelines == len(site.workers())


def test_what_a_group_holds_ends_at_the_group(start, server):
    """An application shuts, drains, fills, truncates and opens anew all it has: the others serve, and neatd stays as it was."""
    site = start(mallory(server))
    assert site.ask("/pid").body
    before = supervisors(site)
    at_first = json.loads(site.ask("/mallory").body)
    assert at_first, "the application lists what is open"
    with site.wire() as wire:
        wire.request("/mallory/attack")
        wire.at_end()
    for _ in range(20):
        assert site.ask("/pid").status == 200
    assert supervisors(site) == before
    # Nor was a word of the server's taken: a reload renews the other group.
    zygotes = site.neatd("zygote app")
    site.reload()
    until(lambda: (now := site.neatd("zygote app")) and now != zygotes, lambda: f"a new generation\n{site.said()[-2000:]}")
    assert site.ask("/pid").status == 200
    assert supervisors(site) == before
    site.log.allow("")
    site.log.allow_failures()


def test_group_cannot_have_another_groups_process_signalled(start, server):
    """It reports another group's zygote as its own process and leaves root to signal it: that one lives, and serves."""
    site = start(mallory(server))
    assert [site.ask(path).status for path in ("/pid", "/mallory")] == [200, 200]
    (victim,), (own,) = site.neatd("zygote app"), site.neatd("zygote mallory")
    with site.wire() as wire:
        wire.request(f"/mallory/forge?{victim}")
        wire.at_end()
    until(lambda: (now := site.neatd("zygote mallory")) and own not in now, "another zygote of the group that lied")
    until(lambda: site.ask("/mallory").status == 200, "the group that lied to serve again")
    assert site.neatd("zygote app") == [victim]
    assert site.ask("/pid").status == 200
    site.log.allow("")
    site.log.allow_failures()


def test_neatd_is_started_anew_by_a_reload_when_it_is_gone(start):
    """Keeper and supervisor killed: the next reload finds nobody at the other end, and starts neatd again."""
    site = start(Recipe(mounts={"/": "plain.wsgi"}))
    site.log.wait_for("generation 1 serves")
    keeper, supervisor = supervisors(site)
    for pid in (*keeper, *supervisor):
        os.kill(pid, signal.SIGKILL)
    # One that ends has no command line any more before it has closed what it had open.
    until(lambda: not any(alive(pid) for pid in (*keeper, *supervisor)), "keeper and supervisor to be gone")
    (zygote,) = site.neatd("zygote app")
    with Load(site.port, "/pid") as load:
        site.reload()
        until(lambda: all(supervisors(site)), lambda: f"neatd to run again\n{site.said()[-2000:]}")
        until(lambda: zygote not in site.neatd("zygote app"), lambda: f"the former to leave\n{site.said()[-2000:]}")
    assert load.bad == [], "the former processes serve until the new ones do"
    assert load.good
    site.log.allow("")
    site.log.allow_failures()
