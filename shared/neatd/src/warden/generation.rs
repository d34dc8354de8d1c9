//! A generation of a group: one zygote, its workers, and the socket that they listen at.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use shared::launch::handover::GroupSpec;

use super::limits::Sample;
use super::lines::Line;
use super::memory::{memory_of, oom_kills};
use super::output::Output;
use super::scoreboard::{self, Scoreboard};
use super::site::Site;
use super::workers::{Phase, Worker, Workers, jitter};
use crate::children;
use crate::control::{self, Command, MAX_FACT, MAX_LINE, Received, Report, ZygoteConf};
use crate::sockets::ListenSocket;
use crate::zygote;

/// A process that is to follow before that is waited for.
const SOON: Duration = Duration::from_secs(2);
/// So many facts and lines are taken at a time, so that one group's do not hold up the others.
const MAX_FACTS: usize = 64;
const MAX_LINES: usize = 64;
/// How long a zygote that was told to leave has after its workers.
const ZYGOTE_GRACE: Duration = Duration::from_secs(1);

/// A generation.
pub struct Generation {
    /// Counts a group's generations, for the log.
    pub number: u64,
    /// Its zygote, as long as it lives.
    pub zygote: Option<Pid>,
    commands: OwnedFd,
    /// What its processes report; none when the last of them is gone.
    facts: Option<OwnedFd>,
    /// Lines of the log, likewise.
    lines: Option<OwnedFd>,
    /// What they write to standard output and standard error, likewise.
    output: Option<Output>,
    /// What its workers show.
    pub board: Scoreboard,
    /// The socket that they listen at.
    pub socket: ListenSocket,
    /// The group's own name of it.
    pub public_path: PathBuf,
    /// Its workers.
    pub workers: Workers,
    /// How far it has come.
    pub phase: Phase,
    /// Its zygote has loaded the application.
    pub is_loaded: bool,
    /// What could not be loaded.
    pub failed: Vec<String>,
    /// When the next worker may be forked, where some died early.
    pub next_fork: Option<Instant>,
    /// How many died early, in a row.
    pub early_deaths: u32,
}

/// What a zygote's processes share with their warden.
struct Zygote {
    pid: Pid,
    commands: OwnedFd,
    facts: OwnedFd,
    lines: OwnedFd,
    output: Output,
    board: Scoreboard,
}

impl Generation {
    /// Starts a zygote.
    ///
    /// # Errors
    /// A sentence for the log, and the socket.
    pub fn start(
        site: &Site,
        spec: &GroupSpec,
        socket: ListenSocket,
        number: u64,
    ) -> Result<Self, (ListenSocket, String)> {
        let public_path = site.public_path();
        match spawn(site, spec, &socket, &public_path) {
            Ok(zygote) => Ok(Self {
                number,
                zygote: Some(zygote.pid),
                commands: zygote.commands,
                facts: Some(zygote.facts),
                lines: Some(zygote.lines),
                output: Some(zygote.output),
                board: zygote.board,
                socket,
                public_path,
                workers: Workers::default(),
                phase: Phase::Starting(Instant::now()),
                is_loaded: false,
                failed: Vec::new(),
                next_fork: None,
                early_deaths: 0,
            }),
            Err(why) => Err((socket, why)),
        }
    }

    /// Has the zygote do something; `false` where it cannot be told.
    fn command(&self, command: &Command) -> bool {
        control::encode(command).is_some_and(|bytes| control::send(&self.commands, &bytes).is_ok())
    }

