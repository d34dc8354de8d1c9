//! The connections of a worker, and what it waits for: them, the group's socket, and requests that others
//! hand over.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{setsockopt, sockopt};
use shared::log::Level;

use super::connection::Connection;
use super::exchange::DaemonExchange;
use super::handover::{Handover, Handovers};
use super::hub::Limits;
use crate::clients::Caller;
use crate::reports::log;

/// The listener's number among the events.
const LISTENER: u64 = 0;
/// That of the requests that others hand over.
const HANDOVER: u64 = 1;
/// That of what wakes the leader.
const WAKE: u64 = 2;
/// The first connection's.
const FIRST: u64 = 16;
/// How many events are taken at a time.
const MAX_EVENTS: usize = 64;

/// The connections of a worker.
pub struct Connections {
    epoll: Epoll,
    wake: EventFd,
    listener: OwnedFd,
    handovers: Handovers,
    slot: usize,
    table: Mutex<Table>,
}

struct Table {
    connections: HashMap<u64, Arc<Connection>>,
    next: u64,
}

/// What has come.
pub enum Event {
    /// Somebody connects.
    Connect,
    /// Another worker hands a request over.
    Handover,
    /// Something came over a connection.
    Readable(Arc<Connection>),
}

impl Connections {
    /// Those of the group's socket, and of what is handed to a slot.
    ///
    /// # Errors
    /// The system's.
    pub fn new(listener: OwnedFd, handovers: Handovers, slot: usize) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let one_wakes = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        epoll.add(&listener, EpollEvent::new(one_wakes, LISTENER))?;
        if let Some(own) = handovers.own(slot) {
            epoll.add(own, EpollEvent::new(EpollFlags::EPOLLIN, HANDOVER))?;
        }
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE))?;
        let table = Mutex::new(Table { connections: HashMap::new(), next: FIRST });
        Ok(Self { epoll, wake, listener, handovers, slot, table })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code of others runs under the lock, so that a poisoned table is still a whole one.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what comes.
    pub fn wait(&self, timeout: Option<Duration>) -> Vec<Event> {
        let mut events = [EpollEvent::empty(); MAX_EVENTS];
        let timeout = timeout.map_or(EpollTimeout::NONE, |timeout| {
            let millis = if timeout.is_zero() { 0 } else { timeout.as_millis().max(1) };
            EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::NONE)
        });
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        let event = |event: &EpollEvent| match event.data() {
            LISTENER => Some(Event::Connect),
            HANDOVER => Some(Event::Handover),
            WAKE => None,
            token => self.lock().connections.get(&token).map(Arc::clone).map(Event::Readable),
        };
        events.iter().take(count).filter_map(event).collect()
    }

    /// Has whoever waits look up.
    pub fn wake(&self) {
        // A counter that is full wakes as well.
        let _ = self.wake.write(1);
    }

    /// Accepts a connection, if one waits that may be taken.
    pub fn accept(&self, limits: &Limits) -> Option<OwnedFd> {
        let socket = loop {
            match limits.clients.accept(&self.listener)? {
                Caller::Peer(socket) => break socket,
                Caller::Refused(uid) => {
                    let why = format!(
                        "a connection of the user #{uid} was refused: the socket is for the web server's user"
                    );
                    log(Level::Warning, why.as_bytes());
                }
            }
        };
        // A size that the system refuses is not worth losing a connection for.
        let (send, receive) = limits.buffers;
        if let Some(size) = send.and_then(|size| usize::try_from(size).ok()) {
            let _ = setsockopt(&socket, sockopt::SndBuf, &size);
        }
        if let Some(size) = receive.and_then(|size| usize::try_from(size).ok()) {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &size);
        }
        Some(socket)
    }

    /// Adds a connection; `None` where the system refuses to watch it.
    pub fn add(&self, make: impl FnOnce(u64) -> Connection) -> Option<Arc<Connection>> {
        let mut table = self.lock();
        let token = table.next;
        table.next += 1;
        let connection = Arc::new(make(token));
        table.connections.insert(token, Arc::clone(&connection));
        drop(table);
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        if self.epoll.add(&*connection, EpollEvent::new(flags, token)).is_err() {
            self.remove(token);
            return None;
        }
        Some(connection)
    }

    /// Lets go of a connection.
    pub fn remove(&self, token: u64) {
        let gone = self.lock().connections.remove(&token);
        if let Some(connection) = gone {
            let _ = self.epoll.delete(&*connection);
        }
    }

    /// Takes a request that another worker has handed over.
    pub fn take_handover(&self) -> Option<Handover> {
        self.handovers.receive(self.slot)
    }

    /// Hands a request over to the worker of another slot; `false` where that cannot be done now.
    pub fn hand_over(&self, slot: usize, exchange: &DaemonExchange) -> bool {
        self.handovers.send(slot, exchange)
    }

    /// Leaves those who connect to others.
    pub fn stop_listening(&self) {
        let _ = self.epoll.delete(&self.listener);
    }

    /// Those that no thread serves.
    pub fn resting(&self) -> Vec<Arc<Connection>> {
        let table = self.lock();
        table.connections.values().filter(|connection| connection.is_resting()).map(Arc::clone).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().connections.is_empty()
    }
}
