"""The same failure has the same status and the same Retry-After in both servers and both modes (shared/src/fault.rs)."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from harness import processes
from harness.recipe import DAEMON, EMBEDDED, NGINX_DAEMON, Mount, Recipe
from harness.scripted_worker import (
    ScriptedWorker,
    chunk,
    end,
    failed,
    file,
    go_away,
    head,
    log,
    whole,
)  # fmt: skip
from harness.wait import PATIENCE, until
from harness.wire import Cut

LIMITS = {"connect-timeout": "0.3", "response-socket-timeout": "1"}
#: A head of a request that no frame holds has to pass the server first.
LARGE = {
    "nginx": "client_header_buffer_size 2m; large_client_header_buffers 4 2m;",
    "httpd": "LimitRequestFieldSize 2000000",
}
RECIPE = Recipe(
    mounts={"/": "daemon.wsgi", "/streamed": Mount("daemon.wsgi", nginx="wsgi_request_buffering off;")},
    conf=LARGE,
    group=LIMITS,
)
daemon = pytest.mark.servers(*DAEMON)


@pytest.fixture
def deserted(start):
    """A site in daemon mode whose group has no socket any more, and the path of that."""
    site = start(RECIPE)
    # A generation publishes the socket when it begins to serve.
    site.log.wait_for("process group app: generation 1 serves")
    path = site.directory / "run" / "wsgi.app.sock"
    path.unlink()
    return site, path


@pytest.fixture
def worker(deserted):
    """A site in daemon mode, and how a scripted worker takes the place of its group's."""
    site, path = deserted
    started = []

    def begin(*scripts):
        started.append(ScriptedWorker(path, *scripts))
        return site, started[-1]

    yield begin
    for one in started:
        one.__exit__()


def status(site, target: str = "/", *fields: str, **more) -> tuple[int, str | None]:
    """What a request is answered: the status and Retry-After."""
    answer = site.ask(target, *fields, **more)
    return answer.status, answer.head.get("Retry-After")


def taken(site) -> int:
    """How many descriptors the server's own workers have open."""
    return sum(len(processes.descriptors(pid)) for pid in site.workers())


# Nobody is there


@daemon
def test_group_without_a_socket_is_503(deserted):
    """It begins, or is overloaded: worth another try (RFC 9110 section 15.6.4)."""
    site, _ = deserted
    assert status(site) == (503, "1")
    site.log.wait_for(r"wsgi\.app\.sock")


@daemon
def test_group_that_refuses_connections_is_503(deserted):
    """A socket that nobody listens at any more."""
    site, path = deserted
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        path.chmod(0o777)
        assert status(site) == (503, "1")
    path.unlink()
    site.log.wait_for(r"wsgi\.app\.sock")


@daemon
def test_group_whose_queue_of_connections_is_full_is_503(deserted):
    """More connections than listen-backlog: overload, and nothing of the request was begun."""
    site, path = deserted
    waiting = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen(0)
        try:
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        except BlockingIOError:
            pass
        assert status(site) == (503, "1")
        for one in waiting:
            one.close()
    path.unlink()
    site.log.wait_for(r"wsgi\.app\.sock")


# Workers that do not do as they should


@daemon
@pytest.mark.parametrize(
    ("script", "expected", "why"),
    [
        (lambda peer: peer.close(), (502, None), "the connection|closed connection"),
        (lambda peer: (peer.send(head(peer.exchange)[:-1]), peer.close()), (502, None), "the connection|closed connection"),
        (lambda peer: peer.send(b"HTTP/1.1 200 OK\r\n\r\n"), (502, None), "its process sent"),
        (lambda peer: peer.send(end(peer.exchange)), (502, None), "its process sent a End frame out of order"),
        (lambda peer: peer.send(log(peer.exchange, b"begun") + go_away()), (502, None), "its process sent a GoAway"),
        (lambda _: None, (504, None), "timed out|did not answer"),
        (lambda peer: peer.send(failed(peer.exchange, 503, 7, b"a full queue")), (503, "7"), "a full queue"),
        (lambda peer: peer.send(failed(peer.exchange, 500, 0, b"it broke")), (500, None), "it broke"),
        (lambda peer: peer.send(failed(peer.exchange, 504, 0, b"it took long")), (504, None), "it took long"),
        (lambda peer: peer.send(go_away()), (503, "1"), "takes no further request"),
    ],
    ids=["gone", "cut-head", "http", "out-of-order", "begun-and-given-back", "silent", "503", "500", "504", "given-back"],
)
def test_fault_before_the_head(worker, script, expected, why):
    """502 for a worker that does not answer properly, 504 for one that takes too long, its own word where it says one."""
    site, _ = worker(script)
    assert status(site) == expected
    site.log.wait_for(why)


@daemon
def test_request_that_may_have_begun_is_sent_once(worker):
    """What ended one worker is not to end the next one."""
    site, seen = worker(lambda peer: peer.close())
    assert status(site)[0] == 502
    assert seen.requests == 1
    site.log.wait_for("the connection|closed connection")


@daemon
def test_request_that_was_given_back_is_sent_again(worker):
    """GoAway crosses a request on its way: the next worker gets it, whatever the method."""
    site, seen = worker(lambda peer: peer.send(go_away()), lambda peer: peer.send(whole(peer.exchange)))
    answer = site.ask("/", "Content-Length: 4", method="POST", body=b"body")
    assert (answer.status, answer.body, seen.requests) == (200, b"served", 2)


