//! A group: the generation that serves, the one that is to follow it, and those that finish.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use shared::conf::group::ProcessGroup;
use shared::http::key::Key;
use shared::http::packed::get;
use shared::launch::handover::{GroupSpec, Handover, socket_path};
use shared::log::Level;

use super::generation::{Doing, Generation, Place, Stage, make_place};
use super::memory::{cause_of_kill, memory_of};
use super::responder::Responder;
use crate::clients::AllowedClients;
use crate::control::{Command, Heard, Report, hear};
use crate::log::Log;
use crate::scoreboard::now;
use crate::sockets;

/// The longest pause between two tries to start a group.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A worker that did not live so long died early.
const EARLY: Duration = Duration::from_secs(2);

/// So many processes of a generation may die before all of them serve.
const MOST_EARLY: u32 = 10;

/// How long a group that was removed has to be without a request before it leaves.
const LINGER: Duration = Duration::from_secs(5);

/// How often the memory of a process that serves nothing is looked at.
const IDLE_MEASURE: Duration = Duration::from_secs(5);

/// What tells one version of a script from the next.
type Stamp = (i64, i64, u64, u64);

/// A group.
pub struct Group {
    /// What it is to be.
    pub spec: GroupSpec,
    /// What serves.
    pub current: Option<Generation>,
    /// What is to follow it.
    pub next: Option<Generation>,
    /// What finishes.
    pub old: Vec<Generation>,
    /// The socket of a first start that failed, which is tried again.
    waiting: Option<Place>,
    /// Answers there.
    pub responder: Responder,
    /// Why it failed.
    failure: String,
    /// When it is tried again, and how often it was.
    retry: Option<(Instant, u32)>,
    stamps: HashMap<PathBuf, Stamp>,
    count: u64,
    /// Since when the configuration has it no more.
    pub removed: Option<Instant>,
    /// Whether a generation is to start at the socket that waits.
    is_due: bool,
    /// Whether the application can be forked once it is imported: it has not started threads so far.
    may_preload: bool,
}

