//! A group: the generation that serves, the one that is to follow it, and those that finish.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use shared::launch::handover::GroupSpec;
use shared::log::Level;

use super::backoff::{LOADING_STEP, backoff};
use super::generation::Generation;
use super::responder::Responder;
use super::scripts::{Stamp, Stamps, stamps, watched};
use super::site::Site;
use super::workers::Phase;
use crate::sockets::{self, ListenSocket};

/// A start in which nothing happens for so long makes room for those of other groups.
const LOADING_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a group that was removed has to be without a request before it leaves.
const REMOVED_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it has at most, whatever its workers show: the server's processes from before the reload have
/// ended long since, or are kept by their clients.
const MAX_REMOVED_TIMEOUT: Duration = Duration::from_secs(300);

/// A group.
pub struct Group {
    /// What it is to be.
    pub spec: GroupSpec,
    /// What serves.
    pub(super) current: Option<Generation>,
    /// What is to follow it.
    pub(super) next: Option<Generation>,
    /// What finishes.
    pub(super) old: Vec<Generation>,
    /// The socket of a first start that failed, which is tried again.
    waiting: Option<ListenSocket>,
    /// Answers there.
    responder: Responder,
    /// Why it failed.
    failure: String,
    /// When it is tried again, and how often it was.
    retry: Option<(Instant, u32)>,
    /// What its scripts looked like when they were loaded.
    stamps: Stamps,
    count: u64,
    /// Since when the configuration has it no more.
    removed: Option<Instant>,
    /// It was told to end everything.
    has_stopped: bool,
    /// Whether a generation is to start at the socket that waits.
    is_due: bool,
    /// Whether the application can be forked once it is imported: it has not started threads so far.
    pub(super) may_preload: bool,
}

impl Group {
    /// A group that has not begun.
    pub fn new(spec: GroupSpec) -> Self {
        Self {
            spec,
            current: None,
            next: None,
            old: Vec::new(),
            waiting: None,
            responder: Responder::default(),
            failure: String::new(),
            retry: None,
            stamps: Stamps::new(),
            count: 0,
            removed: None,
            has_stopped: false,
            is_due: false,
            may_preload: true,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.conf.name
    }

    /// Every generation there is.
    pub(super) fn generations(&mut self) -> impl Iterator<Item = &mut Generation> {
        self.current.iter_mut().chain(self.next.iter_mut()).chain(self.old.iter_mut())
    }

    pub(super) fn generation(&mut self, number: u64) -> Option<&mut Generation> {
        self.generations().find(|generation| generation.number == number)
    }

    pub(super) fn is_next(&self, number: u64) -> bool {
        self.next.as_ref().is_some_and(|next| next.number == number)
    }

    /// How many workers are to serve.
    pub(super) fn wanted(&self) -> usize {
        usize::try_from(self.spec.conf.process_count()).unwrap_or(1)
    }

    /// The socket that no process serves, and why: a first start has failed, or every process has died and
    /// none can follow soon.
    fn unserved(&self) -> Option<(&ListenSocket, &str)> {
        match (&self.waiting, &self.next, &self.current) {
            (Some(socket), None, _) if !self.is_due => Some((socket, &self.failure)),
            (_, _, Some(current)) if current.is_unserved() => {
                Some((&current.socket, "its processes have died, see above"))
            }
            _ => None,
        }
    }

    /// What to wait for: reports of processes, and whoever asks a group without one.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let generations = self.current.iter().chain(self.next.iter()).chain(self.old.iter());
        let listener = self.unserved().map(|(socket, _)| socket.listener.as_fd());
        generations.flat_map(Generation::descriptors).chain(listener).chain(self.responder.descriptors())
    }

    /// Answers who asked a group without a process.
    pub fn respond(&mut self) {
        let mut responder = std::mem::take(&mut self.responder);
        if let Some((socket, failure)) = self.unserved() {
            responder.accept(&socket.listener, socket.clients);
            let fork = self.current.as_ref().and_then(|current| current.next_fork);
            let due = self.retry.map(|(due, _)| due).or(fork);
            let pause = due.map_or(1, |due| due.saturating_duration_since(Instant::now()).as_secs() + 1);
            let why =
                format!("the process group {} has no process that could serve it: {failure}", self.name());
            responder.answer(u16::try_from(pause).unwrap_or(30), &why);
        } else {
            responder.answer(1, "the process group is only just served again");
        }
        self.responder = responder;
    }