    /// What to wait for.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let output = self.output.iter().map(Output::as_fd);
        self.facts.iter().chain(&self.lines).map(AsFd::as_fd).chain(output)
    }

    /// The lines that its processes have sent, a turn's worth, each as it is read.
    pub fn recv_lines(&mut self, mut write: impl FnMut(&Line)) {
        for _ in 0..MAX_LINES {
            match recv(&mut self.lines, MAX_LINE) {
                Some(Received::Message(line)) => write(&line),
                Some(Received::Malformed) => {}
                _ => return,
            }
        }
    }

    /// What its processes have written, a turn's worth, in lines of `pid`'s.
    pub fn recv_output(&mut self, write: impl FnMut(&Line)) {
        let pid = self.zygote.map_or(0, |zygote| u32::try_from(zygote.as_raw()).unwrap_or(0));
        if self.output.as_mut().is_some_and(|output| !output.read(pid, write)) {
            // At its end it would be something to read for ever.
            self.output = None;
        }
    }

    /// What its processes report, a turn's worth.
    pub fn recv_facts(&mut self) -> Vec<Report> {
        let was_open = self.facts.is_some();
        let mut facts = Vec::new();
        for _ in 0..MAX_FACTS {
            match recv(&mut self.facts, MAX_FACT) {
                Some(Received::Message(fact)) => facts.push(fact),
                Some(Received::Malformed) => {}
                _ => break,
            }
        }
        if let (true, None, Some(zygote)) = (was_open, &self.facts, self.zygote) {
            // Nothing is known of these processes any more: a new generation takes their place.
            children::signal(zygote, Signal::SIGKILL);
        }
        facts
    }

    /// Asks for a worker; `false` when there is no slot or no zygote.
    pub fn fork(&mut self) -> bool {
        let (Some(slot), Some(_)) = (self.workers.free_slot(self.board.len()), self.zygote) else {
            return false;
        };
        if !self.command(&Command::Fork { slot }) {
            return false;
        }
        self.workers.add(Worker::asked_for(slot, jitter(slot, scoreboard::now()), oom_kills()));
        true
    }

    /// Asks for the workers that are missing, as far as the zygote can be told now: the rest is asked for
    /// when it has read.
    pub fn fork_all(&mut self, wanted: usize) {
        while self.workers.staying() < wanted && self.fork() {}
    }

    /// Signals a process: through the zygote, or, where that is gone, as the process that inherited it.
    pub fn signal(&self, pid: Pid, signal: Signal) {
        if self.zygote.is_some() {
            self.command(&Command::Signal { pid: pid.as_raw(), signal: signal as i32 });
        } else {
            children::signal(pid, signal);
        }
    }

    /// Has a worker finish its requests and leave.
    pub fn dismiss(&mut self, slot: usize, timeout: Duration) {
        let Some(worker) = self.workers.get_mut(slot).filter(|worker| !worker.is_leaving()) else { return };
        worker.phase = Phase::Leaving(Instant::now() + timeout);
        if let Some(pid) = worker.pid {
            self.signal(pid, Signal::SIGTERM);
        }
    }

    /// Kills a worker, and notes why.
    pub fn kill(&mut self, slot: usize, why: String) {
        let Some(worker) = self.workers.get_mut(slot) else { return };
        if worker.kill_reason.is_none() {
            worker.kill_reason = Some(why);
            if let Some(pid) = worker.pid {
                self.signal(pid, Signal::SIGKILL);
            }
        }
    }

    /// Tells an adopted worker what its zygote may not have come to tell it.
    pub fn signal_again(&self, slot: usize) {
        let Some(worker) = self.workers.get(slot) else { return };
        let Some(pid) = worker.pid.filter(|_| self.zygote.is_none()) else { return };
        if worker.kill_reason.is_some() {
            children::signal(pid, Signal::SIGKILL);
        } else if worker.is_leaving() {
            children::signal(pid, Signal::SIGTERM);
        }
    }

    /// Has the whole generation finish its requests and leave.
    pub fn leave(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        match self.phase {
            Phase::Leaving(before) if before <= deadline => return,
            _ => self.phase = Phase::Leaving(deadline),
        }
        for slot in self.workers.slots() {
            self.dismiss(slot, timeout);
        }
        self.abandon();
    }

    /// Has the zygote leave when its last worker has.
    pub fn abandon(&self) {
        self.command(&Command::Leave);
    }

    /// Whether none of its processes is left.
    pub fn is_over(&self) -> bool {
        self.zygote.is_none() && self.workers.is_empty()
    }

    /// Kills what did not leave in time.
    pub fn enforce(&mut self) {
        let now = Instant::now();
        for slot in self.workers.late(now) {
            self.kill(slot, "it did not finish its requests in time".to_owned());
        }
        if matches!(self.phase, Phase::Leaving(deadline) if deadline + ZYGOTE_GRACE <= now) {
            if let Some(zygote) = self.zygote {
                children::signal(zygote, Signal::SIGKILL);
            }
        }
    }

    /// What the worker of a slot serves, for the log.
    pub fn requests_of(&self, slot: usize) -> Vec<String> {
        self.board.threads(slot).iter().filter_map(|thread| thread.request().map(|(text, _)| text)).collect()
    }

    /// What the scoreboard shows of a worker. Its memory is not measured.
    pub fn sample(&self, worker: &Worker) -> Sample {
        let score = self.board.score(worker.slot);
        Sample {
            phase: worker.phase,
            age: worker.born.elapsed(),
            pulse: score.pulse(),
            served: score.served(),
            is_busy: self.board.is_busy(worker.slot),
            idle: score.idle_time(),
            memory: None,
            jitter: worker.jitter,
        }
    }

    /// How much memory the worker of a slot takes.
    pub fn measure(&mut self, slot: usize, served: u64) -> Option<u64> {
        let worker = self.workers.get_mut(slot)?;
        worker.measured = Some((Instant::now(), served));
        memory_of(worker.pid?)
    }

    /// Whether nobody has asked its workers for so long.
    pub fn is_quiet(&self, period: Duration) -> bool {
        let is_quiet = |slot| self.board.score(slot).idle_time() > period && !self.board.is_busy(slot);
        self.workers.iter().all(|worker| is_quiet(worker.slot))
    }

    /// Whether no process serves it, and none will before long.
    pub fn is_unserved(&self) -> bool {
        let soon = Instant::now() + SOON;
        self.workers.is_empty() && (self.zygote.is_none() || self.next_fork.is_some_and(|due| due > soon))
    }
}

