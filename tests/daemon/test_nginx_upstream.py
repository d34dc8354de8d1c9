"""What users of nginx's upstreams know: asking again, the cache, the store, the rate."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import time

import pytest

from harness.recipe import NGINX_DAEMON, Mount, Recipe, declare
from harness.site import check_configuration
from harness.wait import until

ONLY = (NGINX_DAEMON,)
#: Locations that ask again, by name.
AGAIN = {
    "default": "",
    "error": "wsgi_next_upstream error;",
    "error-any": "wsgi_next_upstream error non_idempotent;",
    "timeout": "wsgi_next_upstream timeout; wsgi_read_timeout 500ms;",
    "503": "wsgi_next_upstream http_503 http_429;",
    "503-any": "wsgi_next_upstream http_503 non_idempotent;",
    "500": "wsgi_next_upstream http_500;",
    "off": "wsgi_next_upstream http_503 off;",
    "once": "wsgi_next_upstream http_503; wsgi_next_upstream_tries 1;",
    "thrice": "wsgi_next_upstream http_503; wsgi_next_upstream_tries 3;",
    "brief": "wsgi_next_upstream http_503; wsgi_next_upstream_tries 9; wsgi_next_upstream_timeout 300ms;",
    "file": "wsgi_next_upstream http_503; wsgi_cache one; wsgi_cache_valid 200 1m;",
    "header": "wsgi_next_upstream invalid_header; wsgi_cache one; wsgi_cache_valid 1m; wsgi_buffer_size 4k;",
}
#: Locations with a cache. Each has keys of its own.
CACHED = {
    "plain": "",
    "any": "wsgi_cache_valid 204 1m;",
    "revalidated": "wsgi_cache_revalidate on;",
    "stale": "wsgi_cache_use_stale http_500 http_503 error timeout; wsgi_read_timeout 500ms;",
    "posted": "wsgi_cache_methods POST;",
    "part": "wsgi_cache_max_range_offset 4;",
}
#: Process groups that variables name.
TIMEOUTS = ("hasty response-socket-timeout=1", "patient response-socket-timeout=600")
CACHE = "wsgi_cache one; wsgi_cache_valid 200 1s; wsgi_cache_key $uri; add_header X-Cache $upstream_cache_status always;"
RECIPE = Recipe(
    mounts={
        "/": "upstream.wsgi",
        "/slow": Mount("upstream.wsgi", nginx="wsgi_limit_rate 16k;"),
        "/stored": Mount("upstream.wsgi", nginx="root @DIR@/tmp/root; wsgi_store on; wsgi_store_access user:rw group:rw all:r;"),
        "/named": Mount("upstream.wsgi", nginx="wsgi_store @DIR@/tmp/named$uri.txt;"),
        "/chosen": Mount("upstream.wsgi", nginx="wsgi_process_group $http_x_group;"),
        "/chosen/written": Mount("upstream.wsgi", nginx="wsgi_process_group $http_x_group; wsgi_read_timeout 500ms;"),
        **{f"/again/{name}": Mount("upstream.wsgi", nginx=words) for name, words in AGAIN.items()},
        **{f"/cached/{name}": Mount("upstream.wsgi", nginx=CACHE + words) for name, words in CACHED.items()},
    },
    main={
        "nginx": "wsgi_cache_path @DIR@/tmp/cache keys_zone=one:1m;"
        + declare(NGINX_DAEMON, *(f"{group} python-path=@APPS@" for group in TIMEOUTS))["nginx"]
    },
    conf={"nginx": "location = /clock { return 200 $msec; }"},
    group={"processes": "2"},
)


def asker(site):
    """Asks a site with notes, and hands back the answer and what the application noted."""
    until(lambda: "generation 1 serves" in site.said(), "every process of the group")
    notes = site.notes()

    def ask(target: str, *fields: str, **more):
        before = len(notes.lines())
        answer = site.ask(target, notes.field, *fields, **more)
        return answer, notes.lines()[before:]

    ask.notes = notes
    return ask


@pytest.fixture
def ask(site):
    """Asks the module's site."""
    return asker(site)


def clock(site) -> float:
    """nginx's own time, in seconds."""
    return float(site.ask("/clock").body)


def posted(body: bytes) -> dict:
    """A POST request's part of `ask`."""
    return {"method": "POST", "body": body}


# Asking again


