"""Bounded waiting. Nothing in the tests sleeps for a time in the hope that something has happened by then."""

from __future__ import annotations

import os
import time
from typing import Callable, TypeVar

T = TypeVar("T")

#: Long enough for a busy machine; a test that needs it all has failed.
PATIENCE = float(os.environ.get("NEAT_PATIENCE", "20"))


def until(condition: Callable[[], T], what: str | Callable[[], str], timeout: float = PATIENCE) -> T:
    """Asks until `condition` gives something true and hands that back; fails with `what` when the time is over."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"waited {timeout:g} s in vain: {told}")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
