//! The body of a worker's response, as nginx sends it: unbuffered, where its parts are taken as they come, or
//! through nginx's pipe.

use std::os::fd::OwnedFd;

use shared::wire::{Event, Kind, WireError};

use super::super::UpstreamRequest;
use super::log_cause;
use crate::ffi::pipe::Pipe;
use crate::ffi::upstream::Upstream;
use crate::ffi::{Code, ERROR, OK};
use crate::log;

/// A range of a file, as nginx counts it.
struct FileRange {
    file: OwnedFd,
    from: i64,
    to: i64,
}

/// A part of the body.
enum Part<'b> {
    Data(&'b [u8]),
    File(FileRange),
    End,
    Cut,
    Nothing,
}

impl UpstreamRequest {
    /// Reads the next part of the body; `None` when more has to come first.
    fn next_part<'b>(&mut self, input: &mut &'b [u8]) -> Result<Option<Part<'b>>, WireError> {
        let Some(conversation) = &mut self.conversation else { return Ok(None) };
        let event = match conversation.next(input) {
            Ok(event) => event,
            // The response was whole: only the connection is of no use any more.
            Err(_) if self.ended => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(event) = event else { return Ok(None) };
        Ok(Some(match event {
            Event::Data(data) => Part::Data(data),
            Event::File { file, offset, length } => {
                let end = offset.checked_add(length).ok_or(WireError::NotInFile)?;
                let signed = |number: u64| i64::try_from(number).map_err(|_| WireError::NotInFile);
                Part::File(FileRange { file, from: signed(offset)?, to: signed(end)? })
            }
            Event::End => {
                self.ended = true;
                Part::End
            }
            Event::Failed { cause, .. } => {
                log_cause(self.request, &self.group.name, cause);
                Part::Cut
            }
            Event::Log(level, message) => {
                log::request(self.request, level, message);
                Part::Nothing
            }
            // Whatever comes is handed on at once, so that there is nothing to flush; nginx's upstreams of
            // this kind have no trailers. The others do not stand here.
            Event::Flush | Event::Trailers(_) | Event::Unlogged => Part::Nothing,
            Event::Informational(_) | Event::Head { .. } | Event::WantBody(_) | Event::GoAway => {
                Part::Nothing
            }
        }))
    }

    /// Takes what follows a head without a body, as far as it is here: the connection can be used again then.
    pub(super) fn read_to_end(&mut self, upstream: &mut Upstream<'_>) -> Result<(), WireError> {
        let bytes = upstream.unread();
        let mut input = bytes;
        while self.next_part(&mut input)?.is_some() {}
        upstream.consume(bytes.len() - input.len());
        Ok(())
    }

    /// Takes `bytes` more of an unbuffered response.
    pub(crate) fn read_unbuffered(&mut self, upstream: &mut Upstream<'_>, bytes: usize) -> Code {
        let mut input = upstream.take_received(bytes);
        loop {
            match self.next_part(&mut input) {
                Ok(None) => return OK,
                Ok(Some(Part::Nothing)) => {}
                Ok(Some(Part::Data(data))) => {
                    if !upstream.send_received(data) {
                        return ERROR;
                    }
                }
                Ok(Some(Part::File(range))) => {
                    if range.from < range.to && !upstream.send_file(range.file, range.from, range.to) {
                        return ERROR;
                    }
                }
                Ok(Some(Part::End)) => upstream.set_more(false),
                Ok(Some(Part::Cut)) => {
                    self.cut(None);
                    upstream.set_error();
                    return OK;
                }
                Err(error) => {
                    self.cut(Some(error));
                    upstream.set_error();
                    return OK;
                }
            }
        }
    }

    /// Has the client see that the response is not complete.
    fn cut(&self, why: Option<WireError>) {
        if let Some(error) = why {
            self.complain(error);
        }
        self.request.reset_at_close();
    }

    /// Takes a buffer of a buffered response (`ngx_http_fastcgi_input_filter`).
    pub(crate) fn read_buffered(&mut self, pipe: &mut Pipe<'_>) -> Code {
        let mut input = pipe.received();
        loop {
            match self.next_part(&mut input) {
                Ok(None) => return OK,
                Ok(Some(Part::Nothing)) => {}
                Ok(Some(Part::Data(data))) => {
                    let code = pipe.send(data);
                    if code != OK {
                        return code;
                    }
                }
                Ok(Some(Part::End)) => pipe.set_done(),
                Ok(Some(Part::Cut)) => {
                    self.cut(None);
                    pipe.set_error();
                    return OK;
                }
                // Where the head announced it the response is not buffered.
                Ok(Some(Part::File(_))) => {
                    self.cut(Some(WireError::Order(Kind::File)));
                    pipe.set_error();
                    return OK;
                }
                Err(error) => {
                    self.cut(Some(error));
                    pipe.set_error();
                    return OK;
                }
            }
        }
    }
}
