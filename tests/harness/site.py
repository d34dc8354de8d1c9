"""A running server with applications in it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType

import httpx

from . import httpd, nginx, processes
from .error_log import ErrorLog
from .notes import Notes
from .ports import free_port
from .recipe import PYTHON_HOME, Place, Recipe, is_daemon, is_nginx
from .wait import until
from .wire import Answer, Wire


def backend(server: str) -> ModuleType:
    """The module that knows a server."""
    return nginx if is_nginx(server) else httpd


def lay_out(server: str, recipe: Recipe, certificate: tuple[Path, Path]) -> Place:
    """Makes a site's directory and its configuration. The worker's user can read it, and write where it has to."""
    directory = Path(tempfile.mkdtemp(prefix=f"neat-{server}-"))
    directory.chmod(0o755)
    for name in ("htdocs", "scripts", "run", "tmp", "notes"):
        (directory / name).mkdir()
        (directory / name).chmod(0o755)
    (directory / "notes").chmod(0o777)
    (directory / "tmp").chmod(0o777)
    place = Place(directory, free_port(), free_port(), *certificate)
    (directory / "htdocs" / "static.txt").write_text("a static file\n")
    for name, content in recipe.files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(place.fill(content))
    place.configuration.write_text(backend(server).render(server, recipe, place))
    return place


def check_configuration(server: str, recipe: Recipe, certificate: tuple[Path, Path]) -> tuple[int, str]:
    """Runs `nginx -t` or `apache2 -t`: its exit code and everything that it said."""
    place = lay_out(server, recipe, certificate)
    try:
        done = subprocess.run(backend(server).command(place, "-t"), capture_output=True, text=True, timeout=60, check=False)
        log = place.error_log.read_text() if place.error_log.exists() else ""
        return done.returncode, done.stdout + done.stderr + log
    finally:
        shutil.rmtree(place.directory)


class Site:
    """One server process tree, started in the foreground."""

    def __init__(self, server: str, recipe: Recipe, certificate: tuple[Path, Path]) -> None:
        assert PYTHON_HOME.is_dir(), f"no virtual environment of the applications in {PYTHON_HOME}; run scripts/test"
        self.server, self.recipe = server, recipe
        self.backend = backend(server)
        self.place = lay_out(server, recipe, certificate)
        self.directory = self.place.directory
        self.port, self.tls_port = self.place.port, self.place.tls_port
        self.log = ErrorLog(self.place.error_log)
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=30,
            trust_env=False,
            headers={"Host": f"localhost:{self.port}"},
        )
        self._count = itertools.count(1)
        self._output = (self.directory / "output.txt").open("wb")
        self.process = subprocess.Popen(
            self.backend.command(self.place),
            stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT,
            cwd="/", start_new_session=True, env={**os.environ, **recipe.environment},
        )  # fmt: skip
        until(self._listens, lambda: f"{server} to listen; it said:\n{self.said()}")
        if self.is_daemon:
            until(
                lambda: (self.directory / "run" / "wsgi.app.sock").exists(),
                lambda: f"the group's socket; it said:\n{self.said()}",
            )
        if not self.is_nginx:
            # Before that its only child may be the one that becomes neatd.
            until(lambda: "resuming normal operations" in self.said(), lambda: f"{server} to run; it said:\n{self.said()}")
        expected = self.backend.processes(server, recipe)
        until(lambda: len(self.workers()) >= expected, lambda: f"{expected} workers; it said:\n{self.said()}")

    @property
    def is_nginx(self) -> bool:
        """Whether this is nginx."""
        return is_nginx(self.server)

    @property
    def is_daemon(self) -> bool:
        """Whether its applications run in daemon mode."""
        return is_daemon(self.server)

    @property
    def pid(self) -> int:
        """The master process, or httpd's parent."""
        return self.process.pid

    def said(self) -> str:
        """What the server wrote to its output and its whole error log."""
        log = self.place.error_log
        return (self.directory / "output.txt").read_text() + (log.read_text(errors="replace") if log.exists() else "")

    def _listens(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.server} ended with {self.process.returncode}:\n{self.said()}")
        ports = [self.port] + ([self.tls_port] if self.recipe.tls else [])
        try:
            for port in ports:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    # Talking to it

    def wire(self, **more) -> Wire:
        """A raw connection."""
        return Wire(self.port, **more)

    def ask(self, target: str, *fields: str, **more) -> Answer:
        """One request on a raw connection of its own."""
        with self.wire() as wire:
            return wire.ask(target, *fields, **more)

    def get(self, target: str, **more) -> httpx.Response:
        """One request of a client library."""
        return self.client.get(target, **more)

    def secure_client(self, *, http2: bool = False) -> httpx.Client:
        """A client for the TLS port. The test closes it."""
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.tls_port}", verify=False, http2=http2, timeout=30, trust_env=False,
            headers={"Host": f"localhost:{self.tls_port}"},
        )  # fmt: skip

    def notes(self) -> Notes:
        """Fresh notes for one request, or for several that belong together."""
        return Notes(self.directory / "notes" / str(next(self._count)))

    def access_log(self) -> str:
        """The access log so far."""
        return self.place.access_log.read_text() if self.place.access_log.exists() else ""

    def write_script(self, name: str, text: str) -> Path:
        """Writes or replaces a script in the site's `scripts`; each writing has another modification time."""
        script = self.directory / "scripts" / name
        before = script.stat().st_mtime_ns if script.exists() else 0
        script.write_text(text)
        if before:
            os.utime(script, ns=(before + 2_000_000_000, before + 2_000_000_000))
        return script

    # Its processes

    @property
    def prefix(self) -> str:
        """How the paths of the groups' sockets begin."""
        return str(self.directory / "run" / "wsgi")

    def neatd(self, role: str) -> list[int]:
        """neatd's processes of a role: `keeper`, `supervisor`, `zygote app`."""
        return sorted(processes.of_site(self.prefix).get(f"neatd: {role}", []))

    def daemon_workers(self, group: str = "app") -> list[int]:
        """The processes of a group that serve requests."""
        return sorted(pid for zygote in self.neatd(f"zygote {group}") for pid in processes.children(zygote))

    def wait_until_nothing_is_left(self) -> None:
        """Waits until neatd has gone with the server, and asserts that it cleaned up."""
        until(
            lambda: not processes.of_site(self.prefix),
            lambda: f"neatd to end; left are {processes.of_site(self.prefix)}\n{self.said()[-3000:]}",
        )
        left = [entry.name for entry in (self.directory / "run").iterdir() if ".sock" in entry.name]
        assert not left, f"sockets were left: {left}"

    def workers(self) -> list[int]:
        """The processes that serve requests."""
        children = processes.children(self.pid)
        if not self.is_nginx:
            return children
        # For a moment the process that becomes neatd is a child, too. nginx does not know any signal yet then.
        return [pid for pid in children if " ".join(processes.command_line(pid)).startswith("nginx: worker")]

    def signal(self, number: int) -> None:
        """Signals the master."""
        self.process.send_signal(number)

    def reload(self) -> None:
        """Asks for a graceful reload and waits until the workers of before are gone and others are there."""
        before = set(self.workers())
        self.signal(self.backend.RELOAD)
        until(
            lambda: (now := set(self.workers())) and not now & before,
            lambda: f"workers {before} to be replaced; now {self.workers()}\n{self.log.text()[-2000:]}",
        )

    def stop(self, number: int | None = None, timeout: float = 15) -> int:
        """Stops it, gracefully unless told otherwise, and gives its exit code.

        Gracefully, because a stock httpd with the event MPM may crash when SIGTERM comes while it closes connections.
        """
        self.client.close()
        if number == signal.SIGTERM and self.backend is httpd:
            for line in httpd.said_of_a_stop(self.server):
                self.log.allow(line)
        if self.process.poll() is None:
            self.signal(self.backend.QUIT if number is None else number)
        try:
            code = self.process.wait(timeout)
            if self.is_daemon:
                self.wait_until_nothing_is_left()
            return code
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.server} did not end within {timeout} s; workers {self.workers()}:\n{self.said()[-4000:]}"
            ) from None
        finally:
            self._output.close()

    def remove(self) -> None:
        """Ends whatever is left and removes the directory, unless NEAT_KEEP is set."""
        self.client.close()
        if self.process.poll() is None:
            left = [self.pid, *self.workers()]
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.wait(10)
        for pids in processes.of_site(self.prefix).values():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        if not os.environ.get("NEAT_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)
