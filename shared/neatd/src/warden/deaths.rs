//! How a process ended, what the log says of it, and what follows.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::backoff::backoff;

/// How a process ended (wait(2)), or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Death {
    /// It ended by itself, with this exit status.
    Exited(i32),
    /// A signal ended it.
    Signalled {
        /// The signal's number, of which nothing is assumed: there are real-time ones, and a message may say
        /// anything.
        signal: i32,
        /// A core file was written, or piped to whoever collects them (core(5)).
        core_dumped: bool,
    },
    /// It could not be forked, for this `errno`.
    NotForked(i32),
    /// It ended, and somebody else has reaped it.
    Unknown,
}

impl Death {
    /// Reads a status of wait(2); `None` for a process that was stopped or went on, and has not ended.
    pub const fn from_status(status: i32) -> Option<Self> {
        if libc::WIFEXITED(status) {
            Some(Self::Exited(libc::WEXITSTATUS(status)))
        } else if libc::WIFSIGNALED(status) {
            let core_dumped = libc::WCOREDUMP(status);
            Some(Self::Signalled { signal: libc::WTERMSIG(status), core_dumped })
        } else {
            None
        }
    }

    /// Whether a process that was told to leave has done so.
    pub const fn is_clean(self) -> bool {
        matches!(self, Self::Exited(0) | Self::Unknown)
    }

    /// Why the process ended, in words. `has_cpu_limit`: whether there is a `cpu-time-limit` that may be the
    /// cause.
    pub fn describe(self, has_cpu_limit: bool) -> String {
        let (signal, core_dumped) = match self {
            Self::Exited(code) => return format!("ended by itself with exit status {code}"),
            Self::NotForked(errno) => {
                return format!("could not be forked: {}", std::io::Error::from_raw_os_error(errno));
            }
            Self::Unknown => return "ended, and how is not known".to_owned(),
            Self::Signalled { signal, core_dumped } => (signal, core_dumped),
        };
        let name =
            Signal::try_from(signal).map_or(format!("signal {signal}"), |signal| signal.as_str().to_owned());
        let hint = match Signal::try_from(signal) {
            Ok(Signal::SIGXCPU) if has_cpu_limit => " (cpu-time-limit)",
            Ok(Signal::SIGSEGV | Signal::SIGBUS) => {
                ": it crashed in native code, mostly that of an extension module"
            }
            _ => "",
        };
        let core = if core_dumped { ", core dumped" } else { "" };
        format!("was ended by {name}{hint}{core}")
    }
}

impl From<Errno> for Death {
    fn from(error: Errno) -> Self {
        Self::NotForked(error as i32)
    }
}

/// What is known of a worker that has ended.
#[derive(Clone, Debug)]
pub struct Obituary {
    /// How.
    pub death: Death,
    /// Its number, where it came to have one.
    pub pid: Option<i32>,
    /// Why the warden killed it, if it did.
    pub kill_reason: Option<String>,
    /// It was told to leave.
    pub was_leaving: bool,
    /// What it served.
    pub requests: Vec<String>,
    /// How many processes the kernel has killed for want of memory: when this one was born, and now.
    pub oom_kills: (Option<u64>, Option<u64>),
}

impl Obituary {
    /// Whether it ended because it was to, and not because it was killed.
    pub const fn was_expected(&self) -> bool {
        self.was_leaving && self.kill_reason.is_none()
    }

    /// The line of the log; none for a process that was told to leave and did, having finished its requests.
    pub fn line(&self, group: &str, has_cpu_limit: bool) -> Option<String> {
        if self.was_expected() && self.requests.is_empty() && self.death.is_clean() {
            return None;
        }
        let why = match (&self.kill_reason, self.death) {
            (Some(why), _) => format!("was killed: {why}"),
            (None, Death::Signalled { signal: libc::SIGKILL, .. }) => {
                cause_of_kill(self.oom_kills).to_owned()
            }
            (None, death) => death.describe(has_cpu_limit),
        };
        let Some(pid) = self.pid else {
            return Some(format!("process group {group}: a process {why}"));
        };
        let requests = if self.requests.is_empty() {
            "while it served no request".to_owned()
        } else {
            format!("while it served {}", self.requests.join(", "))
        };
        Some(format!("process group {group}: process {pid} {why}, {requests}"))
    }
}

