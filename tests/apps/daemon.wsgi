"""What a process group is for: who runs it, how it ends, what it may take."""

import ctypes
import json
import os
import re
import resource
import subprocess
import sys
import time

IMPORTED_BY = os.getpid()
NOTES = []


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def about(environ):
    return {
        "pid": os.getpid(),
        "imported_by": IMPORTED_BY,
        "uid": os.getuid(),
        "euid": os.geteuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "cwd": os.getcwd(),
        "umask": umask(),
        "environment": dict(os.environ),
        "python": list(sys.version_info[:2]),
        "prefix": sys.prefix,
        "group": environ["mod_wsgi.process_group"],
        "multiprocess": environ["wsgi.multiprocess"],
        "path": sys.path,
        "switch_interval": sys.getswitchinterval(),
        "root": os.stat("/").st_ino,
        "nice": os.nice(0),
        "address_space": resource.getrlimit(resource.RLIMIT_AS)[0],
    }


def crash(environ):
    ctypes.string_at(0)


def leave(environ):
    os._exit(3)


def loop(environ):
    while True:
        pass


def loop_in_c(environ):
    # A pattern that never ends, in C, with the GIL held.
    re.match(r"(a*)*b", "a" * 64)


def memory(environ):
    NOTES.append(bytearray(os.urandom(1 << 20) * 64))
    return {"pid": os.getpid()}


def hold_memory(environ):
    # Takes its time, so that whoever looks at the process finds it in this request.
    NOTES.append(bytearray(os.urandom(1 << 20) * 128))
    time.sleep(30)
    return {"pid": os.getpid()}


def children(environ):
    pids = [subprocess.Popen(["sleep", "300"], start_new_session=index % 2 == 0).pid for index in range(5)]
    return {"pids": pids}


def sleep(environ):
    time.sleep(float(environ["QUERY_STRING"] or 1))
    return {"pid": os.getpid()}


def unread(environ):
    return "x" * 3_000_000


CASES = {
    "/about": about,
    "/crash": crash,
    "/leave": leave,
    "/loop": loop,
    "/loop-in-c": loop_in_c,
    "/memory": memory,
    "/hold-memory": hold_memory,
    "/children": children,
    "/sleep": sleep,
    "/unread": unread,
}


PLAIN = ("Content-Type", "text/plain")
#: Status, headers and body of answers that are always the same.
ANSWERS = {
    "/elsewhere": ("200 OK", [("Location", "/about?from-elsewhere"), PLAIN], b"not this"),
    "/accel": ("200 OK", [("X-Accel-Redirect", "/internal/static.txt")], b"not this"),
    "/teapot": ("418 I'm a teapot", [PLAIN], b"the application's own"),
    "/missing": ("404 Not Found", [PLAIN], b"the application's own"),
}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path in ANSWERS:
        status, headers, body = ANSWERS[path]
        start_response(status, headers)
        return [body]
    if path == "/long-header":
        start_response("200 OK", [("X-Long", "x" * int(environ["QUERY_STRING"]))])
        return [b"long"]
    if path == "/cached":
        start_response("200 OK", [PLAIN, ("Cache-Control", "max-age=60")])
        return [str(time.time_ns()).encode()]
    body = json.dumps(CASES[path](environ)).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
