//! The options of a process group (`WSGIDaemonProcess`, `wsgi_daemon_process`), each declared once.
//! [`super::option_value`] reads what is written behind them.

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A whole number. `0` and `off` mean none.
    Count,
    /// A number that may be negative.
    Signed(i64, i64),
    /// Seconds, or a number with `ms`, `s`, `m`, `h` or `d` behind it. `0` and `off` mean none.
    Time,
    /// A time that something is given to end by itself. `0` means none at all; there is no doing without an
    /// end.
    Grace,
    /// A time after which somebody is given up. `0` means the default, as in mod_wsgi; nobody waits for ever.
    Wait,
    /// Bytes from the first to the second, or a number with `k`, `m` or `g` behind it. `0` and `off` mean
    /// none, or the default.
    Size(u64, u64),
    /// One size of at least so much, or two with `:` between them. `0` and `off` mean none.
    SoftAndHard(u64),
    /// `on` or `off`.
    Flag,
    /// Octal digits.
    Octal,
    /// Any text.
    Text,
    /// An absolute path.
    Path,
    /// Absolute paths, separated by `:`.
    Paths,
    /// Words, separated by commas.
    List,
    /// Accepted, so that a configuration of mod_wsgi starts, and without effect.
    Retired {
        /// Why it is not needed, or what to write instead.
        instead: &'static str,
    },
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOption {
    /// As it is written, before the `=`.
    pub name: &'static str,
    /// What it takes.
    pub kind: OptionKind,
    /// What holds where it is not written, in words.
    pub default: &'static str,
    /// One line of documentation.
    pub doc: &'static str,
}

/// No process can be smaller: a limit below is one that somebody meant in megabytes.
const MIN_MEMORY: u64 = 1 << 20;
/// The system takes an int, and doubles it.
const MAX_SOCKET_BUFFER: u64 = 1 << 30;

const fn option(
    name: &'static str,
    kind: OptionKind,
    default: &'static str,
    doc: &'static str,
) -> GroupOption {
    GroupOption { name, kind, default, doc }
}

