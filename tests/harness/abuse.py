"""Clients that do what no client should, all at once, and others beside them who do nothing wrong.

Used by tests/stress, and by itself against any server that serves tests/apps/stress.wsgi at /app, which is how scripts/sanitize
abuses a server under valgrind: `tests/.venv/bin/python tests/harness/abuse.py PORT [TLS_PORT] [SECONDS] [SEED]`. It says with its
exit status whether everybody who did nothing wrong got what was asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import ssl
import sys
import threading
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from h2.exceptions import H2Error

from harness.streams import Http2, Reset
from harness.wire import Cut, Wire, chunked

LARGE = bytes(range(256)) * 256 * 32
TARGETS = ("hello", "large", "stream", "file", "echo", "waits-for-the-body")
#: What a client meets that the server has given up, or that gave up itself.
EXPECTED = (OSError, Cut, Reset, H2Error, ssl.SSLError, AssertionError, ValueError)


class Abuse:
    """Some threads of each kind, from a seed; they end when the block is left."""

    def __init__(self, port: int, tls_port: int | None = None, *, seed: int = 0) -> None:
        self.port, self.tls_port, self.seed = port, tls_port, seed
        #: What went wrong for those who did nothing wrong.
        self.wrong: list[str] = []
        #: How often each kind did what it does.
        self.done: dict[str, int] = {}
        self._stop = threading.Event()
        kinds = {
            self.resets_while_asking: 1,
            self.resets_while_reading: 2,
            self.reads_slowly: 2,
            self.sends_slowly: 1,
            self.sends_nonsense: 1,
            self.holds_the_gil: 1,
            self.takes_too_long: 1,
            self.asks_properly: 3,
        }
        if tls_port:
            kinds[self.resets_streams] = 1
        self._threads = [
            threading.Thread(target=self._run, args=(kind, number), daemon=True)
            for kind, count in kinds.items()
            for number in range(count)
        ]

    def __enter__(self) -> Abuse:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a client waits for ever"

    def run_for(self, seconds: float) -> None:
        """Goes on for so long."""
        self._stop.wait(seconds)

    def _run(self, kind, number: int) -> None:
        chance = random.Random(f"{self.seed} {kind.__name__} {number}")
        while not self._stop.is_set():
            try:
                kind(chance)
            except EXPECTED as error:
                if kind == self.asks_properly:
                    self.wrong.append(repr(error))
            self.done[kind.__name__] = self.done.get(kind.__name__, 0) + 1

    def _target(self, chance: random.Random) -> str:
        return f"/app/{chance.choice(TARGETS)}"

    # Those who do something wrong

    def resets_while_asking(self, chance: random.Random) -> None:
        """Any part of a request, and then a reset."""
        body = chance.randbytes(chance.randrange(5000))
        head = f"POST {self._target(chance)} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        request = head.encode() + chunked(body[:1000], body[1000:])
        wire = Wire(self.port)
        wire.send(request[: chance.randrange(len(request) + 1)])
        wire.vanish()

    def resets_while_reading(self, chance: random.Random) -> None:
        """A whole request, any part of its answer, and then a reset."""
        wire = Wire(self.port, receive_buffer=chance.choice([None, 4096]))
        try:
            wire.request(self._target(chance), "Content-Length: 0", method="POST")
            for _ in range(chance.choice([0, 0, 1, 5, 50])):
                if not wire.socket.recv(chance.choice([1, 100, 65536])):
                    break
        finally:
            wire.vanish()

    def reads_slowly(self, chance: random.Random) -> None:
        """A large answer, little by little, and sometimes to its end."""
        with Wire(self.port, receive_buffer=4096) as wire:
            wire.request(f"/app/{chance.choice(['large', 'stream', 'file'])}", "Connection: close")
            for _ in range(chance.randrange(40)):
                if self._stop.wait(0.02) or not wire.socket.recv(4096):
                    return
            if chance.random() < 0.5:
                wire.read_to_end()

    def sends_slowly(self, chance: random.Random) -> None:
        """A body that comes little by little, and not always whole."""
        parts = chance.randrange(1, 20)
        with Wire(self.port) as wire:
            length = parts * 1000 + chance.choice([0, 1000])
            wire.request(f"/app/{chance.choice(['echo', 'waits-for-the-body'])}", f"Content-Length: {length}", method="POST")
            for _ in range(parts):
                if self._stop.wait(0.02):
                    return
                wire.send(chance.randbytes(1000))
            if parts * 1000 == length:
                wire.read_answer()

    def sends_nonsense(self, chance: random.Random) -> None:
        """A body that breaks off its coding, with a request behind it."""
        with Wire(self.port) as wire:
            nonsense = chance.choice([b"zz\r\n", b"5\r\nfirst!", b"ffffffffffffffffff\r\n", b"-1\r\n", chance.randbytes(50)])
            behind = b"GET /app/hello HTTP/1.1\r\nHost: localhost\r\n\r\n"
            wire.request(self._target(chance), "Transfer-Encoding: chunked", method="POST", body=nonsense + behind)
            wire.end_sending()
            wire.read_to_end()

    def holds_the_gil(self, chance: random.Random) -> None:
        """Keeps a process busy for a while, now and then."""
        self._ask("/app/hog")
        self._stop.wait(chance.random())

    def takes_too_long(self, chance: random.Random) -> None:
        """A request beyond the group's limit."""
        self._ask("/app/overlong")

    def resets_streams(self, chance: random.Random) -> None:
        """Streams of HTTP/2 that are reset at any moment."""
        with Http2(self.tls_port) as client:
            for _ in range(chance.randrange(1, 40)):
                stream = client.open("GET", self._target(chance), end=True)
                if chance.random() < 0.3:
                    stream.read(chance.randrange(1, 100_000))
                if not stream.was_reset and not stream.ended:
                    stream.reset()

    # Those who do not

    def asks_properly(self, chance: random.Random) -> None:
        """A few requests on one connection: each answer is whole, and the right one."""
        with Wire(self.port) as wire:
            wire.socket.settimeout(40)
            for number in range(5):
                if self._stop.is_set():
                    return
                kind = chance.choice(["hello", "large", "stream", "file", "echo"])
                body = chance.randbytes(chance.choice([0, 100, 30_000, 300_000])) if kind == "echo" else b""
                field = f"Content-Length: {len(body)}"
                try:
                    answer = wire.ask(f"/app/{kind}", field, method="POST" if kind == "echo" else "GET", body=body)
                except (Cut, ConnectionError) as error:
                    if number > 0 and not getattr(error, "received", b""):
                        # Between two requests a server may close a connection (RFC 9112 section 9.3.1).
                        return
                    raise
                expected = {"hello": b"hello", "echo": f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()}
                if (answer.status, answer.body) != (200, expected.get(kind, LARGE)):
                    self.wrong.append(f"{kind}: {answer.status}, {len(answer.body)} bytes, {answer.body[:60]!r}")

    def _ask(self, target: str) -> None:
        with Wire(self.port) as wire:
            wire.ask(target)


def main(port: str, tls_port: str = "0", seconds: str = "10", seed: str = "0") -> int:
    """Abuses a server, and says what came of it."""
    with Abuse(int(port), int(tls_port) or None, seed=int(seed)) as abuse, contextlib.suppress(KeyboardInterrupt):
        abuse.run_for(float(seconds))
    print(", ".join(f"{kind} {count}" for kind, count in sorted(abuse.done.items())))
    print("\n".join(abuse.wrong) or f"all was right ({time.strftime('%T')})")
    return 1 if abuse.wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
