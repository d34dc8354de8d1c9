"""Pythons that cannot be loaded, for the tests of what is said about them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

VENV = "home = {home}\ninclude-system-site-packages = false\nversion = {version}\n"
#: What is asked of libpython before Python is started.
LIBRARY = """
const char *Py_GetVersion(void) { return "%s"; }
int Py_IsInitialized(void) { return 0; }
"""


@contextmanager
def _directory():
    """A directory that everybody may read."""
    top = Path(tempfile.mkdtemp(prefix="neat-pythons-"))
    top.chmod(0o755)
    try:
        yield top
    finally:
        shutil.rmtree(top)


@contextmanager
def closed_python(closed: str):
    """A virtual environment `venv` of an installation `base` beside it; the one that is named is its owner's alone."""
    with _directory() as top:
        for name in ("venv/lib/python3.12", "base/bin", "base/lib/python3.12"):
            (top / name).mkdir(parents=True)
        (top / "venv/pyvenv.cfg").write_text(VENV.format(home=top / "base/bin", version="3.12.1"))
        (top / "base/lib/libpython3.12.so.1.0").touch()
        (top / closed).chmod(0o700)
        yield top / "venv"


@contextmanager
def pretender(version: str):
    """An installation of Python 3.13 by its names, whose library says that it is another version."""
    with _directory() as top:
        for name in ("bin", "lib/python3.13"):
            (top / name).mkdir(parents=True)
        (top / "bin/python3.13").touch()
        (top / "bin/python3").symlink_to("python3.13")
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(top / "lib/libpython3.13.so.1.0")]
        subprocess.run(command, input=LIBRARY % version, text=True, check=True, timeout=60)
        yield top
