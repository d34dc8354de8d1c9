//! The body of a worker's response, as nginx sends it: unbuffered, where its frames are taken as they come, or through nginx's pipe.

use shared::wire::{Frame, Kind, WireError};

use super::super::UpstreamRequest;
use crate::ffi::pipe::Pipe;
use crate::ffi::upstream::Upstream;
use crate::ffi::{Code, ERROR, OK};
use crate::log;

/// What a frame of the body is.
enum Piece<'b> {
    Data(&'b [u8]),
    File(u64, u64),
    End,
    Cut,
    Nothing,
}

impl UpstreamRequest {
    /// Reads the next frame of the body.
    fn next_piece<'b>(&mut self, input: &mut &'b [u8]) -> Result<Option<Piece<'b>>, WireError> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let before = *input;
        let Some(received) = connection.reader.next(input)? else { return Ok(None) };
        connection.session.take(&received)?;
        Ok(Some(match received.frame {
            // A portion of data is the last that was used of the input.
            Frame::Chunk(data) => {
                let used = before.len() - input.len();
                Piece::Data(before.get(used.saturating_sub(data.len())..used).unwrap_or_default())
            }
            Frame::File { offset, length } => Piece::File(offset, length),
            Frame::End => Piece::End,
            Frame::Failed { cause, .. } => {
                let cause = cause.to_vec();
                self.log_cause(&cause);
                Piece::Cut
            }
            Frame::Log(level, message) => {
                log::request(self.request, level, message);
                Piece::Nothing
            }
            _ => Piece::Nothing,
        }))
    }

    /// Takes what follows a head without a body, as far as it is here: the connection can be used again then.
    pub(super) fn read_to_end(&mut self, upstream: &mut Upstream<'_>) -> Result<(), WireError> {
        let bytes = upstream.unread();
        let mut input = bytes;
        while !self.ended {
            match self.next_piece(&mut input)? {
                None => break,
                Some(Piece::End) => self.ended = true,
                Some(_) => {}
            }
        }
        upstream.consume(bytes.len() - input.len());
        Ok(())
    }

    /// Takes `bytes` more of an unbuffered response.
    pub(crate) fn read_unbuffered(&mut self, upstream: &mut Upstream<'_>, bytes: usize) -> Code {
        let mut input = upstream.take_received(bytes);
        loop {
            let failed = match self.next_piece(&mut input) {
                Ok(None) => return OK,
                Ok(Some(Piece::Nothing)) => None,
                Ok(Some(Piece::Data(data))) => {
                    if !upstream.send_received(data) {
                        return ERROR;
                    }
                    None
                }
                Ok(Some(Piece::File(offset, length))) => self.send_file(upstream, offset, length).err(),
                Ok(Some(Piece::End)) => {
                    self.ended = true;
                    upstream.set_more(false);
                    None
                }
                Ok(Some(Piece::Cut)) => {
                    self.cut();
                    upstream.set_error();
                    return OK;
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                self.complain(error);
                self.cut();
                upstream.set_error();
                return OK;
            }
        }
    }

    /// Has the client see that the response is not complete.
    fn cut(&self) {
        self.request.reset_at_close();
    }

    fn send_file(&mut self, upstream: &mut Upstream<'_>, offset: u64, length: u64) -> Result<(), WireError> {
        let range = self.take_file(offset, length)?;
        if range.from == range.to || upstream.send_file(range.file, range.from, range.to) {
            return Ok(());
        }
        Err(WireError::Descriptor)
    }

    /// Takes a buffer of a buffered response (`ngx_http_fastcgi_input_filter`).
    pub(crate) fn read_buffered(&mut self, pipe: &mut Pipe<'_>) -> Code {
        let mut input = pipe.received();
        loop {
            let failed = match self.next_piece(&mut input) {
                Ok(None) => return OK,
                Ok(Some(Piece::Nothing)) => None,
                Ok(Some(Piece::Data(data))) => {
                    let code = pipe.send(data);
                    if code != OK {
                        return code;
                    }
                    None
                }
                Ok(Some(Piece::End)) => {
                    self.ended = true;
                    pipe.set_done();
                    None
                }
                Ok(Some(Piece::Cut)) => {
                    self.cut();
                    pipe.set_error();
                    return OK;
                }
                // Said in the head, or it is against the protocol.
                Ok(Some(Piece::File(..))) => Some(WireError::Order(Kind::File)),
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                self.complain(error);
                self.cut();
                pipe.set_error();
                return OK;
            }
        }
    }
}