@pytest.mark.parametrize(
    ("place", "words", "status", "times"),
    [
        ("default", "503,200", 503, 1),
        ("error", "503,200", 503, 1),
        ("503", "503,200", 200, 2),
        ("503", "429,200", 200, 2),
        ("500", "500,200", 200, 2),
        ("off", "503,200", 503, 1),
        ("header", "big,200", 200, 2),
    ],
)
def test_next_upstream(site, ask, place, words, status, times):
    """wsgi_next_upstream: what it names is asked again, and nothing is that it does not name."""
    answer, noted = ask(f"/again/{place}/answers?{words}")
    assert (answer.status, noted) == (status, ["GET"] * times)


@pytest.mark.parametrize(
    ("place", "words", "method", "status", "times"),
    [
        ("default", "exit,200", "GET", 502, 1),
        ("503", "exit,200", "GET", 502, 1),
        ("error", "exit,200", "GET", 200, 2),
        ("error", "exit", "GET", 502, 2),
        ("error", "exit,200", "POST", 502, 1),
        ("error-any", "exit,200", "POST", 200, 2),
    ],
)
def test_next_upstream_after_a_death(start, place, words, method, status, times):
    """A request that its process died of is asked again only where that is asked for, and ends two processes at most."""
    site = start(RECIPE)
    answer, noted = asker(site)(f"/again/{place}/answers?{words}", method=method)
    assert (answer.status, noted) == (status, [method] * times)
    site.log.wait_for("while it served")


def test_next_upstream_after_an_exception(site, ask):
    """http_500 is the status of an application that failed as well."""
    answer, noted = ask("/again/500/answers?raise,200")
    assert (answer.status, noted) == (200, ["GET", "GET"])
    site.log.failure("raised as told")


def test_next_upstream_after_a_timeout(site, ask):
    """wsgi_next_upstream timeout: nginx lost patience with the first process, and the second one answers."""
    answer, noted = ask("/again/timeout/answers?wait,200")
    ask.notes.allow("go")
    assert (answer.status, noted) == (200, ["GET", "GET"])


@pytest.mark.parametrize(("place", "group"), [("chosen", "hasty"), ("chosen/written", "patient")])
def test_timeouts_of_a_group_that_a_variable_names(site, ask, place, group):
    """response-socket-timeout of the group that wsgi_process_group $variable names, unless wsgi_read_timeout is written."""
    answer, noted = ask(f"/{place}/answers?wait", f"X-Group: {group}")
    ask.notes.allow("go")
    assert (answer.status, noted) == (504, ["GET"])
    site.log.wait_for("upstream timed out")


@pytest.mark.parametrize(("place", "status", "times"), [("503", 503, 1), ("503-any", 200, 2)])
@pytest.mark.parametrize("body", [b"a small one", os.urandom(3_500_000)], ids=["in memory", "in a file"])
def test_non_idempotent(site, ask, body, place, status, times):
    """A POST request that was sent is asked again with non_idempotent only, and then with the whole body."""
    answer, noted = ask(f"/again/{place}/answers?503,200", f"Content-Length: {len(body)}", **posted(body))
    assert (answer.status, noted) == (status, ["POST"] * times)
    assert answer.body == f"POST {len(body)} {hashlib.md5(body).hexdigest()}".encode()


def test_next_upstream_forgets_the_first_answer(site, ask):
    """A file is not cached; what the second process answers instead of it is."""
    assert [ask("/again/file/answers?file,200")[0].status for _ in range(2)] == [200, 200]
    assert ask.notes.lines() == ["GET", "GET"]


@pytest.mark.parametrize(("place", "times"), [("once", 1), ("503", 2), ("thrice", 3)])
def test_next_upstream_tries(site, ask, place, times):
    """wsgi_next_upstream_tries: twice at most by default."""
    answer, noted = ask(f"/again/{place}/answers?503")
    assert (answer.status, noted) == (503, ["GET"] * times)


def test_directives_of_http_hold_in_every_location(start):
    """What is written in http is handed on, until a location says something else."""
    mounts = {"/": "upstream.wsgi", "/other": Mount("upstream.wsgi", nginx="wsgi_next_upstream_tries 2; wsgi_store off;")}
    everywhere = "wsgi_next_upstream http_503; wsgi_next_upstream_tries 3; wsgi_store @DIR@/tmp/http$uri.txt;"
    site = start(Recipe(mounts=mounts, main={"nginx": everywhere}, group={"processes": "2"}))
    ask = asker(site)
    for place, times in [("", 3), ("/other", 2)]:
        answer, noted = ask(f"{place}/answers?503")
        assert (answer.status, noted) == (503, ["GET"] * times)
        assert ask(f"{place}/answers?200")[0].status == 200
    stored = site.directory / "tmp/http"
    until((stored / "answers.txt").exists, "the stored answer")
    assert not (stored / "other").exists()