    /// Has a new generation follow, which takes over when it is ready. It starts when there is room for it
    /// ([`Self::begin`]); its socket is there at once.
    pub fn renew(&mut self, site: &mut Site) {
        if let Some(abandoned) = self.next.take() {
            // Processes of a first generation may serve before all of them do.
            let timeout = if abandoned.is_loaded { self.graceful_timeout() } else { Duration::ZERO };
            let socket = self.abandon(abandoned, timeout);
            // Whoever waits for a first generation already waits at its socket.
            if self.current.is_none() {
                self.waiting = socket;
            }
        }
        self.count += 1;
        self.stamps = self.read_stamps();
        let waiting = self.waiting.take();
        let socket = match waiting.map_or_else(|| site.make_socket(), Ok) {
            Ok(socket) => socket,
            Err(why) => return self.has_failed(site, None, &why),
        };
        if self.current.is_none() {
            if let Err(why) = site.prepare(&socket) {
                return self.has_failed(site, Some(socket), &why);
            }
        }
        self.waiting = Some(socket);
        self.is_due = true;
    }

    /// Nothing of it can be started.
    pub fn cannot_start(&mut self, site: &mut Site, why: &str) {
        let socket = self.waiting.take();
        self.has_failed(site, socket, why);
    }

    /// How long a generation may take to finish its requests.
    pub fn graceful_timeout(&self) -> Duration {
        self.spec.conf.eviction_timeout.max(self.spec.conf.graceful_timeout)
    }

    /// Whether it loads.
    pub fn is_loading(&self) -> bool {
        let phase = self.next.as_ref().map(|next| next.phase);
        matches!(phase, Some(Phase::Starting(since)) if since.elapsed() < LOADING_TIMEOUT)
    }

    /// Starts the generation that is due; `false` when none is.
    pub fn begin(&mut self, site: &mut Site) -> bool {
        if !std::mem::replace(&mut self.is_due, false) {
            return false;
        }
        let Some(socket) = self.waiting.take() else { return false };
        let mut spec = self.spec.clone();
        spec.conf.preload &= self.may_preload;
        match Generation::start(site, &spec, socket, self.count) {
            Ok(generation) => self.next = Some(generation),
            Err((socket, why)) => self.has_failed(site, Some(socket), &why),
        }
        true
    }

    /// A start failed. What served goes on serving; a first start is tried again, and so is one that nothing
    /// else can follow.
    fn has_failed(&mut self, site: &mut Site, socket: Option<ListenSocket>, why: &str) {
        let name = self.name().to_owned();
        let tries = self.retry.map_or(0, |(_, tries)| tries);
        let pause = backoff(tries.saturating_add(LOADING_STEP));
        let retry = Some((Instant::now() + pause, tries.saturating_add(1)));
        if let Some(current) = &self.current {
            if let Some(socket) = socket {
                site.remove(socket.slot);
            }
            if current.zygote.is_none() {
                self.retry = retry;
            }
            let text = format!(
                "process group {name}: the new code cannot be loaded, the old goes on serving: {why}"
            );
            return site.say(Level::Error, &text);
        }
        self.retry = retry;
        why.clone_into(&mut self.failure);
        self.waiting = socket;
        let pause = pause.as_secs();
        site.say(
            Level::Error,
            &format!("process group {name} cannot be started, next try in {pause} s: {why}"),
        );
    }

    /// Ends a generation that does not serve as a whole yet, and hands its socket back: it may be the one
    /// that servers know. `timeout` is for requests that some process of it has already.
    fn abandon(&mut self, mut generation: Generation, timeout: Duration) -> Option<ListenSocket> {
        let socket = &generation.socket;
        let (slot, own_path, clients) = (socket.slot, socket.own_path.clone(), socket.clients);
        let listener = socket.listener.try_clone().ok();
        generation.leave(timeout);
        self.old.push(generation);
        listener.map(|listener| ListenSocket { slot, listener, own_path, clients })
    }

    /// Ends the generation that was to follow.
    pub(super) fn give_up_next(&mut self, site: &mut Site, why: &str) {
        let Some(next) = self.next.take() else { return };
        let socket = self.abandon(next, Duration::ZERO);
        self.has_failed(site, socket, why);
    }

    /// Has the generation that was to follow serve.
    pub(super) fn take_over(&mut self, site: &mut Site) {
        let Some(mut next) = self.next.take() else { return };
        if let Err(why) = site.publish(&next.socket) {
            self.next = Some(next);
            return self.give_up_next(site, &why);
        }
        next.phase = Phase::Serving;
        let without = match next.failed.as_slice() {
            [] => String::new(),
            failed => format!(", without {}", failed.join(", ")),
        };
        let text = format!(
            "process group {}: generation {} serves with {} process(es) of {} thread(s){without}",
            self.name(),
            next.number,
            next.workers.serving(),
            self.spec.conf.threads,
        );
        site.say(Level::Notice, &text);
        self.retry = None;
        self.failure.clear();
        if let Some(mut before) = self.current.replace(next) {
            before.leave(self.graceful_timeout());
            self.old.push(before);
        }
    }

