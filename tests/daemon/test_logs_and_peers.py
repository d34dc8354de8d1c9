"""Whose log a line goes to, and who may ask a group's socket."""

from __future__ import annotations

import os
import pwd
import socket
import struct
import subprocess
import sys

from harness.recipe import DAEMON, Recipe, as_root, is_nginx
from harness.wait import until
from harness.wire import Wire

ONLY = DAEMON
RECIPE = Recipe(mounts={"/": "daemon.wsgi"})
#: Connects and exits with 3 when that is not allowed, with 0 when the connection is closed without a word, with 1 otherwise.
STRANGER = """
import os, socket, sys
os.setgid({gid}); os.setuid({uid})
asking = socket.socket(socket.AF_UNIX)
asking.settimeout(10)
try:
    asking.connect(sys.argv[1])
except PermissionError:
    sys.exit(3)
try:
    asking.sendall(bytes(64))
    said = asking.recv(1)
except (ConnectionResetError, BrokenPipeError):
    said = b""
sys.exit(1 if said else 0)
"""


@as_root
def test_stranger_is_refused_whatever_the_sockets_mode(start):
    """Mode 0600 keeps others out; where somebody loosened it, the peer's credentials do."""
    site = start(Recipe(mounts={"/": "daemon.wsgi"}))
    nobody = pwd.getpwnam("nobody")
    path = site.prefix + ".app.sock"
    script = STRANGER.format(uid=nobody.pw_uid, gid=nobody.pw_gid)
    os.chmod(site.directory / "run", 0o755)

    def asks() -> int:
        return subprocess.run([sys.executable, "-c", script, path], check=False, timeout=30).returncode

    assert asks() == 3
    os.chmod(path, 0o666)
    assert asks() == 0
    site.log.wait_for(rf"a connection of the user #{nobody.pw_uid} was refused")
    assert site.ask("/about").status == 200


def test_garbage_at_the_socket_harms_nobody(site):
    """What is no frame ends its connection, and one line says so."""
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, struct.pack("<I", 1 << 30) + b"\x01" * 60, b"\0"):
        asking = socket.socket(socket.AF_UNIX)
        asking.settimeout(10)
        asking.connect(site.prefix + ".app.sock")
        asking.sendall(garbage)
        asking.shutdown(socket.SHUT_WR)
        while asking.recv(4096):
            pass
        asking.close()
    assert site.ask("/about").status == 200


def test_line_of_a_request_goes_to_its_own_servers_log(start, server):
    """Two servers with a log each and one group: what a request prints, and its traceback, are in the log of its server."""
    if is_nginx(server):
        location = "location / { wsgi_pass @APPS@/errors.wsgi; }"
        second = f"server {{ listen 127.0.0.1:@TLS_PORT@; error_log @DIR@/second.log info; {location} }}"
        main = {"nginx": second}
    else:
        second = "WSGIScriptAlias / @APPS@/errors.wsgi"
        main = {
            "httpd": "Listen 127.0.0.1:@TLS_PORT@\n<VirtualHost 127.0.0.1:@TLS_PORT@>\nServerName localhost\n"
            f"ErrorLog @DIR@/second.log\n{second}\n</VirtualHost>"
        }
    site = start(Recipe(mounts={"/": "errors.wsgi", "/failing": "failing.wsgi"}, main=main))
    second = site.directory / "second.log"
    with Wire(site.tls_port) as wire:
        assert wire.ask("/printed").status == 200
    until(lambda: "printed to stderr" in second.read_text(), lambda: f"its line\n{second.read_text()}")
    assert site.ask("/logged").status == 200
    site.log.wait_for("a warning")
    assert "printed to stderr" not in site.log.text()
    assert "a warning" not in second.read_text()
