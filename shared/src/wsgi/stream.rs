//! How far a response is (PEP 3333, "The start_response() Callable" and "Handling the Content-Length
//! Header"): its head is validated, kept until there is something to send with it, and leaves once; blocks
//! follow, held to the declared length; then it is complete or cut.
//!
//! There is no I/O here and no Python. Whoever drives it hands over to the server what each step says.
//!
//! ```
//! # use shared::wsgi::{response::OwnedResponseHead, stream::Response};
//! # fn run() -> Option<()> {
//! let mut response = Response::to(b"GET");
//! response.start(OwnedResponseHead::new(b"200 OK").ok()?);
//! let step = response.block(5).ok()?;
//! assert!(step.head.is_some());
//! assert_eq!(step.admitted, Some(5));
//! assert!(response.block(5).ok()?.head.is_none());
//! # Some(()) }
//! # run();
//! ```

use thiserror::Error;

use super::response::OwnedResponseHead;
use crate::exchange::End;
use crate::http::length::Budget;
use crate::log::Level;

/// A response.
#[derive(Debug)]
pub struct Response {
    is_head: bool,
    state: State,
    /// Something that was handed over did not reach the server.
    lost: bool,
}

/// Each state but the first has what the one before it gave up.
#[derive(Debug)]
enum State {
    /// `start_response` was not called.
    Unstarted,
    /// The head waits for the first block.
    Started(PendingHead),
    /// The head has left.
    Sending(Body),
    /// The response has ended.
    Over,
}

/// A head that has not left yet, and may still be replaced.
#[derive(Debug)]
struct PendingHead(OwnedResponseHead);

impl PendingHead {
    /// The head leaves: it is gone from here, and with it the way to send it again.
    fn send(self, is_head: bool) -> (OwnedResponseHead, Body) {
        let has_body = self.0.has_body() && !is_head;
        let body = Body { budget: has_body.then(|| Budget::new(self.0.view().length)) };
        (self.0, body)
    }
}

/// The body behind a head that has left; without a budget the response has none (HEAD, 204, 304).
#[derive(Clone, Copy, Debug)]
struct Body {
    budget: Option<Budget>,
}

/// What is to be handed to the server now.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// The head, where it has not left yet. It goes first.
    pub head: Option<OwnedResponseHead>,
    /// How many of the block's bytes follow; `None` where the response has no body, so that no more of it is
    /// needed.
    pub admitted: Option<u64>,
}

/// Why there is nothing to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoStep {
    /// `start_response` was not called.
    #[error("there is no head yet")]
    Unstarted,
    /// The response has ended.
    #[error("the response is over")]
    Over,
}

/// Why `start_response` may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoStart {
    /// It was called already, and this call has no `exc_info`.
    #[error("start_response() was called a second time without exc_info")]
    Again,
    /// It has `exc_info`, but it is too late for another head: the exception is to be raised.
    #[error("the head has left already")]
    HeadSent,
}

/// A body that is not as long as it was declared to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// It is longer. Declared is law.
    #[error("the application sent {0} bytes more than its Content-Length; they were dropped")]
    Longer(u64),
    /// It is shorter.
    #[error("the application sent {0} bytes less than its Content-Length; the connection is cut")]
    Shorter(u64),
}

impl Mismatch {
    /// How grave it is: the client of a longer body has a whole response.
    #[must_use]
    pub const fn level(self) -> Level {
        match self {
            Self::Longer(_) => Level::Warning,
            Self::Shorter(_) => Level::Error,
        }
    }
}

/// How a response ends whose blocks have all been handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What the server is told.
    pub end: End,
    /// What the log is told.
    pub mismatch: Option<Mismatch>,
}

impl Response {
    /// A response to a request with this method.
    #[must_use]
    pub fn to(method: &[u8]) -> Self {
        Self { is_head: method == b"HEAD", state: State::Unstarted, lost: false }
    }

