//! Starting a warden, and what the supervisor has of one that runs.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Pid, pipe2};
use shared::launch::handover::{GroupSpec, Handover};
use shared::launch::lifeline::Lifeline;
use shared::launch::{self, renewal};

use crate::control;
use crate::log::Log;
use crate::orders::{self, Order, WardenConf};
use crate::sockets::ListenSocket;

/// What the supervisor has for its wardens.
pub struct Chief<'a> {
    /// The configuration.
    pub conf: &'a Handover,
    /// What tells a warden that the server is gone.
    pub lifeline: &'a Lifeline,
    /// The error log.
    pub log: &'a mut Log,
}

/// A warden that runs.
pub struct Warden {
    /// Its process.
    pub pid: Pid,
    /// Where its orders go.
    pub orders: OwnedFd,
    /// What it says; `None` once nobody can write to it any more.
    pub statuses: Option<OwnedFd>,
    /// When it was started.
    pub born: Instant,
    /// When it was asked whether it is alive, where it has not answered.
    pub pinged: Option<Instant>,
    /// When it was asked last.
    pub last_ping: Instant,
}

/// Whether the same process can be the warden of both.
pub fn is_same_process(one: &GroupSpec, other: &GroupSpec) -> bool {
    let of = |spec: &GroupSpec| {
        let conf = &spec.conf;
        let who = (conf.user.clone(), conf.group.clone(), conf.supplementary_groups.clone());
        (who, conf.chroot.clone(), conf.cpu_priority, conf.virtual_memory_limit)
    };
    of(one) == of(other)
}

/// What a warden of a group has to know, in a file that nobody can change.
///
/// # Errors
/// The system's.
pub fn sealed(conf: &Handover, spec: &GroupSpec) -> std::io::Result<std::fs::File> {
    renewal::sealed(&WardenConf {
        spec: spec.clone(),
        server: conf.server.clone(),
        server_version: conf.server_version,
        server_user: conf.server_user,
        prefix: conf.prefix.clone(),
        engine: conf.engine.clone(),
        log_level: conf.log_level,
        groups: conf.groups.len(),
    })
}

/// Gives a warden a socket; `false` where it does not read, or is gone.
pub fn send_socket(to: BorrowedFd<'_>, socket: &ListenSocket) -> bool {
    // A process of the group's may have changed this for everybody who has it (fcntl(2), F_SETFL).
    let _ = fcntl(&socket.listener, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    let order =
        Order::Socket { slot: socket.slot, own_path: socket.own_path.clone(), clients: socket.clients };
    orders::send(to, &order, Some(socket.listener.as_fd()))
}

/// Starts a warden. `offered` is the socket of its first generation.
///
/// # Errors
/// A sentence for the log.
pub fn spawn(
    chief: &mut Chief<'_>,
    spec: &GroupSpec,
    offered: Option<&ListenSocket>,
) -> Result<Warden, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let conf = sealed(chief.conf, spec).map_err(|error| text(&error))?;
    let (orders, their_orders) = control::pair().map_err(|error| text(&error))?;
    // Before it begins: it looks for one at once, and would take this for the answer otherwise.
    if let Some(socket) = offered {
        send_socket(orders.as_fd(), socket);
    }
    let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let (statuses, their_statuses) = pipe2(flags).map_err(|error| text(&error))?;
    // Room for the title of a worker.
    let room = " ".repeat(spec.conf.display_name.len() + 8);
    let arguments = [OsStr::new("--site"), chief.conf.prefix.as_os_str(), OsStr::new(&room)];
    let title = format!("neatd: warden {}", spec.conf.name);
    let mut command = launch::command(Path::new(launch::OWN_EXECUTABLE), &title, &arguments);
    let stderr = std::io::stderr();
    let log = chief.log.file().map_or_else(|| stderr.as_fd(), AsFd::as_fd);
    let handed = [conf.as_fd(), their_orders.as_fd(), their_statuses.as_fd(), chief.lifeline.as_fd(), log];
    launch::hand_over(&mut command, &handed).map_err(|error| text(&error))?;
    let child = command.spawn().map_err(|error| text(&error))?;
    let now = Instant::now();
    Ok(Warden {
        pid: Pid::from_raw(i32::try_from(child.id()).unwrap_or(-1)),
        orders,
        statuses: Some(statuses),
        born: now,
        pinged: None,
        last_ping: now,
    })
}
