"""Requests as streams, the same over HTTP/1.1, HTTP/2 and HTTP/3: sent in parts, reset in the middle, several at a time.

HTTP/1.1 has a connection for each; the others have one for all. Nothing runs beside the test: a client reads and writes while the
test waits for something.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Callable

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic import events as quic
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from h2 import events as http2
from h2.config import H2Configuration
from h2.connection import H2Connection

from .wait import PATIENCE, until
from .wire import Wire, chunked

HTTP1, HTTP2, HTTP3 = "http1", "http2", "http3"
PROTOCOLS = (HTTP1, HTTP2, HTTP3)
#: CANCEL of RFC 9113 section 7, H3_REQUEST_CANCELLED of RFC 9114 section 8.1.
CANCEL, H3_REQUEST_CANCELLED = 0x8, 0x10C
#: How long a client waits for the server before it looks at what it waits for again, in seconds.
SLICE = 0.02


class Reset(Exception):
    """The server gave the stream up."""


@dataclass
class Stream:
    """One request and its response."""

    client: _Multiplexed
    number: int
    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    was_reset: bool = False

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Sends a part of the body."""
        self.client.send(self, data, end)

    def reset(self) -> None:
        """Gives the stream up, in both directions."""
        self.client.reset(self)

    def read(self, count: int) -> bytes:
        """Waits until so much of the response's body is here."""
        self.client.pump(lambda: len(self.body) >= count or self._over(), f"{count} bytes of the response")
        return bytes(self.body)

    def answer(self) -> tuple[int, bytes]:
        """Waits for the whole response: its status and its body."""
        self.client.pump(self._over, "the end of the response")
        if not self.ended:
            raise Reset(f"after {len(self.body)} bytes, status {self.status}")
        return self.status, bytes(self.body)

    def _over(self) -> bool:
        return self.ended or self.was_reset


class _Multiplexed:
    """A connection with many streams."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, target: str, fields: dict[str, str] | None = None) -> tuple[int, bytes]:
        """A request without a body, and its response."""
        return self.open("GET", target, fields, end=True).answer()

    def post(
        self, target: str, body: bytes, fields: dict[str, str] | None = None, *, with_length: bool = True
    ) -> tuple[int, bytes]:
        """A request with a body, and its response."""
        length = len(body) if with_length else None
        stream = self.open("POST", target, fields, length=length)
        stream.send(body, end=True)
        return stream.answer()

    def pump(self, condition: Callable[[], bool], what: str) -> None:
        """Reads and writes until `condition` holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            now = time.monotonic()
            if now >= deadline:
                raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}")
            self.turn(now + SLICE)

    def turn(self, deadline: float) -> None:
        """Sends what there is to send, and waits for something to read."""
        raise NotImplementedError

    def _head(self, method: str, target: str, fields: dict[str, str] | None, length: int | None) -> list[tuple[str, str]]:
        head = [(":method", method), (":scheme", "https"), (":authority", f"localhost:{self.port}"), (":path", target)]
        head += [(name.lower(), value) for name, value in (fields or {}).items()]
        if length is not None:
            head.append(("content-length", str(length)))
        return head


