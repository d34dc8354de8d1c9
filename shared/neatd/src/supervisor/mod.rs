//! The supervisor: knows every group, follows the server, and decides.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use shared::launch;
use shared::launch::handover::Handover;
use shared::log::Level;

use crate::log::Log;
use crate::warden::group::{Group, Surroundings};
use crate::{signals, sockets};

/// How often the clock and the scripts are looked at, at most; and for each group, so that a thousand of them cost no more than a
/// few.
const TICK: Duration = Duration::from_millis(250);
const TICK_OF_A_GROUP: Duration = Duration::from_millis(1);
/// How long what an application left behind has to end by itself.
const LAST_GRACE: Duration = Duration::from_millis(500);

struct Supervisor {
    conf: Handover,
    file: File,
    lifeline: OwnedFd,
    signals: OwnedFd,
    log: Log,
    groups: BTreeMap<String, Group>,
    /// How many generations may load at a time.
    room: usize,
    stopping: bool,
}

/// Reads the configuration that the server wrote.
///
/// # Errors
/// A sentence for the log.
pub fn read_conf(file: &mut File) -> Result<Handover, String> {
    let mut text = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut text)).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text)
        .map_err(|error| format!("the server's configuration cannot be read: {error}"))
}

/// The life of the supervisor; gives its exit code.
pub fn live() -> i32 {
    // SAFETY: the keeper hands these over, and nothing was opened before.
    let [lifeline, conf] = [launch::LIFELINE, launch::CONF].map(|number| unsafe { launch::take(number) });
    match Supervisor::new(lifeline, File::from(conf)) {
        Ok(mut supervisor) => {
            supervisor.run();
            0
        }
        Err(why) => {
            eprintln!("neatd cannot start: {why}");
            1
        }
    }
}

/// Has this process inherit whatever its descendants leave behind.
pub fn adopt_orphans() {
    // SAFETY: a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// Ends what is left of this process's children.
pub fn bury() {
    let begin = Instant::now();
    let children = || {
        let path = format!("/proc/self/task/{}/children", std::process::id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect::<Vec<_>>()
    };
    loop {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
        {
        }
        let left = children();
        if left.is_empty() {
            return;
        }
        let signal = if begin.elapsed() < LAST_GRACE { Signal::SIGTERM } else { Signal::SIGKILL };
        for pid in left {
            // A child of this process that was not reaped: the number is still its.
            let _ = kill(pid, signal);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Supervisor {
    fn new(lifeline: OwnedFd, mut file: File) -> Result<Self, String> {
        adopt_orphans();
        let conf = read_conf(&mut file)?;
        let caught = [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT];
        let signals = signals::catch(&caught).map_err(|error| error.to_string())?;
        let log = Log::new(conf.error_log.clone(), conf.log_level, &conf.server);
        let room = std::thread::available_parallelism().map_or(2, usize::from) * 2;
        Ok(Self { conf, file, lifeline, signals, log, groups: BTreeMap::new(), room, stopping: false })
    }

    fn run(&mut self) {
        sockets::sweep(&self.conf.prefix);
        self.apply();
        let mut last = Instant::now();
        loop {
            self.begin();
            self.wait();
            self.look_at_lifeline();
            for signal in signals::caught(&self.signals) {
                match signal {
                    Signal::SIGHUP => self.renew_all("it was told to (SIGHUP)"),
                    Signal::SIGTERM | Signal::SIGINT => self.stop(),
                    _ => {}
                }
            }
            self.each(|group, around| group.hear(around));
            self.reap();
            if last.elapsed() >= self.tick() || self.stopping {
                last = Instant::now();
                let stopping = self.stopping;
                self.each(|group, around| group.tick(around, stopping));
            }
            self.groups.retain(|name, group| {
                let wanted = !self.stopping && self.conf.groups.iter().any(|spec| spec.conf.name == *name);
                wanted || !group.is_over()
            });
            if self.stopping && self.groups.is_empty() {
                break;
            }
        }
        bury();
        sockets::sweep(&self.conf.prefix);
    }

    fn tick(&self) -> Duration {
        TICK.max(TICK_OF_A_GROUP * u32::try_from(self.groups.len()).unwrap_or(u32::MAX))
    }

    /// Starts what is due, so many at a time that each has some of the machine: a thousand groups that all load at once would
    /// all be too late.
    fn begin(&mut self) {
        let room = self.room;
        let mut loading = self.groups.values().filter(|group| group.is_loading()).count();
        self.each(|group, around| {
            if loading < room && group.begin(around) {
                loading += 1;
            }
        });
    }

    fn each(&mut self, mut work: impl FnMut(&mut Group, &mut Surroundings<'_>)) {
        let mut around = Surroundings { conf: &self.conf, lifeline: &self.lifeline, log: &mut self.log };
        for group in self.groups.values_mut() {
            work(group, &mut around);
        }
    }

    fn wait(&mut self) {
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if !self.stopping {
            polled.push(PollFd::new(self.lifeline.as_fd(), PollFlags::POLLIN));
        }
        for group in self.groups.values() {
            let generations = group.current.iter().chain(group.next.iter()).chain(group.old.iter());
            polled.extend(generations.map(|one| PollFd::new(one.reports.as_fd(), PollFlags::POLLIN)));
            polled.extend(group.unserved().map(|one| PollFd::new(one, PollFlags::POLLIN)));
        }
        let tick = if self.stopping { Duration::from_millis(20) } else { self.tick() };
        let _ = poll(&mut polled, PollTimeout::try_from(tick).unwrap_or(PollTimeout::MAX));
        drop(polled);
        self.groups.values_mut().for_each(Group::respond);
    }

    fn look_at_lifeline(&mut self) {
        if self.stopping {
            return;
        }
        let mut bytes = [0; 64];
        match recv(self.lifeline.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => self.stop(),
            Ok(_) => self.read_anew(),
            Err(_) => {}
        }
    }

    fn read_anew(&mut self) {
        match read_conf(&mut self.file) {
            Ok(conf) => {
                self.log = Log::new(conf.error_log.clone(), conf.log_level, &conf.server);
                self.conf = conf;
                self.apply();
            }
            // It is written once more, and said then.
            Err(why) => self.log.say(Level::Warning, &why),
        }
    }

    /// Makes the groups what the configuration says.
    fn apply(&mut self) {
        for spec in &self.conf.groups {
            let group = self.groups.entry(spec.conf.name.clone()).or_insert_with(|| Group::new(spec.clone()));
            group.spec = spec.clone();
        }
        let names: Vec<String> = self.conf.groups.iter().map(|spec| spec.conf.name.clone()).collect();
        self.each(|group, around| {
            if names.contains(&group.spec.conf.name) {
                group.removed = None;
                group.renew(around);
            } else {
                group.removed.get_or_insert_with(Instant::now);
            }
        });
    }

    fn renew_all(&mut self, why: &str) {
        self.log.say(Level::Notice, &format!("every process group is renewed: {why}"));
        self.each(|group, around| group.renew(around));
    }

    fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.each(|group, _| group.stop(group.spec.conf.shutdown_timeout));
        }
    }

    fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(status) => {
                    let mut known = false;
                    self.each(|group, around| known = known || group.has_ended(around, status));
                }
            }
        }
    }
}
