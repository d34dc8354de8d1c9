//! The options of a process group (`WSGIDaemonProcess`, `wsgi_daemon_process`), each declared once, and reading their values.

use std::time::Duration;

use super::value::ValueError;

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A number that may be negative.
    Signed(i64, i64),
    /// Seconds, or a number with `ms`, `s`, `m`, `h` or `d` behind it. `0` and `off` mean none.
    Time,
    /// Bytes, or a number with `k`, `m` or `g` behind it. `0` and `off` mean none.
    Size,
    /// One size, or two with `:` between them.
    SoftAndHard,
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
    /// Accepted, so that a configuration of mod_wsgi starts; the text says what replaces it.
    Retired(&'static str),
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
        Flag, List, Number, Octal, Path, Paths, Retired, Signed, Size, SoftAndHard, Text, Time,
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
        option("umask", Octal, "the server's", "the processes' file mode creation mask"),
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
            "import the application once and fork the processes from it, or import it in each",
        ),
        option("script-user", Text, "any", "refuse scripts, and directories of scripts, of another owner"),
        option("script-group", Text, "any", "refuse scripts, and directories of scripts, of another group"),
        option("socket-user", Text, "the server's user", "who may connect to the group's socket"),
        option("listen-backlog", Number(1, 65535), "100", "connections that wait for a process to take them"),
        option("connect-timeout", Time, "15", "how long the server tries to reach a process"),
        option(
            "socket-timeout",
            Time,
            "60",
            "how long the server waits while it sends a request to a process",
        ),
        option(
            "response-socket-timeout",
            Time,
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
            "a request that runs longer: its stack is logged, RequestTimeout is raised, the client gets 504, and the process is replaced",
        ),
        option(
            "interrupt-timeout",
            Time,
            "5",
            "how long a request has to end after RequestTimeout was raised in it",
        ),
        option("graceful-timeout", Time, "15", "how long a process that is replaced may finish its requests"),
        option("eviction-timeout", Time, "15", "the same for a process that is replaced on a signal"),
        option("shutdown-timeout", Time, "5", "the same when the server ends"),
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
            Number(0, u64::MAX),
            "off",
            "a process is replaced after so many requests, with 10 % jitter",
        ),
        option("cpu-time-limit", Time, "off", "CPU seconds after which a process is killed and replaced"),
        option("cpu-priority", Signed(-20, 19), "the server's", "the processes' nice value"),
        option(
            "memory-limit",
            SoftAndHard,
            "off",
            "PSS at which a process is replaced gracefully, and after a : at which it is killed",
        ),
        option("virtual-memory-limit", Size, "off", "address space of a process"),
        option("stack-size", Size, "8m", "stack of each Python thread"),
        option("header-buffer-size", Size, "32k", "the longest header line of a response"),
        option("response-buffer-size", Size, "64k", "how much of a response is gathered before it is sent"),
        option("send-buffer-size", Size, "the system's", "SO_SNDBUF of the group's connections"),
        option("receive-buffer-size", Size, "the system's", "SO_RCVBUF of the group's connections"),
        option(
            "response-flush-delay",
            Retired("a yielded block leaves at once"),
            "none",
            "accepted, and needless",
        ),
        option("server-metrics", Flag, "off", "whether the group may read the server's figures"),
    ]
};

fn wrong(option: &str, given: &str, allowed: &str) -> ValueError {
    ValueError::Other(format!("has {option}={given}, but {option} takes {allowed}"))
}

/// Splits `15m` into `15` and `m`.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// Reads a time; `None` for none.
///
/// # Errors
/// Not a time.
pub fn time(option: &str, given: &str) -> Result<Option<Duration>, ValueError> {
    const ALLOWED: &str = "seconds (5, 0.5, 500ms, 5s, 2m, 1h, 1d), or off";
    if given.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let (number, unit) = split_unit(given);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(wrong(option, given, ALLOWED)),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * factor).filter(|number| *number <= 1e9);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.map(|time| (!time.is_zero()).then_some(time)).ok_or_else(|| wrong(option, given, ALLOWED))
}

/// Reads a size in bytes; `None` for none.
///
/// # Errors
/// Not a size.
pub fn size(option: &str, given: &str) -> Result<Option<u64>, ValueError> {
    if given.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let (number, unit) = split_unit(given);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => u32::MAX,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1u64.checked_shl(shift)?));
    bytes
        .map(|bytes| (bytes > 0).then_some(bytes))
        .ok_or_else(|| wrong(option, given, "bytes (1048576, 512k, 64m, 2g), or off"))
}

/// Reads a whole number in a range.
///
/// # Errors
/// Not a number, or out of the range.
pub fn number(option: &str, given: &str, low: u64, high: u64) -> Result<u64, ValueError> {
    let read = given.parse().ok().filter(|number| (low..=high).contains(number));
    read.ok_or_else(|| {
        let allowed = if high == u64::MAX {
            format!("a whole number from {low} on")
        } else {
            format!("a whole number from {low} to {high}")
        };
        wrong(option, given, &allowed)
    })
}

/// Reads a flag.
///
/// # Errors
/// Neither on nor off.
pub fn flag(option: &str, given: &str) -> Result<bool, ValueError> {
    match given.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(wrong(option, given, "on or off")),
    }
}

/// Reads octal digits.
///
/// # Errors
/// Other digits, or more than permissions have.
pub fn octal(option: &str, given: &str) -> Result<u32, ValueError> {
    let read = u32::from_str_radix(given, 8).ok().filter(|mask| *mask <= 0o777);
    read.ok_or_else(|| wrong(option, given, "octal digits from 0 to 0777"))
}

/// Reads a number that may be negative.
///
/// # Errors
/// Not a number, or out of the range.
pub fn signed(option: &str, given: &str, low: i64, high: i64) -> Result<i32, ValueError> {
    let read = given.parse::<i64>().ok().filter(|number| (low..=high).contains(number));
    read.and_then(|number| i32::try_from(number).ok())
        .ok_or_else(|| wrong(option, given, &format!("a whole number from {low} to {high}")))
}
