//! The head of a worker's response, as nginx's. What follows it is [`body`].

mod body;

use shared::fault::Fault;
use shared::log::Level;
use shared::wire::conversation::kept_head;
use shared::wire::{Conversation, Event, WireError};
use shared::wsgi::response::OwnedResponseHead;

use super::{UpstreamRequest, retry};
use crate::ffi::request::Request;
use crate::ffi::response_headers::HeaderField;
use crate::ffi::upstream::{Switches, Upstream};
use crate::ffi::{AGAIN, Code, ERROR, OK};
use crate::log;

const INVALID_HEADER: Code = nginx_sys::NGX_HTTP_UPSTREAM_INVALID_HEADER as Code;

/// What a worker says before the body.
enum Step {
    More,
    Head(OwnedResponseHead, Shape),
    Failed(u16, u16),
    GoAway,
}

/// What a head says about the body.
#[derive(Clone, Copy)]
struct Shape {
    is_file: bool,
    has_body: bool,
}

impl UpstreamRequest {
    fn complain(&self, error: WireError) {
        let text = format!("process group {}: its process sent {error}", self.group.name);
        log::request(self.request, Fault::Protocol.reply().level, text.as_bytes());
    }

    pub(super) fn read_head(&mut self, upstream: &mut Upstream<'_>) -> Code {
        if upstream.is_cached() {
            return read_cached(upstream);
        }
        loop {
            let bytes = upstream.unread();
            let (step, used) = match self.step(upstream, bytes) {
                Ok(Some(step)) => step,
                Ok(None) => {
                    upstream.compact_buffer();
                    return AGAIN;
                }
                Err(error) => {
                    self.complain(error);
                    return INVALID_HEADER;
                }
            };
            if matches!(step, Step::Head(..)) && upstream.switches().cacheable {
                // What is cached begins with the head.
                upstream.compact_buffer();
            }
            let is_all = used == bytes.len();
            upstream.consume(used);
            match step {
                Step::More if !is_all => {}
                Step::More => {
                    // Nothing of the head is in the buffer, which has room again.
                    upstream.compact_buffer();
                    return AGAIN;
                }
                Step::Head(head, shape) => return self.take_head(upstream, &head, shape),
                Step::Failed(status, retry_after) => return self.fail(upstream, status, retry_after),
                // `peer.free`, which is next, has nginx ask another one.
                Step::GoAway => return INVALID_HEADER,
            }
        }
    }

    /// Reads one event before the body; `None` when more has to come first.
    fn step(&mut self, upstream: &Upstream<'_>, bytes: &[u8]) -> Result<Option<(Step, usize)>, WireError> {
        let Some(conversation) = &mut self.conversation else { return Err(WireError::NotNeat) };
        // A head that is to be cached has to lie in the buffer as a whole.
        if upstream.switches().cacheable && !conversation.has_whole_head(bytes)? {
            return Ok(None);
        }
        let mut input = bytes;
        let step = match conversation.next(&mut input)? {
            Some(Event::Head { head, is_file, has_body }) => Step::Head(head, Shape { is_file, has_body }),
            Some(Event::Failed { status, retry_after, cause }) => {
                log_cause(self.request, &self.group.name, cause);
                Step::Failed(status, retry_after)
            }
            Some(Event::GoAway) => Step::GoAway,
            Some(Event::Log(level, message)) => {
                log::request(self.request, level, message);
                Step::More
            }
            // nginx's upstreams know no informational responses. The others do not stand before a head.
            None
            | Some(
                Event::Unlogged
                | Event::Informational(_)
                | Event::WantBody(_)
                | Event::Data(_)
                | Event::File { .. },
            )
            | Some(Event::Flush | Event::Trailers(_) | Event::End) => Step::More,
        };
        Ok(Some((step, bytes.len() - input.len())))
    }

    fn take_head(&mut self, upstream: &mut Upstream<'_>, head: &OwnedResponseHead, shape: Shape) -> Code {
        let code = fill(upstream, head, shape.is_file);
        if code != OK {
            return code;
        }
        let mut switches = upstream.switches();
        if !shape.has_body {
            // What a HEAD request gets must not be taken for the file.
            switches.store = false;
            if let Err(error) = self.read_to_end(upstream) {
                self.complain(error);
                return INVALID_HEADER;
            }
        }
        if shape.is_file {
            (switches.cacheable, switches.store) = (false, false);
        }
        let ends_here = |conversation: &Conversation| conversation.has_end(upstream.unread());
        let is_whole = self.ended || self.conversation.as_deref().is_some_and(ends_here);
        if shape.is_file || is_whole && !switches.cacheable && !switches.store {
            switches.buffering = false;
        }
        upstream.set_switches(switches);
        OK
    }

    /// Answers a status with nginx's own page. nginx has no call for that in here: it is told that another
    /// worker is to be asked, and then that there is none, which ends in the status.
    fn fail(&mut self, upstream: &mut Upstream<'_>, status: u16, retry_after: u16) -> Code {
        if self.teller.is_none() && self.is_retried(upstream, status) {
            upstream.set_status(status, None);
            return OK;
        }
        self.is_final = true;
        // An old response has no need of it.
        if retry_after > 0 && !retry::is_answered_from_cache(upstream, status) {
            self.request.add_header(HeaderField::Other, b"Retry-After", retry_after.to_string().as_bytes());
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
        upstream.set_switches(Switches::default());
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

/// Reads a head out of the cache: the same bytes, without a worker behind them.
fn read_cached(upstream: &mut Upstream<'_>) -> Code {
    let bytes = upstream.unread();
    let mut input = bytes;
    let Some(head) = kept_head(&mut input) else { return INVALID_HEADER };
    upstream.consume(bytes.len() - input.len());
    fill(upstream, &head, false)
}

/// Logs why a worker did not answer, unless it has done so itself.
fn log_cause(request: Request, group: &str, cause: &[u8]) {
    if !cause.is_empty() {
        let text = format!("process group {group}: {}", String::from_utf8_lossy(cause));
        log::request(request, Level::Error, text.as_bytes());
    }
}
