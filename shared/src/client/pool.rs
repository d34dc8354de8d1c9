//! The connections of this process to the workers of one group: kept, and used again, the most recent first.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

use super::ClientError;
use super::connection::{Connection, Limits};
use crate::conf::group::ProcessGroup;
use crate::launch::handover::socket_path;

/// The pause between two tries to connect while the group's socket is not there.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// The connections of this process to a group's workers.
#[derive(Debug)]
pub struct Pool {
    group: String,
    path: PathBuf,
    connect_timeout: Duration,
    limits: Limits,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// No connections yet.
    #[must_use]
    pub fn new(prefix: &Path, group: &ProcessGroup) -> Self {
        Self {
            group: group.name.clone(),
            path: socket_path(prefix, &group.name),
            connect_timeout: group.connect_timeout,
            limits: Limits::of(group),
            idle: Mutex::default(),
        }
    }

    /// The group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for the next exchange; `fresh` asks for one that has served nothing before.
    pub(super) fn take(&self, fresh: bool) -> Result<Connection, ClientError> {
        let next = || if fresh { None } else { self.idle().pop() };
        while let Some(connection) = next() {
            if connection.is_quiet() {
                return Ok(connection);
            }
        }
        self.connect()
    }

    /// Keeps a connection whose exchange has ended, if it takes another.
    pub(super) fn give_back(&self, connection: Connection) {
        if connection.may_be_kept() {
            self.idle().push(connection);
        }
    }

    fn connect(&self) -> Result<Connection, ClientError> {
        let failed = |why| ClientError::Connect { path: self.path.clone(), why };
        let address = UnixAddr::new(&self.path).map_err(failed)?;
        let begin = Instant::now();
        loop {
            let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
                .map_err(failed)?;
            let left = self.connect_timeout.saturating_sub(begin.elapsed());
            // A listener whose queue is full makes a connection wait for as long as that.
            set_timeouts(&socket, left, left).map_err(failed)?;
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => {
                    set_timeouts(&socket, self.limits.send_timeout, self.limits.receive_timeout)
                        .map_err(failed)?;
                    return Ok(Connection::new(socket, self.limits));
                }
                Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::EAGAIN | Errno::EINTR)
                    if begin.elapsed() + CONNECT_PAUSE < self.connect_timeout =>
                {
                    std::thread::sleep(CONNECT_PAUSE);
                }
                Err(why) => return Err(failed(why)),
            }
        }
    }
}

/// Bounds how long sending and receiving wait.
fn set_timeouts(socket: &OwnedFd, send: Duration, receive: Duration) -> nix::Result<()> {
    let value = |time: Duration| {
        // 0 would be no bound at all.
        let micros = time.as_micros().clamp(1000, 1_000_000_000_000_000);
        TimeVal::new((micros / 1_000_000) as i64, (micros % 1_000_000) as i64)
    };
    setsockopt(socket, sockopt::SendTimeout, &value(send))?;
    setsockopt(socket, sockopt::ReceiveTimeout, &value(receive))
}
