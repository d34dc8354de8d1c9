"""What /proc says about the servers' processes."""

from __future__ import annotations

import os
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def children(parent: int) -> list[int]:
    """The processes that `parent` started and that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, ppid = _stat(int(entry.name))[:2]
            except OSError:
                continue
            if int(ppid) == parent and state != "Z":
                found.append(int(entry.name))
    return sorted(found)


def command_line(pid: int) -> list[str]:
    """What the process was started with."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return []


def of_site(prefix: str) -> dict[str, list[int]]:
    """neatd's processes of a socket prefix, by their titles: `neatd: keeper`, `neatd: supervisor`, `neatd: zygote app`.

    A process that was forked a moment ago has its parent's title until it has set or executed its own.
    """
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            words = command_line(int(entry.name))
            if words[1:3] == ["--site", prefix] and alive(int(entry.name)):
                found.setdefault(words[0], []).append(int(entry.name))
    return {title: [pid for pid in pids if parent(pid) not in pids] for title, pids in found.items()}


def titled(title: str, ancestor: int) -> list[int]:
    """The children of a process whose command line begins so."""
    return [pid for pid in children(ancestor) if command_line(pid)[:1] == [title]]


def parent(pid: int) -> int | None:
    """Whose child the process is, as long as it is there."""
    try:
        return int(_stat(pid)[1])
    except OSError:
        return None


def resident(pid: int) -> int:
    """Resident memory in bytes, without what it shares with files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/{pid}/status has no RssAnon")


def descriptors(pid: int) -> dict[int, str]:
    """The open descriptors and what they lead to."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except OSError:
            continue
    return found


def threads(pid: int) -> int:
    """How many threads the process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def maps(pid: int) -> str:
    """What is mapped into the process."""
    return Path(f"/proc/{pid}/maps").read_text()


def _stat(pid: int) -> list[str]:
    # The command's name stands in parentheses and may have spaces.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
