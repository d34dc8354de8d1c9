//! An httpd request as an exchange, in httpd's own thread.

use std::cell::Cell;
use std::os::fd::BorrowedFd;

use shared::exchange::{Body, BodyError, End, Exchange, SendError};
use shared::http::head::RequestHead;
use shared::log::Level;
use shared::wsgi::response::ResponseHead;

use crate::ffi::Request;
use crate::log;
use crate::output::Output;
use crate::request_body::RequestBody;

/// How the exchange ended, for httpd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody ended it: there was no Python to run it.
    #[default]
    Unserved,
    /// There is a response.
    Answered,
    /// httpd is to answer this status.
    Status(u16),
}

/// A request of httpd.
pub struct HttpdExchange<'r> {
    request: Request<'r>,
    mount: &'r [u8],
    head: &'r RequestHead,
    has_body: bool,
    sendfile: bool,
    body: Option<RequestBody<'r>>,
    output: Output<'r>,
    outcome: &'r Cell<Outcome>,
}

/// What an exchange is made of, besides its request.
pub struct Parts<'r> {
    /// The packed entries of the mount.
    pub mount: &'r [u8],
    /// The packed entries of the request.
    pub head: &'r RequestHead,
    /// Whether the request has a body.
    pub has_body: bool,
    /// Whether the kernel may send files.
    pub sendfile: bool,
    /// Where it is said how the exchange ended.
    pub outcome: &'r Cell<Outcome>,
}

impl<'r> HttpdExchange<'r> {
    /// An exchange over a request.
    pub fn new(request: Request<'r>, parts: Parts<'r>) -> Self {
        let Parts { mount, head, has_body, sendfile, outcome } = parts;
        Self { request, mount, head, has_body, sendfile, body: None, output: Output::new(request), outcome }
    }

    /// Whether a filter that found the request's body bad has answered in our place: whatever followed would come behind a whole
    /// response, as if it were the beginning of the next.
    fn is_answered(&self) -> bool {
        self.body.as_ref().is_some_and(RequestBody::is_answered)
    }

    fn refuse_if_answered(&self) -> Result<(), SendError> {
        if self.is_answered() { Err(SendError::Server) } else { Ok(()) }
    }
}

impl Exchange for HttpdExchange<'_> {
    fn mount(&self) -> &[u8] {
        self.mount
    }

    fn head(&self) -> &[u8] {
        self.head.as_bytes()
    }

    fn body(&self) -> Body<'_> {
        if self.has_body { Body::Stream } else { Body::Empty }
    }

    fn read_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
        let request = self.request;
        self.body.get_or_insert_with(|| RequestBody::new(request)).read(request, into)
    }

    fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), SendError> {
        self.refuse_if_answered()?;
        self.outcome.set(Outcome::Answered);
        self.request.set_status(head.status, head.reason);
        for (name, value) in head.fields() {
            if name.eq_ignore_ascii_case(b"content-type") {
                self.request.set_content_type(value);
            } else {
                self.request.add_header(name, value);
            }
        }
        if let Some(length) = head.length {
            self.request.set_content_length(length);
        }
        Ok(())
    }

    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.refuse_if_answered()?;
        self.output.send(self.request, data)
    }

    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SendError> {
        self.refuse_if_answered()?;
        self.output.send_file(self.request, file, offset, length, self.sendfile)
    }

    fn flush(&mut self) -> Result<(), SendError> {
        self.refuse_if_answered()?;
        self.output.flush(self.request)
    }

    fn end(&mut self, end: End) {
        match end {
            _ if self.is_answered() => self.outcome.set(Outcome::Answered),
            End::Complete => self.output.end(self.request),
            End::Cut => self.output.cut(self.request),
            End::Status(status) => self.outcome.set(Outcome::Status(status)),
        }
    }

    fn log(&self, level: Level, message: &[u8]) {
        log::to_request(self.request, level, message);
    }

    fn send_is_instant(&self, _: usize) -> bool {
        // A brigade goes through filters that may write to the network.
        false
    }
}
