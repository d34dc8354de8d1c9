//! A generation's zygote: gives up its privileges, starts Python, loads the application, and forks workers
//! from that.
//!
//! It has one thread, so that a fork of it is a whole process. It decides nothing: the warden says when to
//! fork and whom to signal, and is told what became of it.

mod application;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdout, fork};
use shared::ffi::guard::guard;
use shared::launch;
use shared::launch::lifeline::Lifeline;
use shared::loader::load::{Engine, ForkError};
use shared::log::Level;

use crate::children::{self, Wait};
use crate::control::{Command, MAX_FACT, Received, Report, ZygoteConf, recv};
use crate::privileges;
use crate::warden::deaths::Death;
use crate::warden::scoreboard::Scoreboard;
use crate::worker::handover::Handovers;
use crate::worker::{self, Setup};
use crate::{reports, signals, title};

struct Zygote {
    conf: ZygoteConf,
    commands: OwnedFd,
    listener: OwnedFd,
    lifeline: Lifeline,
    board: Arc<Scoreboard>,
    handovers: Handovers,
    /// Where Python runs here.
    engine: Option<Engine>,
    failed: Vec<String>,
    workers: Vec<(usize, Pid)>,
}

/// What is left of a zygote's life.
enum Life {
    /// Still the zygote, which ends.
    Over,
    /// A worker that was forked, and its slot.
    Worker(usize),
}

/// Forks a zygote from its warden, with these descriptors and no other: where commands come from, where facts
/// and lines go, the group's socket, what says that the server is gone, and where its standard output and
/// standard error are read.
///
/// It is not executed: a root directory of its own may have nothing to execute.
///
/// # Errors
/// The system's.
pub fn start(
    conf: ZygoteConf,
    board: &Scoreboard,
    descriptors: [BorrowedFd<'_>; 5],
    output: BorrowedFd<'_>,
) -> nix::Result<Pid> {
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => return Ok(child),
        ForkResult::Child => {}
    }
    // Nothing of the warden's is dropped here, and no panic unwinds into it.
    let code = guard("a zygote", 101, || {
        signals::forget();
        let _ = (dup2_stdout(output), dup2_stderr(output));
        // SAFETY: what the warden had open is not used any more.
        if let Err(error) = unsafe { launch::keep_only(&descriptors) } {
            eprintln!("a zygote cannot start: {error}");
            return 1;
        }
        title::set_rank("zygote");
        // SAFETY: the warden's is not dropped here.
        live(conf, unsafe { board.inherited() })
    });
    // SAFETY: ends the process. Whatever Python registered for its end has been run, or is not to be.
    unsafe { libc::_exit(code) }
}

/// The life of a zygote, and of the workers forked from it; gives the exit code.
fn live(conf: ZygoteConf, board: Scoreboard) -> i32 {
    let [commands, facts, lines, listener, lifeline] = [3, 4, 5, 6, 7].map(|number| {
        // SAFETY: `start` has given them these numbers, and nothing was opened since.
        unsafe { launch::take(number) }
    });
    reports::start(facts, lines);
    shared::ffi::guard::set_panic_sink(|message| reports::log(Level::Critical, message.as_bytes()));
    let code = match Zygote::new(conf, commands, listener, board, lifeline) {
        Ok(zygote) => zygote.live(),
        Err(why) => {
            reports::send(&Report::Unable { why });
            1
        }
    };
    reports::finish();
    code
}

