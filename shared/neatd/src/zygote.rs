//! A generation's zygote: gives up its privileges, starts Python, loads the application, and forks workers from that.
//!
//! It has one thread, so that a fork of it is a whole process. It decides nothing: the supervisor says when to fork and whom to
//! signal, and hears what became of it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use serde::{Deserialize, Serialize};
use shared::conf::group::ProcessGroup;
use shared::http::key::Key;
use shared::http::packed::get;
use shared::launch;
use shared::loader::load::{self, Engine, ForkError, Start};
use shared::loader::locate::locate;
use shared::log::Level;
use shared::preflight::identity::{self, Identity, IdentityError};

use crate::clients::AllowedClients;
use crate::control::{Command, Heard, Report, hear};
use crate::privileges;
use crate::scoreboard::Scoreboard;
use crate::worker::handover::Inboxes;
use crate::worker::{self, Setup};
use crate::{signals, title};

/// What a zygote is told at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ZygoteConf {
    /// Its group.
    pub group: ProcessGroup,
    /// The packed entries of the mounts to load ahead.
    pub mounts: Vec<Vec<u8>>,
    /// `nginx` or `apache`.
    pub server: String,
    /// The server's version.
    pub server_version: [u32; 3],
    /// The user of the server's processes, where the server is root.
    pub server_user: Option<(u32, u32)>,
    /// The engine's file.
    pub engine: std::path::PathBuf,
    /// Places on the board.
    pub slots: usize,
    /// The socket under the name of this generation alone, and the one that servers know.
    pub own_path: std::path::PathBuf,
    /// The one that servers know.
    pub public_path: std::path::PathBuf,
    /// Who may ask.
    pub peers: AllowedClients,
}

struct Zygote {
    conf: ZygoteConf,
    commands: OwnedFd,
    listener: OwnedFd,
    lifeline: OwnedFd,
    board: Arc<Scoreboard>,
    inboxes: Inboxes,
    /// Where Python runs here.
    engine: Option<Engine>,
    failed: Vec<String>,
    workers: Vec<(usize, Pid)>,
}

/// What is left of a zygote's life.
enum Life {
    /// Still the zygote, which ends.
    Over,
    /// A worker that was forked, and its place.
    Worker(usize),
}

/// The life of a zygote, and of the workers forked from it; gives the exit code.
pub fn live() -> i32 {
    let [conf, commands, reports, listener, board, lifeline] = [3, 4, 5, 6, 7, 8].map(|number| {
        // SAFETY: the supervisor hands these over, and nothing was opened before.
        unsafe { launch::take(number) }
    });
    worker::report_to(reports);
    shared::ffi::guard::tell_panics_to(|message| worker::log(Level::Critical, message.as_bytes()));
    match Zygote::new(std::fs::File::from(conf), commands, listener, board, lifeline) {
        Ok(zygote) => zygote.live(),
        Err(why) => {
            worker::report(&Report::Unable { why });
            1
        }
    }
}

