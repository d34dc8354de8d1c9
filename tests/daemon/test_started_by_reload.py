"""neatd that a reload starts is the same as one that was there from the start."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from harness.recipe import NGINX, Recipe
from harness.wait import until

ONLY = (NGINX,)
RECIPE = Recipe(mounts={"/": "daemon.wsgi"}, threads=2)


def status_of(pid: int, name: str) -> int:
    """A number of /proc/PID/status: a set of signals, or the umask (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    word = next(line for line in lines if line.startswith(f"{name}:")).split()[1]
    return int(word, 8 if name == "Umask" else 16)


def test_first_group_that_a_reload_adds(start):
    """signal(7): a mask survives exec, and nginx's master blocks SIGCHLD and others while it reloads; its umask is 0
    (ngx_daemon). neatd has an empty mask and umask 0022 all the same, and replaces a process that dies."""
    before = os.umask(0)
    try:
        site = start(RECIPE)
    finally:
        os.umask(before)
    # Made with this umask, too: the sockets' directory is root's alone.
    (site.directory / "run").chmod(0o755)
    text = site.place.configuration.read_text()
    group = f"wsgi_daemon_process {RECIPE.group_words()}; wsgi_process_group app; wsgi_socket_prefix {site.prefix};"
    site.place.configuration.write_text(text.replace("wsgi_threads 2;", f"wsgi_threads 2; {site.place.fill(group)}"))
    site.reload()
    about = json.loads(until(lambda: (answer := site.ask("/about")).status == 200 and answer, "the group's answer").body)
    assert about["group"] == "app"
    assert about["umask"] == 0o022
    for role in ("keeper", "supervisor", "zygote app"):
        (pid,) = site.neatd(role)
        assert status_of(pid, "SigBlk") == 0, role
        assert status_of(pid, "Umask") == 0o022, role
    (worker,) = site.daemon_workers()
    os.kill(worker, signal.SIGKILL)
    site.log.wait_for(rf"process {worker} was ended by SIGKILL")
    until(lambda: site.daemon_workers() not in ([], [worker]), "another process")
    assert site.ask("/about").status == 200
