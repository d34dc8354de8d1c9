//! A worker's events on their way into the exchange of the server.

use std::os::fd::{AsFd, BorrowedFd};

use super::ClientError;
use crate::exchange::{Body, BodyError, End, Exchange, SendError};
use crate::log::Level;
use crate::wire::Event;

/// The server's side of an exchange, and how far it has come.
pub(super) struct Delivery<'x, X> {
    exchange: &'x mut X,
    /// The group's name.
    group: &'x str,
    /// The client's body has been read from, so that it cannot be sent again.
    body_read: bool,
    /// All of it was read, or there is none.
    body_ended: bool,
    head_sent: bool,
    /// Something was sent to the client that the server may still hold back.
    unflushed: bool,
    /// Nothing more is to be delivered.
    ended: bool,
}

impl<'x, X: Exchange> Delivery<'x, X> {
    pub(super) fn new(exchange: &'x mut X, group: &'x str) -> Self {
        let body_ended = exchange.body() != Body::Stream;
        Self {
            exchange,
            group,
            body_read: false,
            body_ended,
            head_sent: false,
            unflushed: false,
            ended: false,
        }
    }

    /// What is delivered to.
    pub(super) const fn exchange(&self) -> &X {
        self.exchange
    }

    pub(super) const fn body_read(&self) -> bool {
        self.body_read
    }

    /// The client's socket, where its end says that nobody waits for the response. The end of a client that
    /// has a body to send is its body's, which the application is told of.
    pub(super) fn client(&self) -> Option<BorrowedFd<'_>> {
        if self.body_ended { self.exchange.client() } else { None }
    }

    pub(super) const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Has what was sent so far on its way before somebody waits for more.
    pub(super) fn flush(&mut self) -> Result<(), SendError> {
        if std::mem::take(&mut self.unflushed) { self.exchange.flush() } else { Ok(()) }
    }

    /// Reads the next portion of the client's body into `into`.
    pub(super) fn read_body<'b>(&mut self, into: &'b mut [u8]) -> Result<&'b [u8], BodyError> {
        self.body_read = true;
        let length = self.exchange.read_body(into)?;
        self.body_ended |= length == 0 && !into.is_empty();
        Ok(into.get(..length).unwrap_or_default())
    }

    /// Takes an event; how many bytes of the body are wanted, if it asks for any.
    pub(super) fn take(&mut self, event: Event<'_, '_>) -> Result<Option<u32>, ClientError> {
        match event {
            Event::WantBody(wanted) => return Ok(Some(wanted)),
            // It has served this exchange.
            Event::GoAway if self.ended => {}
            Event::GoAway => return Err(ClientError::GoAway),
            Event::Log(level, message) => self.exchange.log(level, message),
            Event::Unlogged => {}
            // What stands before a head or behind a body: the server has no way to pass it on.
            Event::Informational(_) | Event::Trailers(_) => {}
            Event::Head { head, .. } => {
                self.head_sent = true;
                self.unflushed = true;
                self.exchange.send_head(head.view()).map_err(ClientError::Client)?;
            }
            Event::Data(data) => {
                self.unflushed = true;
                self.exchange.send(data).map_err(ClientError::Client)?;
            }
            Event::File { file, offset, length } => {
                self.unflushed = true;
                self.exchange.send_file(file.as_fd(), offset, length).map_err(ClientError::Client)?;
            }
            Event::Flush => {
                self.unflushed = false;
                self.exchange.flush().map_err(ClientError::Client)?;
            }
            Event::End => self.end(End::Complete),
            Event::Failed { status, retry_after, cause } => {
                if !cause.is_empty() {
                    self.log(Level::Error, &String::from_utf8_lossy(cause));
                }
                // What came before a cut has left in embedded mode, too.
                self.flush().map_err(ClientError::Client)?;
                if status == 0 {
                    self.end(End::Cut);
                } else {
                    self.refuse(status, retry_after);
                }
            }
        }
        Ok(None)
    }

    /// Logs why there is no response, and ends the exchange.
    pub(super) fn fail(&mut self, error: &ClientError) {
        let reply = error.fault().map(crate::fault::Fault::reply);
        self.log(reply.map_or(Level::Info, |reply| reply.level), error);
        match reply {
            Some(reply) if !self.head_sent => self.refuse(reply.status, reply.retry_after),
            // The client has gone. One that reads on must not take an empty response for the application's.
            None if !self.head_sent => self.end(End::Status(400)),
            _ => self.end(End::Cut),
        }
    }

    fn refuse(&mut self, status: u16, retry_after: u16) {
        if retry_after > 0 {
            self.exchange.retry_after(retry_after);
        }
        self.end(End::Status(status));
    }

    fn end(&mut self, end: End) {
        self.ended = true;
        self.exchange.end(end);
    }

    fn log(&self, level: Level, cause: &dyn std::fmt::Display) {
        self.exchange.log(level, format!("process group {}: {cause}", self.group).as_bytes());
    }
}
