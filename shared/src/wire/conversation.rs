//! A server's side of one connection to a worker, without any I/O: bytes in, events out.
//!
//! It holds the worker to the order of frames ([`super::session`]) and to what the request allows, keeps the
//! descriptor that waits for its frame, and knows at every moment whether the connection may serve another
//! request and, where it ends, how far the exchange had come. An event loop feeds it the buffers that it
//! receives into, a blocking client what `recvmsg` gave it; data is handed out as a part of these bytes, so
//! that neither has to copy it.

use std::os::fd::OwnedFd;

use super::decode::{Reader, Side, WireError, header};
use super::encode;
use super::event::{BeforeHead, Begun, Cut, Event};
use super::file_range::regular;
use super::frame::{BodyMode, Frame, HEADER, Kind, Received};
use super::log_limit::LogLimit;
use super::session::ServerSide;
use crate::exchange::BodyError;
use crate::wsgi::response::OwnedResponseHead;

#[cfg(test)]
mod tests;

/// The most informational responses before a head. RFC 9110 section 15.2 sets no bound; without one a
/// response need never begin.
pub const MAX_INFORMATIONAL: u32 = 32;

/// How far the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestBody {
    /// It is not asked for: there is none, or it comes unasked.
    Unasked,
    /// It is sent when it is asked for.
    Resting,
    /// One portion was asked for.
    Wanted,
    /// It has ended, or failed.
    Ended,
}

/// A connection to a worker.
#[derive(Debug)]
pub struct Conversation {
    reader: Reader,
    state: State,
}

/// What is known of a connection, apart from the bytes of a frame that came in part.
#[derive(Debug)]
struct State {
    session: ServerSide,
    /// This side's hello has not been sent.
    is_new: bool,
    /// The other side's hello has come.
    is_greeted: bool,
    /// The descriptor that came and belongs to a file frame that is still to come.
    descriptor: Option<OwnedFd>,
    /// The head said that a file follows.
    is_file: bool,
    body: RequestBody,
    before_head: BeforeHead,
    logged: LogLimit,
    /// The worker gave the request back that was open.
    is_given_back: bool,
    /// It broke the protocol: nothing more is read.
    broken: Option<WireError>,
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

impl Conversation {
    /// A connection on which nothing was sent and nothing came.
    #[must_use]
    pub const fn new() -> Self {
        let state = State {
            session: ServerSide::new(),
            is_new: true,
            is_greeted: false,
            descriptor: None,
            is_file: false,
            body: RequestBody::Unasked,
            before_head: BeforeHead { log_lines: 0, log_bytes: 0, informational: 0, wanted: 0 },
            logged: LogLimit::NOTHING,
            is_given_back: false,
            broken: None,
        };
        Self { reader: Reader::new(Side::Worker), state }
    }

    /// Begins the next request; `head_only` is said of a HEAD request. `None` when one is open, or the worker
    /// takes no more.
    pub fn begin(&mut self, head_only: bool, body: BodyMode) -> Option<Begun> {
        let state = &mut self.state;
        if state.broken.is_some() {
            return None;
        }
        let exchange = state.session.begin(head_only)?;
        state.is_file = false;
        state.before_head = BeforeHead::default();
        state.logged = LogLimit::default();
        state.body = match body {
            BodyMode::None | BodyMode::Pushed => RequestBody::Unasked,
            BodyMode::Pulled => RequestBody::Resting,
        };
        Some(Begun { exchange, needs_hello: std::mem::take(&mut state.is_new) })
    }

    /// The number of the request that is open, or was last.
    #[must_use]
    pub const fn exchange(&self) -> u16 {
        self.state.session.exchange()
    }

    /// Whether the response's head has come, and its end has not.
    #[must_use]
    pub const fn has_head(&self) -> bool {
        self.state.session.has_head()
    }

    /// What came of the request that is open, or was last, before its head.
    #[must_use]
    pub const fn before_head(&self) -> BeforeHead {
        self.state.before_head
    }

    /// Whether the bytes so far end in the middle of a frame.
    #[must_use]
    pub fn is_in_frame(&self) -> bool {
        self.reader.is_in_frame()
    }

