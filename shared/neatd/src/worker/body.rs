//! A request's body, as it comes over the server's connection.

use nix::errno::Errno;
use nix::poll::PollFlags;
use shared::exchange::{Body, BodyError};
use shared::wire::{BodyMode, Frame, Kind, encode};

use super::connection::Connection;
use super::hub::Hub;

/// How much of a pulled body is asked for at a time, at most.
const MAX_PULL: u32 = 64 * 1024;
/// How much is received at a time.
const READ_SIZE: usize = 64 * 1024;

/// How the body comes.
#[derive(Debug)]
pub enum Input {
    /// There is none.
    Empty,
    /// All of it came with the head.
    Memory(Vec<u8>),
    /// It is read from the connection.
    Stream(Stream),
}

/// A body that is read from the connection.
#[derive(Debug)]
pub struct Stream {
    /// What came with the head.
    first: Vec<u8>,
    used: usize,
    pull: Pull,
    /// Whether that was all of it, or an error instead.
    ended: Result<bool, BodyError>,
}

/// Whether the body has to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pull {
    /// It comes by itself.
    Pushed,
    /// The next portion has to be asked for.
    Due,
    /// It was asked for.
    Asked,
}

impl Input {
    /// A body of which `first` has come with the head, and which `ended` with that, went on, or failed.
    pub fn new(mode: BodyMode, first: Vec<u8>, ended: Result<bool, BodyError>) -> Self {
        match (mode, ended) {
            (BodyMode::None, _) => Self::Empty,
            (_, Ok(true)) => Self::Memory(first),
            (mode, ended) => {
                let pull = if mode == BodyMode::Pulled { Pull::Due } else { Pull::Pushed };
                Self::Stream(Stream { first, used: 0, pull, ended })
            }
        }
    }

    /// Where it is.
    pub fn body(&self) -> Body<'_> {
        match self {
            Self::Empty => Body::Empty,
            Self::Memory(body) => Body::Memory(body),
            Self::Stream(_) => Body::Stream,
        }
    }

    /// How it comes, for another worker.
    pub const fn mode(&self) -> BodyMode {
        match self {
            Self::Empty => BodyMode::None,
            Self::Memory(_) => BodyMode::Pushed,
            Self::Stream(stream) if matches!(stream.pull, Pull::Pushed) => BodyMode::Pushed,
            Self::Stream(_) => BodyMode::Pulled,
        }
    }

    /// Encodes what has come of it, for another worker; `false` when it has failed.
    pub fn encode(&self, bytes: &mut Vec<u8>, number: u16) -> bool {
        match self {
            Self::Empty => {}
            Self::Memory(body) => {
                encode::data(bytes, Kind::Body, number, body);
                encode::body_end(bytes, number);
            }
            Self::Stream(stream) if stream.ended == Ok(false) => {
                encode::data(bytes, Kind::Body, number, &stream.first);
            }
            Self::Stream(_) => return false,
        }
        true
    }

    /// Reads the next part of exchange `number`'s body; 0 at the end. Waits for the client.
    ///
    /// # Errors
    /// The body cannot be read whole.
    pub fn read(
        &mut self,
        connection: &Connection,
        hub: &Hub,
        number: u16,
        into: &mut [u8],
    ) -> Result<usize, BodyError> {
        match self {
            Self::Empty | Self::Memory(_) => Ok(0),
            Self::Stream(stream) => stream.read(connection, hub, number, into),
        }
    }
}

