//! Reading frames from bytes that come in any portions.

use thiserror::Error;

use super::encode::{HAS_LENGTH, IS_FILE};
use super::frame::{
    BodyMode, Frame, HEADER, Header, Hello, KEPT, Kind, MAGIC, Received, VERSION, fingerprint,
};
use crate::exchange::BodyError;
use crate::log::Level;
use crate::wsgi::response::{OwnedResponseHead, ResponseHead};

/// What is wrong with what came. The connection is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// No kind of that number.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// A frame that only this side sends.
    #[error("a {0:?} frame from the wrong side")]
    WrongSide(Kind),
    /// Too long or too short.
    #[error("a {kind:?} frame of {length} bytes; from {low} to {high} are allowed")]
    Length {
        /// What it is.
        kind: Kind,
        /// As its header says.
        length: usize,
        /// The shortest allowed.
        low: usize,
        /// The longest allowed.
        high: usize,
    },
    /// Something in it makes no sense.
    #[error("a {0:?} frame that makes no sense")]
    Malformed(Kind),
    /// Not Neat at all.
    #[error("the other side does not speak Neat's protocol")]
    NotNeat,
    /// Another build.
    #[error(
        "the other side speaks version {version} of the protocol (keys {keys:08x}), this side {VERSION}; both have to be of one \
         build: restart the server after an update"
    )]
    OtherBuild {
        /// Its version.
        version: u16,
        /// Its fingerprint.
        keys: u32,
    },
    /// A frame where it may not stand.
    #[error("a {0:?} frame out of order")]
    Order(Kind),
    /// A frame of another exchange.
    #[error("a frame of exchange {found} where {expected} is open")]
    Exchange {
        /// Its number.
        found: u16,
        /// The one that is open.
        expected: u16,
    },
    /// More of the body than its head declared, or less.
    #[error("a response body that is not as long as its head says")]
    DeclaredLength,
    /// A file frame whose descriptor did not come with it, or a descriptor without a frame.
    #[error("descriptors and file frames do not match")]
    Descriptor,
    /// A file frame whose descriptor is of no regular file, or of one that is shorter than the range.
    #[error("a range of something that is not a regular file, or is shorter")]
    NotInFile,
}

/// Which frames come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The server's: this is a worker.
    Server,
    /// The worker's: this is the server.
    Worker,
}

/// Reads one direction of a connection. It keeps at most one frame that has come in part, in no more memory
/// than that frame takes; between frames it keeps no more than [`KEPT`].
#[derive(Debug)]
pub struct Reader {
    from: Side,
    partial: Vec<u8>,
    /// `partial` holds a frame that was handed out.
    given: bool,
    /// The data frame that is being handed out, and what of it is still to come.
    data: Option<(Kind, u16, usize)>,
}

