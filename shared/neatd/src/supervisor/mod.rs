//! The supervisor: root, to whom no application can say a byte. It reads the master's configuration, binds
//! sockets, starts a warden for each group, passes it what it needs, counts them, and ends them.

mod orphans;
mod process;
mod ward;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::Inotify;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use shared::launch;
use shared::launch::handover::{GroupSpec, Handover};
use shared::launch::lifeline::Lifeline;
use shared::launch::renewal::{self, Receiver, RenewalError};
use shared::log::Level;

use self::orphans::{Left, Orphans, Retired};
use self::process::Chief;
use self::ward::{STOP_GRACE, Ward};
use crate::children::Wait;
use crate::log::Log;
use crate::warden::deaths::Death;
use crate::{children, signals, sockets};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often while everything ends.
const TICK_AT_THE_END: Duration = Duration::from_millis(20);
/// So many processes that have ended are taken at a time.
const MAX_REAPED: usize = 256;
/// How long what a warden has left may take to finish where no other one follows.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(5);
/// What the log says of processes that outlive their server.
const LEFT: &str = "processes that an application left behind cannot be ended, see ps";

struct Supervisor {
    conf: Handover,
    /// Where a supervisor that is started anew finds the configuration.
    kept: File,
    lifeline: Lifeline,
    /// `None` when the master has ended: no configuration will come any more.
    renewals: Option<Receiver>,
    signals: OwnedFd,
    log: Log,
    /// Says that the log may have been rotated.
    log_watch: Option<Inotify>,
    wards: BTreeMap<String, Ward>,
    retired: Vec<Retired>,
    orphans: Orphans,
    /// How many generations may load at a time.
    room: usize,
    stopping: bool,
    /// More processes may have ended than were taken the last time.
    has_more_ended: bool,
}

