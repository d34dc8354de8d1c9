"""What passes between a test and its application beside HTTP: the applications' side is tests/apps/notes.py."""

from __future__ import annotations

from pathlib import Path

from .wait import PATIENCE, until


class Notes:
    """A file that the application appends lines to, and permissions that it waits for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def field(self) -> str:
        """The header line that tells the application where the notes are."""
        return f"X-Notes: {self.path}"

    @property
    def headers(self) -> dict[str, str]:
        """The same for a client library."""
        return {"X-Notes": str(self.path)}

    def lines(self) -> list[str]:
        """What the application noted so far."""
        return self.path.read_text().splitlines() if self.path.exists() else []

    def wait_for(self, line: str, count: int = 1, timeout: float = PATIENCE) -> list[str]:
        """Waits until a line was noted so many times."""
        until(
            lambda: self.lines().count(line) >= count,
            lambda: f"{count} notes {line!r}; there are {self.lines()}",
            timeout,
        )
        return self.lines()

    def allow(self, name: str) -> None:
        """Lets an application that waits for `name` go on."""
        Path(f"{self.path}.{name}").touch()
