//! A group as the supervisor knows it: its warden, and the sockets that it has bound for it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, Uid, read};
use shared::launch::handover::{GroupSpec, Handover, socket_path};
use shared::log::Level;
use shared::preflight::identity::Identity;

use super::orphans::Retired;
use super::process::{Chief, Warden, is_same_process, sealed, send_socket, spawn};
use crate::children;
use crate::orders::{self, Order, SLOTS, Status};
use crate::sockets::{self, ListenSocket};
use crate::warden::backoff::backoff;
use crate::warden::deaths::Death;

/// How often a warden is asked whether it is alive, and how long it may take to say so: it never waits for
/// anything longer than that but a machine that has no time for it.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// So many bytes of a warden's are read at a time.
const MAX_STATUSES: usize = 32;
/// A start in which nothing happens for so long makes room for those of other groups.
const LOADING_TIMEOUT: Duration = Duration::from_secs(30);
/// What a warden has beyond what its processes have to leave.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// A warden that lived so long was well.
const WELL: Duration = Duration::from_secs(10);

/// A group.
pub struct Ward {
    spec: GroupSpec,
    /// Whose its processes are, where that could be found out.
    user: Option<Uid>,
    warden: Option<Warden>,
    /// What was bound for its generations, by slot.
    sockets: [Option<ListenSocket>; SLOTS],
    /// Counts them, for their names.
    count: u64,
    /// The one that servers find.
    public: Option<usize>,
    wants_to_load: bool,
    loading: Option<Instant>,
    is_removed: bool,
    /// When the warden is to be gone.
    deadline: Option<Instant>,
    /// When a warden is to be started anew, and how many died early in a row.
    restart: Option<Instant>,
    deaths: u32,
}

impl Ward {
    /// A group, with its socket and its warden. `count` is how many sockets were bound for it by another one.
    pub fn start(chief: &mut Chief<'_>, spec: GroupSpec, count: u64) -> Self {
        let mut ward = Self {
            user: None,
            spec,
            warden: None,
            sockets: [const { None }; SLOTS],
            count,
            public: None,
            wants_to_load: false,
            loading: None,
            is_removed: false,
            deadline: None,
            restart: None,
            deaths: 0,
        };
        ward.start_warden(chief);
        ward
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.conf.name
    }

    /// Its warden.
    pub fn pid(&self) -> Option<Pid> {
        self.warden.as_ref().map(|warden| warden.pid)
    }

