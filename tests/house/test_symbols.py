"""What the shared objects export and import: no Python in the server modules, and nothing for all to see that nobody looks up."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = Path(os.environ.get("NEAT_MODULES", ROOT / "build/modules"))

EXPORTS = {
    "ngx_http_wsgi_module.so": {"ngx_http_wsgi_module", "ngx_modules", "ngx_module_names", "ngx_module_order"},
    "mod_neat.so": {"wsgi_module"},
    "neat_engine.abi3.so": {"neat_engine_v1"},
}
#: What a module asks of others, by the first letters of their names: the server, APR, the C library and the compiler's runtime.
IMPORTS = {
    "ngx_http_wsgi_module.so": ("ngx_",),
    "mod_neat.so": ("ap_", "apr_", "unixd_"),
}


def symbols(name: str, which: str) -> set[str]:
    """The dynamic symbols of a module, without versions. A weak one that is undefined may stay so, as the newer functions of
    the C library do that Rust's own library looks for."""
    command = ["nm", "-D", f"--{which}-only", "--format=posix", str(MODULES / name)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name.split("@")[0] for name, kind, *_ in map(str.split, output.splitlines()) if kind not in ("w", "v")}


def of_the_system() -> set[str]:
    """What the C library and the compiler's runtime define."""
    found = set()
    for library in subprocess.run(["ldconfig", "-p"], check=True, capture_output=True, text=True).stdout.splitlines():
        match = re.search(r"(libc|libm|libgcc_s|ld-linux-[\w-]+|libdl|libpthread)\.so\S* .*=> (\S+)", library)
        if match:
            output = subprocess.run(["nm", "-D", "--defined-only", match[2]], capture_output=True, text=True, check=False).stdout
            found |= {line.split()[-1].split("@")[0] for line in output.splitlines()}
    return found


@pytest.mark.parametrize("name", EXPORTS)
def test_module_exports_only_what_is_looked_up(name):
    """The server looks up the module's record, the loader the engine's table; nothing else is anybody's business."""
    assert symbols(name, "defined") <= EXPORTS[name]


@pytest.mark.parametrize("name", IMPORTS)
def test_server_module_has_no_python_symbol(name):
    """The modules load whatever Python the configuration names, so that they can refer to none."""
    wanted = symbols(name, "undefined")
    assert not {symbol for symbol in wanted if re.match(r"_?Py[A-Z_]", symbol)}
    foreign = {symbol for symbol in wanted if not symbol.startswith(IMPORTS[name])} - of_the_system()
    assert not foreign


@pytest.mark.parametrize("name", IMPORTS)
def test_server_module_is_linked_with_no_python(name):
    """Nor may a library that it needs bring one along."""
    output = subprocess.run(["objdump", "-p", str(MODULES / name)], check=True, capture_output=True, text=True).stdout
    needed = re.findall(r"NEEDED\s+(\S+)", output)
    assert not [library for library in needed if "python" in library]