/// The next message, from where there are more to come: at its end a socket would be something to read for
/// ever.
fn recv<M: DeserializeOwned>(from: &mut Option<OwnedFd>, max: usize) -> Option<Received<M>> {
    let received = control::recv(from.as_ref()?, max);
    if matches!(received, Received::End) {
        *from = None;
    }
    Some(received)
}

/// Starts the zygote of a generation.
fn spawn(
    site: &Site,
    spec: &GroupSpec,
    socket: &ListenSocket,
    public_path: &std::path::Path,
) -> Result<Zygote, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let conf = site.conf();
    // Room for as many again, while workers are replaced.
    let slots = usize::try_from(spec.conf.process_count()).unwrap_or(1) * 2 + 2;
    let threads = usize::try_from(spec.conf.threads).unwrap_or(1);
    let zygote = ZygoteConf {
        group: spec.conf.clone(),
        mounts: spec.mounts.clone(),
        server: conf.server.clone(),
        server_version: conf.server_version,
        identity: site.identity().cloned().ok_or("it has no user")?,
        is_unprivileged: conf.server_user.is_none(),
        engine: conf.engine.clone(),
        slots,
        own_path: socket.own_path.clone(),
        public_path: public_path.to_owned(),
        clients: socket.clients,
    };
    let board = Scoreboard::new(slots, threads).map_err(|error| text(&error))?;
    let (commands, their_commands) = control::pair().map_err(|error| text(&error))?;
    let (facts, their_facts) = control::pair().map_err(|error| text(&error))?;
    let (lines, their_lines) = control::pair().map_err(|error| text(&error))?;
    let (output, their_output) = Output::pipe().map_err(|error| text(&error))?;
    let handed = [
        their_commands.as_fd(),
        their_facts.as_fd(),
        their_lines.as_fd(),
        socket.listener.as_fd(),
        site.lifeline(),
    ];
    let pid = zygote::start(zygote, &board, handed, their_output.as_fd())
        .map_err(|error| format!("its zygote cannot be forked: {error}"))?;
    Ok(Zygote { pid, commands, facts, lines, output, board })
}
