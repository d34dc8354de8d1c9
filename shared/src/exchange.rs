//! The one boundary: everything that the engine wants of a server, for one request and its response.
//!
//! Three things implement [`Exchange`]: an httpd request in its own thread, an nginx request (a handle that
//! talks to the event loop), and later a daemon's connection. Nothing above it knows which one it has. All
//! calls may block, except where [`Exchange::send_is_instant`] and [`Exchange::body`] say otherwise, and the
//! engine makes them detached from Python.

use std::os::fd::BorrowedFd;

use thiserror::Error;

use crate::log::Level;
use crate::wsgi::response::ResponseHead;

/// Where the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The request has none.
    Empty,
    /// All of it is here already (nginx read it before a Python thread was taken).
    Memory(&'a [u8]),
    /// It is read with [`Exchange::read_body`].
    Stream,
}

/// Why a part of the request's body could not be read. The application sees an `OSError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[repr(u32)]
pub enum BodyError {
    /// The client went away, or sent less than it announced.
    #[error("the client closed the connection before the whole request body was received")]
    Disconnected = 1,
    /// The client sent nothing for longer than the server allows.
    #[error("timed out while waiting for the request body")]
    TimedOut = 2,
    /// The body is larger than the server's configuration allows (413).
    #[error("the request body is larger than the server's configured limit")]
    TooLarge = 3,
    /// The framing is broken, as in a bad chunk (400).
    #[error("the request body is malformed")]
    Malformed = 4,
    /// The server could not read what it had stored.
    #[error("the server failed to read the request body; its error log says why")]
    Server = 5,
    /// The server's process is ending.
    #[error("the server is shutting down")]
    Stopping = 6,
}

impl BodyError {
    /// The error that a number of the boundary stands for.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Disconnected,
            2 => Self::TimedOut,
            3 => Self::TooLarge,
            4 => Self::Malformed,
            6 => Self::Stopping,
            _ => Self::Server,
        }
    }

    /// The status to answer when the application let this error end its request.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Disconnected | Self::Malformed => 400,
            Self::TimedOut => 408,
            Self::TooLarge => 413,
            Self::Server => 500,
            Self::Stopping => 503,
        }
    }
}

/// Why a part of the response could not be sent. The application sees an `OSError` where it called `write()`;
/// a response that is being iterated simply ends, and `close()` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[repr(u32)]
pub enum SendError {
    /// The client went away.
    #[error("the client closed the connection before the whole response was sent")]
    Disconnected = 1,
    /// The client took nothing for longer than the server allows.
    #[error("timed out while sending the response to the client")]
    TimedOut = 2,
    /// The server refused the response; its own log says why.
    #[error("the server could not send the response; its error log says why")]
    Server = 3,
    /// The server's process is ending.
    #[error("the server is shutting down")]
    Stopping = 4,
}

impl SendError {
    /// The error that a number of the boundary stands for.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Disconnected,
            2 => Self::TimedOut,
            4 => Self::Stopping,
            _ => Self::Server,
        }
    }
}

/// How an exchange ends. Each is said once, and nothing may follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The response is complete.
    Complete,
    /// Nothing was sent: the server answers this status with its own error page.
    Status(u16),
    /// The head is out and the rest will not come: the connection is cut, so that no client takes a part for
    /// the whole.
    Cut,
}

/// One request and its response, as the engine sees the server.
pub trait Exchange {
    /// The packed entries that every request of this mount shares (see [`crate::wsgi::environ::mount`]).
    fn mount(&self) -> &[u8];

    /// The packed entries of this request (see [`crate::http::packed`]).
    fn head(&self) -> &[u8];

    /// Where the request's body is. May not block.
    fn body(&self) -> Body<'_>;

    /// Reads the next part of a streamed body into `into` and says how many bytes it wrote; 0 is the end. The
    /// first call answers `Expect: 100-continue`.
    ///
    /// # Errors
    /// A body that cannot be read whole is a [`BodyError`], never an early end.
    fn read_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError>;

    /// Takes the response's head. The server may hold it back until the first [`Exchange::send`],
    /// [`Exchange::flush`] or [`Exchange::end`], so that both leave together.
    ///
    /// # Errors
    /// [`SendError`]: the client or the server is gone.
    fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), SendError>;

    /// Takes a part of the response's body. When this returns, `data` is no longer referenced. May wait until
    /// the client has taken enough of what was sent before.
    ///
    /// # Errors
    /// [`SendError`]: the client or the server is gone.
    fn send(&mut self, data: &[u8]) -> Result<(), SendError>;

    /// Takes `length` bytes of `file` from `offset` on as a part of the response's body. The descriptor is
    /// duplicated if it is needed longer than this call.
    ///
    /// # Errors
    /// [`SendError`]: the client or the server is gone, or the file cannot be sent.
    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SendError>;

    /// Puts everything taken so far on its way to the client (PEP 3333, "Buffering and Streaming").
    ///
    /// # Errors
    /// [`SendError`]: the client or the server is gone.
    fn flush(&mut self) -> Result<(), SendError>;

    /// Why nothing can be sent any more, as far as the server knows that without sending. It is asked where
    /// an application goes on and gives nothing to send, and before a request begins that has waited. May not
    /// block.
    fn gone(&self) -> Option<SendError>;

    /// The client's socket, where whoever waits for something else is to look whether the client has closed
    /// it.
    fn client(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Says in how many seconds the client may ask again; before an [`End::Status`] of 503 (RFC 9110 section
    /// 10.2.3).
    fn retry_after(&mut self, _seconds: u16) {}

    /// Ends the exchange.
    fn end(&mut self, end: End);

    /// Writes a line to the server's error log with this request's context (client, server, request line).
    fn log(&self, level: Level, message: &[u8]);

    /// Whether a [`Exchange::send`] of so many bytes (with the head before it, and [`Exchange::flush`] or
    /// [`Exchange::end`] behind it) returns without waiting, so that detaching from Python is not worth its
    /// cost.
    fn send_is_instant(&self, bytes: usize) -> bool;
}

/// Where a Python thread gets its exchanges from.
pub trait Source {
    /// What it yields.
    type Exchange: Exchange;

    /// The next exchange, without waiting.
    fn try_next(&self) -> Next<Self::Exchange>;

    /// Waits for the next exchange. Called detached from Python.
    fn wait_next(&self) -> Next<Self::Exchange>;
}

/// An answer of a [`Source`].
#[derive(Debug, PartialEq, Eq)]
pub enum Next<X> {
    /// Serve this one.
    Exchange(X),
    /// There is none now.
    Nothing,
    /// There will be none any more: the thread ends.
    Closed,
}