class Http2(_Multiplexed):
    """HTTP/2 over TLS (RFC 9113)."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.connection.initiate_connection()
        self._flush()

    def open(
        self, method: str, target: str, fields: dict[str, str] | None = None, *, length: int | None = None, end: bool = False
    ) -> Stream:
        """Begins a request."""
        number = self.connection.get_next_available_stream_id()
        stream = self.streams[number] = Stream(self, number)
        self.connection.send_headers(number, self._head(method, target, fields, length), end_stream=end)
        self._flush()
        return stream

    def send(self, stream: Stream, data: bytes, end: bool) -> None:
        """Sends as the windows of the stream and of the connection allow; a server that answered may want no more."""
        number, at = stream.number, 0
        while at < len(data):
            self.pump(
                lambda: stream.ended or stream.was_reset or self.connection.local_flow_control_window(number) > 0,
                "the window to open",
            )
            if stream.ended or stream.was_reset:
                return
            count = min(
                len(data) - at,
                self.connection.local_flow_control_window(number),
                self.connection.max_outbound_frame_size,
            )
            self.connection.send_data(number, data[at : at + count])
            at += count
            self._flush()
        if end and not stream.was_reset:
            self.connection.end_stream(number)
            self._flush()

    def reset(self, stream: Stream) -> None:
        """RST_STREAM."""
        self.connection.reset_stream(stream.number, CANCEL)
        stream.was_reset = True
        self._flush()

    def turn(self, deadline: float) -> None:
        """One read of the socket."""
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return
        if not data:
            raise AssertionError("the server closed the connection")
        for event in self.connection.receive_data(data):
            stream = self.streams.get(getattr(event, "stream_id", None) or 0)
            if isinstance(event, http2.ConnectionTerminated):
                raise AssertionError(f"GOAWAY, error {event.error_code}")
            if stream is None:
                continue
            if isinstance(event, http2.ResponseReceived):
                stream.status = int(dict(event.headers)[":status"])
            elif isinstance(event, http2.DataReceived):
                stream.body += event.data
                if event.flow_controlled_length:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, stream.number)
            elif isinstance(event, http2.StreamEnded):
                stream.ended = True
            elif isinstance(event, http2.StreamReset):
                stream.was_reset = True
        self._flush()

    def _flush(self) -> None:
        self.socket.settimeout(PATIENCE)
        self.socket.sendall(self.connection.data_to_send())


class Http3(_Multiplexed):
    """HTTP/3 (RFC 9114)."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.address = ("127.0.0.1", port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
        configuration.verify_mode = ssl.CERT_NONE
        self.quic = QuicConnection(configuration=configuration)
        self.connection = H3Connection(self.quic)
        self.quic.connect(self.address, now=time.monotonic())
        self.is_ready = False
        self.pump(lambda: self.is_ready, "the handshake")

    def __exit__(self, *_: object) -> None:
        self.quic.close()
        self._flush()
        self.socket.close()

    def open(
        self, method: str, target: str, fields: dict[str, str] | None = None, *, length: int | None = None, end: bool = False
    ) -> Stream:
        """Begins a request."""
        number = self.quic.get_next_available_stream_id()
        stream = self.streams[number] = Stream(self, number)
        head = [(name.encode(), value.encode()) for name, value in self._head(method, target, fields, length)]
        self.connection.send_headers(number, head, end_stream=end)
        self._flush()
        return stream

    def send(self, stream: Stream, data: bytes, end: bool) -> None:
        """Hands it over; it leaves as the windows allow, while the test waits for something."""
        self.connection.send_data(stream.number, data, end_stream=end)
        self._flush()

    def reset(self, stream: Stream) -> None:
        """RESET_STREAM and STOP_SENDING (RFC 9114 section 4.1.1)."""
        self.quic.reset_stream(stream.number, H3_REQUEST_CANCELLED)
        self.quic.stop_stream(stream.number, H3_REQUEST_CANCELLED)
        stream.was_reset = True
        self._flush()

    def turn(self, deadline: float) -> None:
        """What came, what is to go, and QUIC's own clock."""
        self._flush()
        now = time.monotonic()
        alarm = self.quic.get_timer() or deadline
        readable, _, _ = select.select([self.socket], [], [], max(min(alarm, deadline) - now, 0))
        now = time.monotonic()
        if readable:
            self.quic.receive_datagram(self.socket.recv(65536), self.address, now=now)
        elif now >= alarm:
            self.quic.handle_timer(now=now)
        while (event := self.quic.next_event()) is not None:
            self._take(event)
        self._flush()

    def _take(self, event: quic.QuicEvent) -> None:
        if isinstance(event, quic.HandshakeCompleted):
            self.is_ready = True
        elif isinstance(event, quic.ConnectionTerminated):
            raise AssertionError(f"the server closed the connection: {event.error_code:#x} {event.reason_phrase}")
        stream = self.streams.get(getattr(event, "stream_id", -1))
        if isinstance(event, quic.StreamReset) and stream:
            stream.was_reset = True
        for part in self.connection.handle_event(event):
            stream = self.streams.get(getattr(part, "stream_id", -1))
            if stream is None:
                continue
            if isinstance(part, HeadersReceived):
                stream.status = int(dict(part.headers)[b":status"])
            elif isinstance(part, DataReceived):
                stream.body += part.data
            stream.ended = stream.ended or getattr(part, "stream_ended", False)

    def _flush(self) -> None:
        for data, _ in self.quic.datagrams_to_send(now=time.monotonic()):
            # What finds no room is lost on the way, as far as QUIC is concerned: it sends it again.
            with contextlib.suppress(BlockingIOError):
                self.socket.sendto(data, self.address)


class _OneRequest:
    """A request of HTTP/1.1, which has a connection of its own."""

    def __init__(self, port: int, method: str, target: str, fields: dict[str, str], length: int | None, end: bool) -> None:
        self.wire = Wire(port)
        self.is_chunked = length is None and not end
        lines = [f"{name}: {value}" for name, value in fields.items()]
        if self.is_chunked:
            lines.append("Transfer-Encoding: chunked")
        elif length is not None:
            lines.append(f"Content-Length: {length}")
        self.wire.request(target, *lines, method=method)

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Sends a part of the body."""
        if self.is_chunked:
            data = chunked(data) if end else chunked(data).removesuffix(b"0\r\n\r\n")
        self.wire.send(data)

    def reset(self) -> None:
        """Resets the connection."""
        self.wire.vanish()

    def read(self, count: int) -> bytes:
        """Waits until so much of the response's body is here."""
        self.wire.read_head()
        found = b""
        while len(found) < count:
            found += self.wire.read_chunk()
        return found

    def answer(self) -> tuple[int, bytes]:
        """Waits for the whole response: its status and its body."""
        answer = self.wire.read_answer()
        self.wire.socket.close()
        return answer.status, answer.body


class Http1(_Multiplexed):
    """HTTP/1.1 (RFC 9112)."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.opened: list[_OneRequest] = []

    def __exit__(self, *_: object) -> None:
        for request in self.opened:
            request.wire.socket.close()

    def pump(self, condition: Callable[[], bool], what: str) -> None:
        """What is sent leaves by itself."""
        until(condition, what)

    def open(
        self, method: str, target: str, fields: dict[str, str] | None = None, *, length: int | None = None, end: bool = False
    ) -> _OneRequest:
        """Begins a request."""
        self.opened.append(_OneRequest(self.port, method, target, fields or {}, length, end))
        return self.opened[-1]


def connect(protocol: str, port: int, tls_port: int) -> Http1 | Http2 | Http3:
    """A client of the protocol."""
    return {HTTP1: lambda: Http1(port), HTTP2: lambda: Http2(tls_port), HTTP3: lambda: Http3(tls_port)}[protocol]()
