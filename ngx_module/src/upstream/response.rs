//! The head of a worker's response, as nginx's. What follows it is [`body`].

mod body;

use shared::log::Level;
use shared::wire::decode::{Side, header};
use shared::wire::{Frame, HEADER, Kind, Reader, WireError};
use shared::wsgi::response::OwnedResponseHead;

use super::{UpstreamRequest, retry};
use crate::ffi::response_headers::Slot;
use crate::ffi::upstream::{Switches, Upstream};
use crate::ffi::{AGAIN, Code, ERROR, OK};
use crate::log;

const INVALID_HEADER: Code = nginx_sys::NGX_HTTP_UPSTREAM_INVALID_HEADER as Code;

/// What a frame before the body asks for.
enum Step {
    More,
    Head(OwnedResponseHead, bool),
    Failed(u16, u16),
    NeverStarted,
}

impl UpstreamRequest {
    fn log(&self, level: Level, message: &[u8]) {
        log::request(self.request, level, message);
    }

    fn complain(&self, error: WireError) {
        let text = format!("process group {}: its process sent {error}", self.group.name);
        self.log(Level::Error, text.as_bytes());
    }

    fn log_cause(&self, cause: &[u8]) {
        if !cause.is_empty() {
            let text = format!("process group {}: {}", self.group.name, String::from_utf8_lossy(cause));
            self.log(Level::Error, text.as_bytes());
        }
    }

    pub(super) fn read_head(&mut self, upstream: &mut Upstream<'_>) -> Code {
        if upstream.is_cached() {
            return Self::read_cached(upstream);
        }
        loop {
            let bytes = upstream.unread();
            let (step, used) = match self.step(upstream, bytes) {
                Ok(Some(step)) => step,
                Ok(None) => return AGAIN,
                Err(error) => {
                    self.complain(error);
                    return INVALID_HEADER;
                }
            };
            upstream.consume(used);
            match step {
                Step::More if used < bytes.len() => {}
                Step::More => {
                    // Nothing of the head is in the buffer, which has room again.
                    upstream.empty_buffer();
                    return AGAIN;
                }
                Step::Head(head, is_file) => return self.take_head(upstream, &head, is_file),
                Step::Failed(status, retry_after) => return self.fail(upstream, status, retry_after),
                Step::NeverStarted => {
                    self.was_never_started = true;
                    Self::retry_always(upstream);
                    return INVALID_HEADER;
                }
            }
        }
    }

    /// Reads one frame before the body; `None` when more has to come first.
    fn step(&mut self, upstream: &Upstream<'_>, bytes: &[u8]) -> Result<Option<(Step, usize)>, WireError> {
        let Some(connection) = &mut self.connection else { return Err(WireError::NotNeat) };
        // A head that is to be cached has to lie in the buffer as a whole.
        if upstream.switches().cacheable && !connection.reader.is_in_frame() {
            match header(bytes, Side::Worker)? {
                Some(header) if header.kind == Kind::Head && bytes.len() < HEADER + header.length => {
                    return Ok(None);
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
        let mut input = bytes;
        let received = connection.reader.next(&mut input)?;
        let used = bytes.len() - input.len();
        let Some(received) = received else { return Ok(Some((Step::More, used))) };
        connection.session.take(&received)?;
        let step = match received.frame {
            Frame::Head { head, is_file } => Step::Head(head, is_file),
            Frame::Failed { status, retry_after, cause } => {
                let cause = cause.to_vec();
                self.log_cause(&cause);
                Step::Failed(status, retry_after)
            }
            Frame::GoAway => Step::NeverStarted,
            Frame::Log(level, message) => {
                log::request(self.request, level, message);
                Step::More
            }
            _ => Step::More,
        };
        Ok(Some((step, used)))
    }

    /// Reads a head out of the cache: the same bytes, without a worker behind them.
    fn read_cached(upstream: &mut Upstream<'_>) -> Code {
        let bytes = upstream.unread();
        let mut reader = Reader::new(Side::Worker);
        let mut input = bytes;
        loop {
            let head = match reader.next(&mut input) {
                Ok(Some(received)) => match received.frame {
                    Frame::Head { head, .. } => head,
                    _ => continue,
                },
                Ok(None) | Err(_) => return INVALID_HEADER,
            };
            upstream.consume(bytes.len() - input.len());
            return fill(upstream, &head, false);
        }
    }

    fn take_head(&mut self, upstream: &mut Upstream<'_>, head: &OwnedResponseHead, is_file: bool) -> Code {
        let code = fill(upstream, head, is_file);
        if code != OK {
            return code;
        }
        let mut switches = upstream.switches();
        if self.head_only || !head.has_body() {
            // What a HEAD request gets must not be taken for the file.
            switches.store = false;
            if let Err(error) = self.read_to_end(upstream) {
                self.complain(error);
                return INVALID_HEADER;
            }
        }
        if is_file {
            (switches.cacheable, switches.store) = (false, false);
        }
        let is_whole = self.ended || ends_here(upstream.unread());
        if is_file || is_whole && !switches.cacheable && !switches.store {
            switches.buffering = false;
        }
        upstream.set_switches(switches);
        OK
    }

    /// Answers a status with nginx's own page. nginx has no call for that in here: it is told that another worker is to be asked,
    /// and then that there is none, which ends in the status.
    fn fail(&mut self, upstream: &mut Upstream<'_>, status: u16, retry_after: u16) -> Code {
        if self.is_retried(upstream, status) {
            upstream.set_status(status, None);
            return OK;
        }
        self.is_final = true;
        if retry_after > 0 {
            self.request.add_header(Slot::None, b"Retry-After", retry_after.to_string().as_bytes());
        }
        if !retry::is_known(status) {
            return self.answer_plainly(upstream, status);
        }
        Self::retry_always(upstream);
        upstream.set_tries(2);
        upstream.set_status(status, None);
        upstream.drop_body();
        OK
    }

    /// Answers without a body, for a status that nginx's upstreams do not know.
    fn answer_plainly(&mut self, upstream: &mut Upstream<'_>, status: u16) -> Code {
        self.ended = true;
        upstream.set_status(status, None);
        upstream.set_switches(Switches { buffering: false, ..upstream.switches() });
        upstream.add_header(b"Content-Length", b"0")
    }
}

/// Gives nginx a response's head.
fn fill(upstream: &mut Upstream<'_>, head: &OwnedResponseHead, is_file: bool) -> Code {
    let view = head.view();
    let line = [view.status.to_string().as_bytes(), b" ", view.reason].concat();
    if !upstream.set_status(view.status, (!view.reason.is_empty()).then_some(line.as_slice())) {
        return ERROR;
    }
    upstream.set_state_status(view.status);
    let length = view.length.map(|length| length.to_string());
    let length = length.as_ref().map(|length| (&b"Content-Length"[..], length.as_bytes()));
    for (name, value) in view.fields().chain(length) {
        // A file is not buffered, whatever the application asks for.
        if is_file && name.eq_ignore_ascii_case(b"x-accel-buffering") {
            continue;
        }
        let code = upstream.add_header(name, value);
        if code != OK {
            return code;
        }
    }
    OK
}

/// Whether the whole rest of a response is here.
fn ends_here(mut bytes: &[u8]) -> bool {
    while let Ok(Some(header)) = header(bytes, Side::Worker) {
        let Some(rest) = bytes.get(HEADER + header.length..) else { return false };
        if header.kind == Kind::End {
            return true;
        }
        bytes = rest;
    }
    false
}
