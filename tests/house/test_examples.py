"""The example configurations start as they are, on another port, and answer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import httpx
import pytest

from harness import processes
from harness.ports import free_port
from harness.wait import until

ROOT = Path(__file__).resolve().parents[2]
MODULES = Path(os.environ.get("NEAT_MODULES", ROOT / "build/modules"))
EXAMPLES = sorted((ROOT / "conf-examples").glob("*/*.conf"))
#: What each answers, by its name.
ANSWERS = {
    "hello": {"/": "Hello from "},
    "daemon": {"/": "Welcome to the shop.", "/hello/": "Hello from "},
    "several": {"/": "Welcome to the shop.", "/hello/": "Hello from ", "/static/style.css": "sans-serif"},
}


@pytest.fixture
def place():
    """A copy of the examples and the modules that a worker may read, wherever the repository lies."""
    top = Path(tempfile.mkdtemp(prefix="neat-example-"))
    top.chmod(0o755)
    shutil.copytree(ROOT / "conf-examples", top / "conf-examples")
    shutil.copytree(MODULES, top / "build/modules")
    yield top
    shutil.rmtree(top)


def answers(url: str) -> bool:
    """Whether anything answers."""
    try:
        httpx.get(url, timeout=5)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_example_starts_and_answers(example, place):
    """Each example is a whole configuration; the page of an application or a file is served."""
    port = free_port()
    text = example.read_text().replace("@ROOT@", str(place)).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    if os.geteuid() == 0:
        text = ("user www-data;\n" if example.parent.name == "nginx" else "User www-data\nGroup www-data\n") + text
    conf = place / "server.conf"
    conf.write_text(text)
    (place / "logs").mkdir()
    path = os.environ["PATH"] + ":/usr/sbin"
    if example.parent.name == "nginx":
        command = [os.environ.get("NEAT_NGINX", "nginx"), "-p", str(place), "-e", "stderr", "-c", str(conf), "-g", "daemon off;"]
    else:
        command = ["apache2", "-D", "FOREGROUND", "-d", str(place), "-f", str(conf), "-C", f"DefaultRuntimeDir {place}/logs"]
    with (place / "output").open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "PATH": path})
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: server.poll() is not None or answers(url), lambda: (place / "output").read_text())
        for page, expected in ANSWERS[example.stem].items():
            answer = httpx.get(url + page)
            assert answer.status_code == 200, (place / "output").read_text()
            assert expected in answer.text
    finally:
        server.send_signal(signal.SIGQUIT if example.parent.name == "nginx" else signal.SIGWINCH)
        assert server.wait(20) == 0
        # neatd follows the server, and cleans up behind itself.
        until(lambda: not processes.of_site(f"{place}/build/wsgi"), lambda: f"neatd to end\n{(place / 'output').read_text()}")
