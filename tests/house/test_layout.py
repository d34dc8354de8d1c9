"""The house's own rules: sizes, arrows, and nothing of one machine in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Lines of a file that needs no scrolling to be understood.
MAX_LINES = 400
#: Columns of a line of a comment.
MAX_COLUMNS = 110


def tracked(*patterns: str) -> list[Path]:
    """Files that git has."""
    output = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in output.split("\0") if name and (ROOT / name).is_file()]


def test_no_source_is_too_long():
    """A file that needs scrolling to be understood wants splitting."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in tracked("*.rs", "*.py", "*.wsgi", "scripts/*")
    }
    assert lengths
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}


def test_no_comment_is_too_wide():
    """rustfmt breaks code at 110 columns and leaves comments as they are."""
    wide = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked("*.rs")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.lstrip().startswith("//") and len(line) > MAX_COLUMNS
    ]
    assert not wide


@pytest.fixture(scope="module")
def packages() -> dict[str, set[str]]:
    """What each package of the workspace depends on."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {
        package["name"]: {dependency["name"] for dependency in package["dependencies"]}
        for package in json.loads(output)["packages"]
    }


def test_arrows_lead_to_the_rules_and_nowhere_else(packages):
    """The modules and the engine depend on `shared`; never sideways, never back."""
    own = set(packages)
    arrows = {name: dependencies & own for name, dependencies in packages.items()}
    assert arrows == {
        "neat-shared": set(),
        "neat-engine": {"neat-shared"},
        "neatd": {"neat-shared"},
        "ngx-http-wsgi-module": {"neat-shared", "nginx-sys"},
        "mod-neat": {"neat-shared", "httpd-sys"},
        "httpd-sys": set(),
        "nginx-sys": set(),
    }


def test_only_the_engine_knows_python(packages):
    """The server modules load it."""
    assert [name for name, dependencies in packages.items() if dependencies & {"pyo3", "pyo3-ffi"}] == ["neat-engine"]


def test_nothing_names_a_machine_or_a_registry():
    """What is installed where is the machine's affair, and packages are named, not their hosts."""
    machine = r"/root/\.pyenv|/work/(main|shared)"
    registry = r"crates\.io/api|pypi\.org|files\.pythonhosted|deb\.debian\.org|registry\.npmjs"
    wrong = re.compile(f"{machine}|{registry}")
    found = []
    for path in tracked():
        if path.name == "Cargo.lock" or path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in wrong.finditer(text)]
    assert found == []


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_documents_name_files_that_exist(document):
    """A map that names a file which moved leads nowhere. A file may be named by the end of its path."""
    text = (ROOT / document).read_text()
    named = set(re.findall(r"[\w./-]+\.(?:rs|py|wsgi)\b", text))
    assert named or document == "SECURITY.md"
    files = [f"/{path.relative_to(ROOT)}" for path in tracked()]
    missing = {name for name in named if not any(path.endswith(f"/{name.lstrip('./')}") for path in files)}
    assert not missing


def test_recipes_name_tests_that_exist():
    """CONTRIBUTING's five recipes each end in what fails when a step is left out."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"\(`([a-z]+(?:_[a-z]+){3,})`\)", text))
    assert named
    sources = "\n".join(path.read_text() for path in tracked("*.rs"))
    assert {name for name in named if f"fn {name}" not in sources} == set()


def test_make_says_what_there_is():
    """The Makefile can be read, and every target that it offers has a word of help."""
    # `make test` runs this: a make within a make says where it is.
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    said = subprocess.run(["make", "help"], cwd=ROOT, env=alone, check=True, capture_output=True, text=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert phony
    assert set(phony[1].split()) == {line.split()[1] for line in said.splitlines()}
