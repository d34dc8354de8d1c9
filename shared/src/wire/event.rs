//! What a server learns from a [`Conversation`](super::Conversation) with a worker.

use std::os::fd::OwnedFd;

use crate::log::Level;
use crate::wsgi::response::OwnedResponseHead;

/// What a worker has said. `'c` is the conversation's memory, `'i` that of the bytes it was given.
#[derive(Debug)]
pub enum Event<'c, 'i> {
    /// An informational response (1xx).
    Informational(OwnedResponseHead),
    /// The response's head. It comes once, and everything below [`Event::WantBody`] but [`Event::Failed`]
    /// comes behind it.
    Head {
        /// Validated.
        head: OwnedResponseHead,
        /// The body is a range of a file, which is not to be buffered: [`Event::File`] follows.
        is_file: bool,
        /// Whether the response can have a body: it does not answer HEAD, and is no 204 or 304.
        has_body: bool,
    },
    /// A line for the error log.
    Log(Level, &'c [u8]),
    /// A line beyond what one request may write there: nothing is to be done.
    Unlogged,
    /// The application waits for the body: one portion of at most so many bytes, at least one, has to be sent
    /// with [`Conversation::send_body`](super::Conversation::send_body). Only where the request said
    /// [`BodyMode::Pulled`](super::BodyMode::Pulled).
    WantBody(u32),
    /// A part of the response's body, never empty: a part of the input.
    Data(&'i [u8]),
    /// A range of a regular file, within its size, is the next part of the response's body.
    File {
        /// The file.
        file: OwnedFd,
        /// Where the range begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// Everything so far has to leave for the client (PEP 3333, "Buffering and Streaming").
    Flush,
    /// The packed fields behind the response's body.
    Trailers(&'c [u8]),
    /// The response is complete.
    End,
    /// The response will not be complete.
    Failed {
        /// The status to answer; 0 where the head is out, so that the client's connection is to be cut.
        status: u16,
        /// Seconds for `Retry-After`; 0 for none.
        retry_after: u16,
        /// For the error log; empty where the worker has logged it itself.
        cause: &'c [u8],
    },
    /// The connection takes no further request. Where a request was sent and no head has come, it was never
    /// begun: see [`Conversation::cut`](super::Conversation::cut).
    GoAway,
}

/// How far an exchange had come when its connection ended, or was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The worker gave it back: it takes no more requests, and has not begun this one.
    NotBegun,
    /// Nothing of the request has left.
    Unsent,
    /// The application may have been called; of the response nothing has come.
    Unanswered,
    /// In the middle of a frame before the response's body.
    InFrame,
    /// The response's head has come.
    InResponse,
}

/// How a request begins on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The number that each of its frames has to have.
    pub exchange: u16,
    /// Whether this side's hello ([`super::encode::hello`]) has to stand before them.
    pub needs_hello: bool,
}

/// What came of an exchange before its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeforeHead {
    /// Lines for the error log.
    pub log_lines: u32,
    /// Their bytes.
    pub log_bytes: u64,
    /// Informational responses.
    pub informational: u32,
    /// Portions of the body that were asked for.
    pub wanted: u32,
}