    /// The configuration has it, as this says.
    pub fn keep(&mut self, site: &mut Site, spec: GroupSpec) {
        self.spec = spec;
        self.removed = None;
        self.has_stopped = false;
        self.renew(site);
    }

    /// The socket that its next generation is to have.
    pub fn offer(&mut self, socket: ListenSocket) {
        self.waiting.get_or_insert(socket);
    }

    /// Whether a generation serves, or did.
    pub const fn has_current(&self) -> bool {
        self.current.is_some()
    }

    /// Whether it has left, having been removed.
    pub fn is_finished(&self) -> bool {
        self.removed.is_some() && self.has_stopped && self.is_over()
    }

    /// Whether a generation is to start.
    pub const fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether servers find a generation of another warden's under the group's name, as this process sees
    /// it: then that one serves.
    pub fn is_replaced(&self) -> bool {
        let Some(current) = &self.current else { return false };
        current.public_path.exists() && !sockets::is_same(&current.socket.own_path, &current.public_path)
    }

    /// The configuration has it no more: it leaves when nobody asks for it.
    pub fn remove(&mut self) {
        self.removed.get_or_insert_with(Instant::now);
    }

    /// Ends everything.
    pub fn stop(&mut self, site: &Site, timeout: Duration) {
        self.retry = None;
        self.is_due = false;
        self.has_stopped = true;
        if let Some(socket) = self.waiting.take() {
            site.remove(socket.slot);
        }
        self.old.extend(self.current.take().into_iter().chain(self.next.take()));
        for generation in &mut self.old {
            generation.leave(timeout);
        }
    }

    /// Whether nothing is left of it.
    pub fn is_over(&self) -> bool {
        let has_socket = self.waiting.is_some();
        self.current.is_none() && self.next.is_none() && self.old.is_empty() && !has_socket
    }

    /// Lets go of the generations that are over, and of their sockets.
    fn remove_ended(&mut self, site: &Site) {
        let (over, left): (Vec<_>, Vec<_>) = self.old.drain(..).partition(Generation::is_over);
        self.old = left;
        for generation in over {
            let slot = generation.socket.slot;
            // The socket of a first start that failed is handed on, from one try to the next.
            let is_kept = self.waiting.as_ref().is_some_and(|socket| socket.slot == slot)
                || self.generations().any(|other| other.socket.slot == slot);
            if !is_kept {
                site.remove(slot);
            }
        }
    }

    /// Looks at the clock, the scripts and the workers.
    pub fn tick(&mut self, site: &mut Site, stopping: bool) {
        self.generations().for_each(Generation::enforce);
        self.remove_ended(site);
        if stopping {
            return;
        }
        let removed = self.removed.map(|since| since.elapsed());
        let is_late = removed.is_some_and(|ago| ago > MAX_REMOVED_TIMEOUT);
        if is_late || removed.is_some_and(|ago| ago > REMOVED_TIMEOUT) && self.is_quiet() {
            return self.stop(site, self.spec.conf.graceful_timeout);
        }
        if let (Some(Phase::Starting(since)), Some(limit)) =
            (self.next.as_ref().map(|next| next.phase), self.spec.conf.startup_timeout)
        {
            if since.elapsed() > limit {
                let seconds = limit.as_secs_f64();
                let why = format!("it did not load its application within {seconds} s (startup-timeout)");
                self.give_up_next(site, &why);
            }
        }
        if self.next.is_none() && !self.is_due && self.retry.is_some_and(|(due, _)| due <= Instant::now()) {
            return self.renew(site);
        }
        if self.read_stamps() != self.stamps {
            site.say(Level::Notice, &format!("process group {}: a script has changed", self.name()));
            self.may_preload = true;
            return self.renew(site);
        }
        self.keep_workers(site);
    }

    /// Whether nobody has asked it for a while: the processes that the server has from before a reload know a
    /// group that was removed.
    fn is_quiet(&self) -> bool {
        self.current.as_ref().is_none_or(|current| current.is_quiet(REMOVED_TIMEOUT))
    }

    fn read_stamps(&self) -> Stamps {
        stamps(watched(&self.spec.mounts), &self.stamps, Stamp::of)
    }
}
