//! Connections to a group's workers: those of before, the most recent first, and new ones.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;

use shared::wire::Conversation;

use super::UpstreamRequest;
use crate::ffi::peer::{ConnectionId, IdleConnection};
use crate::ffi::upstream::Upstream;
use crate::ffi::{Code, ERROR, OK};

/// The most connections to one group that a worker of nginx keeps while nothing is asked over them.
const MAX_IDLE: usize = 256;

/// A connection that waits for the next request.
struct Idle {
    socket: IdleConnection,
    conversation: Box<Conversation>,
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
        let (mut conversation, socket) = match kept {
            Some(idle) => (idle.conversation, Some(idle.socket)),
            None => (Box::new(Conversation::new()), None),
        };
        let Some(begun) = conversation.begin(self.head_only, self.frames.body()) else { return ERROR };
        self.frames.renumber(upstream.buffers(), begun);
        self.conversation = Some(conversation);
        socket.map_or(OK, |socket| upstream.use_connection(socket))
    }

    pub(super) fn disconnect(&mut self, upstream: &mut Upstream<'_>) {
        let Some(conversation) = self.conversation.take() else { return };
        self.settle(upstream, &conversation);
        // All that came was read.
        if !self.ended || !conversation.may_be_kept(&[]) {
            return;
        }
        if let Some(socket) = upstream.keep_connection::<Self>() {
            keep(&self.group.name, Idle { socket, conversation });
        }
    }

    /// Keeps descriptors for the file frame that they belong to; where nothing is asked, they are closed.
    pub(super) fn take_descriptors(&mut self, files: Vec<OwnedFd>, is_truncated: bool) {
        if let Some(conversation) = &mut self.conversation {
            conversation.take_descriptors(files, is_truncated);
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