@daemon
@pytest.mark.parametrize(("method", "code"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 200)])
def test_word_behind_a_response_counts(worker, method, code):
    """GoAway that comes with the end of a response: the next request is not sent over that connection."""

    def last(peer):
        body = chunk(peer.exchange, b"ok") if (method, code) == ("GET", 200) else b""
        peer.send(head(peer.exchange, code) + body + end(peer.exchange) + go_away())

    site, seen = worker(last, lambda peer: peer.send(whole(peer.exchange)))
    assert site.ask("/", method=method).status == code
    assert status(site) == (200, None)
    assert (seen.requests, seen.connections) == (2, 2)


@daemon
def test_response_that_is_cut_is_no_whole_one(worker):
    """The head is out: the client's connection ends in the middle."""
    site, _ = worker(lambda peer: (peer.send(head(peer.exchange, length=9) + chunk(peer.exchange, b"half")), peer.close()))
    with pytest.raises(Cut):
        site.ask("/")
    site.log.wait_for("the connection|closed connection")


@daemon
def test_request_whose_head_no_frame_holds_is_431(start):
    """RFC 6585 section 5: more than 1 MiB of a request's head."""
    site = start(RECIPE)
    site.log.wait_for("generation 1 serves")
    assert status(site, "/about") == (200, None)
    before = taken(site)
    for _ in range(20):
        assert status(site, "/", f"X-Long: {'x' * (1 << 20)}") == (431, None)
        assert status(site, "/about") == (200, None)
    site.log.wait_for("longer than 1 MiB")
    # No connection was kept for it, over which nobody answers.
    # Each process of the server may keep one from the requests between.
    most = before + len(site.workers())
    until(lambda: taken(site) <= most, lambda: f"{most} descriptors, and no longer {taken(site)}")


@pytest.mark.servers(NGINX_DAEMON)
def test_streamed_body_that_no_worker_takes_is_503(worker):
    """It cannot be sent a second time: what is left of it is not sent to anybody, nor taken for a request."""
    site, scripted = worker(lambda _: None)
    for _ in range(20):
        begun, go = threading.Event(), threading.Event()
        scripted.early = lambda peer, begun=begun, go=go: (begun.set(), go.wait(PATIENCE), peer.send(go_away()))
        with site.wire() as wire:
            wire.request("/streamed", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nfirst\r\n")
            assert begun.wait(PATIENCE)
            for _ in range(10):
                wire.send(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            go.set()
            answer = wire.read_answer()
            assert (answer.status, answer.head.get("Retry-After")) == (503, "1")
    site.log.wait_for("takes no further request")


# Descriptors (SCM_RIGHTS)


@daemon
@pytest.mark.parametrize("count", [1, 2, 28])
def test_descriptors_that_no_frame_announces_are_refused(worker, count):
    """A worker that sends descriptors along with whatever it likes takes none of the server's."""

    def flood(peer):
        with open("/etc/passwd", "rb") as some:
            for _ in range(50):
                peer.send(log(peer.exchange, b"a line"), *([some.fileno()] * count))
        peer.send(whole(peer.exchange))

    site, _ = worker(lambda peer: peer.send(whole(peer.exchange)), flood)
    assert status(site) == (200, None)
    before = taken(site)
    for _ in range(5):
        assert status(site)[0] == 502
    until(lambda: taken(site) <= before, lambda: f"{before} descriptors, and no longer {taken(site)}")
    site.log.wait_for("its process sent descriptors")


@daemon
@pytest.mark.parametrize(
    ("path", "offset", "length"), [("/dev/zero", 0, 5), ("/proc/self/stat", 0, 5), ("/etc/passwd", 0, 1 << 40), ("/", 0, 0)]
)
def test_only_a_range_of_a_regular_file_is_sent(worker, path, offset, length):
    """A device, one of the kernel's files, a directory, or more than there is: nothing of it reaches the client."""

    def send(peer):
        descriptor = os.open(path, os.O_RDONLY)
        peer.send(head(peer.exchange, is_file=True) + file(peer.exchange, offset, length) + end(peer.exchange), descriptor)
        os.close(descriptor)

    site, _ = worker(send)
    with site.wire() as wire:
        wire.request("/", "Connection: close")
        assert b"root" not in wire.read_to_end()
    site.log.wait_for("is not a regular file, or is shorter")


# The configuration


@pytest.mark.servers(*EMBEDDED)
def test_application_that_may_run_nowhere_is_500(start):
    """No group is chosen, and the server's own processes are closed: wrong until the configuration is mended."""
    site = start(Recipe(
        mounts={"/": "environ.wsgi"},
        main={"nginx": "wsgi_restrict_embedded on;", "httpd": "WSGIRestrictEmbedded On"},
    ))  # fmt: skip
    assert status(site) == (500, None)
    site.log.wait_for("(?i)restrict_?embedded is on")


def test_group_that_there_is_not_is_500(start):
    """A variable names a group that was not declared."""
    mount = Mount(
        "environ.wsgi",
        nginx="wsgi_process_group $arg_group;",
        httpd="SetEnvIf Request_URI . GROUP=nowhere\nWSGIProcessGroup %{ENV:GROUP}",
    )
    site = start(Recipe(mounts={"/": mount}))
    assert status(site, "/?group=nowhere") == (500, None)
    site.log.wait_for('the process group "nowhere" is not declared')
