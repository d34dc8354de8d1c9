//! The life of a warden: a process of its group's user, below the supervisor and above the group's zygotes.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdout};
use shared::launch::lifeline::Lifeline;
use shared::log::Level;
use shared::preflight::identity::Identity;

use super::group::Group;
use super::site::Site;
use crate::children::{self, Wait};
use crate::log::Log;
use crate::orders::{self, Order, Status, Superior, WardenConf};
use crate::sockets::ListenSocket;
use crate::{privileges, procfs, signals, title};

/// How often the clock and the scripts are looked at, at most; the more groups there are the less often, so
/// that a thousand of them cost no more than a few.
const TICK: Duration = Duration::from_millis(250);
const TICK_OF_A_GROUP: Duration = Duration::from_millis(1);
/// How often while the group ends.
const TICK_AT_THE_END: Duration = Duration::from_millis(20);
/// So many processes that have ended are taken at a time.
const MAX_REAPED: usize = 256;

/// How long a warden that cannot be its group's user answers for the group.
const UNABLE_PERIOD: Duration = Duration::from_secs(10);

/// A warden.
struct Warden {
    site: Site,
    group: Group,
    signals: OwnedFd,
    /// The supervisor was asked whether there is room to load.
    has_asked: bool,
    /// It was told that there is, and holds that room.
    has_room: bool,
    stopping: bool,
    has_more_ended: bool,
    /// Why this process could not become the group's user, and when: it is nobody then, says so to whoever
    /// asks the group, and leaves for another try.
    unable: Option<(String, Instant)>,
}

/// What a warden is handed, in this order: its configuration, where orders come from, where its status goes,
/// what says that the server is gone, and the error log.
pub fn live(handed: [OwnedFd; 5]) -> i32 {
    let [conf, commands, statuses, lifeline, log] = handed;
    let conf = match orders::read(conf) {
        Ok(conf) => conf,
        Err(why) => {
            eprintln!("a warden cannot start: {why}");
            return 1;
        }
    };
    // What is still written to standard error, as by a panic, is for the log.
    let _ = (dup2_stdout(&log), dup2_stderr(&log));
    let mut log = Log::with_file(File::from(log), conf.log_level, &conf.server);
    let superior = Superior::new(commands, statuses);
    match Warden::new(conf, superior, Lifeline::new(lifeline), &mut log) {
        Ok(mut warden) => {
            warden.run();
            i32::from(warden.unable.is_some())
        }
        Err(why) => {
            log.say(Level::Error, &format!("a warden cannot start: {why}"));
            1
        }
    }
}