impl Stream {
    fn read(
        &mut self,
        connection: &Connection,
        hub: &Hub,
        number: u16,
        into: &mut [u8],
    ) -> Result<usize, BodyError> {
        let rest = self.first.get(self.used..).unwrap_or_default();
        if !rest.is_empty() {
            let taken = copy(rest, into);
            self.used += taken;
            return Ok(taken);
        }
        if self.ended? || into.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(length) = self.next_frame(connection, into)? {
                return Ok(length);
            }
            let mut inbound = connection.inbound();
            if inbound.used < inbound.pending.len() {
                continue;
            }
            inbound.used = 0;
            inbound.pending.resize(READ_SIZE, 0);
            let received = connection.receive(&mut inbound.pending);
            inbound.pending.truncate(*received.as_ref().unwrap_or(&0));
            // Not held while the client is waited for: whoever leads looks whether the connection rests.
            drop(inbound);
            match received {
                Ok(1..) => {}
                Err(Errno::EAGAIN) => self.wait(connection, hub, number, into.len())?,
                Ok(0) | Err(_) => {
                    self.ended = Err(BodyError::Disconnected);
                    return Err(BodyError::Disconnected);
                }
            }
        }
    }

    /// Takes what a frame that was received says of the body; `None` when there is none.
    fn next_frame(&mut self, connection: &Connection, into: &mut [u8]) -> Result<Option<usize>, BodyError> {
        let mut inbound = connection.inbound();
        let inbound = &mut *inbound;
        // A part of a frame is never longer than the bytes that it is read from.
        let from = inbound.pending.get(inbound.used..).unwrap_or_default();
        let mut input = from.get(..into.len()).unwrap_or(from);
        let before = input.len();
        let received = inbound.reader.next(&mut input).map_err(|_| BodyError::Malformed)?;
        inbound.used += before - input.len();
        let Some(received) = received else { return Ok(None) };
        inbound.requests.take(&received).map_err(|_| BodyError::Malformed)?;
        match received.frame {
            Frame::Body(data) => {
                let length = copy(data, into);
                if self.pull == Pull::Asked && !inbound.reader.is_in_frame() {
                    // That was one portion; the next one has to be asked for.
                    self.pull = Pull::Due;
                }
                Ok(Some(length))
            }
            Frame::BodyEnd => {
                self.ended = Ok(true);
                Ok(Some(0))
            }
            Frame::BodyFailed(error) => {
                self.ended = Err(error);
                Err(error)
            }
            _ => Err(BodyError::Malformed),
        }
    }

    /// Waits for the server, having asked for the next portion where that has to be.
    fn wait(
        &mut self,
        connection: &Connection,
        hub: &Hub,
        number: u16,
        room: usize,
    ) -> Result<(), BodyError> {
        let mut outbound = connection.outbound();
        if self.pull == Pull::Due {
            self.pull = Pull::Asked;
            let most = u32::try_from(room).unwrap_or(MAX_PULL).min(MAX_PULL);
            encode::want_body(&mut outbound.buffer, number, most);
        }
        // Whatever waits may be what the client waits for before it sends more.
        let waits = std::mem::take(&mut outbound.buffer);
        outbound.head_at = None;
        drop(outbound);
        if !waits.is_empty() {
            connection.send_all(&waits).map_err(|_| BodyError::Disconnected)?;
        }
        hub.away(|| connection.wait(PollFlags::POLLIN, None));
        Ok(())
    }
}

fn copy(from: &[u8], into: &mut [u8]) -> usize {
    into.iter_mut().zip(from).map(|(into, byte)| *into = *byte).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_where_it_came_to() {
        let stream = |mode, ended| Input::new(mode, b"first".to_vec(), ended);
        assert_eq!(stream(BodyMode::None, Ok(true)).body(), Body::Empty);
        assert_eq!(stream(BodyMode::Pushed, Ok(true)).body(), Body::Memory(b"first"));
        assert_eq!(stream(BodyMode::Pushed, Ok(false)).body(), Body::Stream);
        assert_eq!(stream(BodyMode::Pulled, Ok(false)).mode(), BodyMode::Pulled);
    }

    #[test]
    fn a_body_that_failed_is_not_handed_over() {
        let mut bytes = Vec::new();
        assert!(!Input::new(BodyMode::Pushed, Vec::new(), Err(BodyError::Malformed)).encode(&mut bytes, 1));
        assert!(Input::new(BodyMode::Pushed, b"part".to_vec(), Ok(false)).encode(&mut bytes, 1));
        assert!(bytes.ends_with(b"part"));
    }
}
