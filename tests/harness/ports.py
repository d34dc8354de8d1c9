"""Free ports of 127.0.0.1, which no other process of the tests takes meanwhile."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

#: Below the ports that the kernel gives to clients, so that no connection of another test has one when its server starts.
_RANGE = range(10_000, 32_000)
#: One byte of this file for each port: a lock on it is held until the process that took it ends.
_LOCKS = Path(tempfile.gettempdir()) / f"neat-ports-{os.geteuid()}"
_file = None
_handed_out: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, never the same twice, whichever process of the tests asks."""
    global _file  # noqa: PLW0603 - one file for the process: closing any descriptor of it would let go of all its locks
    if _file is None:
        _file = _LOCKS.open("a+b")
    for port in random.sample(_RANGE, 1000):
        if port not in _handed_out and _take(port):
            _handed_out.add(port)
            return port
    raise RuntimeError("no free port on 127.0.0.1")


def _take(port: int) -> bool:
    assert _file
    try:
        fcntl.lockf(_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        with socket.socket() as probe:
            # As the servers do: connections of before that are not forgotten yet are no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