impl Warden {
    fn new(conf: WardenConf, superior: Superior, lifeline: Lifeline, log: &mut Log) -> Result<Self, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        procfs::keep();
        title::prepare();
        children::adopt_orphans();
        let group = &conf.spec.conf;
        let identity = Identity::of(group, conf.server_user).map_err(|error| text(&error));
        let done = identity.and_then(|identity| {
            privileges::become_user(group, &identity).map_err(|error| text(&error))?;
            Ok(identity)
        });
        let (identity, unable) = match done {
            Ok(identity) => (Some(identity), None),
            Err(why) if privileges::become_nobody() => (None, Some((why, Instant::now()))),
            Err(why) => return Err(why),
        };
        let caught = [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGTERM];
        let signals = signals::catch(&caught).map_err(|error| text(&error))?;
        let file = log.file().and_then(|file| file.try_clone().ok());
        let log = file.map_or_else(
            || Log::new(None, conf.log_level, &conf.server),
            |file| Log::with_file(file, conf.log_level, &conf.server),
        );
        let group = Group::new(conf.spec.clone());
        let site = Site::new(conf, identity, lifeline, log, superior);
        Ok(Self {
            site,
            group,
            signals,
            has_asked: false,
            has_room: false,
            stopping: false,
            has_more_ended: false,
            unable,
        })
    }

    fn run(&mut self) {
        let mut last = Instant::now();
        self.follow();
        match &self.unable {
            None => self.group.renew(&mut self.site),
            Some((why, _)) => self.group.cannot_start(&mut self.site, why),
        }
        loop {
            self.ask_for_room();
            self.wait();
            self.follow();
            if self.unable.as_ref().is_some_and(|(_, since)| since.elapsed() > UNABLE_PERIOD) {
                return;
            }
            self.group.recv(&mut self.site);
            self.reap();
            if last.elapsed() >= self.tick() && (self.unable.is_none() || self.stopping) {
                last = Instant::now();
                self.group.tick(&mut self.site, self.stopping);
            }
            if self.stopping && self.group.is_over() {
                break;
            }
        }
        children::reap_orphans();
    }

    fn tick(&self) -> Duration {
        let groups = u32::try_from(self.site.conf().groups).unwrap_or(u32::MAX);
        if self.stopping { TICK_AT_THE_END } else { TICK.max(TICK_OF_A_GROUP.saturating_mul(groups)) }
    }

    fn wait(&mut self) {
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        polled.extend(self.site.descriptor().map(|one| PollFd::new(one, PollFlags::POLLIN)));
        polled.extend(self.group.descriptors().map(|one| PollFd::new(one, PollFlags::POLLIN)));
        let timeout = if self.has_more_ended { Duration::ZERO } else { self.tick() };
        let _ = poll(&mut polled, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX));
        drop(polled);
        self.group.respond();
    }

    /// Does as it is told.
    fn follow(&mut self) {
        while let Some((order, descriptor)) = self.site.superior().next() {
            self.obey(order, descriptor);
        }
        for signal in signals::caught(&self.signals) {
            match signal {
                Signal::SIGHUP if !self.stopping && self.unable.is_none() => {
                    self.renew("it was told to (SIGHUP)")
                }
                Signal::SIGTERM if self.site.is_alone() => self.stop(self.group.graceful_timeout()),
                Signal::SIGTERM => self.stop(self.group.spec.conf.shutdown_timeout),
                _ => {}
            }
        }
        if self.site.is_alone() && !self.stopping {
            self.serve_alone();
        }
    }

    /// The supervisor is gone, or has another warden in this one's place. This one's generation serves until
    /// the other's has taken its place, or the server is gone.
    fn serve_alone(&mut self) {
        if self.site.is_cut() {
            self.stop(self.group.spec.conf.shutdown_timeout);
        } else if self.group.is_replaced() || !self.group.has_current() {
            self.stop(self.group.graceful_timeout());
        }
    }

    fn obey(&mut self, order: Order, descriptor: Option<OwnedFd>) {
        match (order, descriptor) {
            (Order::Ping, _) => self.site.tell(Status::Alive),
            (Order::Log, Some(log)) => {
                let _ = (dup2_stdout(&log), dup2_stderr(&log));
                self.site.log().change(Some(File::from(log)), None);
            }
            (Order::Load, _) => {
                self.has_asked = false;
                self.has_room = true;
                self.group.begin(&mut self.site);
            }
            // The next one sees to it.
            (Order::Configure, _) if self.unable.is_some() => self.stop(Duration::ZERO),
            (Order::Configure, Some(file)) if !self.stopping => match orders::read(file) {
                Ok(conf) => {
                    let spec = conf.spec.clone();
                    self.site.configure(conf);
                    self.group.keep(&mut self.site, spec);
                }
                Err(why) => self.site.say(Level::Error, &why),
            },
            // The socket that the first generation is to have: one that is asked for is an answer.
            (Order::Socket { slot, own_path, clients }, Some(listener)) => {
                self.group.offer(ListenSocket { slot, listener, clients, own_path });
            }
            (Order::Renew, _) if !self.stopping && self.unable.is_none() => {
                self.renew("its server's neatd was told to (SIGHUP)")
            }
            (Order::Remove, _) => self.group.remove(),
            (Order::Stop { timeout }, _) => self.stop(timeout),
            _ => {}
        }
    }

    fn renew(&mut self, why: &str) {
        let text = format!("process group {} is renewed: {why}", self.group.name());
        self.site.say(Level::Notice, &text);
        self.group.renew(&mut self.site);
    }

    fn stop(&mut self, timeout: Duration) {
        self.stopping = true;
        self.group.stop(&self.site, timeout);
    }

    /// Of all groups only some load at a time, which the supervisor sees to.
    fn ask_for_room(&mut self) {
        if self.has_room && !self.group.is_loading() {
            self.has_room = false;
            self.site.tell(Status::HasLoaded);
        }
        if self.group.is_due() && !self.has_asked && !self.has_room {
            if self.site.is_alone() {
                self.group.begin(&mut self.site);
            } else {
                self.has_asked = true;
                self.site.tell(Status::WantsToLoad);
            }
        }
        if self.group.is_finished() && !self.stopping {
            self.stop(Duration::ZERO);
        }
    }

    /// Takes the children that have ended, so many at a time: what the application leaves behind comes to
    /// this process, and may come faster than it is taken.
    fn reap(&mut self) {
        self.has_more_ended = true;
        for _ in 0..MAX_REAPED {
            let Ok(Some((pid, death))) = children::reap(Wait::AnyEnded) else {
                self.has_more_ended = false;
                return;
            };
            self.group.has_ended(&mut self.site, pid, death);
        }
    }
}
