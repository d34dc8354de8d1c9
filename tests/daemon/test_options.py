"""Options of a process group, one by one: what they do where a request shows it."""

from __future__ import annotations

import grp
import os

import pytest

from harness.recipe import EVENT_DAEMON, NGINX_DAEMON, Mount, Recipe, as_root
from harness.wait import until

ONLY = (NGINX_DAEMON, EVENT_DAEMON)
RESTRICTED = Mount(
    "daemon.wsgi",
    nginx="wsgi_process_group $arg_group; wsgi_restrict_process app;",
    httpd='SetEnvIf Request_URI "/app-chosen" CHOSEN=app\nWSGIProcessGroup %{ENV:CHOSEN}\nWSGIRestrictProcess app',
)
OPEN = Mount("daemon.wsgi", nginx="wsgi_process_group $arg_group;", httpd="WSGIProcessGroup %{ENV:CHOSEN}")


def about(start, **group: str) -> dict:
    """What the application says of its process, in a group with these options."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={name.replace("_", "-"): value for name, value in group.items()}))
    answer = site.get("/about")
    assert answer.status_code == 200, site.log.text()[-3000:]
    return answer.json()


def test_switch_interval(start):
    """sys.setswitchinterval of every process."""
    assert about(start, switch_interval="0.02")["switch_interval"] == pytest.approx(0.02)


def test_lang_and_locale(start):
    """LANG and LC_ALL."""
    environment = about(start, lang="C", locale="C.UTF-8")["environment"]
    assert (environment["LANG"], environment["LC_ALL"]) == ("C", "C.UTF-8")


def test_priority_and_address_space(start):
    """cpu-priority and virtual-memory-limit."""
    found = about(start, cpu_priority="7", virtual_memory_limit="8g")
    assert (found["nice"], found["address_space"]) == (7, 8 << 30)


@as_root
def test_supplementary_groups(start):
    """Those that are named, and no other."""
    assert set(about(start, supplementary_groups="games,audio")["groups"]) >= {
        grp.getgrnam("games").gr_gid,
        grp.getgrnam("audio").gr_gid,
    }


@as_root
def test_chroot(start):
    """The root directory is changed before the privileges are dropped; here to itself, so that there is a Python in it."""
    assert about(start, chroot="/")["root"] == os.stat("/").st_ino


def test_display_name(start):
    """What ps shows of a process."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"display-name": "shop-application"}))
    pid = site.get("/about").json()["pid"]
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        assert file.read().rstrip(b"\0 ") == b"shop-application"


def test_header_line_that_is_too_long(start):
    """header-buffer-size: 500 to the client, and the log names the header and the option."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"header-buffer-size": "8k"}))
    assert site.ask("/long-header?8000").head.get("X-Long") == "x" * 8000
    assert site.ask("/long-header?8200").status == 500
    site.log.wait_for("its header line X-Long has 8210 bytes, and header-buffer-size allows 8192")
    assert site.ask("/about").status == 200
    site.log.allow_failures()


def test_response_buffer_size(start):
    """Whatever it is, a response arrives whole."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"response-buffer-size": "4k"}))
    assert len(site.ask("/unread").body) == 3_000_002


@as_root
def test_scripts_of_another_owner_are_refused(start):
    """script-user: 503, and the log says whose the script is."""
    recipe = Recipe(
        mounts={"/": "@DIR@/scripts/own.wsgi"},
        files={"scripts/own.wsgi": "def application(e, s):\n    s('200 OK', [])\n    return [b'own']\n"},
        group={"script-user": "root"},
    )
    site = start(recipe)
    assert site.ask("/").body == b"own"
    script = site.directory / "scripts/own.wsgi"
    os.chown(script, 65534, -1)
    os.utime(script)
    site.log.wait_for("is owned by user 65534 .* script-user and script-group ask for another")
    assert site.ask("/").body == b"own", "the old generation goes on"
    os.chown(script, 0, -1)


def test_empty_variable_is_no_way_around_the_restriction(start):
    """A variable without a value never chooses the server's own processes, whether WSGIRestrictProcess is there or not."""
    site = start(Recipe(mounts={"/restricted": RESTRICTED, "/open": OPEN, "/": "daemon.wsgi"}))
    chosen = "/restricted/about?group=app" if site.is_nginx else "/restricted/app-chosen"
    if site.is_nginx:
        assert site.ask(chosen).status == 200
    is_empty, is_restricted = "of this request is empty", '"embedded" is not one of those that a variable may choose here'
    asked = {"/restricted/about": is_empty, "/open/about": is_empty}
    if site.is_nginx:
        asked["/restricted/about?group=embedded"] = is_restricted
    for target, why in asked.items():
        assert site.ask(target).status == 500
        site.log.wait_for(why)
        site.log.begin()


def test_inactivity_timeout(start):
    """A process that had no request for so long is replaced by a fresh one."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"inactivity-timeout": "1"}))
    before = site.get("/about").json()["pid"]
    site.log.wait_for(rf"process {before} is replaced: it had no request for 1 s \(inactivity-timeout\)")
    until(lambda: site.get("/about").json()["pid"] != before, "another process")


def test_restart_interval(start):
    """A process is replaced after its time."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"restart-interval": "1"}))
    before = site.get("/about").json()["pid"]
    site.log.wait_for(rf"process {before} is replaced: its time is over \(restart-interval\)")
    until(lambda: site.get("/about").json()["pid"] != before, "another process")


def test_cpu_time_limit(start):
    """The process that took too much CPU is ended, with its request, and replaced."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"cpu-time-limit": "1", "request-timeout": "30"}))
    assert site.ask("/loop").status == 502
    site.log.wait_for(r"was ended by SIGXCPU \(cpu-time-limit\), while it served GET /loop")
    until(lambda: site.ask("/about").status == 200, "an answer")
    site.log.allow("SIGXCPU")


def test_startup_timeout(start):
    """An application that does not come up in time: 503, and the log says what it waited for."""
    recipe = Recipe(
        mounts={"/": "@DIR@/scripts/slow.wsgi"},
        files={"scripts/slow.wsgi": "import time\ntime.sleep(60)\n"},
        group={"startup-timeout": "0.5"},
    )
    site = start(recipe)
    assert site.ask("/").status == 503
    site.log.wait_for(r"did not load its application within 0.5 s \(startup-timeout\)")
