"""A hostile group harms nobody but itself: another group answers all the time, and root's processes stay as they are."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from harness import processes
from harness.load import Load
from harness.recipe import HTTPD_DAEMON, NGINX_DAEMON, Mount, Recipe, as_root, declare
from harness.wait import until

ONLY = (NGINX_DAEMON, HTTPD_DAEMON[0])
pytestmark = as_root
MALLORY = (Path(__file__).parent / "app" / "mallory.wsgi").read_text()
#: So much more memory one of root's processes may have after an attack.
SLACK = 4 << 20


def hostile(server: str, options: str = "") -> Recipe:
    """A group of an attacker's beside `app`, which is another customer's."""
    declared = declare(server, "mallory")
    mine = f" user=nobody group=nogroup threads=2 processes=2 shutdown-timeout=1 graceful-timeout=1 {options}"
    place = {"nginx": "wsgi_process_group mallory;", "httpd": "WSGIProcessGroup mallory"}
    return Recipe(
        mounts={"/mallory": Mount("@DIR@/scripts/mallory.wsgi", **place), "/": "plain.wsgi"},
        files={"scripts/mallory.wsgi": MALLORY},
        main={kind: text.replace(" user=www-data", mine) for kind, text in declared.items()},
    )


class Root:
    """What root runs of a site's, which no attack may change."""

    def __init__(self, site) -> None:
        self.site = site
        self.pids = self.now()
        self.memory = {pid: processes.resident(pid) for pid in self.pids}
        self.victim = site.neatd("zygote app")

    def now(self) -> list[int]:
        """Keeper and supervisor."""
        return [*self.site.neatd("keeper"), *self.site.neatd("supervisor")]

    def check(self) -> None:
        """They are the same, and no larger; the other group's processes are the same."""
        assert self.now() == self.pids
        for pid in self.pids:
            assert processes.resident(pid) - self.memory[pid] < SLACK, f"{pid} has grown"
        assert self.site.neatd("zygote app") == self.victim


def attack(site, target: str) -> None:
    """Asks for an attack; whether there is an answer is the attacker's own concern."""
    with site.wire() as wire:
        wire.request(f"/mallory{target}")
        wire.at_end()


def begin(site) -> Root:
    """Both groups serve."""
    until(lambda: [site.ask(path).status for path in ("/pid", "/mallory")] == [200, 200], lambda: site.said()[-2000:])
    return Root(site)


def serves_again(site) -> None:
    """The attacker's own group is mended, without a reload."""

    def answers() -> bool:
        try:
            return site.ask("/mallory").status == 200
        except TimeoutError:
            # Its warden waits at a listener of the group's making, until the supervisor ends it.
            return False

    until(answers, lambda: f"the group to serve again\n{site.said()[-3000:]}", 60)


def forgive(site) -> None:
    """Whatever the attacker wrote is in the log."""
    site.log.allow("")
    site.log.allow_failures()


def test_what_is_open_at_the_first_line(start, server):
    """Each descriptor is known: null, a pipe to the warden, sockets of the group's own, the lifeline's end that says nothing."""
    site = start(hostile(server))
    begin(site)
    first = {int(number): about for number, about in json.loads(site.ask("/mallory").body)["first"].items()}
    listing = {number for number, (path, _, _) in first.items() if path.endswith("/fd")}
    assert first[0][0] == "/dev/null"
    (warden,) = site.neatd("warden mallory")
    read_by_warden = set(processes.descriptors(warden).values())
    for number in (1, 2):
        path, kind, access = first[number]
        assert kind == stat.S_IFIFO, path
        assert access == os.O_WRONLY, path
        assert path in read_by_warden, "its warden reads what it writes"
    roots = {path for pid in (*site.neatd("keeper"), *site.neatd("supervisor")) for path in processes.descriptors(pid).values()}
    listeners = {path for path, kind, _ in first.values() if path in roots and kind == stat.S_IFSOCK}
    assert len(listeners) == 1, "the group's own listener is the only socket that root has, too"
    for number, (path, kind, access) in first.items():
        if number < 3 or number in listing:
            continue
        if kind == stat.S_IFIFO:
            # The lifeline's end, through which nothing can be said; a worker's own pipe is nobody else's.
            is_shared = path in roots | read_by_warden
            assert access == os.O_WRONLY or not is_shared, f"{number} is {path}"
        elif path.startswith("anon_inode:"):
            assert path not in read_by_warden | roots or "event" in path, f"{number} is {path}"
        else:
            assert kind == stat.S_IFSOCK, f"{number} is {path}"
    forgive(site)


