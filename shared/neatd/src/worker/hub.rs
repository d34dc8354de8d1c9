//! A worker's connections and requests, and how it comes to leave.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use shared::log::Level;

use super::connection::Connection;
use super::connections::Connections;
use super::handover::Handovers;
use super::queue::Queue;
use crate::clients::AllowedClients;
use crate::warden::scoreboard::Scoreboard;

/// How long a connection may linger after it was told that the worker takes no more.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a request that another worker hands over may be on its way.
const HANDOVER_TIMEOUT: Duration = Duration::from_millis(50);

/// What the group allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Python threads of this worker.
    pub threads: usize,
    /// Requests that may wait in all workers together.
    pub queue_size: usize,
    /// How long one may wait.
    pub queue_timeout: Option<Duration>,
    /// How long the server may take nothing of a response.
    pub send_timeout: Duration,
    /// The size of the socket's buffers, for sending and for receiving.
    pub buffers: (Option<u64>, Option<u64>),
    /// Who may connect.
    pub clients: AllowedClients,
    /// The longest header line of a response, in bytes.
    pub header_line: usize,
}

/// A worker's connections and requests.
pub struct Hub {
    pub(super) connections: Connections,
    pub(super) queue: Queue,
    slot: usize,
    limits: Limits,
    log: fn(Level, &[u8]),
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hub").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub over the group's listener and what is handed to this worker's slot.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        listener: OwnedFd,
        handovers: Handovers,
        board: Arc<Scoreboard>,
        slot: usize,
        limits: Limits,
        log: fn(Level, &[u8]),
    ) -> nix::Result<Arc<Self>> {
        let connections = Connections::new(listener, handovers, slot)?;
        Ok(Arc::new(Self { connections, queue: Queue::new(board, slot, limits), slot, limits, log }))
    }

    /// What the group allows.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Writes a line that belongs to no request.
    pub fn log(&self, level: Level, message: &[u8]) {
        (self.log)(level, message);
    }

    /// Runs `wait`, a blocking call in the middle of a request.
    pub fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.queue.away(wait)
    }

    /// A request of a connection has ended.
    pub fn has_ended(&self, connection: &Arc<Connection>) {
        if connection.outbound().closed {
            return self.connections.remove(connection.token);
        }
        let is_unread = {
            let inbound = connection.inbound();
            inbound.used < inbound.pending.len()
        };
        if connection.rest() || is_unread {
            self.queue.add_readable(connection);
        }
        if self.queue.is_draining() {
            connection.send_go_away();
        }
    }

    /// Takes no further connection, and tells those there are: the worker is about to leave.
    pub fn drain(self: &Arc<Self>) {
        let mut found = Vec::new();
        // Whoever connected before belongs here.
        self.accept(&mut found, usize::MAX);
        self.add(found);
        if self.queue.drain() {
            self.connections.stop_listening();
            for connection in self.connections.resting() {
                connection.send_go_away();
            }
        }
    }

    /// Whether a worker that is about to leave has nothing more to do. What others have handed over is taken
    /// meanwhile: they may have looked for a free thread just before this worker said that it has none.
    pub fn is_drained(self: &Arc<Self>) -> bool {
        let mut found = Vec::new();
        self.take_handovers(&mut found);
        self.add(found);
        let Some(since) = self.queue.drained_since().map(|since| since.elapsed()) else { return false };
        since > HANDOVER_TIMEOUT && self.connections.is_empty() || since > LINGER_TIMEOUT
    }

    /// Ends the threads: each leaves when it asks for its next request.
    pub fn close(&self) {
        self.queue.close();
        self.connections.wake();
    }
}
