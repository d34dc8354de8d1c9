"""A module of the house can be understood from what it imports: nothing imports, by any way around, itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Comments and what stands between quotes name no module that is used.
IGNORED = re.compile(r'//[^\n]*|b?r(#*)".*?"\1|[bc]?"(?:\\.|[^"\\])*"', re.S)
#: A path within the crate, up to its end or to the braces of a `use`.
PATH = re.compile(r"\b((?:crate|super|self)(?:::\w+)*)(::\{)?")
#: nginx is given pointers to the functions of this file, and so it is named by what hands them over.
ENTRY = "entry"


def modules_of(source: Path) -> dict[str, Path]:
    """The files of a crate, by the path of their module; the crate's own is empty."""
    found = {}
    for path in source.rglob("*.rs"):
        parts = list(path.relative_to(source).with_suffix("").parts)
        if parts[-1] in ("mod", "lib"):
            parts.pop()
        found["::".join(parts)] = path
    return found


def leaves(text: str) -> list[str]:
    """The paths within the braces of a `use`, whose text begins behind the first."""
    found, prefix, word = [], [], ""
    for character in re.sub(r"\s+as\s+\w+", "", text):
        if character in ",}":
            found += ["".join(prefix) + word] if word else []
            word = ""
            if character == "}":
                if not prefix:
                    break
                prefix.pop()
        elif character == "{":
            prefix.append(word)
            word = ""
        elif not character.isspace():
            word += character
    return found


def arrows_of(module: str, source: str, modules: set[str]) -> set[str]:
    """What a module's source names of its crate: the longest path that is a module."""
    source = IGNORED.sub("", source)
    named = []
    for match in PATH.finditer(source):
        behind = leaves(source[match.end() :]) if match[2] else [""]
        named += [f"{match[1]}::{leaf}".rstrip(":") for leaf in behind]
    found = set()
    for path in named:
        words = path.split("::")
        folder = module.split("::") if module else []
        while words and words[0] in ("crate", "super", "self"):
            word = words.pop(0)
            if word == "crate":
                folder = []
            elif word == "super":
                folder = folder[:-1]
        while words and "::".join([*folder, words[0]]) in modules:
            folder = [*folder, words.pop(0)]
        target = "::".join(folder)
        # A folder is one thing with its own file: that declares what is in it, and what is in it has its names.
        if target != module and not module.startswith(f"{target}::") and target:
            found.add(target)
    return found


def graph_of(source: Path) -> dict[str, set[str]]:
    """Which modules of a crate import which."""
    modules = modules_of(source)
    return {module: arrows_of(module, path.read_text(), set(modules)) for module, path in modules.items()}


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """A way that leads back to where it began, if there is one."""
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            if found := walk(target, [*way, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := walk(module, []))), [])


@pytest.mark.parametrize("room", ["ngx_module/src"])
def test_no_module_imports_itself_by_a_way_around(room):
    """The room of nginx's module, the files of its C edge among them."""
    graph = graph_of(ROOT / room)
    for arrows in graph.values():
        arrows.discard(ENTRY)
    assert sum(len(arrows) for arrows in graph.values()) > 100
    assert circle_in(graph) == []


#: Whose index httpd's vectors are asked with: the record of the module.
RECORD = ("ffi::conf_vector", ENTRY)


@pytest.mark.parametrize(("room", "allowed"), [("ngx_module/src", set()), ("apache_module/src", {RECORD}), ("shared/src", set())])
def test_the_c_edge_imports_nothing_from_above(room, allowed):
    """What lies in `ffi/` is used and uses nothing but what lies there."""
    graph = graph_of(ROOT / room)
    below = {module: arrows for module, arrows in graph.items() if module.split("::")[0] == "ffi"}
    assert below
    above = {(module, target) for module in below for target in below[module] if target.split("::")[0] != "ffi"}
    assert above == allowed


def test_a_circle_is_found(tmp_path):
    """These tests can fail."""
    (tmp_path / "ffi").mkdir()
    (tmp_path / "lib.rs").write_text("mod high;\nmod ffi;\n")
    (tmp_path / "high.rs").write_text("use crate::ffi::{\n    a::{One, Two},\n    b,\n};\n")
    (tmp_path / "ffi/mod.rs").write_text("pub mod a;\npub mod b;\npub mod c;\n")
    (tmp_path / "ffi/a.rs").write_text("use super::b::Three;\n")
    (tmp_path / "ffi/b.rs").write_text("// use super::a::One;\nfn b() { super::c::d(); }\n")
    (tmp_path / "ffi/c.rs").write_text('const TEXT: &str = "crate::high";\n')
    assert graph_of(tmp_path)["high"] == {"ffi::a", "ffi::b"}
    assert circle_in(graph_of(tmp_path)) == []
    (tmp_path / "ffi/c.rs").write_text("use super::{a::One, b as other};\n")
    assert graph_of(tmp_path)["ffi::c"] == {"ffi::a", "ffi::b"}
    assert circle_in(graph_of(tmp_path)) == ["ffi::a", "ffi::b", "ffi::c", "ffi::a"]
