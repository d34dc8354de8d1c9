//! Children of this process: how they ended, and those that its descendants left behind.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::procfs;
use crate::warden::deaths::Death;

/// How long what an application left behind has to end by itself.
const ORPHAN_TIMEOUT: Duration = Duration::from_millis(500);
/// How long this process looks after them at most: one that the kernel does not let go of, or a user's that
/// forks faster than it is killed, is not waited for.
const REAP_TIMEOUT: Duration = Duration::from_secs(10);

/// Which children are meant, and whether one that has not ended yet is waited for (waitpid(2)).
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// Any one, however long it takes.
    ForAny,
    /// Any one that has ended already.
    AnyEnded,
    /// This one, if it has ended already.
    Ended(Pid),
}

/// Reaps a child; `None` when none has ended. nix's own function fails on a real-time signal, having reaped
/// the child.
///
/// # Errors
/// The system's; `ECHILD` when there is no such child.
pub fn reap(which: Wait) -> nix::Result<Option<(Pid, Death)>> {
    let (pid, flags) = match which {
        Wait::ForAny => (-1, 0),
        Wait::AnyEnded => (-1, libc::WNOHANG),
        Wait::Ended(pid) => (pid.as_raw(), libc::WNOHANG),
    };
    let mut status = 0;
    // SAFETY: writes a number into a variable of this function.
    let ended = Errno::result(unsafe { libc::waitpid(pid, &raw mut status, flags) })?;
    if ended == 0 {
        return Ok(None);
    }
    Ok(Death::from_status(status).map(|death| (Pid::from_raw(ended), death)))
}

/// Signals a child of this process that was not reaped, so that the number is still its; any other number,
/// which an application may have said, is left alone.
pub fn signal(child: Pid, signal: Signal) -> bool {
    // 0, 1 and negative numbers are more than a process (kill(2)).
    let Some(id) = u32::try_from(child.as_raw()).ok().filter(|id| *id > 1) else { return false };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeros are a value of this type, and the call writes to it.
    let is_child = unsafe {
        let mut about: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, id, &raw mut about, flags) == 0
    };
    is_child && kill(child, signal).is_ok()
}

/// Whether a process is a user's, as the kernel says; `false` where it is gone.
pub fn is_of_user(pid: Pid, user: Uid) -> bool {
    let id = u32::try_from(pid.as_raw()).ok().filter(|id| *id > 1);
    // The owner of the directory would be root for a process that has made itself unreadable (proc(5)).
    let status = id.and_then(|id| procfs::read(&Path::new(&id.to_string()).join("status")));
    let line = status.as_deref().unwrap_or_default().lines().find_map(|line| line.strip_prefix("Uid:"));
    let real = line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse().ok());
    real == Some(user.as_raw())
}

/// Has this process inherit whatever its descendants leave behind.
pub fn adopt_orphans() {
    // SAFETY: a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// This process's children that were not reaped.
pub fn all() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let text = procfs::read(&Path::new(&own).join("task").join(&own).join("children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// Ends what is left of this process's children; `false` when some are left all the same.
pub fn reap_orphans() -> bool {
    let begin = Instant::now();
    let is_late = || begin.elapsed() > REAP_TIMEOUT;
    loop {
        while matches!(reap(Wait::AnyEnded), Ok(Some(_))) && !is_late() {}
        let left = all();
        if left.is_empty() || is_late() {
            return left.is_empty();
        }
        let signal = if begin.elapsed() < ORPHAN_TIMEOUT { Signal::SIGTERM } else { Signal::SIGKILL };
        for pid in left {
            self::signal(pid, signal);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn death_of(script: &str) -> Death {
        let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        loop {
            match reap(Wait::Ended(pid)) {
                Ok(Some((ended, death))) => {
                    assert_eq!(ended, pid);
                    assert!(child.wait().is_err(), "it was reaped");
                    return death;
                }
                Ok(None) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn only_a_child_is_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let parent = nix::unistd::getppid();
        for other in [Pid::from_raw(-1), Pid::from_raw(0), Pid::from_raw(1), Pid::from_raw(i32::MIN), parent]
        {
            assert!(!signal(other, Signal::SIGCONT), "{other} is no child");
        }
        assert!(signal(pid, Signal::SIGKILL));
        child.wait().unwrap();
        assert!(!signal(pid, Signal::SIGKILL), "it was reaped: the number may be another's");
    }

    #[test]
    fn a_number_that_is_no_process_has_no_user() {
        let own = nix::unistd::geteuid();
        assert!(is_of_user(Pid::this(), own));
        assert!(!is_of_user(Pid::this(), Uid::from_raw(own.as_raw() + 1)));
        for other in [-1, 0, 1, i32::MIN, i32::MAX] {
            assert!(!is_of_user(Pid::from_raw(other), own), "{other}");
        }
    }

    #[test]
    fn a_child_says_how_it_ended() {
        let killed = |signal| Death::Signalled { signal, core_dumped: false };
        assert_eq!(death_of("exit 3"), Death::Exited(3));
        assert_eq!(death_of("kill -KILL $$"), killed(libc::SIGKILL));
        assert_eq!(death_of("kill -35 $$"), killed(35));
        assert_eq!(reap(Wait::Ended(Pid::from_raw(i32::MAX))), Err(Errno::ECHILD));
    }
}
