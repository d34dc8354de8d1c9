//! The supervisor: knows every group, follows the server, and decides.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use shared::launch;
use shared::launch::handover::Handover;
use shared::launch::lifeline::Lifeline;
use shared::launch::renewal::{self, Receiver, RenewalError};
use shared::log::Level;

use crate::children::Wait;
use crate::log::Log;
use crate::warden::group::Group;
use crate::warden::site::Site;
use crate::{children, signals, sockets};

/// How often the clock and the scripts are looked at, at most; and for each group, so that a thousand of them
/// cost no more than a few.
const TICK: Duration = Duration::from_millis(250);
const TICK_OF_A_GROUP: Duration = Duration::from_millis(1);
/// So many processes that have ended are taken at a time.
const MAX_REAPED: usize = 256;

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
    groups: BTreeMap<String, Group>,
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
        let log = Log::new(conf.error_log.clone(), conf.log_level, &conf.server);
        let room = std::thread::available_parallelism().map_or(2, usize::from) * 2;
        let renewals = Some(renewals);
        Ok(Self {
            conf,
            kept,
            lifeline,
            renewals,
            signals,
            log,
            groups: BTreeMap::new(),
            room,
            stopping: false,
            has_more_ended: false,
        })
    }

    fn run(&mut self) {
        sockets::sweep(&self.conf.prefix);
        self.apply();
        let mut last = Instant::now();
        loop {
            self.begin();
            self.wait();
            self.follow_the_server();
            for signal in signals::caught(&self.signals) {
                match signal {
                    Signal::SIGHUP => self.renew_all("it was told to (SIGHUP)"),
                    Signal::SIGTERM | Signal::SIGINT => self.stop(),
                    _ => {}
                }
            }
            self.each(|group, site| group.recv(site));
            self.reap();
            if last.elapsed() >= self.tick() || self.stopping {
                last = Instant::now();
                let stopping = self.stopping;
                self.each(|group, site| group.tick(site, stopping));
            }
            self.groups.retain(|name, group| {
                let wanted = !self.stopping && self.conf.groups.iter().any(|spec| spec.conf.name == *name);
                wanted || !group.is_over()
            });
            if self.stopping && self.groups.is_empty() {
                break;
            }
        }
        if !children::reap_orphans() {
            self.log.say(Level::Error, LEFT);
        }
        sockets::sweep(&self.conf.prefix);
    }

    fn tick(&self) -> Duration {
        TICK.max(TICK_OF_A_GROUP * u32::try_from(self.groups.len()).unwrap_or(u32::MAX))
    }

    /// Starts what is due, so many at a time that each has some of the machine: a thousand groups that all
    /// load at once would all be too late.
    fn begin(&mut self) {
        let room = self.room;
        let mut loading = self.groups.values().filter(|group| group.is_loading()).count();
        self.each(|group, site| {
            if loading < room && group.begin(site) {
                loading += 1;
            }
        });
    }

    fn each(&mut self, mut work: impl FnMut(&mut Group, &mut Site<'_>)) {
        let mut site = Site::new(&self.conf, &self.lifeline, &mut self.log);
        for group in self.groups.values_mut() {
            work(group, &mut site);
        }
    }

    fn wait(&mut self) {
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if !self.stopping {
            polled.push(self.lifeline.watched());
            polled.extend(self.renewals.iter().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN)));
        }
        for group in self.groups.values() {
            polled.extend(group.descriptors().map(|one| PollFd::new(one, PollFlags::POLLIN)));
        }
        let tick = match (self.has_more_ended, self.stopping) {
            (true, _) => Duration::ZERO,
            (false, true) => Duration::from_millis(20),
            (false, false) => self.tick(),
        };
        let _ = poll(&mut polled, PollTimeout::try_from(tick).unwrap_or(PollTimeout::MAX));
        drop(polled);
        self.groups.values_mut().for_each(Group::respond);
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
        self.conf = conf;
        self.apply();
    }

    /// Makes the groups what the configuration says.
    fn apply(&mut self) {
        for spec in &self.conf.groups {
            let group = self.groups.entry(spec.conf.name.clone()).or_insert_with(|| Group::new(spec.clone()));
            group.spec = spec.clone();
        }
        let names: Vec<String> = self.conf.groups.iter().map(|spec| spec.conf.name.clone()).collect();
        self.each(|group, site| {
            if names.contains(&group.spec.conf.name) {
                group.keep(site);
            } else {
                group.remove();
            }
        });
    }

    fn renew_all(&mut self, why: &str) {
        self.log.say(Level::Notice, &format!("every process group is renewed: {why}"));
        self.each(|group, site| group.renew(site));
    }

    fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.each(|group, site| group.stop(site, group.spec.conf.shutdown_timeout));
        }
    }

    /// Takes those that have ended, so many at a time: what a group leaves behind comes to this process, and
    /// may come faster than it is taken.
    fn reap(&mut self) {
        self.has_more_ended = true;
        for _ in 0..MAX_REAPED {
            let Ok(Some((pid, death))) = children::reap(Wait::AnyEnded) else {
                self.has_more_ended = false;
                return;
            };
            // A zygote is one that this process started; which workers a group has, it says itself.
            let owner =
                self.groups.values().find(|group| group.has_zygote(pid)).map(|group| group.name().to_owned());
            let mut known = false;
            self.each(|group, site| {
                let is_asked = owner.as_deref().is_none_or(|owner| owner == group.name());
                known = known || is_asked && group.has_ended(site, pid, death);
            });
        }
    }
}
