"""What the engine says in Python, continued behind neat.py, in the same module: signals, and the programs that an application starts."""

import functools
import os
import signal
import stat
import subprocess
import sys
import traceback


def _restrict_signals():
    original = signal.signal
    server = os.getpid()
    # Python took SIGINT when it started, and the engine gives it back to the server. Python has to know, or asyncio.run() takes it.
    original(signal.SIGINT, signal.SIG_DFL)

    def restricted(number, handler):
        if os.getpid() != server:
            return original(number, handler)
        stack = "".join(traceback.format_stack(sys._getframe(1))).rstrip()
        text = f"signal.signal({number!r}) was ignored: the signals of this process belong to the web server\n{stack}"
        _log(4, text.encode("utf-8", "backslashreplace"))
        return signal.getsignal(number)

    restricted.__name__ = restricted.__qualname__ = "signal"
    restricted.__doc__ = original.__doc__
    signal.signal = restricted


def _leave_as_the_server_expects():
    """nginx replaces no worker that exits with 2; httpd ends when a child exits with 15, and calls it sick with 7."""
    leave, server = os._exit, os.getpid()
    os._exit = lambda status: leave(1 if os.getpid() == server and status & 0xFF in (2, 7, 15) else status)


def _unblocked(fork_exec):
    """Children of the application get every signal, whatever the server's threads block for themselves."""

    def with_signals(*arguments):
        # The third says whether the child closes all that it is not told to keep.
        if len(arguments) < 3 or not arguments[2]:
            _keep_sockets()
        blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            return fork_exec(*arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    return with_signals


def _keep_sockets():
    """Has the server's sockets closed in programs that the application starts: nginx leaves listeners and clients inheritable.
    The application's own are not, unless it said so of one that is no socket."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        # A root directory without /proc.
        return
    for number in numbers:
        try:
            if number > 2 and os.get_inheritable(number) and not _is_plain(os.fstat(number).st_mode):
                os.set_inheritable(number, False)
        except OSError:
            # Closed meanwhile, the directory among them.
            continue


def _is_plain(mode):
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _after_sockets(call):
    @functools.wraps(call)
    def without_sockets(*arguments, **keywords):
        _keep_sockets()
        return call(*arguments, **keywords)

    return without_sockets


def _let_children_have_signals():
    import _posixsubprocess

    _posixsubprocess.fork_exec = _unblocked(_posixsubprocess.fork_exec)
    # From 3.11 on subprocess has a name of its own for it.
    if hasattr(subprocess, "_fork_exec"):
        subprocess._fork_exec = _posixsubprocess.fork_exec
    subprocess._USE_POSIX_SPAWN = False


def _let_children_have_no_sockets():
    for name in ("system", "posix_spawn", "posix_spawnp"):
        setattr(os, name, _after_sockets(getattr(os, name)))
    os.register_at_fork(before=_keep_sockets)
