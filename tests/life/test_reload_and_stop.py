"""Reloading and stopping: no request is lost, no worker hangs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from harness import nginx
from harness.error_log import ErrorLog
from harness.load import Load
from harness.processes import alive, children, command_line, maps, of_site
from harness.recipe import EVERY_MPM, NGINX, NGINX_DAEMON, Recipe
from harness.site import lay_out
from harness.wait import until
from harness.wire import Cut, Wire

ONLY = EVERY_MPM
LIFE = Recipe(mounts={"/app": "life.wsgi"}, threads=4)


def test_reload_under_load_fails_no_request(start):
    """nginx -s reload, apachectl graceful: five times under load, every request answered."""
    site = start(LIFE)
    with Load(site.port, "/app/hello") as load:
        for _ in range(5):
            load.wait(50)
            site.reload()
        load.wait(50)
    assert load.bad == []
    assert load.bodies == {b"hello"}


@pytest.mark.parametrize("case", ["inside", "inside-streaming"])
def test_reload_finishes_what_is_in_flight(start, case):
    """A request that was taken before the reload is answered whole, by the process that took it."""
    site = start(LIFE)
    notes = site.notes()
    with site.wire() as wire:
        wire.request(f"/app/{case}", notes.field, "Connection: close")
        if case == "inside":
            notes.wait_for("inside")
        else:
            assert wire.read_head().status == 200
        before = set(site.workers())
        site.signal(site.backend.RELOAD)
        until(lambda: set(site.workers()) - before, "new workers beside the old ones")
        notes.allow("go")
        if case == "inside":
            assert wire.read_answer().body == b"was inside"
        else:
            assert wire.read_chunk() + wire.read_chunk() == b"firstlast"
            assert wire.read_chunk() == b""
    until(lambda: not set(site.workers()) & before, "the old workers to leave")


def test_quit_finishes_what_is_in_flight(start):
    """SIGQUIT, SIGWINCH: the request ends, then the server."""
    site = start(LIFE)
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/app/inside", notes.field)
        notes.wait_for("inside")
        site.signal(site.backend.QUIT)
        until(lambda: refuses(site.port), "the listening socket to be closed")
        notes.allow("go")
        assert wire.read_answer().body == b"was inside"
    assert site.process.wait(15) == 0


def refuses(port: int) -> bool:
    """Nobody listens any more."""
    try:
        Wire(port).socket.close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("how", ["QUIT", "STOP"])
def test_stop_while_idle(start, how):
    """Bounded, with exit code 0, after requests were served."""
    site = start(LIFE)
    for _ in range(10):
        assert site.ask("/app/hello").status == 200
    assert site.stop(getattr(site.backend, how)) == 0


def test_stop_while_a_request_is_stuck(start):
    """SIGTERM with an application that does not come back: the server ends within its own time."""
    site = start(LIFE)
    notes = site.notes()
    with site.wire() as wire:
        wire.request("/app/inside", notes.field)
        notes.wait_for("inside")
        workers = site.workers()
        assert site.stop(site.backend.STOP) == 0
        assert not [pid for pid in workers if alive(pid)]
    # The server's own words about a child that it had to kill.
    site.log.allow("AH00045|AH00046|exited on signal 9|SIGKILL|did not exit")


@pytest.mark.parametrize("case", ["never-ending-thread", "slow-atexit"])
@pytest.mark.parametrize("how", ["QUIT", "STOP"])
def test_what_the_application_started_does_not_hang_a_worker(start, case, how):
    """A background thread that never ends, an atexit function that takes an hour."""
    site = start(LIFE)
    notes = site.notes()
    assert site.ask(f"/app/{case}", notes.field).status == 200
    assert site.stop(getattr(site.backend, how)) == 0
    site.log.allow("AH00045|AH00046|exited on signal 9|SIGKILL|did not exit")


@pytest.mark.parametrize("how", ["QUIT", "STOP"])
def test_atexit_functions_run(start, how):
    """An application's atexit functions run when its process ends."""
    site = start(Recipe(mounts={"/app": "life.wsgi"}, threads=1))
    notes = site.notes()
    assert site.ask("/app/registers-atexit", notes.field).status == 200
    assert site.stop(getattr(site.backend, how)) == 0
    assert notes.lines() == ["atexit"]


def test_killed_worker_is_replaced(start):
    """kill -9 of a worker: the server starts another, and the next requests are fine."""
    site = start(Recipe(mounts={"/app": "life.wsgi"}, threads=1))
    pid = int(site.ask("/app/pid").body)
    os.kill(pid, signal.SIGKILL)
    site.log.allow("exited on signal 9|exit signal Killed")

    def answered() -> bool:
        try:
            return int(site.ask("/app/pid").body) != pid
        except (OSError, Cut, ValueError):
            # A process group's server answers 502 for what crossed the kill.
            return False

    until(answered, "another worker to answer")


def test_master_maps_no_python(start):
    """The server's master process never maps Python: its memory is what every child is forked from."""
    site = start(LIFE)
    assert site.ask("/app/hello").status == 200
    assert "libpython" not in maps(site.pid)
    assert "neat_engine" not in maps(site.pid)
    worker = int(site.ask("/app/pid").body)
    assert "libpython" in maps(worker)


