"""An application that is the attacker: it does to whatever it holds, and to whomever it may signal, the worst it can."""

import contextlib
import json
import os
import signal
import socket
import stat
import threading
import urllib.parse


def opened():
    """What is open: where each descriptor leads, and what it may be used for (proc(5), fdinfo)."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            path, about = os.readlink("/proc/self/fd/" + name), os.fstat(int(name))
            with open("/proc/self/fdinfo/" + name) as info:
                flags = next(line.split()[1] for line in info if line.startswith("flags:"))
        except OSError:
            continue
        found[int(name)] = (path, stat.S_IFMT(about.st_mode), int(flags, 8) & os.O_ACCMODE)
    return found


AT_FIRST = opened()
ZYGOTE = os.getpid()


def sockets():
    """Each socket that is inherited."""
    for number, (_, kind, _) in opened().items():
        if number > 2 and kind == stat.S_IFSOCK:
            yield socket.socket(fileno=os.dup(number))


def each(work):
    """Does something to each descriptor; what is refused is tried with the next."""
    for number in opened():
        if number > 2:
            try:
                work(number)
            except (OSError, ValueError):
                continue


def each_socket(work):
    """Likewise with each socket."""
    for end in sockets():
        with contextlib.suppress(OSError, ValueError):
            work(end)
        end.detach()


def shut():
    """shutdown(2) of every socket."""
    each_socket(lambda end: end.shutdown(socket.SHUT_RDWR))


def set_blocking():
    """O_NONBLOCK taken off every description."""
    each(lambda number: os.set_blocking(number, True))


def truncate():
    """ftruncate(2), write and a new opening of every descriptor."""
    each(lambda number: os.ftruncate(number, 0))
    each(lambda number: os.pwrite(number, b"{}", 0))
    each(lambda number: os.close(os.open(f"/proc/self/fd/{number}", os.O_RDWR | os.O_NONBLOCK)))


def drain():
    """Reads what others are to read."""

    def read(end):
        for _ in range(100):
            end.recv(1 << 16, socket.MSG_DONTWAIT)

    each_socket(read)


def flood():
    """Sends until nothing fits any more, a thousand times over, words and descriptors."""

    def send(end):
        for _ in range(1000):
            for message in (b"\xff" * 60000, b'{"Unable":{"why":"%s"}}' % (b"x" * 15000), b"[" * 3000):
                try:
                    end.send(message, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue

    each_socket(send)
    each_socket(lambda end: socket.send_fds(end, [b"{}"], [2] * 200))


def forge():
    """Every report, with every number at its edges."""
    edges = (0, 1, -1, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, 2**64 - 1, os.getppid(), 99999999)
    reports = []
    for slot in edges:
        reports += [{"Forked": {"slot": slot, "pid": pid}} for pid in edges]
        reports += [{"Threaded": {"slot": slot}}, {"Serving": {"slot": slot, "failed": ["x" * 9000]}}]
        reports += [{"Replace": {"slot": slot, "why": "\n[emerg] \x1b[2J"}}]
        reports += [{"Died": {"slot": slot, "pid": pid, "death": {"Exited": 1}}} for pid in edges]
        reports += [
            {"Died": {"slot": slot, "pid": None, "death": {"Signalled": {"signal": s, "core_dumped": True}}}} for s in edges
        ]
    reports += [{"Ready": {"failed": []}}, {"Unable": {"why": "y" * 15000}}, {"Ready": {"failed": ["z"] * 4000}}]

    def send(end):
        for report in reports:
            try:
                end.send(json.dumps(report).encode(), socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue

    each_socket(send)


def shout():
    """Standard error, as fast as it goes, with what would pass for a line of the server's."""
    line = b"2026/11/21 14:50:09 [emerg] 1#1: FORGED \x1b]0;owned\x07 \x9b2J\n"
    for _ in range(400):
        os.write(2, line * 100)


def unserved():
    """The listener waits, and nobody is left to serve it."""
    set_blocking()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as words:
            if int(name) != os.getpid() and words.read().startswith((b"neatd: zygote mallory", b"(wsgi:mallory)")):
                os.kill(int(name), signal.SIGKILL)
    os._exit(0)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    if environ["PATH_INFO"] == "/do":
        work = globals()[query["what"]]
        if query.get("in") == "thread":
            threading.Thread(target=work, daemon=True).start()
        else:
            work()
    elif environ["PATH_INFO"] == "/signal":
        os.kill(int(query["pid"]), int(query["number"]))
    return [json.dumps({"first": AT_FIRST, "pid": os.getpid(), "zygote": ZYGOTE}).encode()]
