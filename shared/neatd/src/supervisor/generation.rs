//! A generation of a group: one zygote, its workers, and the socket that they listen at.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use shared::conf::group::ProcessGroup;
use shared::launch;
use shared::launch::handover::{GroupSpec, Handover, socket_path};

use super::memory::oom_kills;
use super::sockets;
use crate::clients::AllowedClients;
use crate::control::{self, Command};
use crate::scoreboard::Scoreboard;
use crate::zygote::ZygoteConf;

/// What a worker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It was asked for, or starts.
    Starting(Instant),
    /// It serves.
    Serving,
    /// It was told to finish, and has so long.
    Leaving(Instant),
}

/// A worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its place on the board.
    pub slot: usize,
    /// Once it was forked.
    pub pid: Option<Pid>,
    /// What it does.
    pub doing: Doing,
    /// Since when.
    pub born: Instant,
    /// How far its own limits are from those of the group, in thousandths: so that workers do not leave together.
    pub jitter: u32,
    /// Another one is to take its place, and it leaves when that serves.
    pub is_replaced: bool,
    /// Why the supervisor killed it.
    pub sentence: Option<String>,
    /// When its memory was last looked at, and how many requests it had served then.
    pub measured: Option<(Instant, u64)>,
    /// How many processes the kernel had killed for want of memory when it was born.
    pub oom_kills: Option<u64>,
}

/// A process that is to follow before that is waited for.
const SOON: Duration = Duration::from_secs(2);

/// How far a generation has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It loads.
    Starting(Instant),
    /// It serves.
    Serving,
    /// It finishes, and has so long.
    Leaving(Instant),
}

/// A generation.
pub struct Generation {
    /// For the log.
    pub number: u64,
    /// Its zygote, as long as it lives.
    pub zygote: Option<Pid>,
    commands: OwnedFd,
    /// What its processes tell.
    pub reports: OwnedFd,
    /// What its workers show.
    pub board: Scoreboard,
    /// The socket that they listen at.
    pub listener: OwnedFd,
    /// Who may ask there.
    pub peers: AllowedClients,
    /// Its socket's own name.
    pub own_path: PathBuf,
    /// The group's.
    pub public_path: PathBuf,
    /// Its workers.
    pub workers: Vec<Worker>,
    /// How far it has come.
    pub stage: Stage,
    /// What could not be loaded.
    pub failed: Vec<String>,
    /// When a worker that died early may be replaced, and how many did.
    pub early_deaths: (Option<Instant>, u32),
}

/// A socket that a generation is to listen at, and its name.
pub struct Place {
    /// The socket.
    pub listener: OwnedFd,
    /// Who may ask.
    pub peers: AllowedClients,
    /// Its own name.
    pub own_path: PathBuf,
}

/// Makes a socket for the next generation of a group.
///
/// # Errors
/// A sentence for the log.
pub fn make_place(conf: &Handover, spec: &GroupSpec, number: u64) -> Result<Place, String> {
    let name = format!("{}.{}-{number}", spec.conf.name, std::process::id());
    let own_path = socket_path(&conf.prefix, &name);
    let owner = socket_owner(conf, &spec.conf)?;
    let listener = sockets::bind(&own_path, owner, spec.conf.listen_backlog)
        .map_err(|error| format!("the socket \"{}\" cannot be made: {error}", own_path.display()))?;
    Ok(Place { listener, own_path, peers: AllowedClients::of(owner) })
}

fn socket_owner(conf: &Handover, group: &ProcessGroup) -> Result<Option<Uid>, String> {
    let Some(written) = &group.socket_user else {
        return Ok(conf.server_user.map(|(uid, _)| Uid::from_raw(uid)));
    };
    if let Some(number) = written.strip_prefix('#') {
        let uid = number.parse().map_err(|_| format!("socket-user={written}: not a number"))?;
        return Ok(Some(Uid::from_raw(uid)));
    }
    match nix::unistd::User::from_name(written) {
        Ok(Some(user)) => Ok(Some(user.uid)),
        _ => Err(format!("socket-user={written}: there is no such user")),
    }
}

