//! Connections to a group's workers: those of before, the most recent first, and new ones.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;

use shared::wire::Reader;
use shared::wire::decode::Side;
use shared::wire::session::ServerSide;

use super::UpstreamRequest;
use crate::ffi::peer::{ConnectionId, IdleConnection};
use crate::ffi::upstream::Upstream;
use crate::ffi::{Code, ERROR, OK};

/// The most connections to one group that a worker of nginx keeps while nothing is asked over them.
const MAX_IDLE: usize = 256;

/// What is said over a connection to a worker.
pub(super) struct Connection {
    pub(super) reader: Reader,
    pub(super) session: ServerSide,
    /// Descriptors that came and belong to file frames that are still to come.
    pub(super) files: VecDeque<OwnedFd>,
    is_new: bool,
}

/// A connection that waits for the next request.
struct Idle {
    socket: IdleConnection,
    connection: Box<Connection>,
}

thread_local! {
    /// Those of this process, by group: one thread has an event loop. Nothing is closed when the process ends, since nginx's own
    /// memory may be gone by then.
    static IDLE: RefCell<ManuallyDrop<HashMap<String, Vec<Idle>>>> = RefCell::new(ManuallyDrop::new(HashMap::new()));
}

impl UpstreamRequest {
    pub(super) fn connect(&mut self, upstream: &mut Upstream<'_>) -> Code {
        if !upstream.set_peer_address(&self.group.path) {
            return ERROR;
        }
        // A streamed body cannot be sent twice, so that its connection is to be one that surely takes it; so is that of another try.
        let is_retry = self.begin_try(upstream);
        let kept = if self.streamed || is_retry { None } else { take(&self.group.name) };
        let (mut connection, socket) = match kept {
            Some(idle) => (idle.connection, Some(idle.socket)),
            None => {
                let connection = Connection {
                    reader: Reader::new(Side::Worker),
                    session: ServerSide::new(),
                    files: VecDeque::new(),
                    is_new: true,
                };
                (Box::new(connection), None)
            }
        };
        let Some(number) = connection.session.begin(self.head_only) else { return ERROR };
        self.frames.renumber(upstream.buffers(), number, std::mem::take(&mut connection.is_new));
        self.connection = Some(connection);
        socket.map_or(OK, |socket| upstream.use_connection(socket))
    }

    pub(super) fn disconnect(&mut self, upstream: &mut Upstream<'_>) {
        self.settle(upstream);
        let Some(connection) = self.connection.take() else { return };
        let is_done = self.ended
            && connection.session.is_idle()
            && !connection.reader.is_in_frame()
            && connection.files.is_empty();
        if !is_done {
            return;
        }
        if let Some(socket) = upstream.keep_connection::<Self>() {
            keep(&self.group.name, Idle { socket, connection });
        }
    }
}

fn take(group: &str) -> Option<Idle> {
    IDLE.with_borrow_mut(|idle| idle.get_mut(group)?.pop())
}

fn keep(group: &str, idle: Idle) {
    let surplus = IDLE.with_borrow_mut(|all| {
        if !all.contains_key(group) {
            all.insert(group.to_owned(), Vec::new());
        }
        let of_group = all.get_mut(group)?;
        of_group.push(idle);
        (of_group.len() > MAX_IDLE).then(|| of_group.remove(0))
    });
    drop(surplus);
}

/// Closes a connection that is of no use any more.
pub(super) fn forget(connection: ConnectionId) {
    let forgotten = IDLE.with_borrow_mut(|all| {
        all.values_mut().find_map(|of_group| {
            let found = of_group.iter().position(|idle| idle.socket.id() == connection);
            found.map(|index| of_group.remove(index))
        })
    });
    drop(forgotten);
}
