//! Connections to a group's workers: those of before, the most recent first, and new ones.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;

use nginx_sys::NGX_HTTP_UPSTREAM_FT_ERROR;
use shared::client::retry::Retry;
use shared::fault::Fault;
use shared::log::Level;
use shared::wire::{BodyMode, Conversation, Cut, encode};

use super::UpstreamRequest;
use crate::ffi::peer::{ConnectionId, IdleConnection};
use crate::ffi::upstream::Upstream;
use crate::ffi::{Code, DECLINED, ERROR};
use crate::log;

/// The most connections to one group that a worker of nginx keeps while nothing is asked over them.
const MAX_IDLE: usize = 256;

/// A connection that waits for the next request.
struct Idle {
    socket: IdleConnection,
    conversation: Box<Conversation>,
}

thread_local! {
    /// Those of this process, by group: one thread has an event loop. Nothing is closed when the process
    /// ends, since nginx's own memory may be gone by then.
    static IDLE: RefCell<ManuallyDrop<HashMap<String, Vec<Idle>>>> = RefCell::new(ManuallyDrop::new(HashMap::new()));
}

impl UpstreamRequest {
    pub(super) fn connect(&mut self, upstream: &mut Upstream<'_>) -> Code {
        if !upstream.set_peer_address(&self.group.path) {
            return ERROR;
        }
        if let Some(fault) = self.fault.take() {
            return self.answer_fault(upstream, fault);
        }
        self.request.post_read();
        // A streamed body cannot be sent twice, so that its connection is to be one that surely takes it; so
        // is that of another try.
        let is_retry = self.begin_try(upstream);
        let kept = if self.streamed || is_retry { None } else { take(&self.group.name) };
        let (mut conversation, socket) = match kept {
            Some(idle) => (idle.conversation, Some(idle.socket)),
            None => (Box::new(Conversation::new()), None),
        };
        let Some(begun) = conversation.begin(self.head_only, self.frames.body()) else { return ERROR };
        self.frames.renumber(upstream.buffers(), begun);
        let code = match socket {
            Some(socket) => upstream.use_connection(socket),
            None => match self.connect_anew(upstream) {
                Some(code) => code,
                None if upstream.has_stale(NGX_HTTP_UPSTREAM_FT_ERROR as usize) => return DECLINED,
                None => return self.answer_fault(upstream, Fault::Unreachable),
            },
        };
        self.conversation = Some(conversation);
        code
    }

    /// Connects to the group, and tries that as often as the configuration allows; `None` where nobody is
    /// there, which is logged.
    fn connect_anew(&mut self, upstream: &mut Upstream<'_>) -> Option<Code> {
        loop {
            let error = match upstream.connect_to_peer() {
                Ok(code) => return Some(code),
                Err(error) => error,
            };
            let (group, path) = (&self.group.name, self.group.path.display());
            let text = format!("process group {group}: its socket \"{path}\" cannot be reached: {error}");
            log::request(self.request, Fault::Unreachable.reply().level, text.as_bytes());
            if self.judge(upstream, Cut::Unsent) != Retry::Spend {
                return None;
            }
            self.tries += 1;
            upstream.set_tries(upstream.tries().saturating_sub(1));
        }
    }

    /// Has nginx read what the table of faults says as a worker's answer.
    fn answer_fault(&mut self, upstream: &mut Upstream<'_>, fault: Fault) -> Code {
        let reply = fault.reply();
        let why = match fault {
            Fault::NotBegun => "its process takes no further request, as did those that were asked before",
            Fault::RequestHeadTooLong => "the request's head is longer than 1 MiB",
            // It is in the log.
            _ => "",
        };
        if !why.is_empty() {
            let text = format!("process group {}: {why}", self.group.name);
            log::request(self.request, reply.level, text.as_bytes());
        }
        let mut conversation = Box::new(Conversation::new());
        let Some(begun) = conversation.begin(self.head_only, BodyMode::None) else { return ERROR };
        let mut bytes = Vec::new();
        encode::hello(&mut bytes);
        encode::failed(&mut bytes, begun.exchange, reply.status, reply.retry_after, b"");
        match upstream.use_answer(&bytes) {
            Ok((code, teller)) => {
                (self.conversation, self.teller) = (Some(conversation), Some(teller));
                code
            }
            Err(error) => {
                let text =
                    format!("process group {}: cannot answer {}: {error}", self.group.name, reply.status);
                log::request(self.request, Level::Error, text.as_bytes());
                ERROR
            }
        }
    }

    pub(super) fn disconnect(&mut self, upstream: &mut Upstream<'_>) {
        let Some(conversation) = self.conversation.take() else { return upstream.set_tries(0) };
        if self.teller.take().is_some() {
            // Nobody is behind it: what it said is the answer, and it is no connection for the next request.
            return upstream.set_tries(0);
        }
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