def test_next_upstream_timeout(site, ask):
    """wsgi_next_upstream_timeout: no more tries after that time."""
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask("/again/brief/answers?wait503,503")))
    asking.start()
    ask.notes.wait_for("GET")
    begun = clock(site)
    until(lambda: clock(site) > begun + 0.3, "nginx's own clock to be past the 300 ms of wsgi_next_upstream_timeout")
    ask.notes.allow("go")
    asking.join(10)
    answer, noted = answers[0]
    assert (answer.status, noted) == (503, ["GET"])


@pytest.mark.parametrize(("place", "times"), [("/again/default", 2), ("/again/off", 1), ("/again/once", 1)])
def test_group_that_cannot_be_reached(start, place, times):
    """A connection that is refused is tried once more, whatever the method, unless wsgi_next_upstream is off."""
    site = start(RECIPE)
    path = site.directory / "run" / "wsgi.app.sock"
    site.log.wait_for("generation 1 serves")
    path.rename(f"{path}.away")
    answer = site.ask(f"{place}/answers?200", site.notes().field, "Content-Length: 4", **posted(b"body"))
    path.with_name(f"{path.name}.away").rename(path)
    assert (answer.status, answer.head.get("Retry-After")) == (503, "1")
    site.log.wait_for("cannot be reached: No such file")
    assert site.log.text().count("cannot be reached: No such file") == times


def test_process_that_takes_no_more(start):
    """What a leaving process never began is asked again: POST too, and with wsgi_next_upstream off."""
    site = start(RECIPE)
    notes, held = site.notes(), site.notes()
    until(lambda: len(site.daemon_workers()) == 2, "workers")
    answers = []
    # Requests that are under way keep the processes from ending, and their connections open.
    holding = [threading.Thread(target=lambda: answers.append(site.ask("/answers?wait", held.field))) for _ in range(2)]
    for thread in holding:
        thread.start()
    held.wait_for("GET", 2)
    with site.wire() as wire:
        # The connection to a worker that this one leaves behind is used for the next request.
        assert wire.ask("/again/off/answers?200", notes.field).status == 200
        nginx, before = site.workers()[0], site.daemon_workers()
        os.kill(nginx, signal.SIGSTOP)
        try:
            wire.request("/again/off/answers?200", notes.field, "Content-Length: 4", **posted(b"body"))
            os.kill(site.neatd("supervisor")[0], signal.SIGHUP)
            until(lambda: set(site.daemon_workers()) - set(before), "another generation")
            site.log.wait_for("generation 2 serves")
        finally:
            os.kill(nginx, signal.SIGCONT)
        assert wire.read_answer("POST").status == 200
    held.allow("go")
    for thread in holding:
        thread.join(10)
    assert [answer.status for answer in answers] == [200, 200]
    assert notes.lines() == ["GET", "POST"]


# The cache


def test_cached_answer_is_the_whole_one(site, ask):
    """What one client asks for in part, or only if it changed, or without the body, is everybody's as a whole."""
    for number, line in enumerate(
        ("Range: bytes=0-1", 'If-None-Match: "one"', "If-Modified-Since: Mon, 28 Sep 1970 06:00:00 GMT")
    ):
        ask(f"/cached/plain/kept/{number}?60", line)
    ask("/cached/plain/kept/3?60", method="HEAD")
    for number in range(4):
        answer, noted = ask(f"/cached/plain/kept/{number}?60")
        assert answer.head.get("X-Cache") == "HIT"
        assert (answer.status, answer.body) == (200, b"answer %d\n" % number)
    assert ask.notes.lines() == ["GET - - -"] * 4


def test_cached_answer_without_a_body(site, ask):
    """A status that has no body is kept like any other."""
    found = [ask("/cached/any/answers?204")[0] for _ in range(2)]
    assert [(answer.status, answer.head.get("X-Cache")) for answer in found] == [(204, "MISS"), (204, "HIT")]


