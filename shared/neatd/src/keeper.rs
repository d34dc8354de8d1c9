//! The keeper: the parent of the supervisor, which starts it anew when it was killed. It does nothing else,
//! so that there is nothing that could fail in it.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};
use nix::unistd::{ForkResult, Pid, fork, setsid};
use shared::launch;
use shared::launch::lifeline::Lifeline;
use shared::launch::renewal;
use shared::log::Level;

use crate::children::{self, Wait};
use crate::log::Log;
use crate::sockets::sweep;
use crate::warden::backoff::backoff;
use crate::warden::deaths::Death;

/// A supervisor that lived so long was well.
const WELL: Duration = Duration::from_secs(10);
/// The longest pause before it is started anew: nobody watches the processes meanwhile.
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// The life of the keeper; gives its exit code.
pub fn live() -> i32 {
    // Nobody's child: the server's master waits for the process that it started, and has no other to look
    // after.
    // SAFETY: this process has one thread.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {}
        Ok(ForkResult::Parent { .. }) => return 0,
        Err(error) => {
            eprintln!("neatd cannot start: {error}");
            return 1;
        }
    }
    let _ = setsid();
    children::adopt_orphans();
    // SAFETY: the server's module hands these over, and nothing was opened before.
    let [lifeline, renewals, conf] =
        [launch::LIFELINE, launch::RENEWALS, launch::CONF].map(|number| unsafe { launch::take(number) });
    let lifeline = Lifeline::new(lifeline);
    // The supervisor keeps what the server sends later in a file that nobody else has: the next one begins
    // with that.
    let first = renewal::open(conf.into()).and_then(|first| {
        let mut kept = launch::memory()?;
        renewal::keep(&mut kept, &first)?;
        Ok((kept, first))
    });
    let (mut conf, mut last) = match first {
        Ok(kept) => kept,
        Err(why) => {
            eprintln!("neatd cannot start: {why}");
            return 1;
        }
    };
    let mut deaths = 0u32;
    loop {
        // A supervisor that was killed while it kept a configuration leaves a part of it: the one before
        // holds.
        let read = match renewal::kept(&mut conf) {
            Ok(read) => read,
            Err(why) => {
                if let Err(error) = renewal::keep(&mut conf, &last) {
                    eprintln!("neatd cannot start: {why}; {error}");
                    return 1;
                }
                last.clone()
            }
        };
        last.clone_from(&read);
        let mut log = Log::new(read.error_log.clone(), read.log_level, &read.server);
        log.detach();
        let born = Instant::now();
        let arguments = [OsStr::new("--site"), read.prefix.as_os_str()];
        let mut command = launch::command(Path::new(launch::OWN_EXECUTABLE), "neatd: supervisor", &arguments);
        let handed = launch::hand_over(&mut command, &[lifeline.as_fd(), renewals.as_fd(), conf.as_fd()]);
        let ended = match handed.and_then(|()| command.spawn()) {
            Ok(child) => wait_for(Pid::from_raw(i32::try_from(child.id()).unwrap_or(-1))),
            Err(error) => {
                log.say(Level::Critical, &format!("neatd's supervisor cannot be started: {error}"));
                None
            }
        };
        if matches!(ended, Some(Death::Exited(0))) || lifeline.is_cut() {
            if !children::reap_orphans() {
                log.say(Level::Error, "processes of neatd's cannot be ended, see ps");
            }
            sweep(&read.prefix);
            return 0;
        }
        if let Some(death) = ended {
            let why = death.describe(false);
            log.say(Level::Critical, &format!("neatd's supervisor {why}; it is started anew"));
        }
        // The first time at once.
        let pause = if born.elapsed() > WELL { Duration::ZERO } else { backoff(deaths).min(MAX_PAUSE) };
        deaths = if born.elapsed() > WELL { 1 } else { deaths.saturating_add(1) };
        let mut polled = [lifeline.watched()];
        let _ = poll(&mut polled, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX));
    }
}

/// Waits for the supervisor, and sees to what it left behind.
fn wait_for(supervisor: Pid) -> Option<Death> {
    loop {
        match children::reap(Wait::ForAny) {
            Ok(Some((pid, death))) if pid == supervisor => return Some(death),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return None,
        }
    }
}