/// Every option.
pub const GROUP_OPTIONS: &[GroupOption] = {
    use OptionKind::{
        Count, Flag, Grace, List, Number, Octal, Path, Paths, Retired, Signed, Size, SoftAndHard, Text, Time,
        Wait,
    };
    &[
        option(
            "processes",
            Number(1, 1024),
            "1",
            "how many processes; written at all it makes wsgi.multiprocess true",
        ),
        option("threads", Number(0, 1024), "5", "Python threads of each process; 0 makes a service process"),
        option("user", Text, "the server's user", "who the processes run as: a name or #uid; never root"),
        option("group", Text, "the user's group", "the processes' group: a name or #gid"),
        option("supplementary-groups", List, "those of the user", "further groups, separated by commas"),
        option("umask", Octal, "0022", "the processes' file mode creation mask"),
        option("home", Path, "none", "the working directory, which is put on sys.path too"),
        option("chroot", Path, "none", "the processes' root directory"),
        option("lang", Text, "C.UTF-8", "LANG of the processes"),
        option("locale", Text, "C.UTF-8", "LC_ALL of the processes"),
        option("display-name", Text, "(wsgi:name)", "what ps shows; %{GROUP} is (wsgi:name)"),
        option("python", Path, "none", "the python executable whose installation is used"),
        option(
            "python-home",
            Path,
            "the system's python3",
            "the Python installation or the virtual environment",
        ),
        option("python-path", Paths, "none", "directories in front of sys.path; .pth files are honoured"),
        option("python-eggs", Path, "none", "PYTHON_EGG_CACHE of the processes"),
        option("switch-interval", Text, "CPython's", "seconds after which a thread offers the GIL to others"),
        option(
            "preload",
            Flag,
            "on",
            "import the application once and fork the processes from it, or import it in each, as is done where the import starts threads",
        ),
        option("script-user", Text, "any", "refuse scripts, and directories of scripts, of another owner"),
        option("script-group", Text, "any", "refuse scripts, and directories of scripts, of another group"),
        option("socket-user", Text, "the server's user", "who may connect to the group's socket"),
        option(
            "listen-backlog",
            Number(1, 65535),
            "4096",
            "connections that wait for a process to take them",
        ),
        option("connect-timeout", Wait, "15", "how long the server tries to reach a process"),
        option(
            "socket-timeout",
            Wait,
            "60",
            "how long the server waits while it sends a request to a process",
        ),
        option(
            "response-socket-timeout",
            Wait,
            "60",
            "how long the server waits for the next part of a response",
        ),
        option(
            "queue-timeout",
            Time,
            "45",
            "a request that waited longer for a thread is answered with 503 and Retry-After",
        ),
        option(
            "queue-size",
            Number(0, 1_000_000),
            "1000",
            "requests that may wait for a thread; more are answered with 503 and Retry-After",
        ),
        option(
            "request-timeout",
            Time,
            "60",
            "a request that runs longer: its stack is logged, RequestTimeout is raised in it, and the client gets 504; a process in which that does not end it is replaced",
        ),
        option(
            "interrupt-timeout",
            Grace,
            "5",
            "how long a request has to end after RequestTimeout was raised in it",
        ),
        option(
            "graceful-timeout",
            Grace,
            "15",
            "how long a process that is replaced may finish its requests",
        ),
        option("eviction-timeout", Grace, "15", "the same for a process that is replaced on a signal"),
        option("shutdown-timeout", Grace, "5", "the same when the server ends"),
        option(
            "startup-timeout",
            Time,
            "15",
            "a process that has not loaded its application by then is replaced, with back-off",
        ),
        option(
            "deadlock-timeout",
            Time,
            "60",
            "a process in which no thread could take the GIL for so long is killed",
        ),
        option(
            "inactivity-timeout",
            Time,
            "off",
            "a process that had no request for so long is replaced by a fresh one",
        ),
        option("restart-interval", Time, "off", "a process is replaced after so long, with 10 % jitter"),
        option(
            "maximum-requests",
            Count,
            "off",
            "a process is replaced after so many requests, with 10 % jitter",
        ),
        option("cpu-time-limit", Time, "off", "CPU seconds after which a process is killed and replaced"),
        option("cpu-priority", Signed(-20, 19), "the server's", "the processes' nice value"),
        option(
            "memory-limit",
            SoftAndHard(MIN_MEMORY),
            "off",
            "PSS at which a process is replaced gracefully, and after a : at which it is killed",
        ),
        option(
            "virtual-memory-limit",
            Size(MIN_MEMORY, u64::MAX),
            "off",
            "address space of a process: what Python is refused is a MemoryError, and a process that cannot go on without ends and is replaced",
        ),
        option("stack-size", Size(64 << 10, 1 << 30), "8m", "stack of each Python thread"),
        option("header-buffer-size", Size(8 << 10, 1 << 20), "32k", "the longest header line of a response"),
        option(
            "response-buffer-size",
            Size(4 << 10, 64 << 20),
            "64k",
            "how much of a response httpd takes from a process at a time; nginx has wsgi_buffer_size and wsgi_buffers",
        ),
        option(
            "send-buffer-size",
            Size(512, MAX_SOCKET_BUFFER),
            "the system's",
            "SO_SNDBUF of the group's connections",
        ),
        option(
            "receive-buffer-size",
            Size(512, MAX_SOCKET_BUFFER),
            "the system's",
            "SO_RCVBUF of the group's connections",
        ),
        option(
            "response-flush-delay",
            Retired { instead: "a yielded block leaves at once" },
            "none",
            "accepted, without effect",
        ),
        option(
            "proxy-buffer-size",
            Retired { instead: "write response-buffer-size instead" },
            "none",
            "accepted, without effect",
        ),
        option(
            "newrelic-config-file",
            Retired { instead: "start the agent in the application, or set NEW_RELIC_CONFIG_FILE" },
            "none",
            "accepted, without effect",
        ),
        option(
            "newrelic-environment",
            Retired { instead: "start the agent in the application, or set NEW_RELIC_ENVIRONMENT" },
            "none",
            "accepted, without effect",
        ),
        option("server-metrics", Flag, "off", "accepted; there are no figures yet"),
    ]
};
