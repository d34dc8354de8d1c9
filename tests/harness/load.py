"""Clients that never stop asking: for reloads and upgrades, which must not cost one request."""

from __future__ import annotations

import threading

from .wait import until
from .wire import Cut, Wire


class Load:
    """Clients that ask for one target again and again, on fresh connections, until they are told to stop."""

    def __init__(self, port: int, target: str, clients: int = 4) -> None:
        self.port, self.target = port, target
        self.good = 0
        #: The different bodies that came.
        self.bodies: set[bytes] = set()
        self.bad: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with Wire(self.port) as wire:
                    answer = wire.ask(self.target, "Connection: close")
                if answer.status == 200:
                    self.good += 1
                    self.bodies.add(answer.body)
                else:
                    self.bad.append(f"{answer.status} {answer.body!r}")
            except (OSError, Cut) as error:
                self.bad.append(repr(error))

    def wait(self, more: int) -> None:
        """Waits until so many more requests were answered."""
        aim = self.good + more
        until(lambda: self.good >= aim or self.bad, f"{more} more requests to be answered")