def expire(ask, target: str):
    """Has an answer cached for a second, and waits until it is too old."""
    answer, _ = ask(target)
    assert answer.head.get("X-Cache") == "MISS"
    seen = int(time.time())
    until(lambda: time.time() > seen + 2, "the answer to expire")
    return answer


def test_revalidation(site, ask):
    """wsgi_cache_revalidate: the group is asked whether the answer that it gave still holds."""
    expire(ask, "/cached/revalidated/kept?1")
    answer, noted = ask("/cached/revalidated/kept?60")
    assert noted == ['GET - "one" Mon, 28 Sep 1970 06:00:00 GMT']
    assert (answer.status, answer.body, answer.head.get("X-Cache")) == (200, b"answer 0\n", "REVALIDATED")


@pytest.mark.parametrize("word", ["503", "raise", "exit", "wait"])
def test_stale(site, ask, word):
    """wsgi_cache_use_stale: an old answer is better than a failed one."""
    target = f"/cached/stale/answers/{word}"
    first = expire(ask, f"{target}?fresh,{word}").body
    answer, noted = ask(f"{target}?fresh,{word}")
    ask.notes.allow("go")
    assert (answer.status, answer.body, answer.head.get("X-Cache")) == (200, first, "STALE")
    assert noted == ["GET"]
    if word == "raise":
        site.log.failure("raised as told")


def test_no_stale_by_default(site, ask):
    """Without wsgi_cache_use_stale a failure is a failure."""
    expire(ask, "/cached/plain/answers/exit?fresh,exit")
    answer, _ = ask("/cached/plain/answers/exit?fresh,exit")
    assert answer.status == 502


@pytest.mark.parametrize(("place", "cached"), [("plain", [None, None]), ("posted", ["MISS", "HIT"])])
def test_cache_methods(site, ask, place, cached):
    """wsgi_cache_methods: GET and HEAD always are, POST is where it is named."""
    found = [ask(f"/cached/{place}/kept/method?60", "Content-Length: 4", **posted(b"body"))[0] for _ in range(2)]
    assert [answer.head.get("X-Cache") for answer in found] == cached


def test_cache_max_range_offset(site, ask):
    """wsgi_cache_max_range_offset: a range that begins later is the application's own affair."""
    answer, noted = ask("/cached/part/kept?60", "Range: bytes=4-5")
    assert (answer.status, noted) == (206, ["GET bytes=4-5 - -"])
    answer, noted = ask("/cached/part/kept?60", "Range: bytes=0-1")
    assert (answer.status, noted) == (200, ["GET - - -"])


# The store and the rate


def test_store(site, ask):
    """wsgi_store on: the answer becomes a file below the root, with the rights of wsgi_store_access."""
    answer, _ = ask("/stored/kept")
    file = site.directory / "tmp/root/stored/kept"
    until(file.exists, "the file")
    assert file.read_bytes() == answer.body
    assert file.stat().st_mode & 0o777 == 0o664


def test_store_with_variables(site, ask):
    """wsgi_store path: variables are allowed. What is no whole answer is not stored."""
    file = site.directory / "tmp/named/named/big.txt"
    body = site.ask("/named/big?4").body
    until(file.exists, "the file")
    assert file.read_bytes() == body
    for target, method in (("/named/big/head", "HEAD"), ("/named/absent", "GET")):
        ask(target, method=method)
        assert not (site.directory / f"tmp/named{target}.txt").exists()


def test_store_and_cache_exclude_each_other(server, certificate):
    """As for uwsgi_store."""
    words = "wsgi_cache one; wsgi_store on;"
    recipe = Recipe(
        mounts={"/": Mount("upstream.wsgi", nginx=words)}, main={"nginx": "wsgi_cache_path @DIR@/tmp/cache keys_zone=one:1m;"}
    )
    code, said = check_configuration(server, recipe, certificate)
    assert code != 0
    assert 'is incompatible with "wsgi_cache"' in said


def test_limit_rate(site):
    """wsgi_limit_rate: so many bytes a second are read of an answer, so that a later one overtakes it."""
    with site.wire() as wire:
        wire.request("/slow/big?32", "Connection: close")
        wire.read_head()
        slowly = threading.Thread(target=wire.read_to_end)
        slowly.start()
        assert len(site.ask("/big?32").body) == 32 * 16384
        assert slowly.is_alive(), "the limited answer was complete before one without a limit"
        wire.socket.shutdown(socket.SHUT_RDWR)
        slowly.join(10)
    assert not slowly.is_alive()
