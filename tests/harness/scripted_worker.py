"""A worker that does what a test says: it takes the place of a process group's socket, and speaks Neat's protocol or does not."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from pathlib import Path
from typing import Callable

from .wait import PATIENCE

HEADER = struct.Struct("<IBBH")
REQUEST, BODY_END, BODY_FAILED = 2, 4, 5
PUSHED = 1


def frame(kind: int, exchange: int, data: bytes = b"") -> bytes:
    """One frame (shared/src/wire/frame.rs)."""
    return HEADER.pack(len(data), kind, 0, exchange) + data


def head(exchange: int, status: int = 200, *, length: int | None = None, is_file: bool = False) -> bytes:
    """A response's head without fields."""
    flags = (1 if length is not None else 0) | (2 if is_file else 0)
    return frame(18, exchange, struct.pack("<HBBIQ", status, flags, 0, 0, length or 0))


def chunk(exchange: int, data: bytes) -> bytes:
    """A part of a response's body."""
    return frame(19, exchange, data)


def file(exchange: int, offset: int, length: int) -> bytes:
    """A range of the file whose descriptor comes along."""
    return frame(20, exchange, struct.pack("<QQ", offset, length))


def log(exchange: int, line: bytes) -> bytes:
    """A line for the error log, as a notice."""
    return frame(23, exchange, b"\x05" + line)


def end(exchange: int) -> bytes:
    """The response is complete."""
    return frame(24, exchange)


def failed(exchange: int, status: int, retry_after: int = 0, cause: bytes = b"") -> bytes:
    """The response will not be complete."""
    return frame(25, exchange, struct.pack("<HH", status, retry_after) + cause)


def go_away() -> bytes:
    """The connection takes no further request."""
    return frame(26, 0)


def whole(exchange: int, body: bytes = b"served") -> bytes:
    """A whole response."""
    return head(exchange, length=len(body)) + chunk(exchange, body) + end(exchange)


class Peer:
    """A connection of the server's, with a request that has come whole."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.exchange = 0
        self.method = b""

    def send(self, data: bytes, *descriptors: int) -> None:
        """Sends bytes, with descriptors along with the first one. A server that is gone already is none of its business."""
        try:
            if descriptors:
                socket.send_fds(self.connection, [data], list(descriptors))
            else:
                self.connection.sendall(data)
        except OSError:
            pass

    def close(self) -> None:
        """Ends the connection."""
        self.connection.shutdown(socket.SHUT_RDWR)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self.connection.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _next(self) -> tuple[int, int, bytes, bytes]:
        header = self._read(HEADER.size)
        length, kind, _, exchange = HEADER.unpack(header)
        data = self._read(length)
        return kind, exchange, data, header + data

    def greet(self) -> None:
        """Says the hello of the server's own build."""
        self.connection.sendall(self._next()[3])

    def read_request(self, early: Callable[[Peer], None]) -> None:
        """Waits for a request, calls `early`, and waits for its body."""
        kind, self.exchange, data, _ = self._next()
        assert kind == REQUEST, kind
        early(self)
        if data[0] == PUSHED:
            while self._next()[0] not in (BODY_END, BODY_FAILED):
                pass


Script = Callable[[Peer], None]


class ScriptedWorker:
    """Takes the place of a group's socket. Each request is given to the next script, and what comes behind the last to it too."""

    def __init__(self, path: Path, *scripts: Script) -> None:
        self.scripts = deque(scripts)
        self.requests = self.connections = 0
        #: What is done with a request whose head has come, while its body may still be coming.
        self.early: Script = lambda _: None
        self._lock = threading.Lock()
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o777)
        self._listener.listen()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> ScriptedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        # Neatd takes away what is its own only.
        self._path.unlink(missing_ok=True)
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            self._open.append(connection)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        peer = Peer(connection)
        try:
            peer.greet()
            while True:
                peer.read_request(self.early)
                with self._lock:
                    self.requests += 1
                    script = self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]
                script(peer)
        except (EOFError, OSError):
            pass
        finally:
            connection.close()