/// What ended a process with a SIGKILL that was not ours, given the kernel's count of those that it killed
/// for want of memory: when the process was born, and now.
const fn cause_of_kill(oom_kills: (Option<u64>, Option<u64>)) -> &'static str {
    match oom_kills {
        (Some(before), Some(now)) if now > before => {
            "was ended by SIGKILL, most likely by the kernel for want of memory: it has killed a process since \
             this one began, and its own log says which (dmesg)"
        }
        (Some(_), Some(_)) => "was ended by SIGKILL, neither by Neat nor by the kernel for want of memory",
        _ => {
            "was ended by SIGKILL, not by Neat: by the kernel for want of memory (dmesg says so then), or by \
             somebody's kill -9"
        }
    }
}

/// A worker that did not live so long died early.
const EARLY: Duration = Duration::from_secs(2);
/// So many workers of a generation may die before all of them serve.
const MAX_EARLY_DEATHS: u32 = 10;

/// Where a worker stood when it ended.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Its generation does not serve yet.
    pub is_next: bool,
    /// Its generation, or it itself, was to leave.
    pub is_leaving: bool,
    /// It had come so far as to serve.
    pub has_served: bool,
    /// How long it lived.
    pub age: Duration,
    /// How many of its generation died early before, in a row.
    pub early_deaths: u32,
}

/// What follows the end of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    Nothing,
    /// Its generation is not to serve.
    GiveUp,
    /// Another one takes its place.
    Replace {
        /// After this pause.
        pause: Duration,
        /// How many have died early now, in a row.
        early_deaths: u32,
    },
}

