"""The server's error log: every test ends by reading it."""

from __future__ import annotations

import re
from pathlib import Path

from .wait import PATIENCE, until

#: What no test may leave behind in an error log, whatever it did.
UNEXPECTED = re.compile(
    r"\[(?:\w+:)?(?:emerg|alert|crit)\]"
    r"|panicked|\bpanic\b"
    r"|segfault|Segmentation|exited on signal|exit signal|core dumped"
    r"|Fatal Python error|Exception ignored"
    r"|open socket .* left"
    r"|garbage collected without being closed"
    r"|did not exit|could not make child process",
    re.IGNORECASE,
)
TRACEBACK = "Traceback (most recent call last)"


class ErrorLog:
    """Reads what was written since the test began, and keeps account of the tracebacks that the test waited for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0
        self._expected = 0
        self._allowed: list[re.Pattern[str]] = []
        self._any_tracebacks = False

    def begin(self) -> None:
        """A test begins: what stands in the log is not its."""
        self._start = self.path.stat().st_size if self.path.exists() else 0
        self._expected = 0
        self._allowed = []
        self._any_tracebacks = False

    def text(self) -> str:
        """What was written since the test began."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as log:
            log.seek(self._start)
            return log.read().decode("utf-8", "replace")

    def wait_for(self, pattern: str, timeout: float = PATIENCE) -> re.Match[str]:
        """Waits for a regular expression to match (dot matches line ends too)."""
        expression = re.compile(pattern, re.DOTALL)
        return until(
            lambda: expression.search(self.text()),
            lambda: f"the error log has nothing like {pattern!r}:\n{self.text()}",
            timeout,
        )

    def traceback(self, pattern: str) -> str:
        """Waits for one more traceback, with `pattern` in or behind it, and hands back the log."""
        self.wait_for(pattern)
        self._expected += 1
        until(
            lambda: self.text().count(TRACEBACK) >= self._expected,
            lambda: f"the error log has less than {self._expected} tracebacks:\n{self.text()}",
        )
        return self.text()

    def allow(self, pattern: str) -> None:
        """Lets a line that would be unexpected pass in this test."""
        self._allowed.append(re.compile(pattern))

    def allow_tracebacks(self) -> None:
        """Lets this test leave any number of tracebacks."""
        self._any_tracebacks = True

    def check(self) -> None:
        """Ends a test: nothing unexpected, and exactly the tracebacks that it waited for."""
        text = self.text()
        bad = [
            line
            for line in text.splitlines()
            if UNEXPECTED.search(line) and not any(allowed.search(line) for allowed in self._allowed)
        ]
        assert not bad, "unexpected lines in the error log:\n" + "\n".join(bad)
        if not self._any_tracebacks:
            found = text.count(TRACEBACK)
            assert found == self._expected, f"{found} tracebacks in the error log, not {self._expected}:\n{text}"
