"""A process group's processes: who they are, and what they share."""

from __future__ import annotations

import grp
import json
import os
import pwd
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from harness import processes
from harness.load import Load
from harness.recipe import DAEMON, Recipe, as_root
from harness.wait import until

ONLY = DAEMON
RECIPE = Recipe(
    mounts={"/": "daemon.wsgi", "/files": "files.wsgi"},
    group={"processes": "2", "umask": "0027"},
    threads=2,
    environment={"SECRET": "of the server"},
)


def about(site, target: str = "/about") -> dict:
    """What the application says of its process."""
    answer = site.ask(target)
    assert answer.status == 200, answer
    return json.loads(answer.body)


@as_root
def test_processes_are_the_groups_user(site):
    """user, group and supplementary groups are dropped for good; no process of the application is root."""
    found = about(site)
    www_data = pwd.getpwnam("www-data")
    assert (found["uid"], found["euid"], found["gid"]) == (www_data.pw_uid, www_data.pw_uid, www_data.pw_gid)
    assert found["groups"] == [grp.getgrnam("www-data").gr_gid]
    for pid in [*site.daemon_workers(), *site.neatd("zygote app")]:
        assert os.stat(f"/proc/{pid}").st_uid == www_data.pw_uid


def test_umask_is_the_groups(site):
    """umask=0027."""
    assert about(site)["umask"] == 0o027


def test_environment_is_clean(site):
    """Nothing of the server's environment reaches the application."""
    environment = about(site)["environment"]
    assert "SECRET" not in environment
    assert environment["LANG"] == "C.UTF-8"
    assert set(environment) <= {"PATH", "LANG", "LC_ALL", "USER", "LOGNAME", "HOME", "LC_CTYPE"}, environment


def test_application_is_imported_once_and_forked(site):
    """preload: the zygote imported it, the workers did not."""
    found = about(site)
    assert found["imported_by"] == site.neatd("zygote app")[0] != found["pid"]
    assert (found["group"], found["multiprocess"]) == ("app", True)


def test_titles_say_what_a_process_is(site):
    """What ps shows."""
    assert site.ask("/about").status == 200
    assert len(site.neatd("keeper")) == len(site.neatd("supervisor")) == len(site.neatd("zygote app")) == 1

    def titles() -> set[str]:
        return {processes.command_line(pid)[0] for pid in site.daemon_workers()}

    until(lambda: titles() == {"(wsgi:app)"}, lambda: f"workers to have their titles: {titles()}")


def test_socket_is_for_the_server_only(site):
    """Mode 0600, and its owner is the server's user."""
    state = os.stat(site.prefix + ".app.sock")
    assert state.st_mode & 0o777 == 0o600
    if os.geteuid() == 0:
        assert pwd.getpwuid(state.st_uid).pw_name == "www-data"


def test_servers_processes_map_no_python(site):
    """With process groups only, neither nginx's nor httpd's processes load Python."""
    assert about(site)
    for pid in [site.pid, *site.workers()]:
        assert "libpython" not in processes.maps(pid)


def test_no_descriptor_of_the_server_is_inherited(site):
    """No socket of the network, neither the server's listening ones nor a client's, and no log of its own."""
    network = set()
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        network |= {f"socket:[{line.split()[9]}]" for line in lines}
    with site.wire() as wire:
        wire.request("/sleep?0.1")
        named = [pid for pids in processes.of_site(site.prefix).values() for pid in pids]
        for pid in [*named, *site.daemon_workers()]:
            found = processes.descriptors(pid)
            assert not network & set(found.values()), found
            logs = [path for path in found.values() if path.startswith(str(site.directory)) and path != str(site.place.error_log)]
            assert [path for path in logs if not path.endswith("output.txt")] == [], found
        assert wire.read_answer().status == 200


def test_file_is_sent_by_the_server(site):
    """wsgi.file_wrapper: the descriptor travels, and the process that opened the file never reads it."""

    def read() -> int:
        lines = [Path(f"/proc/{pid}/io").read_text().splitlines()[0] for pid in site.daemon_workers()]
        return sum(int(line.split()[1]) for line in lines)

    before = read()
    assert len(site.ask("/files/whole?20000000").body) == 20_000_000
    assert read() - before < 1_000_000


def test_requests_use_every_thread_of_every_process(site):
    """2 x 2: four requests at once, whichever process took their connections; a request never waits behind a busy thread while
    another process has one free."""
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            pids = [json.loads(answer.body)["pid"] for answer in pool.map(lambda _: site.ask("/sleep?0.3"), range(4))]
            assert len(pids) == 4
            assert {pids.count(pid) for pid in set(pids)} == {2}, pids