impl Zygote {
    fn new(
        conf: ZygoteConf,
        commands: OwnedFd,
        listener: OwnedFd,
        board: Scoreboard,
        lifeline: OwnedFd,
    ) -> Result<Self, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        application::set_environment(&conf.group, &conf.identity);
        privileges::settle(&conf.group, conf.is_unprivileged).map_err(|error| text(&error))?;
        let board = Arc::new(board);
        let handovers = Handovers::new(conf.slots).map_err(|error| text(&error))?;
        let mut zygote = Self {
            conf,
            commands,
            listener,
            lifeline: Lifeline::new(lifeline),
            board,
            handovers,
            engine: None,
            failed: Vec::new(),
            workers: Vec::new(),
        };
        application::check_scripts(&zygote.conf)?;
        if zygote.conf.group.preload {
            let (engine, failed) = application::start_python(&zygote.conf)?;
            (zygote.engine, zygote.failed) = (Some(engine), failed);
        }
        Ok(zygote)
    }

    fn live(mut self) -> i32 {
        let signals = match signals::catch(&[Signal::SIGCHLD, Signal::SIGTERM]) {
            Ok(signals) => signals,
            Err(error) => {
                reports::send(&Report::Unable { why: error.to_string() });
                return 1;
            }
        };
        reports::send(&Report::Ready { failed: self.failed.clone() });
        match self.wait_for_orders(signals) {
            Life::Over => 0,
            Life::Worker(slot) => self.work(slot),
        }
    }

    fn wait_for_orders(&mut self, signals: OwnedFd) -> Life {
        let mut leaving = false;
        let mut orphaned = false;
        loop {
            if leaving && self.workers.is_empty() {
                return Life::Over;
            }
            let mut polled = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            if orphaned {
                // Once cut it would be something to look at for ever.
                polled.extend((!leaving).then(|| self.lifeline.watched()));
            } else {
                polled.push(PollFd::new(self.commands.as_fd(), PollFlags::POLLIN));
            }
            polled.extend(reports::flush());
            let timeout = if orphaned { PollTimeout::from(100u8) } else { PollTimeout::NONE };
            let _ = poll(&mut polled, timeout);
            drop(polled);
            let caught = signals::caught(&signals);
            if !caught.is_empty() {
                self.reap();
            }
            if caught.contains(&Signal::SIGTERM) && !leaving {
                // Of the supervisor, whose child this is once its warden is gone: another generation serves.
                leaving = true;
                self.signal_all(Signal::SIGTERM);
            }
            if orphaned {
                // The warden is gone. This generation serves on until another has taken its place, or the
                // server is gone.
                if !leaving && (self.is_replaced() || self.lifeline.is_cut()) {
                    leaving = true;
                    self.signal_all(Signal::SIGTERM);
                }
                continue;
            }
            loop {
                match recv(&self.commands, MAX_FACT) {
                    Received::Nothing | Received::Malformed => break,
                    Received::End => {
                        orphaned = true;
                        break;
                    }
                    Received::Message(Command::Leave) => leaving = true,
                    Received::Message(Command::Signal { pid, signal }) => self.signal(pid, signal),
                    Received::Message(Command::Fork { slot }) => {
                        if self.fork(slot) {
                            return Life::Worker(slot);
                        }
                    }
                }
            }
        }
    }

    fn is_replaced(&self) -> bool {
        let inode = |path: &Path| std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
        let public = inode(&self.conf.public_path);
        public.is_some() && public != inode(&self.conf.own_path)
    }

    fn signal(&self, pid: i32, signal: i32) {
        // Only what was forked here and has not been seen to end: a number that was given to another process
        // is not signalled.
        if let (true, Ok(signal)) =
            (self.workers.iter().any(|(_, worker)| worker.as_raw() == pid), Signal::try_from(signal))
        {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn signal_all(&self, signal: Signal) {
        for (_, pid) in &self.workers {
            let _ = kill(*pid, signal);
        }
    }

    fn reap(&mut self) {
        let mut ended = Vec::new();
        self.workers.retain(|(slot, pid)| {
            let death = match children::reap(Wait::Ended(*pid)) {
                Ok(Some((_, death))) => death,
                Err(nix::Error::ECHILD) => Death::Unknown,
                Ok(None) | Err(_) => return true,
            };
            ended.push(Report::Died { slot: *slot, pid: Some(pid.as_raw()), death });
            false
        });
        ended.iter().for_each(reports::send);
    }

    /// Forks a worker; `true` in it.
    fn fork(&mut self, slot: usize) -> bool {
        self.board.clear(slot);
        let forked = match &self.engine {
            Some(engine) => engine.fork(),
            // SAFETY: this process has one thread.
            None => match unsafe { fork() } {
                Ok(ForkResult::Child) => Ok(None),
                Ok(ForkResult::Parent { child }) => Ok(u32::try_from(child.as_raw()).ok()),
                Err(error) => Err(std::io::Error::from(error).into()),
            },
        };
        match forked {
            Ok(None) => return true,
            Ok(Some(pid)) => {
                let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(-1));
                self.workers.push((slot, pid));
                reports::send(&Report::Forked { slot, pid: pid.as_raw() });
            }
            Err(ForkError::Threads) => reports::send(&Report::Threaded { slot }),
            Err(ForkError::System(error)) => {
                let death = Death::NotForked(error.raw_os_error().unwrap_or(0));
                reports::send(&Report::Died { slot, pid: None, death });
            }
        }
        false
    }

    /// The life of a worker.
    fn work(mut self, slot: usize) -> i32 {
        reports::forget();
        title::set(&self.conf.group.display_name);
        if let Some(limit) = self.conf.group.cpu_time_limit {
            let seconds = limit.as_secs().max(1);
            // A limit that is refused is one that the administrator's own limits are below already.
            let _ = setrlimit(Resource::RLIMIT_CPU, seconds, seconds + 5);
        }
        let started = match self.engine.take() {
            Some(engine) => Ok((engine, std::mem::take(&mut self.failed))),
            None => application::start_python(&self.conf),
        };
        let engine = match started {
            Ok((engine, failed)) => {
                self.failed = failed;
                engine
            }
            Err(why) => {
                reports::send(&Report::Unable { why });
                return 1;
            }
        };
        drop(self.commands);
        let setup = Setup {
            conf: &self.conf.group,
            board: self.board,
            slot,
            handovers: self.handovers,
            listener: self.listener,
            clients: self.conf.clients,
            failed: self.failed,
        };
        match worker::run(setup, engine) {
            Ok(()) => 0,
            Err(error) => {
                reports::log(Level::Error, format!("a worker cannot serve: {error}").as_bytes());
                1
            }
        }
    }
}