/// What a group needs of the supervisor.
pub struct Surroundings<'a> {
    /// The configuration.
    pub conf: &'a Handover,
    /// The server's lifeline.
    pub lifeline: &'a OwnedFd,
    /// The error log.
    pub log: &'a mut Log,
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
            stamps: HashMap::new(),
            count: 0,
            removed: None,
            is_due: false,
            may_preload: true,
        }
    }

    fn name(&self) -> &str {
        &self.spec.conf.name
    }

    /// Every generation there is.
    pub fn generations(&mut self) -> impl Iterator<Item = &mut Generation> {
        self.current.iter_mut().chain(self.next.iter_mut()).chain(self.old.iter_mut())
    }

    /// The socket that no process serves, and why: a first start has failed, or every process has died and none can follow soon.
    fn deserted(&self) -> Option<(&OwnedFd, AllowedClients, &str)> {
        match (&self.waiting, &self.next, &self.current) {
            (Some(place), None, _) if !self.is_due => Some((&place.listener, place.peers, &self.failure)),
            (_, _, Some(current)) if current.is_deserted() => {
                Some((&current.listener, current.peers, "its processes have died, see above"))
            }
            _ => None,
        }
    }

    /// What may bring somebody who asks a group without a process.
    pub fn unserved(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = self.deserted().map(|(listener, ..)| listener.as_fd());
        listener.into_iter().chain(self.responder.descriptors())
    }

    /// Answers who asked a group without a process.
    pub fn respond(&mut self) {
        let mut responder = std::mem::take(&mut self.responder);
        if let Some((listener, peers, failure)) = self.deserted() {
            responder.accept(listener, peers);
            let due =
                self.retry.map(|(due, _)| due).or(self.current.as_ref().and_then(|one| one.early_deaths.0));
            let pause = due.map_or(1, |due| due.saturating_duration_since(Instant::now()).as_secs() + 1);
            let name = &self.spec.conf.name;
            let why = format!("the process group {name} has no process that could serve it: {failure}");
            responder.answer(u16::try_from(pause).unwrap_or(30), &why);
        } else {
            responder.answer(1, "the process group is only just served again");
        }
        self.responder = responder;
    }

    /// Has a new generation follow, which takes over when it is ready. It starts when there is room for it ([`Self::begin`]); its socket
    /// is there at once.
    pub fn renew(&mut self, around: &mut Surroundings<'_>) {
        if let Some(abandoned) = self.next.take() {
            let place = self.abandon(abandoned);
            // Whoever waits for a first generation already waits at its socket.
            if self.current.is_none() {
                self.waiting = place;
            }
        }
        self.count += 1;
        self.stamps = self.read_stamps();
        let is_first = self.current.is_none();
        let place =
            match self.waiting.take().map_or_else(|| make_place(around.conf, &self.spec, self.count), Ok) {
                Ok(place) => place,
                Err(why) => return self.has_failed(around, None, &why),
            };
        let public = socket_path(&around.conf.prefix, self.name());
        if is_first {
            if let Err(error) = sockets::prepare(&place.own_path, &public) {
                let why = format!("the socket \"{}\" cannot be made: {error}", public.display());
                return self.has_failed(around, Some(place), &why);
            }
        }
        self.waiting = Some(place);
        self.is_due = true;
    }

    /// Whether it loads: a start in which nothing happens for long makes room for others.
    pub fn is_loading(&self) -> bool {
        let since = self.next.as_ref().and_then(|next| match next.stage {
            Stage::Starting(since) => Some(since),
            _ => None,
        });
        since.is_some_and(|since| since.elapsed() < LONGEST_PAUSE)
    }

    /// Starts the generation that is due; `false` when none is.
    pub fn begin(&mut self, around: &mut Surroundings<'_>) -> bool {
        if !std::mem::replace(&mut self.is_due, false) {
            return false;
        }
        let Some(place) = self.waiting.take() else { return false };
        let mut spec = self.spec.clone();
        spec.conf.preload &= self.may_preload;
        match Generation::start(around.conf, &spec, place, around.lifeline, self.count) {
            Ok(generation) => self.next = Some(generation),
            Err((place, why)) => self.has_failed(around, Some(place), &why),
        }
        true
    }

    /// A start failed. What served goes on serving; a first start is tried again, and so is one that nothing else can follow.
    fn has_failed(&mut self, around: &mut Surroundings<'_>, place: Option<Place>, why: &str) {
        let name = self.name().to_owned();
        let tries = self.retry.map_or(0, |(_, tries)| tries);
        let pause = Duration::from_secs(1 << tries.min(5)).min(LONGEST_PAUSE);
        if let Some(current) = &self.current {
            if let Some(place) = place {
                sockets::remove(&place.own_path, &socket_path(&around.conf.prefix, &name));
            }
            if current.zygote.is_none() {
                self.retry = Some((Instant::now() + pause, tries + 1));
            }
            let text = format!(
                "process group {name}: the new code cannot be loaded, the old goes on serving: {why}"
            );
            around.log.say(Level::Error, &text);
            return;
        }
        self.retry = Some((Instant::now() + pause, tries + 1));
        why.clone_into(&mut self.failure);
        self.waiting = place;
        around.log.say(
            Level::Error,
            &format!("process group {name} cannot be started, next try in {} s: {why}", pause.as_secs()),
        );
    }

    /// Ends a generation that does not serve yet, and hands its socket back: it may be the one that servers know.
    fn abandon(&mut self, mut generation: Generation) -> Option<Place> {
        let own_path = generation.own_path.clone();
        let peers = generation.peers;
        let place = generation.listener.try_clone().ok().map(|listener| Place { listener, own_path, peers });
        generation.leave(Duration::ZERO);
        self.old.push(generation);
        place
    }

    /// Ends the generation that was to follow.
    fn give_up_next(&mut self, around: &mut Surroundings<'_>, why: &str) {
        let Some(next) = self.next.take() else { return };
        let place = self.abandon(next);
        self.has_failed(around, place, why);
    }

    /// Reads what its processes tell.
    pub fn hear(&mut self, around: &mut Surroundings<'_>) {
        let mut heard = Vec::new();
        for generation in self.generations() {
            while let Heard::Message(report) = hear::<Report>(&generation.reports) {
                heard.push((generation.number, report));
            }
        }
        for (number, report) in heard {
            self.take(around, number, report);
        }
    }

    fn generation(&mut self, number: u64) -> Option<&mut Generation> {
        self.generations().find(|generation| generation.number == number)
    }

    fn is_next(&self, number: u64) -> bool {
        self.next.as_ref().is_some_and(|next| next.number == number)
    }

    fn take(&mut self, around: &mut Surroundings<'_>, number: u64, report: Report) {
        match report {
            Report::Log { pid, level, text } => around.log.line(Level::from_number(level), pid, &text),
            Report::Unable { why } if self.is_next(number) => self.give_up_next(around, &why),
            Report::Unable { why } => {
                let text = format!("process group {}: a process cannot start: {why}", self.name());
                around.log.say(Level::Error, &text);
            }
            Report::Ready { failed } => self.is_loaded(around, number, failed),
            Report::Threaded { slot } => self.has_threads(around, number, slot),
            Report::Forked { slot, pid } => {
                if let Some(generation) = self.generation(number) {
                    let found = generation.workers.iter_mut().find(|worker| worker.slot == slot);
                    if let Some(worker) = found {
                        worker.pid = Some(Pid::from_raw(pid));
                        if matches!(worker.doing, Doing::Leaving(_)) {
                            let worker = worker.clone();
                            generation.signal(&worker, Signal::SIGTERM);
                        }
                    }
                }
            }
            Report::Serving { slot, failed } => self.serves(around, number, slot, failed),
            Report::Replace { slot, why } => self.replace(around, number, slot, &why),
            Report::Died { slot, pid, status } => {
                let status = WaitStatus::from_raw(Pid::from_raw(pid), status);
                self.has_died(around, number, slot, status.ok());
            }
        }
    }

    /// Whether a generation with these targets missing is better than what there is.
    fn is_acceptable(&self, failed: &[String]) -> bool {
        match &self.current {
            _ if failed.is_empty() => true,
            Some(current) => failed.iter().all(|target| current.failed.contains(target)),
            None => failed.len() < self.spec.mounts.len(),
        }
    }

    fn is_loaded(&mut self, around: &mut Surroundings<'_>, number: u64, failed: Vec<String>) {
        if !self.is_next(number) {
            return;
        }
        if !self.is_acceptable(&failed) {
            let why = format!("{} could not be loaded, see the traceback above", failed.join(", "));
            return self.give_up_next(around, &why);
        }
        let count = self.spec.conf.process_count();
        if let Some(next) = &mut self.next {
            next.failed = failed;
            for _ in 0..count {
                next.fork();
            }
        }
    }

    fn serves(&mut self, around: &mut Surroundings<'_>, number: u64, slot: usize, failed: Vec<String>) {
        let acceptable = !self.is_next(number) || self.is_acceptable(&failed);
        if let Some(generation) = self.generation(number) {
            if let Some(worker) = generation.workers.iter_mut().find(|worker| worker.slot == slot) {
                if matches!(worker.doing, Doing::Starting(_)) {
                    worker.doing = Doing::Serving;
                }
            }
            if !failed.is_empty() {
                generation.failed = failed.clone();
            }
        }
        if !acceptable {
            let why = format!("{} could not be loaded, see the traceback above", failed.join(", "));
            return self.give_up_next(around, &why);
        }
        let wanted = usize::try_from(self.spec.conf.process_count()).unwrap_or(1);
        if self.is_next(number) {
            if self.next.as_ref().is_some_and(|next| next.serving() >= wanted) {
                self.take_over(around);
            }
            return;
        }
        // A worker that was replaced leaves now that its successor serves.
        let patience = self.spec.conf.graceful_timeout;
        if let Some(generation) = self.generation(number) {
            let marked = generation
                .workers
                .iter()
                .find(|worker| worker.doing == Doing::Serving && worker.is_replaced)
                .map(|worker| worker.slot);
            if let (Some(slot), true) = (marked, generation.serving() > wanted) {
                generation.dismiss(slot, patience);
            }
        }
    }

    /// Its zygote cannot be forked: the application is imported in each process from now on.
    fn has_threads(&mut self, around: &mut Surroundings<'_>, number: u64, slot: usize) {
        if let Some(generation) = self.generation(number) {
            generation.workers.retain(|worker| worker.slot != slot);
        }
        if self.is_next(number) && std::mem::replace(&mut self.may_preload, false) {
            let name = self.name();
            let text = format!(
                "process group {name}: each process imports the application itself, as with preload=off"
            );
            around.log.say(Level::Notice, &text);
            self.renew(around);
        }
    }

    fn take_over(&mut self, around: &mut Surroundings<'_>) {
        let Some(mut next) = self.next.take() else { return };
        if let Err(error) = next.publish() {
            self.next = Some(next);
            return self.give_up_next(around, &format!("its socket cannot be published: {error}"));
        }
        next.stage = Stage::Serving;
        let text = format!(
            "process group {}: generation {} serves with {} process(es) of {} thread(s){}",
            self.name(),
            next.number,
            next.serving(),
            self.spec.conf.threads,
            if next.failed.is_empty() {
                String::new()
            } else {
                format!(", without {}", next.failed.join(", "))
            },
        );
        around.log.say(Level::Notice, &text);
        self.retry = None;
        self.failure.clear();
        if let Some(mut before) = self.current.replace(next) {
            before.leave(self.spec.conf.eviction_timeout.max(self.spec.conf.graceful_timeout));
            self.old.push(before);
        }
    }

    /// Has another worker take a worker's place.
    fn replace(&mut self, around: &mut Surroundings<'_>, number: u64, slot: usize, why: &str) {
        let name = self.name().to_owned();
        let patience = self.spec.conf.graceful_timeout;
        let Some(generation) = self.generation(number) else { return };
        let is_serving = generation.stage == Stage::Serving;
        let Some(worker) = generation.workers.iter_mut().find(|worker| worker.slot == slot) else { return };
        if !is_serving || worker.is_replaced || worker.sentence.is_some() || worker.doing != Doing::Serving {
            return;
        }
        // Marked: it leaves when its successor serves.
        worker.is_replaced = true;
        let pid = worker.pid.map_or(0, Pid::as_raw);
        around.log.say(Level::Notice, &format!("process group {name}: process {pid} is replaced: {why}"));
        if !generation.fork() {
            generation.dismiss(slot, patience);
        }
    }

    fn has_died(
        &mut self,
        around: &mut Surroundings<'_>,
        number: u64,
        slot: usize,
        status: Option<WaitStatus>,
    ) {
        let name = self.name().to_owned();
        let wanted = usize::try_from(self.spec.conf.process_count()).unwrap_or(1);
        let is_next = self.is_next(number);
        let cpu_limit = self.spec.conf.cpu_time_limit;
        let Some(generation) = self.generation(number) else { return };
        let Some(index) = generation.workers.iter().position(|worker| worker.slot == slot) else { return };
        let worker = generation.workers.swap_remove(index);
        let requests = generation.requests_of(slot);
        // What it said is waiting or idle counts no longer.
        generation.board.clear(slot);
        let expected = matches!(worker.doing, Doing::Leaving(_)) && worker.sentence.is_none();
        let pid = worker.pid.map_or(0, Pid::as_raw);
        let is_clean = matches!(status, Some(WaitStatus::Exited(_, 0)));
        if !expected || !requests.is_empty() || !is_clean {
            let why = match (&worker.sentence, status) {
                (Some(why), _) => format!("was killed: {why}"),
                (_, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _))) => {
                    cause_of_kill(worker.oom_kills).to_owned()
                }
                (_, Some(status)) => cause(status, cpu_limit),
                _ => "ended".to_owned(),
            };
            let requests = if requests.is_empty() {
                "while it served no request".to_owned()
            } else {
                format!("while it served {}", requests.join(", "))
            };
            around.log.say(Level::Error, &format!("process group {name}: process {pid} {why}, {requests}"));
        }
        if expected || matches!(generation.stage, Stage::Leaving(_)) {
            return;
        }
        if is_next {
            // A request may have ended it: servers reach a first generation before all of it serves.
            generation.early_deaths.1 += 1;
            let is_hopeless = worker.doing != Doing::Serving || generation.early_deaths.1 > MOST_EARLY;
            if is_hopeless || !generation.fork() {
                self.give_up_next(around, "a process of it ended before all of them served");
            }
            return;
        }
        if worker.born.elapsed() < EARLY {
            let tries = generation.early_deaths.1;
            // One that came to serve is worth a fork soon; one that did not come so far mostly never will.
            let longest = if worker.doing == Doing::Serving { EARLY } else { LONGEST_PAUSE };
            let pause = Duration::from_millis(50 << tries.min(10)).min(longest);
            generation.early_deaths = (Some(Instant::now() + pause), tries + 1);
        } else {
            generation.early_deaths = (None, 0);
        }
        if generation.early_deaths.1 <= 1 && generation.staying() < wanted {
            generation.early_deaths.0 = None;
            generation.fork();
        }
    }

    /// A child of the supervisor has ended: a zygote, or a worker whose zygote is gone.
    pub fn has_ended(&mut self, around: &mut Surroundings<'_>, status: WaitStatus) -> bool {
        let Some(pid) = status.pid() else { return false };
        // What it said before it ended comes first.
        self.hear(around);
        let name = self.name().to_owned();
        let mut found = None;
        for generation in self.generations() {
            if generation.zygote == Some(pid) {
                generation.zygote = None;
                found = Some((generation.number, None, generation.stage.clone()));
            } else if let Some(worker) = generation.workers.iter().find(|worker| worker.pid == Some(pid)) {
                found = Some((generation.number, Some(worker.slot), generation.stage.clone()));
            }
        }
        let Some((number, slot, stage)) = found else { return false };
        if let Some(slot) = slot {
            self.has_died(around, number, slot, Some(status));
            return true;
        }
        if matches!(stage, Stage::Leaving(_)) {
            return true;
        }
        let why = format!("its zygote {pid} {}", cause(status, None));
        if self.is_next(number) {
            self.give_up_next(around, &why);
        } else {
            around.log.say(
                Level::Error,
                &format!(
                    "process group {name}: {why}; its processes go on serving until a new generation is ready"
                ),
            );
            self.renew(around);
        }
        true
    }

    /// Ends everything.
    pub fn stop(&mut self, patience: Duration) {
        self.retry = None;
        self.is_due = false;
        let public = self.generations().next().map(|generation| generation.public_path.clone());
        if let (Some(place), Some(public)) = (self.waiting.take(), public.clone()) {
            sockets::remove(&place.own_path, &public);
        } else if let Some(place) = self.waiting.take() {
            let _ = std::fs::remove_file(&place.own_path);
        }
        for generation in self.current.take().into_iter().chain(self.next.take()) {
            if generation.is_public() {
                sockets::hand_back(&generation.public_path);
            }
            self.old.push(generation);
        }
        for generation in &mut self.old {
            generation.leave(patience);
        }
    }

    /// Whether nothing is left of it.
    pub fn is_over(&self) -> bool {
        self.current.is_none() && self.next.is_none() && self.old.is_empty()
    }

    /// Lets go of the generations that are over, and of their sockets.
    fn bury(&mut self) {
        let (over, left): (Vec<_>, Vec<_>) = self.old.drain(..).partition(Generation::is_over);
        self.old = left;
        for generation in over {
            let own_path = generation.own_path.as_path();
            // The socket of a first start that failed is handed on, from one try to the next.
            let is_kept = self.waiting.as_ref().is_some_and(|place| place.own_path == own_path)
                || self.generations().any(|other| other.own_path == own_path);
            if !is_kept {
                sockets::remove(own_path, &generation.public_path);
            }
        }
    }

    /// Looks at the clock, the scripts and the workers.
    pub fn tick(&mut self, around: &mut Surroundings<'_>, stopping: bool) {
        for generation in self.generations() {
            generation.enforce();
        }
        self.bury();
        if stopping {
            return;
        }
        if self.removed.is_some_and(|since| since.elapsed() > LINGER && self.is_quiet()) {
            return self.stop(self.spec.conf.graceful_timeout);
        }
        if let (Some(next), Some(limit)) = (&self.next, self.spec.conf.startup_timeout) {
            if matches!(next.stage, Stage::Starting(since) if since.elapsed() > limit) {
                let why = format!(
                    "it did not load its application within {} s (startup-timeout)",
                    limit.as_secs_f64()
                );
                self.give_up_next(around, &why);
            }
        }
        if self.next.is_none() && !self.is_due && self.retry.is_some_and(|(due, _)| due <= Instant::now()) {
            return self.renew(around);
        }
        if self.read_stamps() != self.stamps {
            around.log.say(Level::Notice, &format!("process group {}: a script has changed", self.name()));
            self.may_preload = true;
            return self.renew(around);
        }
        self.look_at_workers(around);
    }

    /// Whether nobody has asked it for a while: the processes that the server has from before a reload know a group that was removed.
    fn is_quiet(&self) -> bool {
        let Some(current) = &self.current else { return true };
        let board = &current.board;
        current.workers.iter().all(|one| board.slot(one.slot).rest() > LINGER && !board.is_busy(one.slot))
    }

    /// What the scripts of the group look like now. One that is gone for a moment, as while it is being replaced, looks as before.
    fn read_stamps(&self) -> HashMap<PathBuf, Stamp> {
        let watched = self.spec.mounts.iter().filter(|mount| get(mount, Key::ScriptReloading) == Some(b"1"));
        let mut stamps = HashMap::new();
        for script in watched.filter_map(|mount| get(mount, Key::TargetScript)) {
            let path = PathBuf::from(OsStr::from_bytes(script));
            let stamp = std::fs::metadata(&path)
                .map(|about| (about.mtime(), about.mtime_nsec(), about.size(), about.ino()))
                .ok()
                .or_else(|| self.stamps.get(&path).copied());
            stamps.extend(stamp.map(|stamp| (path, stamp)));
        }
        stamps
    }

    /// Holds the workers to the group's limits.
    fn look_at_workers(&mut self, around: &mut Surroundings<'_>) {
        let conf = self.spec.conf.clone();
        let wanted = usize::try_from(conf.process_count()).unwrap_or(1);
        if let Some(current) = &mut self.current {
            if current.early_deaths.0.is_some_and(|due| due <= Instant::now()) {
                current.early_deaths.0 = None;
            }
            if current.early_deaths.0.is_none() && current.staying() < wanted {
                current.fork();
            }
        }
        // Whoever finishes its requests may take no more memory than before.
        let generations: Vec<u64> =
            self.current.iter().chain(&self.old).map(|generation| generation.number).collect();
        for number in generations {
            self.hold_to_limits(around, number, &conf);
        }
    }

    fn hold_to_limits(&mut self, around: &mut Surroundings<'_>, number: u64, conf: &ProcessGroup) {
        let Some(generation) = self.generation(number) else { return };
        let (mut replaced, mut condemned, mut measured) = (Vec::new(), Vec::new(), Vec::new());
        for worker in &generation.workers {
            let slot = generation.board.slot(worker.slot);
            let pulse = Duration::from_millis(now().saturating_sub(slot.pulse.load(Ordering::Relaxed)));
            match worker.doing {
                Doing::Starting(since)
                    if conf.startup_timeout.is_some_and(|limit| since.elapsed() > limit) =>
                {
                    condemned.push((worker.slot, "it did not start in time (startup-timeout)".to_owned()));
                    continue;
                }
                Doing::Starting(_) => continue,
                Doing::Serving | Doing::Leaving(_) => {}
            }
            // While Python ends nobody takes the GIL, and that has an end of its own.
            let serves = worker.doing == Doing::Serving;
            if serves && conf.deadlock_timeout.is_some_and(|limit| pulse > limit) {
                let why = format!(
                    "no thread of it could take the GIL for {} s (deadlock-timeout)",
                    pulse.as_secs()
                );
                condemned.push((worker.slot, why));
                continue;
            }
            let served = slot.served.load(Ordering::Relaxed);
            let busy = generation.board.is_busy(worker.slot);
            // The kernel counts page by page: who does nothing is looked at less often.
            let is_due = busy
                || worker
                    .measured
                    .is_none_or(|(when, before)| before != served || when.elapsed() > IDLE_MEASURE);
            let limited = conf.memory_soft.or(conf.memory_hard).filter(|_| is_due);
            let memory = limited.and_then(|_| memory_of(worker.pid?));
            if limited.is_some() {
                measured.push((worker.slot, served));
            }
            if let (Some(used), Some(limit)) = (memory, conf.memory_hard) {
                if used > limit {
                    condemned.push((
                        worker.slot,
                        format!("it takes {used} bytes of memory (memory-limit, hard: {limit})"),
                    ));
                    continue;
                }
            }
            let idle = slot.rest();
            let jitter = |full: Duration| full - full.mul_f64(f64::from(worker.jitter) / 1000.0);
            let why = if let (Some(used), Some(limit)) =
                (memory, conf.memory_soft.filter(|limit| memory > Some(*limit)))
            {
                Some(format!("it takes {used} bytes of memory (memory-limit, soft: {limit})"))
            } else if conf
                .maximum_requests
                .is_some_and(|most| served >= most - most * u64::from(worker.jitter) / 1000)
            {
                Some(format!("it has served {served} requests (maximum-requests)"))
            } else if conf.restart_interval.is_some_and(|interval| worker.born.elapsed() > jitter(interval)) {
                Some("its time is over (restart-interval)".to_owned())
            } else if conf.inactivity_timeout.is_some_and(|limit| idle > limit && !busy && served > 0) {
                Some(format!("it had no request for {} s (inactivity-timeout)", idle.as_secs()))
            } else {
                None
            };
            replaced.extend(why.map(|why| (worker.slot, why)));
        }
        for (slot, served) in measured {
            if let Some(worker) = generation.workers.iter_mut().find(|worker| worker.slot == slot) {
                worker.measured = Some((Instant::now(), served));
            }
        }
        for (slot, why) in condemned {
            generation.condemn(slot, why);
        }
        for (slot, why) in replaced {
            self.replace(around, number, slot, &why);
        }
    }
}

/// Why a process ended, in words.
pub fn cause(status: WaitStatus, cpu_limit: Option<Duration>) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("ended by itself with exit status {code}"),
        WaitStatus::Signaled(_, signal, core) => {
            let hint = match signal {
                Signal::SIGXCPU if cpu_limit.is_some() => " (cpu-time-limit)",
                Signal::SIGSEGV | Signal::SIGBUS => {
                    ": it crashed in native code, mostly that of an extension module"
                }
                _ => "",
            };
            let core = if core { ", core dumped" } else { "" };
            format!("was ended by {}{hint}{core}", signal.as_str())
        }
        other => format!("changed its state: {other:?}"),
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for generation in self.generations() {
            generation.command(&Command::Leave);
        }
    }
}