def test_broken_configuration_on_reload_keeps_serving(start):
    """nginx keeps the old workers; httpd's graceful restart would end, so that apachectl tests first (nginx only)."""
    site = start(LIFE)
    if not site.is_nginx:
        pytest.skip("apachectl graceful refuses before it signals")
    workers = site.workers()
    site.place.configuration.write_text("load_module /no/such/module.so;\n")
    site.signal(site.backend.RELOAD)
    site.log.wait_for(r"\[emerg\].*no/such/module")
    site.log.allow("no/such/module")
    assert site.ask("/app/hello").body == b"hello"
    assert site.workers() == workers


@pytest.fixture
def orphan(server, certificate):
    """An nginx whose parent has gone, as a daemon's has: in the foreground nginx ignores USR2."""
    place = lay_out(server, LIFE, certificate)
    keep = ["sh", "-c", '"$@" >/dev/null 2>&1 & echo $!; read _', "sh", *nginx.command(place)]
    shell = subprocess.Popen(keep, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert shell.stdin
    assert shell.stdout
    pid = int(shell.stdout.readline())
    until(lambda: not refuses(place.port) and children(pid), lambda: f"nginx to listen: {place.error_log.read_text()}")
    shell.communicate(timeout=10)
    try:
        yield place, pid
    finally:
        for pid in [pid for master in masters(place) for pid in (master, *children(master))]:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not of_site(socket_prefix(place)), "neatd to end with the server")
        shutil.rmtree(place.directory, ignore_errors=True)


def masters(place) -> list[int]:
    """nginx's master processes of a site, the one that started another first."""
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    lines = {pid: " ".join(command_line(pid)) for pid in found if alive(pid)}
    return sorted(pid for pid, line in lines.items() if "master process" in line and str(place.configuration) in line)


def socket_prefix(place) -> str:
    """How the paths of its groups' sockets begin."""
    return f"{place.directory}/run/wsgi"


def upgrade(place, old: int) -> int:
    """Has the old master start a new one; gives that one's number when its workers are there."""
    os.kill(old, signal.SIGUSR2)
    new = until(
        lambda: [pid for pid in masters(place) if pid != old], lambda: f"a new master: {place.error_log.read_text()[-2000:]}"
    )[0]
    until(lambda: children(new), "the new master's workers")
    return new


@pytest.mark.servers(NGINX, NGINX_DAEMON)
def test_binary_upgrade(orphan):
    """nginx: USR2, then QUIT to the old master: requests are answered all the time."""
    place, old = orphan
    with Load(place.port, "/app/hello") as load:
        load.wait(20)
        new = upgrade(place, old)
        load.wait(20)
        os.kill(old, signal.SIGQUIT)
        until(lambda: not alive(old), "the old master to end")
        load.wait(50)
    assert load.bad == []
    os.kill(new, signal.SIGQUIT)
    until(lambda: not alive(new), "the new master to end")
    until(lambda: not of_site(socket_prefix(place)), "neatd to end")
    assert [entry.name for entry in (place.directory / "run").iterdir() if ".sock" in entry.name] == []
    ErrorLog(place.error_log).check()


@pytest.mark.servers(NGINX, NGINX_DAEMON)
def test_binary_upgrade_that_is_taken_back(orphan, server):
    """nginx: USR2, then QUIT to the new master: the old one goes on as if nothing had been."""
    place, old = orphan
    name = Path(socket_prefix(place) + ".app.sock")
    with Load(place.port, "/app/hello") as load:
        load.wait(20)
        before = name.stat().st_ino if server == NGINX_DAEMON else 0
        new = upgrade(place, old)
        if server == NGINX_DAEMON:
            until(lambda: name.stat().st_ino != before, "the new master's process group to take the name")
        load.wait(20)
        os.kill(new, signal.SIGQUIT)
        until(lambda: not alive(new), "the new master to end")
        load.wait(50)
        until(lambda: len(of_site(socket_prefix(place)).get("neatd: keeper", [])) <= 1, "the new master's neatd to end")
        load.wait(50)
        if server == NGINX_DAEMON:
            # The connections of before may serve all of that; whoever connects anew has to find somebody, too.
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(str(name))
    assert load.bad == []
    ErrorLog(place.error_log).check()


def test_rotated_log_is_written_anew(start):
    """nginx's USR1, httpd's graceful restart, after the log was renamed: nothing fails, and lines go to the new file."""
    site = start(LIFE)
    with Load(site.port, "/app/hello") as load:
        load.wait(20)
        moved = site.place.error_log.rename(site.directory / "error.log.1")
        if site.is_nginx:
            site.signal(signal.SIGUSR1)
            until(site.place.error_log.exists, "the new log")
        else:
            site.reload()
        load.wait(20)
    assert load.bad == []
    notes = site.notes()
    assert site.ask("/app/prints", notes.field).status == 200
    site.log.begin()
    until(lambda: "printed by the application" in site.place.error_log.read_text(), lambda: moved.read_text()[-2000:])
    assert "printed by the application" not in moved.read_text()
    if site.is_daemon:
        # What belongs to no request is neatd's own to write.
        until(
            lambda: len(site.neatd("zygote app")) == 1 and site.daemon_workers(),
            lambda: f"the one generation to serve, not {site.neatd('zygote app')}",
        )
        os.kill(site.daemon_workers()[0], signal.SIGKILL)
        until(lambda: "was ended by SIGKILL" in site.place.error_log.read_text(), lambda: moved.read_text()[-2000:])
