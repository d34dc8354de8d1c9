"""Processes and threads that an application starts from a request."""

import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading

from cases import Cases, text

application = cases = Cases()


def answer(start_response, value):
    return text(start_response, json.dumps(value).encode())


@cases.case
def return_codes(environ, start_response):
    """0 and 1, twenty times: nginx's SIGCHLD handler must not reap them first."""
    codes = [subprocess.run([command], check=False).returncode for _ in range(20) for command in ("true", "false")]
    return answer(start_response, codes)


@cases.case
def output(environ, start_response):
    done = subprocess.run(["cat"], input=b"through a child" * 10000, stdout=subprocess.PIPE, check=True)
    return answer(start_response, len(done.stdout))


@cases.case
def terminate(environ, start_response):
    """A child with the server's signal mask would not be ended by SIGTERM."""
    child = subprocess.Popen(["sleep", "600"])
    child.terminate()
    try:
        return answer(start_response, child.wait(10))
    except subprocess.TimeoutExpired:
        child.kill()
        return answer(start_response, "not terminated")


@cases.case
def signals_of_a_child(environ, start_response):
    """The mask and the ignored signals that a child inherits."""
    lines = subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    return answer(start_response, {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Sig")})


@cases.case
def descriptors_of_programs(environ, start_response):
    """What system(3), and programs behind fork(2) and vfork(2), find open."""
    seen = []
    with tempfile.TemporaryDirectory() as directory:
        for number, run in enumerate([os.system, spawn, popen]):
            run(f"ls -l /proc/$$/fd >{directory}/{number}")
            seen.append(pathlib.Path(directory, str(number)).read_text())
    return answer(start_response, seen)


def spawn(command):
    os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", command])


def popen(command):
    subprocess.run(command, shell=True, close_fds=False, check=True)


@cases.case
def fork_and_wait(environ, start_response):
    codes = []
    for code in (0, 7):
        pid = os.fork()
        if pid == 0:
            os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return answer(start_response, codes)


@cases.case
def child_that_comes_back(environ, start_response):
    """A forked child that raises through the application must not answer the parent's client."""
    pid = os.fork()
    if pid == 0:
        raise SystemExit(0)
    os.waitpid(pid, 0)
    return answer(start_response, "the parent")


@cases.case
def processes(environ, start_response):
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=os._exit, args=(code,)) for code in (0, 3)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
    return answer(start_response, [child.exitcode for child in children])


@cases.case
def pool(environ, start_response):
    with multiprocessing.get_context("fork").Pool(2) as workers:
        return answer(start_response, workers.map(abs, [-1, -2, -3]))


@cases.case
def terminated_process(environ, start_response):
    import time

    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    child.terminate()
    child.join(10)
    code = child.exitcode
    if code is None:
        child.kill()
    return answer(start_response, code)


@cases.case
def thread_pool(environ, start_response):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as threads:
        return answer(start_response, sum(threads.map(lambda number: number * number, range(100))))


@cases.case
def asyncio_run(environ, start_response):
    import asyncio

    async def work():
        process = await asyncio.create_subprocess_exec("true")
        return await asyncio.gather(asyncio.sleep(0, 1), process.wait())

    return answer(start_response, asyncio.run(work()))


@cases.case
def signal_handlers(environ, start_response):
    """signal.signal is for the main thread: an application cannot take the server's signals."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return answer(start_response, "set")
    except ValueError as error:
        return answer(start_response, type(error).__name__)


@cases.case
def main_thread(environ, start_response):
    return answer(start_response, [threading.main_thread().is_alive(), sys.argv])


@cases.case
def local_data(environ, start_response):
    """threading.local of one request's thread is still there, or fresh; never another thread's."""
    data = cases.__dict__.setdefault("local", threading.local())
    seen = getattr(data, "thread", threading.get_ident())
    data.thread = threading.get_ident()
    return answer(start_response, seen == threading.get_ident())