/// Reads a header, if all of it is there.
///
/// # Errors
/// A [`WireError`], as soon as the header can be judged.
pub fn header(bytes: &[u8], from: Side) -> Result<Option<Header>, WireError> {
    let Some([a, b, c, d, kind, zero, low, high]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let kind_number = *kind;
    let kind = Kind::of_number(kind_number).ok_or(WireError::UnknownKind(kind_number))?;
    if kind != Kind::Hello && kind.is_servers() != (from == Side::Server) {
        return Err(WireError::WrongSide(kind));
    }
    let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
    let (low_bound, high_bound) = kind.bounds();
    if length < low_bound || length > high_bound {
        return Err(WireError::Length { kind, length, low: low_bound, high: high_bound });
    }
    let exchange = u16::from_le_bytes([*low, *high]);
    if *zero != 0 || kind.is_of_connection() && exchange != 0 {
        return Err(WireError::Malformed(kind));
    }
    Ok(Some(Header { length, kind, exchange }))
}

impl Reader {
    /// Reads what `from` sends.
    #[must_use]
    pub const fn new(from: Side) -> Self {
        Self { from, partial: Vec::new(), given: false, data: None }
    }

    /// Whether the bytes so far end in the middle of a frame.
    #[must_use]
    pub fn is_in_frame(&self) -> bool {
        self.data.is_some() || !(self.partial.is_empty() || self.given)
    }

    /// How many bytes it has set aside for a frame that comes in part.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.partial.capacity()
    }

    /// The next frame, or portion of data. What was used is taken off the front of `input`; `None` when it is
    /// used up.
    ///
    /// # Errors
    /// A [`WireError`]; nothing may be read afterwards.
    pub fn next<'r, 'i: 'r>(&'r mut self, input: &mut &'i [u8]) -> Result<Option<Received<'r>>, WireError> {
        if std::mem::take(&mut self.given) {
            self.partial.clear();
            self.partial.shrink_to(KEPT);
        }
        if self.data.is_none() {
            if self.partial.is_empty() {
                match header(input, self.from)? {
                    Some(header) if header.kind.is_data() => self.begin_data(header, input, HEADER),
                    Some(header) if input.len() >= HEADER + header.length => {
                        let (frame, rest) = input.split_at(HEADER + header.length);
                        *input = rest;
                        return parse(header, frame.get(HEADER..).unwrap_or_default()).map(Some);
                    }
                    _ => {}
                }
            }
            if self.data.is_none() {
                // The header first, so that its limits hold before anything else is kept.
                self.fill(input, HEADER);
                let Some(header) = header(&self.partial, self.from)? else { return Ok(None) };
                if header.kind.is_data() {
                    self.partial.clear();
                    self.begin_data(header, input, 0);
                } else {
                    self.fill(input, HEADER + header.length);
                    if self.partial.len() < HEADER + header.length {
                        return Ok(None);
                    }
                    self.given = true;
                    return parse(header, self.partial.get(HEADER..).unwrap_or_default()).map(Some);
                }
            }
        }
        Ok(self.portion(input))
    }

    fn begin_data(&mut self, header: Header, input: &mut &[u8], used: usize) {
        self.data = Some((header.kind, header.exchange, header.length));
        *input = input.get(used..).unwrap_or_default();
    }

    fn fill(&mut self, input: &mut &[u8], until: usize) {
        let missing = until.saturating_sub(self.partial.len()).min(input.len());
        let (taken, rest) = input.split_at(missing);
        let needed = self.partial.len() + missing;
        if needed > self.partial.capacity() {
            // Doubled, so that small portions are not copied again and again, but never beyond the frame.
            let room = needed.max(self.partial.capacity() * 2).min(until);
            self.partial.reserve_exact(room - self.partial.len());
        }
        self.partial.extend_from_slice(taken);
        *input = rest;
    }

    fn portion<'a>(&mut self, input: &mut &'a [u8]) -> Option<Received<'a>> {
        let (kind, exchange, left) = self.data?;
        if input.is_empty() {
            return None;
        }
        let (portion, rest) = input.split_at(left.min(input.len()));
        *input = rest;
        let left = left - portion.len();
        self.data = (left > 0).then_some((kind, exchange, left));
        let frame = if kind == Kind::Body { Frame::Body(portion) } else { Frame::Chunk(portion) };
        Some(Received { exchange, frame })
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn parse(header: Header, bytes: &[u8]) -> Result<Received<'_>, WireError> {
    let kind = header.kind;
    let frame = match kind {
        Kind::Hello => return hello(bytes).map(|hello| Received { exchange: 0, frame: Frame::Hello(hello) }),
        Kind::Head | Kind::Informational => Some(head(kind, bytes)?),
        _ => plain(kind, bytes),
    };
    frame.map(|frame| Received { exchange: header.exchange, frame }).ok_or(WireError::Malformed(kind))
}

