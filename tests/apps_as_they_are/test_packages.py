"""Packages with compiled parts, from the virtual environment of the configuration."""

from __future__ import annotations

import json

import pytest

from harness.recipe import PYTHON_HOME, Recipe

RECIPE = Recipe(mounts={"/": "packages.wsgi"}, threads=2)


@pytest.mark.parametrize(
    ("package", "answer"),
    [("numpy", b"-5.0"), ("cryptography", b"a secret"), ("pydantic", b"1.5 1"), ("lxml", b"text"),
     ("orjson", b'{"a":[1,2.5,null]}'), ("psycopg", b"select 1")],
)  # fmt: skip
def test_package_works(site, package, answer):
    """Extension modules load (libpython's symbols are visible to them) and work, in every thread and process."""
    for _ in range(4):
        assert site.ask(f"/{package}").body == answer


def test_virtual_environment_is_honoured(site):
    """sys.prefix is the virtual environment, sys.executable its python; sys.argv is there (packages look at it)."""
    prefix, base, executable, argv = json.loads(site.ask("/where").body)
    assert prefix == str(PYTHON_HOME)
    assert base != prefix
    assert executable.startswith(f"{PYTHON_HOME}/bin/python")
    assert len(argv) >= 1