    /// Whether `input`, of which nothing was read yet, may be read on: it does not begin with a part of a
    /// head only (behind a hello, if that is still to come). For a server that has to have the head as a
    /// whole in one buffer.
    ///
    /// # Errors
    /// A [`WireError`], where the bytes are no frame of a worker's.
    pub fn has_whole_head(&self, input: &[u8]) -> Result<bool, WireError> {
        if self.is_in_frame() {
            return Ok(true);
        }
        let mut rest = input;
        if !self.state.is_greeted {
            match header(rest, Side::Worker)?.map(|hello| rest.get(HEADER + hello.length..)) {
                Some(Some(behind)) => rest = behind,
                Some(None) | None => return Ok(false),
            }
        }
        Ok(header(rest, Side::Worker)?
            .is_some_and(|header| header.kind != Kind::Head || rest.len() >= HEADER + header.length))
    }

    /// Whether `input`, of which nothing was read yet, reaches to the end of a whole response.
    #[must_use]
    pub fn has_end(&self, input: &[u8]) -> bool {
        let mut rest = if self.is_in_frame() { &[] } else { input };
        while let Ok(Some(header)) = header(rest, Side::Worker) {
            let Some(behind) = rest.get(HEADER + header.length..) else { return false };
            if header.kind == Kind::End {
                return true;
            }
            rest = behind;
        }
        false
    }

    /// Takes the descriptors that came with received bytes, before these are read; `is_truncated` where the
    /// kernel dropped some (`MSG_CTRUNC`). One may wait for its frame: a worker that sends more would
    /// otherwise take all that this process may have open. More of them, or fewer than were sent, break the
    /// protocol, which [`Conversation::next`] says then.
    pub fn take_descriptors(&mut self, files: impl IntoIterator<Item = OwnedFd>, is_truncated: bool) {
        let state = &mut self.state;
        let mut is_wrong = is_truncated;
        for file in files {
            // Each is closed where it does not stay.
            is_wrong |= state.session.is_idle() || state.descriptor.replace(file).is_some();
        }
        if is_wrong {
            state.descriptor = None;
            state.broken.get_or_insert(WireError::Descriptor);
        }
    }

    /// The next event. What was read is taken off the front of `input`; `None` when all of it is read.
    ///
    /// # Errors
    /// A [`WireError`]: the connection is of no use any more, and says the same whenever it is asked again.
    pub fn next<'c, 'i: 'c>(&'c mut self, input: &mut &'i [u8]) -> Result<Option<Event<'c, 'i>>, WireError> {
        let Self { reader, state } = self;
        if let Some(error) = state.broken {
            return Err(error);
        }
        if !state.is_greeted {
            match reader
                .next(input)
                .and_then(|greeting| greeting.map(|hello| state.session.take(&hello)).transpose())
            {
                Ok(Some(())) => state.is_greeted = true,
                Ok(None) => return Ok(None),
                Err(error) => return Err(state.fail(error)),
            }
        }
        let all: &'i [u8] = input;
        match reader.next(input) {
            Ok(Some(received)) => {
                let read = all.get(..all.len() - input.len()).unwrap_or_default();
                state.admit(received, read).map(Some).map_err(|error| state.fail(error))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(state.fail(error)),
        }
    }

    /// Adds the portion that [`Event::WantBody`] asked for: data, of which nothing is the body's end, or why
    /// there is none. `false`, and nothing is added, where no portion is wanted.
    #[must_use]
    pub fn send_body(&mut self, into: &mut Vec<u8>, portion: Result<&[u8], BodyError>) -> bool {
        let state = &mut self.state;
        if state.body != RequestBody::Wanted {
            return false;
        }
        let exchange = state.session.exchange();
        state.body = match portion {
            Ok([]) | Err(_) => RequestBody::Ended,
            Ok(_) => RequestBody::Resting,
        };
        match portion {
            Ok([]) => encode::body_end(into, exchange),
            Ok(data) => encode::data(into, Kind::Body, exchange, data),
            Err(error) => encode::body_failed(into, exchange, error),
        }
        true
    }

    /// Whether another request may be sent over the connection, where `unread` came and was not given to
    /// [`Conversation::next`]: the response has ended, and nothing is left that belonged to it. Whatever came
    /// behind the end is either the worker's word that it takes no more, or against the protocol. That all of
    /// a body has left which was sent unasked is the caller's to know.
    #[must_use]
    pub fn may_be_kept(&self, unread: &[u8]) -> bool {
        let state = &self.state;
        state.broken.is_none()
            && state.session.is_idle()
            && state.descriptor.is_none()
            && !self.is_in_frame()
            && unread.is_empty()
    }