impl Generation {
    /// Starts a zygote.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn start(
        conf: &Handover,
        spec: &GroupSpec,
        place: Place,
        lifeline: &OwnedFd,
        number: u64,
    ) -> Result<Self, (Place, String)> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let public_path = socket_path(&conf.prefix, &spec.conf.name);
        // Room for as many again, while workers are replaced.
        let slots = usize::try_from(spec.conf.process_count()).unwrap_or(1) * 2 + 2;
        let threads = usize::try_from(spec.conf.threads).unwrap_or(1);
        let told = ZygoteConf {
            group: spec.conf.clone(),
            mounts: spec.mounts.clone(),
            server: conf.server.clone(),
            server_version: conf.server_version,
            server_user: conf.server_user,
            engine: conf.engine.clone(),
            slots,
            own_path: place.own_path.clone(),
            public_path: public_path.clone(),
            peers: place.peers,
        };
        let start = || -> Result<_, String> {
            let memory = launch::memory().map_err(|error| text(&error))?;
            serde_json::to_writer(&memory, &told).map_err(|error| text(&error))?;
            let shown = launch::memory().map_err(|error| text(&error))?;
            shown.set_len(Scoreboard::size(slots, threads) as u64).map_err(|error| text(&error))?;
            let board = Scoreboard::map(&shown, slots, threads).map_err(|error| text(&error))?;
            let (commands, their_commands) = control::pair().map_err(|error| text(&error))?;
            let (reports, their_reports) = control::pair().map_err(|error| text(&error))?;
            let neatd = conf.engine.with_file_name(launch::FILE);
            // Room for the title of a worker.
            let room = " ".repeat(spec.conf.display_name.len() + 8);
            let arguments = [OsStr::new("--site"), conf.prefix.as_os_str(), OsStr::new(&room)];
            let title = format!("neatd: zygote {}", spec.conf.name);
            let mut command = launch::command(&neatd, &title, &arguments);
            let handed = [
                memory.as_raw_fd(),
                their_commands.as_raw_fd(),
                their_reports.as_raw_fd(),
                place.listener.as_raw_fd(),
                shown.as_raw_fd(),
                lifeline.as_raw_fd(),
            ];
            // SAFETY: all of them live until the command was spawned.
            unsafe { launch::hand_over(&mut command, handed.to_vec()) };
            let child = command.spawn().map_err(|error| format!("\"{}\": {error}", neatd.display()))?;
            let zygote = Pid::from_raw(i32::try_from(child.id()).unwrap_or(-1));
            Ok((zygote, commands, reports, board))
        };
        match start() {
            Ok((zygote, commands, reports, board)) => Ok(Self {
                number,
                zygote: Some(zygote),
                commands,
                reports,
                board,
                listener: place.listener,
                peers: place.peers,
                own_path: place.own_path,
                public_path,
                workers: Vec::new(),
                stage: Stage::Starting(Instant::now()),
                failed: Vec::new(),
                early_deaths: (None, 0),
            }),
            Err(why) => Err((place, why)),
        }
    }

    /// Tells the zygote.
    pub fn command(&self, command: &Command) {
        control::tell(&self.commands, command);
    }

    /// Asks for a worker; `false` when there is no place or no zygote.
    pub fn fork(&mut self) -> bool {
        let free = (0..self.board.len()).find(|slot| self.workers.iter().all(|worker| worker.slot != *slot));
        let (Some(slot), Some(_)) = (free, self.zygote) else { return false };
        self.command(&Command::Fork { slot });
        let now = Instant::now();
        // Cheap, and good enough to keep workers from leaving at the same moment.
        let mix = u64::from(now.elapsed().subsec_nanos())
            ^ crate::scoreboard::now().wrapping_mul(0x9E37_79B9)
            ^ ((slot as u64) << 7);
        let jitter = u32::try_from(mix.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40).unwrap_or(0) % 100;
        self.workers.push(Worker {
            slot,
            pid: None,
            doing: Doing::Starting(now),
            born: now,
            jitter,
            is_replaced: false,
            sentence: None,
            measured: None,
            oom_kills: oom_kills(),
        });
        true
    }

    /// Signals one of its workers: through the zygote, or, where that is gone, as the process that inherited it.
    pub fn signal(&self, worker: &Worker, signal: Signal) {
        let Some(pid) = worker.pid else { return };
        if self.zygote.is_some() {
            self.command(&Command::Signal { pid: pid.as_raw(), signal: signal as i32 });
        } else {
            let _ = kill(pid, signal);
        }
    }

    /// Has a worker finish its requests and leave.
    pub fn dismiss(&mut self, slot: usize, patience: Duration) {
        let deadline = Instant::now() + patience;
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.slot == slot) {
            if !matches!(worker.doing, Doing::Leaving(_)) {
                worker.doing = Doing::Leaving(deadline);
                let worker = worker.clone();
                self.signal(&worker, Signal::SIGTERM);
            }
        }
    }

    /// Kills a worker, and notes why.
    pub fn condemn(&mut self, slot: usize, why: String) {
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.slot == slot) {
            if worker.sentence.is_none() {
                worker.sentence = Some(why);
                let worker = worker.clone();
                self.signal(&worker, Signal::SIGKILL);
            }
        }
    }

    /// Has the whole generation finish its requests and leave.
    pub fn leave(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        match self.stage {
            Stage::Leaving(before) if before <= deadline => return,
            _ => self.stage = Stage::Leaving(deadline),
        }
        let slots: Vec<usize> = self.workers.iter().map(|worker| worker.slot).collect();
        for slot in slots {
            self.dismiss(slot, patience);
        }
        self.command(&Command::Leave);
    }

    /// Whether none of its processes is left.
    pub fn is_over(&self) -> bool {
        self.zygote.is_none() && self.workers.is_empty()
    }

    /// Kills what did not leave in time.
    pub fn enforce(&mut self) {
        let now = Instant::now();
        let late: Vec<usize> = self
            .workers
            .iter()
            .filter(|worker| matches!(worker.doing, Doing::Leaving(deadline) if deadline <= now))
            .map(|worker| worker.slot)
            .collect();
        for slot in late {
            self.condemn(slot, "it did not finish its requests in time".to_owned());
        }
        if matches!(self.stage, Stage::Leaving(deadline) if deadline + Duration::from_secs(1) <= now) {
            if let Some(zygote) = self.zygote {
                // It is this process's child and was not reaped, so that the number is still its.
                let _ = kill(zygote, Signal::SIGKILL);
            }
        }
    }

    /// What the workers of a place serve, for the log.
    pub fn requests_of(&self, slot: usize) -> Vec<String> {
        self.board.threads(slot).iter().filter_map(|thread| thread.request().map(|(text, _)| text)).collect()
    }

    /// How many workers serve.
    pub fn serving(&self) -> usize {
        self.workers.iter().filter(|worker| worker.doing == Doing::Serving).count()
    }

    /// How many workers serve, or are about to.
    pub fn staying(&self) -> usize {
        self.workers.iter().filter(|worker| !matches!(worker.doing, Doing::Leaving(_))).count()
    }

    /// Whether no process serves it, and none will before long.
    pub fn is_deserted(&self) -> bool {
        let soon = Instant::now() + SOON;
        self.workers.is_empty()
            && (self.zygote.is_none() || self.early_deaths.0.is_some_and(|due| due > soon))
    }

    /// Gives its socket the group's name.
    ///
    /// # Errors
    /// The system's.
    pub fn publish(&self) -> std::io::Result<()> {
        sockets::serve(&self.own_path, &self.public_path)
    }

    /// Whether servers reach it.
    pub fn is_public(&self) -> bool {
        sockets::is_same(&self.own_path, &self.public_path)
    }
}
