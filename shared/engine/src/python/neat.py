"""What the engine says in Python: streams, loading, logging, shutting down.

The names _write, _log and _read are the engine's, put here before this text runs.
"""

import atexit
import gc
import importlib
import importlib.machinery
import importlib.util
import io
import logging
import os
import site
import sys
import threading
import time
import traceback


class ErrorLog(io.TextIOBase):
    """wsgi.errors, sys.stderr and sys.stdout: lines of the server's error log."""

    encoding = "utf-8"
    errors = "backslashreplace"
    mode = "w"
    name = "<server's error log>"

    @property
    def buffer(self):
        return _BYTES_LOG

    def reconfigure(self, **_):
        """There is nothing to choose: what is written is text, and the log takes lines."""

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() takes a str, not {type(text).__name__}")
        _write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def writable(self):
        return True

    def fileno(self):
        return 2

    def close(self):
        """The log outlives whoever writes to it."""


class BytesLog(io.RawIOBase):
    """sys.stderr.buffer, for what writes bytes."""

    def write(self, data):
        data = bytes(data)
        _write(data)
        return len(data)

    def writable(self):
        return True

    def fileno(self):
        return 2

    def close(self):
        """As for the text above it."""


_BYTES_LOG = BytesLog()


class RawInput(io.RawIOBase):
    """The streamed body of a request; io.BufferedReader over it is wsgi.input."""

    def __init__(self, request):
        self._request = request

    def readable(self):
        return True

    def readinto(self, buffer):
        data = _read(self._request, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def open_input(request):
    return io.BufferedReader(RawInput(request), 65536)


class FileWrapper:
    """wsgi.file_wrapper: a file that the server sends by itself where it can."""

    def __init__(self, filelike, blksize=8192):
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration


def file_of(wrapper):
    """The descriptor of a file and the position to send it from; None where it has to be read.

    Only where read() gives the file's bytes as they stand: a gzip.GzipFile has a descriptor too. Who reads in the end is what
    counts, so that the wrappers of tempfile and of Django are seen through.
    """
    read = getattr(wrapper.filelike, "read", None)
    file = getattr(getattr(read, "__wrapped__", read), "__self__", None)
    if getattr(type(file), "read", None) not in _READS:
        return None
    try:
        return file.fileno(), file.tell()
    except (OSError, ValueError):
        return None


_READS = (io.FileIO.read, io.BufferedReader.read, io.BufferedRandom.read)


class BodyDisconnected(ConnectionResetError):
    status = 400


class BodyTimedOut(TimeoutError):
    status = 408


class BodyFailed(OSError):
    status = 500


def body_error(status, text):
    kind = {400: BodyDisconnected, 408: BodyTimedOut}.get(status, BodyFailed)
    error = kind(text)
    error.status = status
    return error


class SendFailed(ConnectionAbortedError):
    """The client or the server is gone in the middle of write()."""

    status = 500


class NotLoaded(BaseException):
    """The application is not loaded in time."""

    status = 503

    def __str__(self):
        return "the application is not loaded in time (startup timeout)"


class RequestTimeout(BaseException):
    """The request ran longer than its process group allows."""

    status = 504

    def __str__(self):
        return "the request ran longer than request-timeout allows"


def stack_of(thread):
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "(it is not in Python code)"
    return "".join(traceback.format_stack(frame)).rstrip()


def _native_threads(known):
    """Threads of this process that threading has not heard of: those of _thread, and of native libraries."""
    numbers = set()
    # A thread that was joined may still be on its way out of the process.
    for _ in range(50):
        try:
            numbers = {int(name) for name in os.listdir("/proc/self/task")} - set(known)
        except OSError:
            # A root directory without /proc.
            return {}
        if not numbers:
            break
        time.sleep(0.001)
    return {number: _native_name(number) for number in sorted(numbers)}


def _native_name(number):
    try:
        with open(f"/proc/self/task/{number}/comm", errors="replace") as file:
            return f"{file.read().strip()} (a thread that Python's threading does not know)"
    except OSError:
        return f"thread {number}"


def freeze():
    """Prepares for a fork, or names the threads that a forked process would not have."""
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    own = threading.get_native_id()
    others = [name for number, name in (known | _native_threads(known)).items() if number != own]
    if not others:
        gc.collect()
        gc.freeze()
    return others


class ServerLog(logging.Handler):
    """Records keep their level in the server's log."""

    LEVELS = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

    def emit(self, record):
        try:
            text = self.format(record)
            level = next((number for least, number in self.LEVELS if record.levelno >= least), 7)
            _log(level, text.encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)


class ScriptLoader(importlib.machinery.SourceFileLoader):
    """A script is compiled from its source each time: app.wsgi and app.py would share one file of bytecode."""

    def get_code(self, fullname):
        return compile(self.get_data(self.path), self.path, "exec", dont_inherit=True)


def load_script(path, name):
    loader = ScriptLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    code = loader.get_code(name)
    module = importlib.util.module_from_spec(spec)
    module.__cached__ = None
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
        raise
    return module


def load_module(name):
    return importlib.import_module(name)


def find_callable(module, name):
    factory = name.endswith("()")
    found = module
    for part in name.removesuffix("()").split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            where = getattr(module, "__file__", None) or module.__name__
            raise AttributeError(f"{where} has no {name!r}; name the application with the callable's directive") from None
    if factory:
        found = found()
    if not callable(found):
        raise TypeError(f"{name!r} is of type {type(found).__name__}, which cannot be called")
    return found


_HERE = sys._getframe().f_code.co_filename


def format_error(error, trace):
    # The frames of this file above the application's say nothing about it.
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename == _HERE:
        first = first.tb_next
    return "".join(traceback.format_exception(type(error), error, first or trace))


def _put_in_front(directories):
    front = []
    for directory in map(os.path.abspath, directories):
        known = set(sys.path)
        site.addsitedir(directory)
        front.append(directory)
        front.extend(entry for entry in sys.path if entry not in known)
    front = list(dict.fromkeys(front))
    sys.path[:] = front + [entry for entry in sys.path if entry not in front]


def configure(directories):
    log = ErrorLog()
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = log
    logging.lastResort = ServerLog(logging.WARNING)
    _put_in_front(directories)
    _let_children_have_signals()
    _let_children_have_no_sockets()
    _restrict_signals()
    _leave_as_the_server_expects()
    return log


def shutdown(patience):
    """Joins the application's threads for so many seconds at most, then does what the interpreter does at its exit.

    What the application registered runs on a thread that may be left behind: a hook that never returns must not keep a web
    server's process.
    """
    deadline = time.monotonic() + patience
    current = threading.current_thread()

    def run_hooks():
        for hook in reversed(getattr(threading, "_threading_atexits", ())):
            try:
                hook()
            except Exception:
                traceback.print_exc()

    def run_atexit():
        atexit._run_exitfuncs()

    def left():
        return max(0.0, deadline - time.monotonic())

    _within(run_hooks, left())
    for thread in threading.enumerate():
        if thread is not current and not thread.daemon and not isinstance(thread, threading._DummyThread):
            thread.join(left())
    # The threads may have used up the time; what was registered with atexit gets some all the same.
    _within(run_atexit, max(left(), patience / 4))


def _within(work, seconds):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _log(4, f"{work.__name__} was not done after {seconds:.1f} s; the process ends without it".encode())