/// What follows the end of a worker.
pub fn consequence(of: &Circumstances) -> Consequence {
    if of.is_leaving {
        return Consequence::Nothing;
    }
    let early_deaths = of.early_deaths.saturating_add(1);
    if of.is_next {
        // A request may have ended it: servers reach a first generation before all of it serves.
        return if !of.has_served || early_deaths > MAX_EARLY_DEATHS {
            Consequence::GiveUp
        } else {
            Consequence::Replace { pause: Duration::ZERO, early_deaths }
        };
    }
    if of.age >= EARLY {
        return Consequence::Replace { pause: Duration::ZERO, early_deaths: 0 };
    }
    // The first one is replaced at once. One that came to serve is worth a fork soon; one that did not come
    // so far mostly never will.
    let pause = backoff(of.early_deaths);
    Consequence::Replace { pause: if of.has_served { pause.min(EARLY) } else { pause }, early_deaths }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGFAULT: Death = Death::Signalled { signal: libc::SIGSEGV, core_dumped: false };
    const KILLED: Death = Death::Signalled { signal: libc::SIGKILL, core_dumped: false };

    #[test]
    fn a_status_is_what_wait_says() {
        let signalled = |signal, core_dumped| Some(Death::Signalled { signal, core_dumped });
        let table = [
            (0, Some(Death::Exited(0))),
            (3 << 8, Some(Death::Exited(3))),
            (255 << 8, Some(Death::Exited(255))),
            (9, signalled(9, false)),
            (11 | 0x80, signalled(11, true)),
            (libc::SIGRTMIN() + 3, signalled(libc::SIGRTMIN() + 3, false)),
            (0x137f, None),
            (0xffff, None),
        ];
        for (status, death) in table {
            assert_eq!(Death::from_status(status), death, "{status:#x}");
        }
    }

    #[test]
    fn no_status_and_no_message_is_too_odd() {
        for status in (i32::MIN..i32::MAX).step_by(65_521).chain(0..=0xffff).chain([i32::MAX]) {
            let _ = Death::from_status(status).map(|death| death.describe(true));
        }
        for text in [
            r#"{"Signalled":{"signal":-7,"core_dumped":true}}"#,
            r#"{"NotForked":-1}"#,
            r#"{"Exited":999999}"#,
        ] {
            let death: Death = serde_json::from_str(text).unwrap();
            assert!(!death.describe(true).is_empty());
        }
        assert!(serde_json::from_str::<Death>(r#"{"Exited":99999999999}"#).is_err());
    }

    #[test]
    fn a_death_is_described() {
        let core = Death::Signalled { signal: libc::SIGABRT, core_dumped: true };
        let cpu = Death::Signalled { signal: libc::SIGXCPU, core_dumped: false };
        let real_time = Death::Signalled { signal: 35, core_dumped: false };
        let table = [
            (Death::Exited(3), "ended by itself with exit status 3"),
            (SEGFAULT, "was ended by SIGSEGV: it crashed in native code, mostly that of an extension module"),
            (core, "was ended by SIGABRT, core dumped"),
            (cpu, "was ended by SIGXCPU (cpu-time-limit)"),
            (real_time, "was ended by signal 35"),
            (
                Death::from(Errno::EAGAIN),
                "could not be forked: Resource temporarily unavailable (os error 11)",
            ),
            (Death::Unknown, "ended, and how is not known"),
        ];
        for (death, words) in table {
            assert_eq!(death.describe(true), words);
        }
        assert_eq!(cpu.describe(false), "was ended by SIGXCPU");
    }

    fn obituary(death: Death) -> Obituary {
        Obituary {
            death,
            pid: Some(7),
            kill_reason: None,
            was_leaving: false,
            requests: Vec::new(),
            oom_kills: (Some(3), Some(3)),
        }
    }

    #[test]
    fn a_line_says_who_why_and_in_which_request() {
        let requests = vec!["GET /a".to_owned(), "GET /b".to_owned()];
        let crashed = Obituary { requests, ..obituary(Death::Exited(3)) };
        assert_eq!(
            crashed.line("shop", false).unwrap(),
            "process group shop: process 7 ended by itself with exit status 3, while it served GET /a, GET /b"
        );
        let killed = Obituary { kill_reason: Some("it was late".to_owned()), ..obituary(KILLED) };
        assert_eq!(
            killed.line("shop", false).unwrap(),
            "process group shop: process 7 was killed: it was late, while it served no request"
        );
        let unborn = Obituary { pid: None, ..obituary(Death::from(Errno::EAGAIN)) };
        assert_eq!(
            unborn.line("shop", false).unwrap(),
            "process group shop: a process could not be forked: Resource temporarily unavailable (os error 11)"
        );
    }

    #[test]
    fn who_left_as_told_gets_no_line() {
        let left = |death| Obituary { was_leaving: true, ..obituary(death) };
        assert_eq!(left(Death::Exited(0)).line("shop", false), None);
        assert_eq!(left(Death::Unknown).line("shop", false), None);
        assert!(left(Death::Exited(1)).line("shop", false).is_some());
        assert!(obituary(Death::Exited(0)).line("shop", false).is_some());
        let late = Obituary { requests: vec!["GET /".to_owned()], ..left(Death::Exited(0)) };
        assert!(late.line("shop", false).is_some());
    }

    #[test]
    fn a_kill_is_told_from_want_of_memory() {
        let line = |before, now| {
            let killed = Obituary { oom_kills: (before, now), ..obituary(KILLED) };
            killed.line("shop", false).unwrap()
        };
        assert!(line(Some(3), Some(4)).contains("most likely by the kernel"));
        assert!(line(Some(3), Some(3)).contains("neither by Neat nor by the kernel"));
        assert!(line(None, Some(3)).contains("kill -9"));
    }

    #[test]
    fn what_follows_a_death() {
        use Consequence::{GiveUp, Nothing, Replace};
        let millis = Duration::from_millis;
        let replace = |pause, early_deaths| Replace { pause: millis(pause), early_deaths };
        let serving = Circumstances {
            is_next: false,
            is_leaving: false,
            has_served: true,
            age: millis(100),
            early_deaths: 0,
        };
        let next = Circumstances { is_next: true, ..serving };
        let table = [
            ("told to leave", Circumstances { is_leaving: true, ..serving }, Nothing),
            ("the first early death", serving, replace(0, 1)),
            ("the second", Circumstances { early_deaths: 1, ..serving }, replace(125, 2)),
            ("the tenth", Circumstances { early_deaths: 9, ..serving }, replace(2000, 10)),
            ("one that lived", Circumstances { age: EARLY, early_deaths: 9, ..serving }, replace(0, 0)),
            (
                "never served",
                Circumstances { has_served: false, early_deaths: 9, ..serving },
                replace(30_000, 10),
            ),
            ("a generation's first", next, replace(0, 1)),
            ("a generation's tenth", Circumstances { early_deaths: 9, ..next }, replace(0, 10)),
            ("a generation's eleventh", Circumstances { early_deaths: 10, ..next }, GiveUp),
            ("a generation that cannot start", Circumstances { has_served: false, ..next }, GiveUp),
            ("a generation given up", Circumstances { is_leaving: true, ..next }, Nothing),
        ];
        for (name, circumstances, expected) in table {
            assert_eq!(consequence(&circumstances), expected, "{name}");
        }
    }
}
