"""Hello world in pairs of servers, measured in turns: requests per second, and server CPU per request."""

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = Path(os.environ.get("NEAT_MODULES", ROOT / "build/modules"))
#: A server of this name with the modules of --before.
BEFORE = "before:"
HTTPD_MODULES = "/usr/lib/apache2/modules"
TICK = os.sysconf("SC_CLK_TCK")

APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "12")])
    return [b"Hello world\\n"]
"""

HTTPD = """
ServerRoot {run}
PidFile {run}/httpd.pid
Listen 127.0.0.1:{port}
ServerName localhost
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
{module}
ErrorLog {run}/error.log
DefaultRuntimeDir {run}
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
MinSpareThreads 1
MaxSpareThreads 16
MaxKeepAliveRequests 0
{group}
WSGIScriptAlias / {run}/hello.wsgi
<Directory />
    AllowOverride None
</Directory>
<Directory {run}>
    Require all granted
</Directory>
"""

NGINX = """
load_module {neat}/ngx_http_wsgi_module.so;
{user}
daemon off;
pid {run}/nginx.pid;
error_log {run}/error.log;
worker_processes 1;
events {{}}
http {{
    access_log off;
    keepalive_requests 100000000;
    {group}
    server {{
        listen 127.0.0.1:{port};
        location / {{ {content} }}
    }}
}}
"""


def mod_wsgi():
    """The LoadModule lines of the mod_wsgi in this Python's environment."""
    command = [str(Path(sys.executable).parent / "mod_wsgi-express"), "module-config"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Server:
    """A server in the foreground of a process group of its own."""

    def __init__(self, name, run, modules=MODULES):
        self.name = name
        self.run = Path(run)
        name = name.removeprefix(BEFORE)
        self.port = free_port()
        (self.run / "hello.wsgi").write_text(APPLICATION)
        self.run.chmod(0o755)
        root = os.geteuid() == 0
        self.helpers = []
        options = f"app processes=2 threads=5{' user=www-data' if root else ''}"
        is_daemon = name.endswith("-daemon")
        if name.startswith(("neat-httpd", "mod_wsgi")):
            module = f"LoadModule wsgi_module {modules}/mod_neat.so" if name.startswith("neat") else mod_wsgi()
            user = "User www-data\nGroup www-data" if root else ""
            group = f"WSGIDaemonProcess {options}\nWSGIProcessGroup app\nWSGISocketPrefix {run}/wsgi" if is_daemon else ""
            text = HTTPD.format(run=run, port=self.port, modules=HTTPD_MODULES, module=module, user=user, group=group)
            conf = self.run / "httpd.conf"
            command = ["apache2", "-D", "FOREGROUND", "-f", str(conf)]
        else:
            content = f"wsgi_pass {run}/hello.wsgi;"
            if name == "nginx-static":
                content = 'return 200 "Hello world\\n";'
            elif name == "uwsgi":
                content = f"include /etc/nginx/uwsgi_params; uwsgi_pass unix:{run}/uwsgi.sock;"
                self.start_uwsgi()
            group = f"wsgi_daemon_process {options}; wsgi_process_group app; wsgi_socket_prefix {run}/wsgi;" if is_daemon else ""
            user = "user www-data;" if root else ""
            text = NGINX.format(run=run, port=self.port, neat=modules, content=content, user=user, group=group)
            conf = self.run / "nginx.conf"
            command = ["nginx", "-p", str(run), "-e", str(self.run / "error.log"), "-c", str(conf)]
        conf.write_text(text)
        path = os.environ["PATH"] + ":/usr/sbin"
        self.process = subprocess.Popen(command, env={**os.environ, "PATH": path}, start_new_session=True)
        self.wait_until_it_answers()

    def start_uwsgi(self):
        """uWSGI with 2 x 5, as its documentation has it behind nginx."""
        command = [
            str(Path(sys.executable).parent / "uwsgi"), "--master", "--processes", "2", "--threads", "5", "--enable-threads",
            "--socket", str(self.run / "uwsgi.sock"), "--chmod-socket=666", "--wsgi-file", str(self.run / "hello.wsgi"),
            "--disable-logging", "--die-on-term",
            *(["--uid", "www-data", "--gid", "www-data"] if os.geteuid() == 0 else []),
        ]  # fmt: skip
        (self.run / "uwsgi.sock").unlink(missing_ok=True)
        os.chmod(self.run, 0o777)
        with (self.run / "uwsgi.log").open("wb") as log:
            self.helpers.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    def sessions(self):
        """The sessions of everything that belongs to this server: its own, its helpers', and that of neatd."""
        found = {self.process.pid, *(helper.pid for helper in self.helpers)}
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:1] == [b"neatd: keeper"] and words[2:3] == [f"{self.run}/wsgi".encode()]:
                found.add(int(entry.parent.name))
        return found

    def wait_until_it_answers(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    if connection.recv(100).startswith(b"HTTP/1.1 200"):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"{self.name} does not answer:\n{(self.run / 'error.log').read_text()}")

    def cpu(self):
        """Seconds of CPU that all of its processes have spent."""
        sessions, ticks = self.sessions(), 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) in sessions:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK

    def measure(self, seconds, connections):
        """Requests per second, and microseconds of CPU per request."""
        before = self.cpu()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{self.port}/"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        spent = self.cpu() - before
        if "Non-2xx" in output or "Socket errors" in output:
            raise SystemExit(f"{self.name} answered with errors:\n{output}")
        requests = int(re.search(r"(\d+) requests in", output)[1])
        rate = float(re.search(r"Requests/sec:\s*([\d.]+)", output)[1])
        return rate, spent / requests * 1e6

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        for helper in self.helpers:
            helper.send_signal(signal.SIGTERM)
            helper.wait(20)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--servers", nargs="+", default=["neat-httpd", "mod_wsgi", "neat-nginx", "nginx-static"])
    parser.add_argument("--before", type=Path, help="modules of another build: each neat-* runs with these too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neat-bench-") as top:
        os.chmod(top, 0o755)
        servers = []
        for name in options.servers:
            builds = {name: MODULES}
            if options.before and name.startswith("neat-"):
                builds[BEFORE + name] = options.before.resolve()
            for label, modules in builds.items():
                run = Path(top) / label.replace(":", "-")
                run.mkdir()
                servers.append(Server(label, run, modules))
        try:
            for server in servers:
                server.measure(1, options.connections)
            results = {server.name: [] for server in servers}
            for _ in range(options.rounds):
                for server in servers:
                    results[server.name].append(server.measure(options.seconds, options.connections))
        finally:
            for server in servers:
                server.stop()
    print(f"{'server':18} {'requests/s':>12} {'CPU us/request':>15}   (medians of {options.rounds})")
    for name, pairs in results.items():
        rate, cpu = (statistics.median(values) for values in zip(*pairs))
        print(f"{name:18} {rate:12.0f} {cpu:15.1f}")
    print("\nratios, round by round: the first server's CPU per request over the second's (min, median, max)")
    names = list(results)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            ratios = [a[1] / b[1] for a, b in zip(results[first], results[second])]
            print(f"{first:>18} / {second:18} {min(ratios):.2f} {statistics.median(ratios):.2f} {max(ratios):.2f}")


if __name__ == "__main__":
    main()
