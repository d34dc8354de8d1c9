"""What a test asks of a server, in words that hold for nginx and httpd alike."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
APPS = TESTS / "apps"
MODULES = Path(os.environ.get("NEAT_MODULES", TESTS.parent / "build" / "modules")).resolve()
#: The virtual environment of the applications.
PYTHON_HOME = Path(os.environ.get("NEAT_TEST_PYTHON_HOME", TESTS / ".venv-apps")).resolve()

NGINX = "nginx"
EVENT = "httpd-event"
WORKER = "httpd-worker"
PREFORK = "httpd-prefork"
#: The same servers with every application in a process group of neatd's.
NGINX_DAEMON = "nginx-daemon"
EVENT_DAEMON = "httpd-event-daemon"
WORKER_DAEMON = "httpd-worker-daemon"
PREFORK_DAEMON = "httpd-prefork-daemon"
HTTPD_DAEMON = (EVENT_DAEMON, WORKER_DAEMON, PREFORK_DAEMON)
EMBEDDED = (NGINX, EVENT, WORKER, PREFORK)
DAEMON = (NGINX_DAEMON, *HTTPD_DAEMON)
#: For a test that needs another user than its own.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
#: Every end-to-end test runs in these.
SERVERS = (NGINX, EVENT, PREFORK, NGINX_DAEMON, EVENT_DAEMON)
#: A test of what an MPM has a hand in runs in these: bodies and responses (who waits for a connection, and blocks for it),
#: failures, concurrency, the life of processes, and the core of daemon mode. What environ has, what a configuration test says
#: and what frameworks do is the same with all of them.
EVERY_MPM = (*EMBEDDED, *DAEMON)


def is_daemon(server: str) -> bool:
    """Whether a server's applications run in daemon mode."""
    return server in DAEMON


def is_worker(server: str) -> bool:
    """Whether a server has the worker MPM."""
    return server in (WORKER, WORKER_DAEMON)


def is_prefork(server: str) -> bool:
    """Whether a process of a server serves one request at a time, and there is no HTTP/2 (mod_http2's documentation)."""
    return server in (PREFORK, PREFORK_DAEMON)


def is_nginx(server: str) -> bool:
    """Whether a server is nginx."""
    return server in (NGINX, NGINX_DAEMON)


def declare(server: str, *groups: str) -> dict[str, str]:
    """Declarations of further process groups, each a name and options, for `Recipe.main`."""
    user = " user=www-data" if os.geteuid() == 0 else ""
    if is_nginx(server):
        return {"nginx": " ".join(f"wsgi_daemon_process {group}{user};" for group in groups)}
    return {"httpd": "\n".join(f"WSGIDaemonProcess {group}{user}" for group in groups)}


@dataclass(frozen=True)
class Mount:
    """An application at a URL. `script` is a file of tests/apps, or an absolute path, or `module:callable` (nginx only)."""

    script: str
    callable: str | None = None
    #: Directives of the mount's place: in nginx its location, in httpd its <Location>.
    nginx: str = ""
    httpd: str = ""

    def target(self, place: Place) -> str:
        """What the directive names."""
        script = place.fill(self.script)
        if script.startswith("/") or ":" in script:
            return script
        return str(APPS / script)


@dataclass(frozen=True)
class Recipe:
    """A configuration. In every snippet @DIR@ is the site's directory, @APPS@ tests/apps, @PORT@ and @TLS_PORT@ the ports."""

    mounts: dict[str, str | Mount]
    #: Directives of the (virtual) server: {"nginx": ..., "httpd": ...}
    conf: dict[str, str] = field(default_factory=dict)
    #: Directives outside of it: nginx's http block, httpd's server config.
    main: dict[str, str] = field(default_factory=dict)
    #: Directives at nginx's top level.
    top: str = ""
    #: Files to make in the site's directory before the start: {"htdocs/a.txt": "text"}
    files: dict[str, str] = field(default_factory=dict)
    tls: bool = False
    #: HTTP/2 on the TLS port, and without TLS where the server can.
    http2: bool = False
    #: HTTP/3 on the TLS port, of an nginx that has it.
    http3: bool = False
    workers: int = 1
    #: Python threads of a worker; httpd's prefork has as many processes instead.
    threads: int = 4
    python_home: str | None = str(PYTHON_HOME)
    python_path: str | None = "@APPS@"
    #: Options of the process group that every application runs in, in daemon mode: {"processes": "2"}
    group: dict[str, str] = field(default_factory=dict)
    #: Variables of the server's own environment.
    environment: dict[str, str] = field(default_factory=dict)

    def group_words(self) -> str:
        """The declaration of the process group `app`."""
        options = {"threads": str(self.threads)}
        if os.geteuid() == 0:
            options |= {"user": "www-data", "group": "www-data"}
        if self.workers > 1:
            options["processes"] = str(self.workers)
        if self.python_home:
            options["python-home"] = self.python_home
        if self.python_path:
            options["python-path"] = self.python_path
        return " ".join(["app", *(f"{name}={value}" for name, value in (options | self.group).items())])

    def mount_list(self) -> list[tuple[str, Mount]]:
        """The mounts, longest URL first, as httpd asks for."""
        listed = [(url, Mount(mount) if isinstance(mount, str) else mount) for url, mount in self.mounts.items()]
        return sorted(listed, key=lambda pair: -len(pair[0]))


@dataclass(frozen=True)
class Place:
    """Where a site lives."""

    directory: Path
    port: int
    tls_port: int
    certificate: Path
    key: Path

    @property
    def error_log(self) -> Path:
        """The error log."""
        return self.directory / "error.log"

    @property
    def access_log(self) -> Path:
        """The access log."""
        return self.directory / "access.log"

    @property
    def configuration(self) -> Path:
        """The server's configuration."""
        return self.directory / "server.conf"

    def fill(self, snippet: str) -> str:
        """Puts the site's own values into a snippet."""
        for mark, value in (
            ("@DIR@", self.directory),
            ("@APPS@", APPS),
            ("@PORT@", self.port),
            ("@TLS_PORT@", self.tls_port),
        ):
            snippet = snippet.replace(mark, str(value))
        return snippet
