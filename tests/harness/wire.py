"""HTTP/1 over a raw socket, byte by byte: what a client library hides is what these tests are about."""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass, field

#: A read that takes longer has failed.
TIMEOUT = 20.0


class Cut(Exception):
    """The connection ended before the message did."""

    def __init__(self, missing: str, received: bytes) -> None:
        super().__init__(f"the connection ended, {missing}; received {received[-200:]!r}")
        self.received = received


@dataclass
class Head:
    """A response's status line and fields."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    raw: bytes

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a field that stands once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times in {self.raw!r}"
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]


@dataclass
class Answer:
    """A whole response."""

    head: Head
    body: bytes
    framing: str
    chunks: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status


class Wire:
    """One connection."""

    def __init__(self, port: int, *, tls: bool = False, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.rest = b""
        self.host = f"localhost:{port}"

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        """Sends everything; text is latin-1, as HTTP's is."""
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def request(self, target: str, *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> None:
        """Sends a request; `fields` are whole lines. A body goes without a length unless a field says one."""
        lines = [f"{method} {target} HTTP/{version}", f"Host: {self.host}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def ask(self, target: str, *fields: str, **more) -> Answer:
        """Sends a request and reads the whole answer."""
        self.request(target, *fields, **more)
        return self.read_answer(more.get("method", "GET"))

    def read_head(self) -> Head:
        """Reads up to the empty line."""
        raw = self._read_through(b"\r\n\r\n", "no end of the head")
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        version, status, *reason = first.split(" ", 2)
        fields = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon, f"not a header: {line!r}"
            fields.append((name, value.strip(" \t")))
        return Head(version, int(status), reason[0] if reason else "", fields, raw)

    def read_answer(self, method: str = "GET") -> Answer:
        """Reads a whole response, 1xx ones skipped; raises Cut when it is not whole."""
        head = self.read_head()
        while 100 <= head.status < 200:
            head = self.read_head()
        return self.read_rest(head, method)

    def read_rest(self, head: Head, method: str = "GET") -> Answer:
        """Reads the body that belongs to a head."""
        if method == "HEAD" or head.status in (204, 304):
            return Answer(head, b"", "none")
        if (head.get("Transfer-Encoding") or "").lower() == "chunked":
            assert head.get("Content-Length") is None, f"both lengths: {head.raw!r}"
            chunks = list(iter(self.read_chunk, b""))
            return Answer(head, b"".join(chunks), "chunked", chunks)
        length = head.get("Content-Length")
        if length is not None:
            return Answer(head, self.read_exactly(int(length)), "length")
        return Answer(head, self.read_to_end(), "close")

    def read_chunk(self) -> bytes:
        """Reads one chunk; an empty one is the last, trailers are refused."""
        size = int(self._read_through(b"\r\n", "no chunk's size")[:-2].split(b";")[0], 16)
        data = self.read_exactly(size) if size else b""
        end = self.read_exactly(2)
        assert end == b"\r\n", f"a chunk of {size} ends with {end!r}"
        return data

    def read_exactly(self, length: int) -> bytes:
        """Reads so many bytes."""
        parts, missing = [self.rest[:length]], length - len(self.rest[:length])
        self.rest = self.rest[length:]
        while missing:
            data = self._receive(min(missing, 1 << 20))
            if not data:
                raise Cut(f"{missing} of {length} bytes missing", b"".join(parts))
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def read_to_end(self) -> bytes:
        """Reads until the server closes."""
        parts, self.rest = [self.rest], b""
        while data := self._receive(1 << 20):
            parts.append(data)
        return b"".join(parts)

    def at_end(self) -> bool:
        """Waits for one more byte or the end of the connection; whether it was the end."""
        self.rest += self._receive(1)
        return not self.rest

    def end_sending(self) -> None:
        """Half a close: the server reads the end."""
        self.socket.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        """Closes with a reset, as a client that is gone does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _receive(self, most: int) -> bytes:
        try:
            return self.socket.recv(most)
        except ConnectionResetError:
            return b""
        except ssl.SSLEOFError:
            return b""

    def _read_through(self, mark: bytes, missing: str) -> bytes:
        while mark not in self.rest:
            data = self._receive(65536)
            if not data:
                raise Cut(missing, self.rest)
            self.rest += data
        end = self.rest.index(mark) + len(mark)
        taken, self.rest = self.rest[:end], self.rest[end:]
        return taken


def chunked(*parts: bytes) -> bytes:
    """A body in chunks, with the last one."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"
