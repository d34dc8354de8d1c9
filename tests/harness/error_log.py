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
#: How Neat begins the one report of an application's failure. A rule that was broken where no Python code ran has no traceback.
FAILURE = re.compile(r"the application failed|the close\(\) of the response failed")
#: nginx loads applications ahead of their first request, at a moment of its own, and reports what fails there.
AHEAD = "could not be loaded at the start"


class ErrorLog:
    """Reads what was written since the test began, and keeps account of the failures that the test waited for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0
        self._failures = 0
        self._tracebacks = 0
        self._allowed: list[re.Pattern[str]] = []
        self._any_failures = False

    def begin(self) -> None:
        """A test begins: what stands in the log is not its."""
        self.__init__(self.path)
        self._start = self.path.stat().st_size if self.path.exists() else 0

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

    def failure(self, pattern: str) -> str:
        """Waits for one more failed application, with `pattern` in its report, and hands back the log."""
        self._failures += 1
        until(
            lambda: len(FAILURE.findall(self.text())) >= self._failures,
            lambda: f"the error log reports less than {self._failures} failures:\n{self.text()}",
        )
        self.wait_for(pattern)
        return self.text()

    def traceback(self, pattern: str) -> str:
        """Waits for a traceback that is no failure's own: one that was logged, or the cause of another."""
        self._tracebacks += 1
        self.wait_for(pattern)
        return self.text()

    def allow(self, pattern: str) -> None:
        """Lets a line that would be unexpected pass in this test."""
        self._allowed.append(re.compile(pattern))

    def allow_failures(self) -> None:
        """Lets this test leave any number of failures."""
        self._any_failures = True

    def check(self) -> None:
        """Ends a test: nothing unexpected, each failure that it waited for reported once, and no other."""
        text = self.text()
        bad = [
            line
            for line in text.splitlines()
            if UNEXPECTED.search(line) and not any(allowed.search(line) for allowed in self._allowed)
        ]
        assert not bad, "unexpected lines in the error log:\n" + "\n".join(bad)
        if not self._any_failures:
            found = len(FAILURE.findall(text))
            assert found == self._failures, f"{found} failures in the error log, not {self._failures}:\n{text}"
            found, most = text.count(TRACEBACK), self._failures + self._tracebacks + text.count(AHEAD)
            assert found <= most, f"{found} tracebacks in the error log, not {most}:\n{text}"