impl Zygote {
    fn new(
        mut conf: std::fs::File,
        commands: OwnedFd,
        listener: OwnedFd,
        board: OwnedFd,
        lifeline: OwnedFd,
    ) -> Result<Self, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        std::io::Seek::rewind(&mut conf).map_err(|error| text(&error))?;
        let conf: ZygoteConf = serde_json::from_reader(conf).map_err(|error| {
            format!("neatd was replaced by another version of it, which this server does not know; restart the server ({error})")
        })?;
        let identity = Identity::of(&conf.group, conf.server_user).map_err(|error| text(&error))?;
        set_environment(&conf.group, &identity);
        privileges::drop_to(&conf.group, &identity).map_err(|error| text(&error))?;
        let threads = usize::try_from(conf.group.threads).unwrap_or(1);
        let board = Arc::new(Scoreboard::map(&board, conf.slots, threads).map_err(|error| text(&error))?);
        let inboxes = Inboxes::new(conf.slots).map_err(|error| text(&error))?;
        let mut zygote = Self {
            conf,
            commands,
            listener,
            lifeline,
            board,
            inboxes,
            engine: None,
            failed: Vec::new(),
            workers: Vec::new(),
        };
        zygote.check_scripts()?;
        if zygote.conf.group.preload {
            let (engine, failed) = zygote.start_python()?;
            (zygote.engine, zygote.failed) = (Some(engine), failed);
        }
        Ok(zygote)
    }

    /// `script-user` and `script-group`: whose the scripts, and the directories that they are in, have to be.
    fn check_scripts(&self) -> Result<(), String> {
        let group = &self.conf.group;
        if group.script_user.is_none() && group.script_group.is_none() {
            return Ok(());
        }
        let wrong = |error: IdentityError| format!("script-{error}");
        let owner = group.script_user.as_deref().map(identity::user).transpose().map_err(wrong)?;
        let owners = group.script_group.as_deref().map(identity::group).transpose().map_err(wrong)?;
        for mount in &self.conf.mounts {
            let Some(script) = get(mount, Key::TargetScript) else { continue };
            let script = Path::new(OsStr::from_bytes(script));
            for path in [Some(script), script.parent()].into_iter().flatten() {
                let about =
                    std::fs::metadata(path).map_err(|error| format!("\"{}\": {error}", path.display()))?;
                let wrong_user = owner.as_ref().is_some_and(|(uid, _)| about.uid() != uid.as_raw());
                let wrong_group = owners.is_some_and(|gid| about.gid() != gid.as_raw());
                if wrong_user || wrong_group || about.mode() & 0o002 != 0 {
                    return Err(format!(
                        "\"{}\" is owned by user {} and group {} with mode {:o}: script-user and script-group ask for another \
                         owner, and nobody else may write to it",
                        path.display(),
                        about.uid(),
                        about.gid(),
                        about.mode() & 0o7777
                    ));
                }
            }
        }
        Ok(())
    }

    fn start_python(&self) -> Result<(Engine, Vec<String>), String> {
        let group = &self.conf.group;
        let python = locate(group.python_home.as_deref()).map_err(|error| error.to_string())?;
        let mut path = group.python_path.clone();
        path.extend(group.home.clone());
        let start = Start {
            python: &python,
            path: &path,
            server: &self.conf.server,
            server_version: self.conf.server_version,
            threads: group.threads,
            processes: group.process_count(),
            multiprocess: group.is_multiprocess(),
            keeps_scripts: true,
            switch_interval: group.switch_interval,
            log: worker::log,
        };
        let engine = load::start(&self.conf.engine, &start).map_err(|error| error.to_string())?;
        let failed = self.conf.mounts.iter().filter(|mount| !engine.preload(mount));
        let failed = failed.map(|mount| target(mount)).collect();
        Ok((engine, failed))
    }

    fn live(mut self) -> i32 {
        let signals = match signals::catch(&[Signal::SIGCHLD]) {
            Ok(signals) => signals,
            Err(error) => {
                worker::report(&Report::Unable { why: error.to_string() });
                return 1;
            }
        };
        worker::report(&Report::Ready { failed: self.failed.clone() });
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
                polled.push(PollFd::new(self.lifeline.as_fd(), PollFlags::empty()));
            } else {
                polled.push(PollFd::new(self.commands.as_fd(), PollFlags::POLLIN));
            }
            let timeout = if orphaned { PollTimeout::from(100u8) } else { PollTimeout::NONE };
            let _ = poll(&mut polled, timeout);
            drop(polled);
            if !signals::caught(&signals).is_empty() {
                self.reap();
            }
            if orphaned {
                // The supervisor is gone. This generation serves on until another has taken its place, or the server is gone.
                if !leaving && (self.is_replaced() || is_hung_up(&self.lifeline)) {
                    leaving = true;
                    self.signal_all(Signal::SIGTERM);
                }
                continue;
            }
            loop {
                match hear(&self.commands) {
                    Heard::Nothing => break,
                    Heard::End => {
                        orphaned = true;
                        break;
                    }
                    Heard::Message(Command::Leave) => leaving = true,
                    Heard::Message(Command::Signal { pid, signal }) => self.signal(pid, signal),
                    Heard::Message(Command::Fork { slot }) => {
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
        // Only what was forked here and has not been seen to end: a number that was given to another process is not signalled.
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
        self.workers.retain(|(slot, pid)| match waitpid(*pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => {
                ended.push((*slot, *pid, code << 8));
                false
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                ended.push((*slot, *pid, signal as i32));
                false
            }
            Err(nix::Error::ECHILD) => {
                ended.push((*slot, *pid, 0));
                false
            }
            _ => true,
        });
        for (slot, pid, status) in ended {
            worker::report(&Report::Died { slot, pid: pid.as_raw(), status });
        }
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
                worker::report(&Report::Forked { slot, pid: pid.as_raw() });
            }
            Err(ForkError::Threads) => worker::report(&Report::Threaded { slot }),
            Err(ForkError::System(error)) => {
                let text = format!(
                    "a worker of the process group {} cannot be forked: {error}",
                    self.conf.group.name
                );
                worker::log(Level::Error, text.as_bytes());
                worker::report(&Report::Died { slot, pid: -1, status: 1 << 8 });
            }
        }
        false
    }

    /// The life of a worker.
    fn work(mut self, slot: usize) -> i32 {
        title::set(&self.conf.group.display_name);
        if let Some(limit) = self.conf.group.cpu_time_limit {
            let seconds = limit.as_secs().max(1);
            // A limit that is refused is one that the administrator's own limits are below already.
            let _ = setrlimit(Resource::RLIMIT_CPU, seconds, seconds + 5);
        }
        let started = match self.engine.take() {
            Some(engine) => Ok((engine, std::mem::take(&mut self.failed))),
            None => self.start_python(),
        };
        let engine = match started {
            Ok((engine, failed)) => {
                self.failed = failed;
                engine
            }
            Err(why) => {
                worker::report(&Report::Unable { why });
                return 1;
            }
        };
        drop(self.commands);
        let setup = Setup {
            conf: &self.conf.group,
            board: self.board,
            slot,
            inboxes: self.inboxes,
            listener: self.listener,
            peers: self.conf.peers,
            failed: self.failed,
        };
        match worker::run(setup, engine) {
            Ok(()) => 0,
            Err(error) => {
                worker::log(Level::Error, format!("a worker cannot serve: {error}").as_bytes());
                1
            }
        }
    }
}

/// The script or the module of packed entries.
pub fn target(mount: &[u8]) -> String {
    let target = get(mount, Key::TargetScript).or_else(|| get(mount, Key::TargetModule));
    String::from_utf8_lossy(target.unwrap_or_default()).into_owned()
}

fn is_hung_up(lifeline: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(lifeline.as_fd(), PollFlags::empty())];
    let _ = poll(&mut polled, PollTimeout::ZERO);
    polled.iter().any(|one| one.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)))
}

fn set_environment(group: &ProcessGroup, identity: &Identity) {
    let set = |name: &str, value: &OsStr| {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var(name, value) };
    };
    set("LANG", group.lang.as_ref());
    set("LC_ALL", group.locale.as_ref());
    if let Some(eggs) = &group.python_eggs {
        set("PYTHON_EGG_CACHE", eggs.as_os_str());
    }
    if let Some(name) = &identity.name {
        set("USER", name.as_ref());
        set("LOGNAME", name.as_ref());
    }
    if let Some(home) = &identity.home {
        set("HOME", home.as_os_str());
    }
}
