//! Children of this process: how they ended, and those that its descendants left behind.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::warden::deaths::Death;

/// How long what an application left behind has to end by itself.
const ORPHAN_TIMEOUT: Duration = Duration::from_millis(500);

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

/// Reaps a child; `None` when none has ended. nix's own function fails on a real-time signal, having reaped the child.
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
    // SAFETY: writes a number to a place of this function's.
    let ended = Errno::result(unsafe { libc::waitpid(pid, &raw mut status, flags) })?;
    if ended == 0 {
        return Ok(None);
    }
    Ok(Death::from_status(status).map(|death| (Pid::from_raw(ended), death)))
}

/// Has this process inherit whatever its descendants leave behind.
pub fn adopt_orphans() {
    // SAFETY: a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// Ends what is left of this process's children.
pub fn reap_orphans() {
    let begin = Instant::now();
    let children = || {
        let path = format!("/proc/self/task/{}/children", std::process::id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect::<Vec<_>>()
    };
    loop {
        while matches!(reap(Wait::AnyEnded), Ok(Some(_))) {}
        let left = children();
        if left.is_empty() {
            return;
        }
        let signal = if begin.elapsed() < ORPHAN_TIMEOUT { Signal::SIGTERM } else { Signal::SIGKILL };
        for pid in left {
            // A child of this process that was not reaped: the number is still its.
            let _ = kill(pid, signal);
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
    fn a_child_says_how_it_ended() {
        let killed = |signal| Death::Signalled { signal, core_dumped: false };
        assert_eq!(death_of("exit 3"), Death::Exited(3));
        assert_eq!(death_of("kill -KILL $$"), killed(libc::SIGKILL));
        assert_eq!(death_of("kill -35 $$"), killed(35));
        assert_eq!(reap(Wait::Ended(Pid::from_raw(i32::MAX))), Err(Errno::ECHILD));
    }
}
