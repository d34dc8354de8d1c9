"""Every function that C calls is guarded: a panic must not cross the boundary (shared/src/ffi/guard.rs)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for room in (
        "shared/src",
        "shared/engine/src",
        "shared/neatd/src",
        "ngx_module/src",
        "apache_module/src",
        "apache_module/sys/src",
    )
    for path in (ROOT / room).rglob("*.rs")
)
#: A definition, not a type or a declaration: the signature ends with a brace. Comments may stand before the first words.
#: In a macro the name may be one that the macro gets.
ENTRY = re.compile(r'extern "C" fn (\$?\w+)[^;{]*?\{(?:\s*//[^\n]*)*\s*([^\n]*)')
#: The guard itself, or `capsule::function`, which turns a panic into a Python exception and begins with a guard. An empty
#: body has nothing that could panic.
GUARDED = re.compile(r"(shared::ffi::guard::)?guard\(|function\(|\}")


def unguarded(source: str) -> list[str]:
    """The entry points of a source whose first words are not the guard."""
    return [name for name, first in ENTRY.findall(source) if not GUARDED.match(first)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_entry_points_are_guarded(path):
    """The guard is the outermost call."""
    assert unguarded(path.read_text()) == []


def test_there_are_entry_points_to_look_at():
    """The finder finds them."""
    count = sum(len(ENTRY.findall(path.read_text())) for path in SOURCES)
    assert count > 40


def test_an_unguarded_entry_point_is_found():
    """This test can fail."""
    guarded = 'unsafe extern "C" fn good(\n    a: u32,\n) -> u32 {\n    guard("good", 0, || {\n        a\n    })\n}\n'
    bare = 'pub extern "C" fn bad(a: u32) -> u32 {\n    a + 1\n}\n'
    kind = 'pub type Init = unsafe extern "C" fn(*mut u8);\n'
    assert unguarded(guarded + kind + bare) == ["bad"]