#: Waits until the test lets it go on.
HOLDING = """
import os, time
def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/hold":
        open("@DIR@/notes/held", "w").close()
        deadline = time.monotonic() + 30
        while not os.path.exists("@DIR@/notes/go") and time.monotonic() < deadline:
            time.sleep(0.005)
    return [b"%d" % os.getpid()]
"""


def test_request_does_not_wait_behind_a_busy_process(start):
    """2 x 1, neither has served anything yet: while one is busy for as long as the test wants, others are answered."""
    site = start(
        Recipe(mounts={"/": "@DIR@/scripts/own.wsgi"}, files={"scripts/own.wsgi": HOLDING}, group={"processes": "2"}, threads=1)
    )
    site.log.wait_for("generation 1 serves with 2")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(site.ask, "/hold")
        until((site.directory / "notes/held").exists, "the request that holds its process")
        try:
            others = {site.ask("/").body for _ in range(6)}
            assert not held.done()
        finally:
            (site.directory / "notes/go").touch()
        assert len(others) == 1
        assert held.result().body not in others


def test_preload_off_imports_in_each(start):
    """preload=off."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"preload": "off"}))
    found = about(site)
    assert found["imported_by"] == found["pid"]


@pytest.mark.parametrize(
    ("begins", "named"),
    [
        ("threading.Thread(target=beat, name='heart', daemon=True).start()", "heart"),
        # As native thread pools: threading has not heard of it.
        ("_thread.start_new_thread(beat, ())", r".*\(a thread that Python's threading does not know\)"),
    ],
)
def test_threads_of_the_import_are_in_every_process(start, begins, named):
    """A forked process would not have a thread that the application started while it was imported: it is imported in each."""
    script = (
        "import _thread, os, threading, time\n"
        "beats = []\n"
        "def beat():\n    while True:\n        beats.append(os.getpid())\n        time.sleep(0.01)\n"
        f"{begins}\n"
        "def application(environ, start_response):\n"
        "    beats.clear()\n"
        "    while not beats:\n        time.sleep(0.01)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'%d %d' % (os.getpid(), beats[0])]\n"
    )
    recipe = Recipe(
        mounts={"/": "@DIR@/scripts/own.wsgi"}, files={"scripts/own.wsgi": script}, group={"processes": "2"}, threads=1
    )
    site = start(recipe)
    with ThreadPoolExecutor(4) as pool:
        answers = [answer.body.split() for answer in pool.map(lambda _: site.ask("/"), range(8))]
    assert all(len(words) == 2 and words[0] == words[1] for words in answers), answers
    site.log.wait_for(f"started threads while it was imported[^:]*: {named}.*each process imports the application itself")
    assert len(site.daemon_workers()) == 2


def test_home_is_the_directory_and_on_the_path(start):
    """home."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}, group={"home": "/usr/share"}))
    found = about(site)
    assert found["cwd"] == "/usr/share"
    assert "/usr/share" in found["path"]


def test_large_answer_while_a_large_body_stays_unread(site):
    """The protocol is open in both directions: neither waits for the other."""
    body = b"b" * 5_000_000
    answer = site.ask("/unread", f"Content-Length: {len(body)}", method="POST", body=body)
    assert (answer.status, len(answer.body)) == (200, 3_000_002)


def test_stop_leaves_nothing(start):
    """Not even what the application started and left behind."""
    site = start(RECIPE)
    pids = about(site, "/children")["pids"]
    assert all(processes.alive(pid) for pid in pids)
    site.stop()
    until(lambda: not any(processes.alive(pid) for pid in pids), "the application's own children to end")


@as_root
def test_reload_that_gives_the_group_another_user(start):
    """The warden cannot become another user: another one takes its place, and no request is lost."""
    site = start(RECIPE)
    assert about(site)["uid"] == pwd.getpwnam("www-data").pw_uid
    (warden,) = site.neatd("warden app")
    other = replace(RECIPE, group=RECIPE.group | {"user": "nobody", "group": "nogroup"})
    site.place.configuration.write_text(site.backend.render(site.server, other, site.place))
    with Load(site.port, "/about") as load:
        site.reload()
        until(lambda: about(site)["uid"] == pwd.getpwnam("nobody").pw_uid, lambda: site.log.text()[-2000:])
        until(lambda: not processes.alive(warden), "the former warden to leave")
    assert load.bad == []
    assert len(site.neatd("warden app")) == len(site.neatd("zygote app")) == 1