@pytest.mark.parametrize("what", ["shut", "set_blocking", "truncate", "drain", "flood", "forge"])
def test_what_a_group_does_to_what_it_holds(start, server, what):
    """In a worker, twice over: the victim answers, root's processes are the same, and the attacker's group is mended."""
    site = start(hostile(server))
    root = begin(site)
    with Load(site.port, "/pid") as load:
        for _ in range(2):
            attack(site, f"/do?what={what}")
        root.check()
        serves_again(site)
    assert load.bad == []
    assert load.good
    root.check()
    forgive(site)


@pytest.mark.parametrize("rank", ["worker", "zygote", "warden"])
def test_group_kills_its_own_processes(start, server, rank):
    """kill(2) of one's own user's processes cannot be refused: others serve on, and the group is mended without a reload."""
    site = start(hostile(server))
    root = begin(site)
    about = json.loads(site.ask("/mallory").body)
    (warden,) = site.neatd("warden mallory")
    pid = {"worker": about["pid"], "zygote": about["zygote"], "warden": warden}[rank]
    with Load(site.port, "/pid") as load:
        attack(site, f"/signal?pid={pid}&number={int(signal.SIGKILL)}")
        until(lambda: not processes.alive(pid), f"the {rank} to end")
        serves_again(site)
        until(lambda: site.neatd("warden mallory") and site.neatd("zygote mallory"), "its ranks to be whole again")
    assert load.bad == []
    root.check()
    forgive(site)


def test_warden_that_its_group_stops_is_ended(start, server):
    """It does not answer the supervisor: it is killed with what it has, and another one serves."""
    site = start(hostile(server))
    root = begin(site)
    (warden,) = site.neatd("warden mallory")
    with Load(site.port, "/pid") as load:
        attack(site, f"/signal?pid={warden}&number={int(signal.SIGSTOP)}")
        site.log.wait_for(rf"its warden {warden} does not answer", 60)
        until(lambda: not processes.alive(warden), "the warden to end")
        serves_again(site)
    assert load.bad == []
    root.check()
    forgive(site)


def test_listener_that_waits_and_nobody_to_serve(start, server):
    """O_NONBLOCK is taken off the listener, and the group's processes end: whoever accepts there waits, and it is not root."""
    site = start(hostile(server))
    root = begin(site)
    with Load(site.port, "/pid") as load:
        attack(site, "/do?what=unserved")
        for _ in range(3):
            with site.wire() as wire:
                wire.request("/mallory")
        for _ in range(20):
            assert site.ask("/pid").status == 200
        serves_again(site)
    assert load.bad == []
    root.check()
    forgive(site)


def test_flood_of_standard_error_is_labelled_and_bounded(start, server):
    """Every line of it names the group and is only text, and what is too much is counted and not written."""
    site = start(hostile(server))
    root = begin(site)
    with Load(site.port, "/pid") as load:
        attack(site, "/do?what=shout")
        site.log.wait_for("process group mallory: [0-9]+ lines were dropped: it writes too many", 60)
    assert load.bad == []
    lines = [line for line in site.log.text().splitlines() if "FORGED" in line]
    assert lines
    for line in lines:
        assert "process group mallory: 2026/11/21 14:50:09 [emerg] 1#1: FORGED" in line, line
        assert r"\x1b]0;owned\x07" in line
    assert len(lines) < 20_000, "40000 were written"
    root.check()
    forgive(site)


def test_root_has_let_go_of_what_the_server_was_started_with(start, server):
    """Whoever reads the server's standard error to its end is not held up by neatd, and no group has it."""
    site = start(hostile(server))
    begin(site)
    started_with = os.stat(site.directory / "output.txt").st_ino
    for role in ("keeper", "supervisor", "warden mallory", "zygote mallory", "warden app"):
        for pid in site.neatd(role):
            for number in os.listdir(f"/proc/{pid}/fd"):
                assert os.stat(f"/proc/{pid}/fd/{number}").st_ino != started_with, f"{role}: {number}"
