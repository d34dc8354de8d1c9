//! The order of frames: what may follow what. Each side holds the other to it, since a worker that was taken
//! over must not confuse the server, nor a stranger at the socket the worker.

use super::decode::WireError;
use super::frame::{BodyMode, Frame, Kind, Received, next_exchange};
use crate::http::length::Budget;

/// What a server holds a worker to.
#[derive(Debug)]
pub struct ServerSide {
    greeted: bool,
    exchange: u16,
    state: Receiving,
    /// Descriptors that came and belong to no frame yet are counted by the caller; this counts the frames.
    files: u64,
}

#[derive(Debug)]
enum Receiving {
    /// Nothing is asked.
    Idle,
    /// The head is to come. Holds whether the response can have no body (HEAD).
    Head(bool),
    /// The body is coming.
    Body {
        /// What of it may still come.
        budget: Budget,
        /// Whether it can have one at all.
        has_body: bool,
        /// Whether the fields behind it have come: nothing of it may follow, nor they again.
        is_over: bool,
    },
    /// It said that it takes no more.
    Closed,
}

impl Default for ServerSide {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerSide {
    /// A connection on which nothing came.
    #[must_use]
    pub const fn new() -> Self {
        Self { greeted: false, exchange: 0, state: Receiving::Idle, files: 0 }
    }

    /// Begins the next exchange and says its number; `None` when one is open, or the worker takes no more.
    /// `head_only` is said of a HEAD request.
    pub fn begin(&mut self, head_only: bool) -> Option<u16> {
        if !matches!(self.state, Receiving::Idle) {
            return None;
        }
        self.exchange = next_exchange(self.exchange);
        self.state = Receiving::Head(head_only);
        Some(self.exchange)
    }

    /// The exchange that is open, or was last.
    #[must_use]
    pub const fn exchange(&self) -> u16 {
        self.exchange
    }

    /// Whether the worker takes another request.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self.state, Receiving::Idle)
    }

    /// Whether the response's head has come.
    #[must_use]
    pub const fn has_head(&self) -> bool {
        matches!(self.state, Receiving::Body { .. })
    }

    /// Whether the response that is coming can have a body, as far as its head has come.
    #[must_use]
    pub const fn has_body(&self) -> bool {
        matches!(self.state, Receiving::Body { has_body: true, .. })
    }

    /// How many file frames came, to be matched with descriptors.
    #[must_use]
    pub const fn files(&self) -> u64 {
        self.files
    }

    /// Judges the next frame.
    ///
    /// # Errors
    /// It may not stand here: the connection is of no use any more.
    pub fn take(&mut self, received: &Received<'_>) -> Result<(), WireError> {
        let kind = received.frame.kind();
        if kind == Kind::Hello {
            return if std::mem::replace(&mut self.greeted, true) {
                Err(WireError::Order(kind))
            } else {
                Ok(())
            };
        }
        if !self.greeted {
            return Err(WireError::NotNeat);
        }
        if kind == Kind::GoAway {
            // Where a request has crossed it on the way, its head has not come, and it was never begun.
            let unanswered = matches!(self.state, Receiving::Idle | Receiving::Head(_));
            self.state = Receiving::Closed;
            return if unanswered { Ok(()) } else { Err(WireError::Order(kind)) };
        }
        if received.exchange != self.exchange {
            return Err(WireError::Exchange { found: received.exchange, expected: self.exchange });
        }
        self.take_of_exchange(&received.frame)
    }

