"""README's list of platforms is what `make platforms` saw."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: The release's name in README's table, by its name in scripts/platforms.
RELEASES = {"bookworm": "Debian GNU/Linux 12", "trixie": "Debian GNU/Linux 13", "sid": "/sid", "noble": "Ubuntu 24.04"}


def rows() -> list[list[str]]:
    """The cells of README's table."""
    block = re.search(r"<!-- platforms: begin.*?-->\n(.*?)<!-- platforms: end", (ROOT / "README.md").read_text(), re.S)
    assert block, "README has no place for the table of platforms"
    lines = block.group(1).splitlines()[2:]
    if not lines:
        pytest.skip("README's table is still to be written: NEAT_WRITE_TABLE=1 make platforms")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_platform_is_listed_as_passed():
    """A platform that is promised has been tried, with both servers and every test."""
    names = re.search(r"^ALL=\((.*)\)", (ROOT / "scripts/platforms").read_text(), re.M)
    assert names
    assert names.group(1).split() == list(RELEASES)
    listed = rows()
    for name in ("bookworm", "trixie", "sid"):
        assert any(RELEASES[name] in row[0] for row in listed)
    for row in listed:
        assert any(release in row[0] for release in RELEASES.values())
        assert row[5] == "nginx, httpd"
        assert re.fullmatch(r"\d{3,} passed, 0 failed, \d+ skipped", row[6])


def test_the_oldest_promised_rust_was_built_with():
    """Cargo.toml's rust-version is the compiler of one of the platforms, and not a hope."""
    promised = re.search(r'^rust-version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)
    assert promised
    assert any(row[3].startswith(promised.group(1) + ".") for row in rows())