fn hello(bytes: &[u8]) -> Result<Hello, WireError> {
    let (Some(MAGIC), Some(version), Some(keys)) = (number(bytes, 0), number(bytes, 4), number(bytes, 8))
    else {
        return Err(WireError::NotNeat);
    };
    let hello = Hello { version: u16::from_le_bytes(version), fingerprint: u32::from_le_bytes(keys) };
    if hello.version != VERSION || hello.fingerprint != fingerprint() {
        // What another version writes into the zeroes is its own affair.
        return Err(WireError::OtherBuild { version: hello.version, keys: hello.fingerprint });
    }
    if number(bytes, 6) == Some([0, 0]) { Ok(hello) } else { Err(WireError::Malformed(Kind::Hello)) }
}

fn plain(kind: Kind, bytes: &[u8]) -> Option<Frame<'_>> {
    Some(match kind {
        Kind::Request => {
            let body = match number::<4>(bytes, 0)? {
                [0, 0, 0, 0] => BodyMode::None,
                [1, 0, 0, 0] => BodyMode::Pushed,
                [2, 0, 0, 0] => BodyMode::Pulled,
                _ => return None,
            };
            let length = usize::try_from(u32::from_le_bytes(number(bytes, 4)?)).ok()?;
            let (mount, head) = bytes.get(8..)?.split_at_checked(length)?;
            Frame::Request { mount, head, body }
        }
        Kind::BodyEnd => Frame::BodyEnd,
        Kind::BodyFailed => Frame::BodyFailed(BodyError::from_number(u32::from_le_bytes(number(bytes, 0)?))),
        Kind::WantBody => Frame::WantBody(u32::from_le_bytes(number(bytes, 0)?)),
        Kind::File => Frame::File {
            offset: u64::from_le_bytes(number(bytes, 0)?),
            length: u64::from_le_bytes(number(bytes, 8)?),
        },
        Kind::Flush => Frame::Flush,
        Kind::Trailers => Frame::Trailers(bytes),
        Kind::Log => {
            let (level, message) = bytes.split_first()?;
            Frame::Log(Level::from_number(u32::from(*level)), message)
        }
        Kind::End => Frame::End,
        Kind::Failed => {
            let status = u16::from_le_bytes(number(bytes, 0)?);
            if status != 0 && !(400..=599).contains(&status) {
                return None;
            }
            Frame::Failed {
                status,
                retry_after: u16::from_le_bytes(number(bytes, 2)?),
                cause: bytes.get(4..)?,
            }
        }
        Kind::GoAway => Frame::GoAway,
        Kind::Hello | Kind::Head | Kind::Informational | Kind::Body | Kind::Chunk => return None,
    })
}

fn head(kind: Kind, bytes: &[u8]) -> Result<Frame<'_>, WireError> {
    let malformed = WireError::Malformed(kind);
    let status = u16::from_le_bytes(number(bytes, 0).ok_or(malformed)?);
    let flags: [u8; 2] = number(bytes, 2).ok_or(malformed)?;
    let reason_length = u32::from_le_bytes(number(bytes, 4).ok_or(malformed)?);
    let length = u64::from_le_bytes(number(bytes, 8).ok_or(malformed)?);
    let (reason, fields) = bytes
        .get(16..)
        .and_then(|rest| rest.split_at_checked(usize::try_from(reason_length).ok()?))
        .ok_or(malformed)?;
    let [flags, 0] = flags else { return Err(malformed) };
    if flags & !(HAS_LENGTH | IS_FILE) != 0 {
        return Err(malformed);
    }
    let length = (flags & HAS_LENGTH != 0).then_some(length);
    let given = ResponseHead { status, reason, fields, length };
    let judged = if kind == Kind::Head {
        OwnedResponseHead::validate(given)
    } else {
        OwnedResponseHead::validate_informational(given)
    };
    let judged = judged.ok_or(malformed)?;
    let is_file = flags & IS_FILE != 0;
    Ok(if kind == Kind::Head { Frame::Head { head: judged, is_file } } else { Frame::Informational(judged) })
}