    /// Whether `start_response` may be called, before its head is looked at.
    ///
    /// # Errors
    /// [`NoStart`].
    pub const fn may_start(&self, has_exc_info: bool) -> Result<(), NoStart> {
        match (&self.state, has_exc_info) {
            (State::Sending(_) | State::Over, true) => Err(NoStart::HeadSent),
            (State::Unstarted, _) | (State::Started(_), true) => Ok(()),
            (_, false) => Err(NoStart::Again),
        }
    }

    /// Takes a head, in place of one that has not left. It comes too late where another thread has sent one
    /// meanwhile.
    pub fn start(&mut self, head: OwnedResponseHead) {
        if matches!(self.state, State::Unstarted | State::Started(_)) {
            self.state = State::Started(PendingHead(head));
        }
    }

    /// Says how long the body is, where the application did not: the server can tell it of a response of one
    /// block. An empty body in answer to HEAD says nothing of the one that GET would get (RFC 9110 section
    /// 8.6).
    pub fn offer_length(&mut self, length: u64) {
        if self.is_head && length == 0 {
            return;
        }
        if let State::Started(PendingHead(head)) = &mut self.state {
            if head.length().is_none() && head.has_body() {
                head.set_length(length);
            }
        }
    }

    /// How much of the body the declared length leaves room for; `None` where none was declared.
    #[must_use]
    pub fn room(&self) -> Option<u64> {
        match &self.state {
            State::Started(PendingHead(head)) => head.length(),
            State::Sending(body) => body.budget.and_then(|budget| budget.left()),
            State::Unstarted | State::Over => None,
        }
    }

    /// Whether all of the body that there may be has been handed over: the iteration ends, and `write()` is
    /// an error (PEP 3333, "Handling the Content-Length Header"). That holds from the start of a response
    /// whose body is empty by its head.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match &self.state {
            State::Unstarted => false,
            State::Started(PendingHead(head)) => self.is_head || !head.has_body() || head.length() == Some(0),
            State::Sending(Body { budget }) => budget.is_none_or(|budget| budget.left() == Some(0)),
            State::Over => true,
        }
    }

    /// Whether the declared length was reached by what has been handed over.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(&self.state, State::Sending(Body { budget: Some(budget) }) if budget.left() == Some(0))
    }

    /// A block of the body, given to `write()` or yielded. An empty one takes the head along too.
    ///
    /// # Errors
    /// [`NoStep`].
    pub fn block(&mut self, length: u64) -> Result<Step, NoStep> {
        let (head, mut body) = match std::mem::replace(&mut self.state, State::Over) {
            State::Unstarted => {
                self.state = State::Unstarted;
                return Err(NoStep::Unstarted);
            }
            State::Over => return Err(NoStep::Over),
            State::Started(pending) => {
                let (head, body) = pending.send(self.is_head);
                (Some(head), body)
            }
            State::Sending(body) => (None, body),
        };
        let admitted = body.budget.as_mut().map(|budget| budget.admit(length));
        self.state = State::Sending(body);
        Ok(Step { head, admitted })
    }

    /// Notes that the server did not take what was handed over.
    pub const fn lose(&mut self) {
        self.lost = true;
    }

    /// Ends a response whose blocks have all been handed over.
    pub fn complete(&mut self) -> Ending {
        let State::Sending(Body { budget }) = std::mem::replace(&mut self.state, State::Over) else {
            return Ending { end: End::Status(500), mismatch: None };
        };
        match budget.map(|budget| (budget.missing(), budget.dropped())) {
            None | Some((0, 0)) => Ending { end: End::Complete, mismatch: None },
            Some((0, dropped)) => Ending { end: End::Complete, mismatch: Some(Mismatch::Longer(dropped)) },
            Some((missing, _)) => Ending { end: End::Cut, mismatch: Some(Mismatch::Shorter(missing)) },
        }
    }

    /// Ends a response that failed: with a status of the server's own, or cut when the head has left. A
    /// client that has all of the declared length has a whole response.
    pub fn fail(&mut self, status: u16) -> End {
        let is_full = self.is_full() && !self.lost;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Sending(_) if is_full => End::Complete,
            State::Unstarted | State::Started(_) => End::Status(status),
            State::Sending(_) | State::Over => End::Cut,
        }
    }
}

#[cfg(test)]
mod tests;
