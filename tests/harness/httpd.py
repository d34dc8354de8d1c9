"""Apache httpd with each of its MPMs: its configuration, its commands, its signals."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from .recipe import EVENT, EVENT_DAEMON, MODULES, Place, Recipe, is_daemon, is_prefork, is_worker

MODULE = MODULES / "mod_neat.so"
RELOAD, QUIT, STOP = signal.SIGUSR1, signal.SIGWINCH, signal.SIGTERM
ALWAYS = [
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_host",
    "authz_user",
    "auth_basic",
    "alias",
    "mime",
    "dir",
    "env",
    "setenvif",
    "headers",
    "filter",
    "deflate",
    "rewrite",
    "reqtimeout",
]


def binary(_server: str = EVENT) -> str | None:
    """The httpd to test: another one than the system's with NEAT_HTTPD."""
    path = os.environ["PATH"] + ":/usr/sbin"
    return os.environ.get("NEAT_HTTPD") or shutil.which("apache2", path=path) or shutil.which("httpd", path=path)


@functools.cache
def version() -> tuple[int, ...]:
    """Its version in numbers."""
    found = binary()
    assert found
    said = subprocess.run([found, "-v"], capture_output=True, text=True, check=True, timeout=60).stdout
    return tuple(int(part) for part in re.findall(r"Apache/(\d+)\.(\d+)\.(\d+)", said)[0])


def said_of_a_stop(server: str) -> list[str]:
    """What a stock httpd may say when SIGTERM ends it, seen without any module of ours."""
    if server in (EVENT, EVENT_DAEMON):
        # It comes while a worker thread closes a connection, and close_worker_sockets has that socket, too.
        return [r"AH00052: child pid \d+ exit signal Segmentation fault"]
    if is_worker(server) and version() < (2, 4, 59):
        # An idle child ends at the second signal only, after three seconds.
        return [r"AH00045: child process \d+ still did not exit, sending a SIGTERM"]
    return []


def modules_directory() -> Path:
    """Where the server's own modules are."""
    candidates = [os.environ.get("NEAT_HTTPD_MODULES"), "/usr/lib/apache2/modules", "/usr/lib64/httpd/modules"]
    for candidate in candidates:
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    raise AssertionError("no directory of httpd's modules; set NEAT_HTTPD_MODULES")


def command(place: Place, *more: str) -> list[str]:
    """How it is started; with `-t`, how its configuration is tested."""
    found = binary()
    assert found
    foreground = [] if "-t" in more else ["-DFOREGROUND"]
    return [found, "-d", str(place.directory), "-f", str(place.configuration), *foreground, *more]


def render(server: str, recipe: Recipe, place: Place) -> str:
    """The configuration file."""
    mpm = server.split("-")[1]
    modules = [f"mpm_{mpm}", *ALWAYS]
    if recipe.tls:
        modules += ["socache_shmcb", "ssl"]
    http2 = recipe.http2 and not is_prefork(server)
    if http2:
        modules += ["http2"]
    loads = "\n".join(f"LoadModule {name}_module {modules_directory()}/mod_{name}.so" for name in modules)
    aliases, places = [], []
    for url, mount in recipe.mount_list():
        named = f" callable-object={mount.callable}" if mount.callable else ""
        aliases.append(f"WSGIScriptAlias {url} {mount.target(place)}{named}")
        if mount.httpd:
            places.append(f"<Location {url}>\n{mount.httpd}\n</Location>")
    tls = (
        f"""
Listen 127.0.0.1:{place.tls_port}
<VirtualHost 127.0.0.1:{place.tls_port}>
    ServerName localhost
    SSLEngine on
    SSLCertificateFile {place.certificate}
    SSLCertificateKeyFile {place.key}
</VirtualHost>
"""
        if recipe.tls
        else ""
    )
    newline = "\n"
    if is_daemon(server):
        python = [f"WSGIDaemonProcess {recipe.group_words()}", "WSGIProcessGroup app", "WSGISocketPrefix @DIR@/run/wsgi"]
    else:
        python = []
        if recipe.python_home:
            python.append(f"WSGIPythonHome {recipe.python_home}")
        if recipe.python_path:
            python.append(f"WSGIPythonPath {recipe.python_path}")
    text = f"""
ServerRoot @DIR@
ServerName localhost
PidFile @DIR@/server.pid
DefaultRuntimeDir @DIR@/run
Mutex file:@DIR@/run default
Listen 127.0.0.1:{place.port}
{loads}
LoadModule wsgi_module {MODULE}
{"User www-data" + newline + "Group www-data" if os.geteuid() == 0 else ""}
ErrorLog {place.error_log}
LogLevel notice wsgi:info
LogFormat "%h %l %u %t \\"%r\\" %>s %b" common
CustomLog {place.access_log} common
TypesConfig /dev/null
AddType text/html .html
AddType text/plain .txt
KeepAliveTimeout 20
GracefulShutdownTimeout 20
{_processes(server, recipe)}
{"Protocols h2 h2c http/1.1" if http2 else ""}
{newline.join(python)}
DocumentRoot @DIR@/htdocs
<Directory />
    Require all denied
</Directory>
<Directory @DIR@>
    Require all granted
</Directory>
<Directory @APPS@>
    Require all granted
</Directory>
{recipe.main.get("httpd", "")}
{recipe.conf.get("httpd", "")}
{newline.join(aliases)}
{newline.join(places)}
{tls}
"""
    return place.fill(text)


def processes(server: str, recipe: Recipe) -> int:
    """How many processes it has at least. In daemon mode the group has the threads; connections still need a process each."""
    if not is_prefork(server):
        return recipe.workers
    return recipe.workers * (max(recipe.threads, 8) if is_daemon(server) else recipe.threads)


def _processes(server: str, recipe: Recipe) -> str:
    # Room in the scoreboard beside the live generation, so that a graceful restart need not wait for the old one.
    if is_prefork(server):
        count = processes(server, recipe)
        return (
            f"StartServers {count}\nMinSpareServers 1\nMaxSpareServers {count + 1}\n"
            f"ServerLimit {count}\nMaxRequestWorkers {count}"
        )
    # With few threads the event MPM ends idle keep-alive connections whenever none of them is free.
    threads = max(recipe.threads, 8)
    # The worker MPM looks for a free place only among as many as it may have at once: one more, for the generation that follows.
    count = (recipe.workers + is_worker(server)) * threads
    return (
        f"StartServers {recipe.workers}\nServerLimit {recipe.workers + 4}\nThreadLimit {threads}\n"
        f"ThreadsPerChild {threads}\nMaxRequestWorkers {count}\n"
        f"MinSpareThreads 1\nMaxSpareThreads {count + threads}"
    )