/// The life of the supervisor; gives its exit code.
pub fn live() -> i32 {
    // SAFETY: the keeper hands these over, and nothing was opened before.
    let [lifeline, renewals, conf] =
        [launch::LIFELINE, launch::RENEWALS, launch::CONF].map(|number| unsafe { launch::take(number) });
    match Supervisor::new(Lifeline::new(lifeline), Receiver::new(renewals), File::from(conf)) {
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

impl Supervisor {
    fn new(lifeline: Lifeline, renewals: Receiver, mut kept: File) -> Result<Self, String> {
        children::adopt_orphans();
        let conf = renewal::kept(&mut kept).map_err(|error| error.to_string())?;
        let caught = [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT];
        let signals = signals::catch(&caught).map_err(|error| error.to_string())?;
        let mut log = Log::new(conf.error_log.clone(), conf.log_level, &conf.server);
        log.detach();
        let room = std::thread::available_parallelism().map_or(2, usize::from) * 2;
        Ok(Self {
            conf,
            kept,
            lifeline,
            renewals: Some(renewals),
            signals,
            log_watch: log.watch(),
            log,
            wards: BTreeMap::new(),
            retired: Vec::new(),
            orphans: Orphans::default(),
            room,
            stopping: false,
            has_more_ended: false,
        })
    }

    fn run(&mut self) {
        sockets::sweep(&self.conf.prefix);
        self.apply(true);
        let mut last = Instant::now();
        loop {
            self.load();
            self.wait();
            self.follow_the_server();
            // What has happened is read once, whatever it was.
            if self.log_watch.as_ref().is_some_and(|watch| watch.read_events().is_ok()) {
                self.follow_the_log();
            }
            for signal in signals::caught(&self.signals) {
                match signal {
                    Signal::SIGHUP => self.renew_all("it was told to (SIGHUP)"),
                    Signal::SIGTERM | Signal::SIGINT => self.stop(),
                    _ => {}
                }
            }
            self.recv();
            self.reap();
            if last.elapsed() >= self.tick() {
                last = Instant::now();
                self.look_at_the_clock();
            }
            self.forget_removed();
            if self.stopping && self.wards.is_empty() && self.retired.is_empty() {
                break;
            }
        }
        if !children::reap_orphans() {
            self.log.say(Level::Error, LEFT);
        }
        sockets::sweep(&self.conf.prefix);
    }

    const fn tick(&self) -> Duration {
        if self.stopping { TICK_AT_THE_END } else { TICK }
    }

    fn each(&mut self, mut work: impl FnMut(&mut Ward, &mut Chief<'_>)) {
        let mut chief = Chief { conf: &self.conf, lifeline: &self.lifeline, log: &mut self.log };
        for ward in self.wards.values_mut() {
            work(ward, &mut chief);
        }
    }

    /// Has load what waits for it, so many at a time that each has some of the machine: a thousand groups
    /// that all load at once would all be too late.
    fn load(&mut self) {
        let room = self.room;
        let mut loading = self.wards.values().filter(|ward| ward.is_loading()).count();
        self.each(|ward, _| {
            if loading < room && ward.load() {
                loading += 1;
            }
        });
    }

    fn wait(&mut self) {
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if !self.stopping {
            polled.push(self.lifeline.watched());
            polled.extend(self.renewals.iter().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN)));
        }
        polled.extend(self.log_watch.iter().map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
        let wards = self.wards.values().filter_map(Ward::descriptor);
        polled.extend(wards.map(|one| PollFd::new(one, PollFlags::POLLIN)));
        let timeout = if self.has_more_ended { Duration::ZERO } else { self.tick() };
        let _ = poll(&mut polled, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX));
    }

    fn recv(&mut self) {
        let mut taken_over = Vec::new();
        self.each(|ward, chief| {
            if ward.recv(chief) {
                taken_over.push((ward.name().to_owned(), ward.graceful_timeout()));
            }
        });
        for (group, timeout) in taken_over {
            self.orphans.end(&group, timeout);
            // It may not see by itself that another generation has the group's name, in a root directory of
            // its own.
            let retired = self.retired.iter_mut().filter(|retired| retired.name == group);
            retired.for_each(|retired| retired.end(timeout + STOP_GRACE));
        }
        self.forget_retired();
    }

    /// Lets go of retired wardens that have ended and are not needed any more.
    fn forget_retired(&mut self) {
        self.retired.retain(|retired| {
            let is_over = retired.pid.is_none() && retired.deadline.is_some();
            if is_over {
                retired.remove_sockets();
            }
            !is_over
        });
    }

    /// Lets go of groups that the configuration has no more, and of what is left of them.
    fn forget_removed(&mut self) {
        let over: Vec<String> =
            self.wards.values().filter(|ward| ward.is_over()).map(|ward| ward.name().to_owned()).collect();
        for name in over {
            self.wards.remove(&name);
            self.orphans.end(&name, ORPHAN_TIMEOUT);
            let retired = self.retired.iter_mut().filter(|retired| retired.name == name);
            retired.for_each(|retired| retired.end(ORPHAN_TIMEOUT));
        }
        self.forget_retired();
    }

    fn look_at_the_clock(&mut self) {
        self.follow_the_log();
        self.each(|ward, chief| ward.tick(chief));
        self.orphans.enforce();
        self.retired.iter().for_each(Retired::enforce);
    }

    /// Where the log was rotated everybody is to write to the new one.
    fn follow_the_log(&mut self) {
        if self.log.is_rotated() {
            self.send_log();
        }
    }

    /// The wardens are to write to the log that is open.
    fn send_log(&mut self) {
        self.log.detach();
        let Some(log) = self.log.file() else { return };
        self.wards.values().for_each(|ward| ward.send_log(log.as_fd()));
    }

    fn follow_the_server(&mut self) {
        if self.stopping {
            return;
        }
        if self.lifeline.is_cut() {
            self.stop();
            return;
        }
        // A master that sends faster than this reads is read on the next turn.
        match self.renewals.as_ref().map(Receiver::receive) {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(conf))) => self.take(conf),
            Some(Err(RenewalError::Closed)) => self.renewals = None,
            Some(Err(why)) => self.log.say(Level::Error, &why.to_string()),
        }
    }

    fn take(&mut self, mut conf: Handover) {
        // What is executed does not change while this runs.
        conf.engine.clone_from(&self.conf.engine);
        self.log = Log::new(conf.error_log.clone(), conf.log_level, &conf.server);
        if let Err(error) = renewal::keep(&mut self.kept, &conf) {
            let why = format!("the new configuration is lost should the supervisor be started anew: {error}");
            self.log.say(Level::Error, &why);
        }
        let is_same_user = self.conf.server_user == conf.server_user;
        self.conf = conf;
        self.log_watch = self.log.watch();
        self.send_log();
        self.apply(is_same_user);
    }

    /// Makes the groups what the configuration says.
    fn apply(&mut self, is_same_user: bool) {
        let specs: Vec<GroupSpec> = self.conf.groups.clone();
        let mut chief = Chief { conf: &self.conf, lifeline: &self.lifeline, log: &mut self.log };
        for spec in &specs {
            let name = spec.conf.name.as_str();
            let ward = self.wards.get_mut(name);
            if ward.is_some_and(|ward| ward.keep(&mut chief, spec, is_same_user)) {
                continue;
            }
            // What is another warden's from now on serves until that one's generation does.
            let former = self.wards.remove(name).map(|ward| ward.let_go(chief.conf));
            let count = former.as_ref().map_or(0, |former| former.count);
            self.retired.extend(former);
            self.wards.insert(name.to_owned(), Ward::start(&mut chief, spec.clone(), count));
        }
        for (name, ward) in &mut self.wards {
            if !specs.iter().any(|spec| spec.conf.name == *name) {
                ward.remove_group(&self.conf);
            }
        }
    }

    fn renew_all(&mut self, why: &str) {
        self.log.say(Level::Notice, &format!("every process group is renewed: {why}"));
        self.wards.values().for_each(Ward::renew);
    }

    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.each(|ward, chief| ward.stop(chief.conf));
        let timeouts = self.conf.groups.iter().map(|spec| spec.conf.shutdown_timeout);
        let timeout = timeouts.max().unwrap_or_default() + STOP_GRACE;
        self.retired.iter_mut().for_each(|retired| retired.end(timeout));
        self.forget_retired();
        for group in self.orphans.groups() {
            self.orphans.end(&group, ORPHAN_TIMEOUT);
        }
    }

    /// Takes those that have ended, so many at a time: what a group leaves behind may come to this process,
    /// and may come faster than it is taken.
    fn reap(&mut self) {
        self.has_more_ended = true;
        let mut left: BTreeMap<String, Left> = BTreeMap::new();
        for _ in 0..MAX_REAPED {
            let Ok(Some((pid, death))) = children::reap(Wait::AnyEnded) else {
                self.has_more_ended = false;
                break;
            };
            if let Some(one) = self.has_ended(pid, death) {
                left.insert(one.group.clone(), one);
            }
        }
        if left.is_empty() {
            return;
        }
        let wards = self.wards.values().filter_map(Ward::pid);
        let known = wards.chain(self.retired.iter().filter_map(|retired| retired.pid)).collect();
        left.values().for_each(|left| self.orphans.adopt(left, &known));
    }

    /// A child has ended; what it may have left behind.
    fn has_ended(&mut self, pid: Pid, death: Death) -> Option<Left> {
        let soon = Some(Instant::now() + ORPHAN_TIMEOUT);
        let name =
            self.wards.values().find(|ward| ward.pid() == Some(pid)).map(|ward| ward.name().to_owned());
        if let Some(group) = name {
            let mut chief = Chief { conf: &self.conf, lifeline: &self.lifeline, log: &mut self.log };
            let ward = self.wards.get_mut(&group)?;
            let user = ward.user();
            let deadline = if ward.has_lost_warden(&mut chief, death) { None } else { soon };
            return Some(Left { group, user, deadline });
        }
        if let Some(retired) = self.retired.iter_mut().find(|retired| retired.pid == Some(pid)) {
            retired.pid = None;
            // What it leaves serves until another generation does.
            let deadline = retired.deadline.and(soon);
            let left = Left { group: retired.name.clone(), user: retired.user, deadline };
            self.forget_retired();
            return Some(left);
        }
        let (group, deadline) = self.orphans.remove(pid)?;
        let user = self.wards.get(&group).and_then(Ward::user);
        Some(Left { group, user, deadline })
    }
}