    /// What to wait for.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.warden.as_ref()?.statuses.as_ref().map(AsFd::as_fd)
    }

    fn public_path(&self, conf: &Handover) -> PathBuf {
        socket_path(&conf.prefix, self.name())
    }

    fn send(&self, order: &Order, descriptor: Option<BorrowedFd<'_>>) -> bool {
        self.warden.as_ref().is_some_and(|warden| orders::send(warden.orders.as_fd(), order, descriptor))
    }

    /// Whose its processes are, where that could be found out.
    pub const fn user(&self) -> Option<Uid> {
        self.user
    }

    fn start_warden(&mut self, chief: &mut Chief<'_>) {
        self.restart = None;
        self.user = Identity::of(&self.spec.conf, chief.conf.server_user).ok().map(|identity| identity.uid);
        // Whoever asks before it is there waits at its socket. What goes wrong with that is said when the
        // warden asks for one.
        let socket = match self.public {
            Some(slot) => Ok(slot),
            None => self.make_socket(chief.conf).and_then(|slot| {
                self.prepare(chief.conf, slot)?;
                Ok(slot)
            }),
        };
        let offered = socket.ok().and_then(|slot| self.sockets.get(slot)?.as_ref());
        match spawn(chief, &self.spec, offered) {
            Ok(warden) => self.warden = Some(warden),
            Err(why) => {
                let pause = self.restart_later();
                let name = self.name();
                let text = format!(
                    "process group {name}: its warden cannot be started, next try in {} s: {why}",
                    pause.as_secs()
                );
                chief.log.say(Level::Error, &text);
            }
        }
    }

    fn restart_later(&mut self) -> Duration {
        let pause = backoff(self.deaths);
        self.deaths = self.deaths.saturating_add(1);
        self.restart = Some(Instant::now() + pause);
        pause
    }

    fn make_socket(&mut self, conf: &Handover) -> Result<usize, String> {
        let slot = self.sockets.iter().position(Option::is_none);
        let slot = slot.ok_or("too many generations of it have not ended yet")?;
        self.count += 1;
        self.sockets[slot] = Some(sockets::make(conf, &self.spec, self.count, slot)?);
        Ok(slot)
    }

    fn send_socket(&self, slot: usize) {
        let socket = self.sockets.get(slot).and_then(Option::as_ref);
        if let Some((warden, socket)) = self.warden.as_ref().zip(socket) {
            send_socket(warden.orders.as_fd(), socket);
        }
    }

    fn path_of(&self, slot: usize) -> Result<&Path, String> {
        let socket = self.sockets.get(slot).and_then(Option::as_ref);
        socket.map(|socket| socket.own_path.as_path()).ok_or_else(|| "there is no such socket".to_owned())
    }

    fn prepare(&mut self, conf: &Handover, slot: usize) -> Result<(), String> {
        let public = self.public_path(conf);
        sockets::prepare(self.path_of(slot)?, &public)
            .map_err(|error| format!("the socket \"{}\" cannot be made: {error}", public.display()))?;
        self.public = Some(slot);
        Ok(())
    }

    fn publish(&mut self, conf: &Handover, slot: usize) -> Result<(), String> {
        sockets::serve(self.path_of(slot)?, &self.public_path(conf))
            .map_err(|error| format!("its socket cannot be published: {error}"))?;
        self.public = Some(slot);
        Ok(())
    }

    fn remove(&mut self, conf: &Handover, slot: usize) {
        if self.public == Some(slot) {
            self.public = None;
        }
        let public = self.public_path(conf);
        if let Some(socket) = self.sockets.get_mut(slot).and_then(Option::take) {
            sockets::remove(&socket.own_path, &public);
        }
    }

    /// Reads what the warden says, a turn's worth. `true` when a generation of it serves, so that those that
    /// another warden left are not needed any more.
    pub fn recv(&mut self, chief: &mut Chief<'_>) -> bool {
        let mut bytes = [0; MAX_STATUSES];
        let Some(statuses) = self.warden.as_ref().and_then(|warden| warden.statuses.as_ref()) else {
            return false;
        };
        let length = match read(statuses, &mut bytes) {
            Err(Errno::EAGAIN | Errno::EINTR) => return false,
            read => read.unwrap_or(0),
        };
        if length == 0 {
            if let Some(warden) = &mut self.warden {
                warden.statuses = None;
            }
            // It has ended, or does as if.
            self.kill();
        }
        let mut has_taken_over = false;
        for byte in bytes.iter().take(length) {
            match Status::from_byte(*byte) {
                Some(status) => has_taken_over |= self.take(chief, status),
                None => {
                    let text = format!("process group {}: its warden said what no warden says", self.name());
                    chief.log.say(Level::Critical, &text);
                    self.kill();
                    return has_taken_over;
                }
            }
        }
        has_taken_over
    }

    fn take(&mut self, chief: &mut Chief<'_>, status: Status) -> bool {
        let answer = |done: Result<(), String>| match done {
            Ok(()) => Order::Done,
            Err(why) => Order::Refused { why },
        };
        match status {
            Status::Alive => {
                if let Some(warden) = &mut self.warden {
                    warden.pinged = None;
                }
            }
            Status::WantsToLoad => self.wants_to_load = true,
            Status::HasLoaded => self.loading = None,
            Status::WantsSocket => match self.make_socket(chief.conf) {
                Ok(slot) => self.send_socket(slot),
                Err(why) => {
                    self.send(&Order::Refused { why }, None);
                }
            },
            Status::Prepare(slot) => {
                let done = self.prepare(chief.conf, slot);
                self.send(&answer(done), None);
            }
            Status::Publish(slot) => {
                let done = self.publish(chief.conf, slot);
                let is_done = done.is_ok();
                self.send(&answer(done), None);
                return is_done;
            }
            Status::Remove(slot) => self.remove(chief.conf, slot),
        }
        false
    }

    /// Whether it loads, and takes room that others wait for.
    pub fn is_loading(&self) -> bool {
        self.loading.is_some_and(|since| since.elapsed() < LOADING_TIMEOUT)
    }

    /// Has it load where it wants to; `false` where it does not.
    pub fn load(&mut self) -> bool {
        if !std::mem::take(&mut self.wants_to_load) {
            return false;
        }
        self.loading = Some(Instant::now());
        self.send(&Order::Load, None)
    }

    /// The configuration has it, as this says. What a warden is at its start, another user say, takes another
    /// warden: `false`, and this one serves until that one's generation does.
    pub fn keep(&mut self, chief: &mut Chief<'_>, spec: &GroupSpec, is_same_user: bool) -> bool {
        if !(is_same_user && is_same_process(&self.spec, spec)) {
            if self.warden.is_some() {
                return false;
            }
            // What was bound for another user, whose processes may still have it, is not for this one.
            (0..SLOTS).for_each(|slot| self.remove(chief.conf, slot));
        }
        self.spec = spec.clone();
        self.is_removed = false;
        self.deadline = None;
        let sent = sealed(chief.conf, spec).map(|file| self.send(&Order::Configure, Some(file.as_fd())));
        if let Err(error) = sent {
            let text = format!("process group {}: the new configuration is lost: {error}", self.name());
            chief.log.say(Level::Error, &text);
        }
        true
    }

    /// Has it serve without this process, which has another warden in its place.
    pub fn let_go(self, conf: &Handover) -> Retired {
        let public = self.public_path(conf);
        let sockets = self.sockets.into_iter().flatten().map(|socket| socket.own_path).collect();
        let name = self.spec.conf.name;
        let pid = self.warden.map(|warden| warden.pid);
        Retired { name, user: self.user, count: self.count, pid, sockets, public, deadline: None }
    }

    /// The configuration has it no more.
    pub fn remove_group(&mut self, conf: &Handover) {
        self.is_removed = true;
        if !self.send(&Order::Remove, None) && self.warden.is_none() {
            (0..SLOTS).for_each(|slot| self.remove(conf, slot));
        }
    }

    /// Has it load its code anew.
    pub fn renew(&self) {
        self.send(&Order::Renew, None);
    }

    /// The error log was opened anew.
    pub fn send_log(&self, log: BorrowedFd<'_>) {
        self.send(&Order::Log, Some(log));
    }

    /// Has it leave.
    pub fn stop(&mut self, conf: &Handover) {
        let timeout = self.spec.conf.shutdown_timeout;
        let public = self.public_path(conf);
        if self.public.is_some_and(|slot| self.path_of(slot).is_ok_and(|own| sockets::is_same(own, &public)))
        {
            sockets::hand_back(&public);
        }
        self.is_removed = true;
        self.restart = None;
        self.deadline = Some(Instant::now() + timeout + STOP_GRACE);
        self.send(&Order::Stop { timeout }, None);
    }

    /// How long its generations may take to finish.
    pub fn graceful_timeout(&self) -> Duration {
        self.spec.conf.graceful_timeout.max(self.spec.conf.eviction_timeout)
    }

    /// Whether nothing is left of it.
    pub fn is_over(&self) -> bool {
        self.is_removed && self.warden.is_none()
    }

    fn kill(&self) {
        if let Some(pid) = self.pid() {
            children::signal(pid, Signal::SIGKILL);
        }
    }

    /// Looks at the clock.
    pub fn tick(&mut self, chief: &mut Chief<'_>) {
        if self.restart.is_some_and(|due| due <= Instant::now()) && self.warden.is_none() {
            return self.start_warden(chief);
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return self.kill();
        }
        let Some(warden) = &mut self.warden else { return };
        if warden.pinged.is_some_and(|since| since.elapsed() > PING_TIMEOUT) {
            warden.pinged = None;
            let text =
                format!("process group {}: its warden {} does not answer", self.spec.conf.name, warden.pid);
            chief.log.say(Level::Critical, &text);
            return self.kill();
        }
        if warden.pinged.is_none() && warden.last_ping.elapsed() > PING_INTERVAL {
            warden.last_ping = Instant::now();
            warden.pinged = Some(Instant::now());
            self.send(&Order::Ping, None);
        }
    }

    /// Its warden has ended; `true` where another one follows, until whose generation serves what this one
    /// left does.
    pub fn has_lost_warden(&mut self, chief: &mut Chief<'_>, death: Death) -> bool {
        // What it said before it ended comes first.
        self.recv(chief);
        let born = self.warden.take().map_or_else(Instant::now, |warden| warden.born);
        (self.wants_to_load, self.loading) = (false, None);
        let is_expected = self.is_removed && death == Death::Exited(0);
        let kept = if is_expected || self.deadline.is_some() { None } else { self.public };
        for slot in (0..SLOTS).filter(|slot| Some(*slot) != kept) {
            self.remove(chief.conf, slot);
        }
        if self.is_removed {
            if let Some(slot) = kept {
                self.remove(chief.conf, slot);
            }
            return false;
        }
        if born.elapsed() > WELL {
            self.deaths = 0;
        }
        let pause = self.restart_later();
        let again = if pause.is_zero() { String::new() } else { format!(" in {} s", pause.as_secs_f32()) };
        let text = format!(
            "process group {}: its warden {}; it is started anew{again}",
            self.name(),
            death.describe(false)
        );
        chief.log.say(Level::Error, &text);
        true
    }
}