    fn take_of_exchange(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let order = Err(WireError::Order(frame.kind()));
        match (&mut self.state, frame) {
            (Receiving::Idle | Receiving::Closed, _) => order,
            (_, Frame::Log(..) | Frame::WantBody(_)) | (Receiving::Head(_), Frame::Informational(_)) => {
                Ok(())
            }
            (Receiving::Head(head_only), Frame::Head { head, .. }) => {
                let has_body = !*head_only && head.has_body();
                let budget = Budget::new(if has_body { head.view().length } else { Some(0) });
                self.state = Receiving::Body { budget, has_body, is_over: false };
                Ok(())
            }
            (
                Receiving::Body { is_over: true, .. },
                Frame::Chunk(_) | Frame::File { .. } | Frame::Flush | Frame::Trailers(_),
            ) => order,
            (Receiving::Body { budget, .. }, Frame::Chunk(data)) => spend(budget, data.len() as u64),
            (Receiving::Body { budget, .. }, Frame::File { length, .. }) => {
                self.files += 1;
                spend(budget, *length)
            }
            (Receiving::Body { .. }, Frame::Flush) => Ok(()),
            (Receiving::Body { is_over, .. }, Frame::Trailers(_)) => {
                *is_over = true;
                Ok(())
            }
            (Receiving::Body { budget, .. }, Frame::End) => {
                let missing = budget.missing();
                self.state = Receiving::Idle;
                if missing == 0 { Ok(()) } else { Err(WireError::DeclaredLength) }
            }
            (Receiving::Head(_), Frame::Failed { status, .. }) if *status != 0 => {
                self.state = Receiving::Idle;
                Ok(())
            }
            (Receiving::Body { .. }, Frame::Failed { status: 0, .. }) => {
                self.state = Receiving::Idle;
                Ok(())
            }
            _ => order,
        }
    }
}

fn spend(budget: &mut Budget, length: u64) -> Result<(), WireError> {
    if budget.admit(length) == length { Ok(()) } else { Err(WireError::DeclaredLength) }
}

/// What a worker holds a server to.
#[derive(Debug, Default)]
pub struct WorkerSide {
    greeted: bool,
    exchange: u16,
    body_open: bool,
    /// The body came as far as it was asked for: what nobody asked for does not come.
    is_pulled: bool,
}

/// What a worker does with a frame that is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// It is of the exchange that is open, or begins it.
    Current,
    /// It is of the connection.
    Connection,
}

impl WorkerSide {
    /// A connection on which nothing came.
    #[must_use]
    pub const fn new() -> Self {
        Self { greeted: false, exchange: 0, body_open: false, is_pulled: false }
    }

    /// A connection whose hello has come and whose last exchange is known: one that another worker began
    /// with.
    #[must_use]
    pub const fn resume(exchange: u16) -> Self {
        Self { greeted: true, exchange, body_open: false, is_pulled: false }
    }

    /// The exchange that is open, or was last.
    #[must_use]
    pub const fn exchange(&self) -> u16 {
        self.exchange
    }

    /// Whether more of the body is to come.
    #[must_use]
    pub const fn is_body_open(&self) -> bool {
        self.body_open
    }

    /// Judges the next frame.
    ///
    /// # Errors
    /// It may not stand here: the connection is of no use any more.
    pub fn take(&mut self, received: &Received<'_>) -> Result<Incoming, WireError> {
        let kind = received.frame.kind();
        match &received.frame {
            Frame::Hello(_) if !self.greeted => {
                self.greeted = true;
                return Ok(Incoming::Connection);
            }
            _ if !self.greeted => return Err(WireError::NotNeat),
            Frame::Request { body, .. } if !self.body_open || self.is_pulled => {
                let expected = next_exchange(self.exchange);
                if received.exchange != expected {
                    return Err(WireError::Exchange { found: received.exchange, expected });
                }
                self.exchange = expected;
                self.body_open = *body != BodyMode::None;
                self.is_pulled = *body == BodyMode::Pulled;
                return Ok(Incoming::Current);
            }
            Frame::Body(_) | Frame::BodyEnd | Frame::BodyFailed(_) if self.body_open => {}
            _ => return Err(WireError::Order(kind)),
        }
        if received.exchange != self.exchange {
            return Err(WireError::Exchange { found: received.exchange, expected: self.exchange });
        }
        if kind != Kind::Body {
            self.body_open = false;
        }
        Ok(Incoming::Current)
    }
}
