//! An httpd request as an exchange, in httpd's own thread.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;

use shared::exchange::{Body, BodyError, End, Exchange, SendError};
use shared::http::packed::Packed;
use shared::log::Level;
use shared::wsgi::response::ResponseHead;

use crate::ffi::{FileSending, Request};
use crate::group_response::GroupResponses;
use crate::log;
use crate::output::Output;
use crate::request_body::RequestBody;

/// How the exchange ended, for httpd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody ended it: there was no Python to run it.
    #[default]
    Unserved,
    /// There is a response.
    Responded,
    /// httpd responds with this status, and its `ErrorDocument`.
    Status(u16),
    /// httpd responds with what is at another path of its own (an internal redirect).
    Redirect(Vec<u8>),
}

/// A request of httpd.
pub struct HttpdExchange<'r> {
    request: Request<'r>,
    mount: &'r [u8],
    head: &'r Packed,
    has_body: bool,
    sending: FileSending,
    group_responses: Option<GroupResponses>,
    /// The application's response goes nowhere: httpd responds in its place.
    is_replaced: bool,
    body: Option<RequestBody<'r>>,
    output: Output<'r>,
    outcome: &'r RefCell<Outcome>,
}

/// What an exchange is made of, besides its request.
pub struct Parts<'r> {
    /// The packed entries of the mount.
    pub mount: &'r [u8],
    /// The packed entries of the request.
    pub head: &'r Packed,
    /// Whether the request has a body.
    pub has_body: bool,
    /// How files may be sent.
    pub sending: FileSending,
    /// What holds for the response, where a process group serves the request.
    pub group_responses: Option<GroupResponses>,
    /// Where it is said how the exchange ended.
    pub outcome: &'r RefCell<Outcome>,
}

impl<'r> HttpdExchange<'r> {
    /// An exchange over a request.
    pub fn new(request: Request<'r>, parts: Parts<'r>) -> Self {
        let Parts { mount, head, has_body, sending, group_responses, outcome } = parts;
        Self {
            request,
            mount,
            head,
            has_body,
            sending,
            group_responses,
            is_replaced: false,
            body: None,
            output: Output::new(request),
            outcome,
        }
    }

    /// Whether a filter that found the request's body bad has responded in our place: whatever followed would
    /// come behind a whole response, as if it were the beginning of the next.
    fn has_filter_responded(&self) -> bool {
        self.body.as_ref().is_some_and(RequestBody::has_filter_responded)
    }

    fn refuse_if_responded(&self) -> Result<(), SendError> {
        if self.has_filter_responded() { Err(SendError::Server) } else { Ok(()) }
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
        self.refuse_if_responded()?;
        let replacement = self.group_responses.and_then(|rules| rules.replacement(head));
        if let Some(instead) = replacement {
            self.is_replaced = true;
            self.outcome.replace(instead);
            return Ok(());
        }
        self.outcome.replace(Outcome::Responded);
        // A Range is the application's to answer (RFC 9110 section 14.2): httpd would cut a part out of a
        // response whose length it knows, and say Accept-Ranges for the application.
        self.request.remove_output_filter(c"byterange");
        self.request.forget_content_type();
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
        self.refuse_if_responded()?;
        if self.is_replaced {
            return Ok(());
        }
        self.output.send(self.request, data)
    }

    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SendError> {
        self.refuse_if_responded()?;
        if self.is_replaced {
            return Ok(());
        }
        self.output.send_file(self.request, file, offset, length, self.sending)
    }

    fn flush(&mut self) -> Result<(), SendError> {
        self.refuse_if_responded()?;
        if self.is_replaced {
            return Ok(());
        }
        self.output.flush(self.request)
    }

    fn gone(&self) -> Option<SendError> {
        self.request.is_client_gone().then_some(SendError::Disconnected)
    }

    fn client(&self) -> Option<BorrowedFd<'_>> {
        self.request.client_socket()
    }

    fn retry_after(&mut self, seconds: u16) {
        self.request.set_error_header(b"Retry-After", seconds.to_string().as_bytes());
    }

    fn end(&mut self, end: End) {
        if self.is_replaced {
            return;
        }
        match end {
            _ if self.has_filter_responded() => drop(self.outcome.replace(Outcome::Responded)),
            End::Complete => self.output.end(self.request),
            End::Cut => self.output.cut(self.request),
            End::Status(status) => drop(self.outcome.replace(Outcome::Status(status))),
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