    /// How far the open request has come, for the decision whether it may be sent again. `has_left` says
    /// whether any byte of it was taken by the system.
    #[must_use]
    pub fn cut(&self, has_left: bool) -> Cut {
        if self.state.is_given_back {
            Cut::NotBegun
        } else if !has_left {
            Cut::Unsent
        } else if self.has_head() {
            Cut::InResponse
        } else if self.is_in_frame() {
            Cut::InFrame
        } else {
            Cut::Unanswered
        }
    }
}

impl State {
    fn fail(&mut self, error: WireError) -> WireError {
        self.descriptor = None;
        *self.broken.insert(error)
    }

    /// Validates a frame, which was read from the end of `read`, and says what it asks for.
    fn admit<'c, 'i: 'c>(
        &mut self,
        received: Received<'c>,
        read: &'i [u8],
    ) -> Result<Event<'c, 'i>, WireError> {
        let kind = received.frame.kind();
        let is_unanswered = !self.session.is_idle() && !self.session.has_head();
        self.session.take(&received)?;
        Ok(match received.frame {
            Frame::Informational(head) => {
                self.before_head.informational += 1;
                if self.before_head.informational > MAX_INFORMATIONAL {
                    return Err(WireError::Order(kind));
                }
                Event::Informational(head)
            }
            Frame::Head { head, is_file } => {
                self.is_file = is_file;
                self.expect_descriptor(is_file)?;
                let has_body = self.session.has_body();
                Event::Head { head, is_file, has_body }
            }
            Frame::Log(level, message) => {
                if is_unanswered {
                    self.before_head.log_lines = self.before_head.log_lines.saturating_add(1);
                    self.before_head.log_bytes += message.len() as u64;
                }
                self.logged
                    .admit(level, message)
                    .map_or(Event::Unlogged, |(level, line)| Event::Log(level, line))
            }
            Frame::WantBody(wanted) => {
                if self.body != RequestBody::Resting {
                    return Err(WireError::Order(kind));
                }
                if wanted == 0 {
                    return Err(WireError::Malformed(kind));
                }
                self.body = RequestBody::Wanted;
                if is_unanswered {
                    self.before_head.wanted = self.before_head.wanted.saturating_add(1);
                }
                Event::WantBody(wanted)
            }
            Frame::Chunk(data) => {
                let start = read.len().checked_sub(data.len());
                Event::Data(start.and_then(|start| read.get(start..)).ok_or(WireError::Malformed(kind))?)
            }
            Frame::File { offset, length } => {
                // One for a head that announces one: each is a descriptor that this server holds.
                if !std::mem::take(&mut self.is_file) {
                    return Err(WireError::Order(kind));
                }
                let file = self.descriptor.take().ok_or(WireError::Descriptor)?;
                Event::File { file: regular(file, offset, length)?, offset, length }
            }
            Frame::Flush => Event::Flush,
            Frame::Trailers(fields) => Event::Trailers(fields),
            Frame::End => {
                self.expect_descriptor(false)?;
                Event::End
            }
            Frame::Failed { status, retry_after, cause } => {
                // A file that was announced and is cut before its frame is no error of the protocol's.
                self.expect_descriptor(self.is_file)?;
                self.descriptor = None;
                Event::Failed { status, retry_after, cause }
            }
            Frame::GoAway => {
                if self.before_head != BeforeHead::default() && is_unanswered {
                    // It was begun: this is no word that it was not.
                    return Err(WireError::Order(kind));
                }
                self.expect_descriptor(false)?;
                self.is_given_back = is_unanswered;
                Event::GoAway
            }
            Frame::Hello(_) => return Err(WireError::Order(kind)),
            Frame::Request { .. } | Frame::Body(_) | Frame::BodyEnd | Frame::BodyFailed(_) => {
                return Err(WireError::WrongSide(kind));
            }
        })
    }

    /// Refuses a descriptor that came where no file frame follows.
    fn expect_descriptor(&self, may_wait: bool) -> Result<(), WireError> {
        if may_wait || self.descriptor.is_none() { Ok(()) } else { Err(WireError::Descriptor) }
    }
}

/// Reads the head of a response that was kept as its worker sent it, as nginx's cache does: whatever stands
/// before it is passed over. What was read is taken off the front of `input`; `None` where there is no head.
pub fn kept_head(input: &mut &[u8]) -> Option<OwnedResponseHead> {
    let mut reader = Reader::new(Side::Worker);
    loop {
        match reader.next(input) {
            Ok(Some(Received { frame: Frame::Head { head, .. }, .. })) => return Some(head),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}
