"""nginx: its configuration, its commands, its signals."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess

from .recipe import MODULES, NGINX, Place, Recipe, is_daemon

MODULE = MODULES / "ngx_http_wsgi_module.so"
RELOAD, QUIT, STOP = signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM


def binary(_server: str = NGINX) -> str | None:
    """The nginx to test: another one than the system's with NEAT_NGINX."""
    return os.environ.get("NEAT_NGINX") or shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")


@functools.cache
def _described() -> str:
    """What `nginx -V` says of the nginx to test."""
    found = binary()
    return subprocess.run([found, "-V"], capture_output=True, text=True, timeout=60, check=True).stderr if found else ""


def version() -> str:
    """Its name and version, `nginx/1.22.1`."""
    found = re.search(r"nginx version: (\S+)", _described())
    return found[1] if found else "nginx"


def number() -> tuple[int, ...]:
    """Its version in numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", version())[:3])


def has_http3() -> bool:
    """Whether it was built with HTTP/3."""
    return "--with-http_v3_module" in _described()


def command(place: Place, *more: str) -> list[str]:
    """How it is started; with `-t`, how its configuration is tested."""
    found = binary()
    assert found
    return [found, "-e", str(place.error_log), "-p", str(place.directory), "-c", str(place.configuration), *more]


def processes(_server: str, recipe: Recipe) -> int:
    """How many processes serve."""
    return recipe.workers


def render(server: str, recipe: Recipe, place: Place) -> str:
    """The configuration file."""
    listens = [f"listen 127.0.0.1:{place.port};"]
    if recipe.tls:
        # Since 1.25.1 `http2` is a directive, and the parameter of `listen` is warned of.
        with_directive = number() >= (1, 25, 1)
        parameter = " http2" if recipe.http2 and not with_directive else ""
        listens.append(f"listen 127.0.0.1:{place.tls_port} ssl{parameter};")
        if recipe.http2 and with_directive:
            listens.append("http2 on;")
        if recipe.http3:
            listens.append(f"listen 127.0.0.1:{place.tls_port} quic;")
        listens.append(f"ssl_certificate {place.certificate}; ssl_certificate_key {place.key};")
    if is_daemon(server):
        python = [f"wsgi_daemon_process {recipe.group_words()}; wsgi_process_group app; wsgi_socket_prefix @DIR@/run/wsgi;"]
    else:
        python = [f"wsgi_threads {recipe.threads};"]
        if recipe.python_home:
            python.append(f"wsgi_python_home {recipe.python_home};")
        if recipe.python_path:
            python.append(f"wsgi_python_path {recipe.python_path};")
    locations = []
    for url, mount in recipe.mount_list():
        named = f"wsgi_callable {mount.callable};" if mount.callable else ""
        locations.append(f"location {url} {{ wsgi_pass {mount.target(place)}; {named} {mount.nginx} }}")
    temporary = "\n".join(
        f"    {kind}_temp_path @DIR@/tmp/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user www-data;" if os.geteuid() == 0 else ""
    text = f"""
load_module {MODULE};
{user}
worker_processes {recipe.workers};
daemon off;
pid @DIR@/server.pid;
error_log {place.error_log} info;
{recipe.top}
events {{ worker_connections 1024; }}
http {{
    types {{ text/html html; text/plain txt; application/octet-stream bin; }}
    default_type application/octet-stream;
    access_log {place.access_log};
    client_max_body_size 200m;
{temporary}
    {" ".join(python)}
    {recipe.main.get("nginx", "")}
    server {{
        {" ".join(listens)}
        server_name localhost;
        root @DIR@/htdocs;
        {recipe.conf.get("nginx", "")}
        {" ".join(locations)}
    }}
}}
"""
    return place.fill(text)
