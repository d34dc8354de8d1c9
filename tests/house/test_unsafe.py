"""How much of the server modules is `unsafe`, and that it does not grow: what a reviewer has to believe line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: At most so many lines lie in unsafe blocks and in the bodies of unsafe functions. It may only be lowered.
MAX_LINES = {"ngx_module/src": 338, "apache_module/src": 417}
#: A block that is longer hides what its reason is about.
MAX_BLOCK = 20
#: What is no code: comments, strings, characters.
IGNORED = re.compile(r'//[^\n]*|b?r(#*)".*?"\1|[bc]?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\'\\])\'', re.S)
#: The beginning of a block, or of a function, a macro's among them.
UNSAFE = re.compile(r"\bunsafe\s*(?:(\{)|(?:extern\s+)?fn\s+[\w$]+)")


def end_of(code: str, opening: int) -> int:
    """Where the brace that opens there is closed."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, opening):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    return len(code)


def body_of(code: str, name_end: int) -> int | None:
    """Where a function's body opens; a type or a declaration has none."""
    depth = 0
    for match in re.compile(r"[()\[\]{;]").finditer(code, name_end):
        if match[0] in "([":
            depth += 1
        elif match[0] in ")]":
            depth -= 1
        elif depth == 0:
            return match.start() if match[0] == "{" else None
    return None


def unsafe_in(source: str) -> tuple[set[int], list[tuple[int, int]]]:
    """The lines within anything unsafe, and where each block begins and how many lines it has."""
    code = IGNORED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)
    lines: set[int] = set()
    blocks = []
    for match in UNSAFE.finditer(code):
        opening = match.start(1) if match[1] else body_of(code, match.end())
        if opening is None:
            continue
        first = code.count("\n", 0, match.start()) + 1
        last = code.count("\n", 0, end_of(code, opening)) + 1
        lines |= set(range(first, last + 1))
        if match[1]:
            blocks.append((first, last - first + 1))
    return lines, blocks


@pytest.mark.parametrize("room", MAX_LINES)
def test_unsafe_does_not_grow(room):
    """Who needs more of it looks for a type that does not."""
    count = sum(len(unsafe_in(path.read_text())[0]) for path in (ROOT / room).rglob("*.rs"))
    assert 0 < count <= MAX_LINES[room]


@pytest.mark.parametrize("room", MAX_LINES)
def test_no_unsafe_block_is_long(room):
    """A reason is about what can be seen at one glance."""
    long = [
        f"{path.relative_to(ROOT)}:{first}: {length} lines"
        for path in (ROOT / room).rglob("*.rs")
        for first, length in unsafe_in(path.read_text())[1]
        if length > MAX_BLOCK
    ]
    assert long == []


def test_what_is_unsafe_is_found():
    """These tests can fail."""
    source = """
/// An `unsafe { }` of words.
unsafe fn one(of: [u8; 2]) -> u8 {
    // SAFETY: "{"
    unsafe { *of.as_ptr() }
}
type Two = unsafe extern "C" fn(u8);
fn three() {
    let text = "unsafe {";
    unsafe {
        four()
    };
}
unsafe extern "C" {
    pub fn four();
}
"""
    assert unsafe_in(source) == ({3, 4, 5, 6, 10, 11, 12}, [(5, 1), (10, 3)])
