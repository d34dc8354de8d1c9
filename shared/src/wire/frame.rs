//! The frames: their kinds, their limits, and the header before each.
//!
//! Every frame begins with eight bytes: the length of what follows (u32), its kind (u8), a zero, and the
//! number of the exchange that it belongs to (u16, from 1; 0 for what belongs to the connection). Numbers are
//! little-endian: both ends are one machine.

use crate::exchange::BodyError;
use crate::http::key::Key;
use crate::log::Level;
use crate::wsgi::response::OwnedResponseHead;

/// Raised with every change of a frame, or of what it means.
pub const VERSION: u16 = 1;
/// How a hello begins.
pub const MAGIC: [u8; 4] = *b"NEAT";
/// The bytes before each frame's own.
pub const HEADER: usize = 8;
/// The longest body or chunk frame, in bytes. Longer data travels in several.
pub const LONGEST_DATA: usize = 1 << 20;
/// The longest head of a request or of a response, in bytes.
pub const LONGEST_HEAD: usize = 1 << 20;
/// The longest log line, in bytes. A traceback is one line.
pub const LONGEST_LOG: usize = 256 << 10;
/// The longest cause of a failure, in bytes.
pub const LONGEST_CAUSE: usize = 4 << 10;
/// How much memory a reader keeps between frames, in bytes: most heads fit.
pub const KEPT: usize = 16 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Both: the first frame of a connection.
    Hello = 1,
    /// Server: a request's head.
    Request = 2,
    /// Server: a part of the body.
    Body = 3,
    /// Server: the body is complete.
    BodyEnd = 4,
    /// Server: the body will not be complete.
    BodyFailed = 5,
    /// Worker: the application waits for so many bytes of a pulled body.
    WantBody = 16,
    /// Worker: an informational response (1xx).
    Informational = 17,
    /// Worker: the response's head.
    Head = 18,
    /// Worker: a part of the response's body.
    Chunk = 19,
    /// Worker: a range of a file whose descriptor travels with the frame's first byte.
    File = 20,
    /// Worker: everything sent so far has to leave for the client.
    Flush = 21,
    /// Worker: fields behind the response's body.
    Trailers = 22,
    /// Worker: a line for the error log.
    Log = 23,
    /// Worker: the response is complete.
    End = 24,
    /// Worker: the response will not be complete.
    Failed = 25,
    /// Worker: this connection takes no further request; one that crosses this frame was never begun.
    GoAway = 26,
}

impl Kind {
    /// The kind of a number.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Body,
            4 => Self::BodyEnd,
            5 => Self::BodyFailed,
            16 => Self::WantBody,
            17 => Self::Informational,
            18 => Self::Head,
            19 => Self::Chunk,
            20 => Self::File,
            21 => Self::Flush,
            22 => Self::Trailers,
            23 => Self::Log,
            24 => Self::End,
            25 => Self::Failed,
            26 => Self::GoAway,
            _ => return None,
        })
    }

    /// Whether the server sends it, or, where this is `false`, the worker; a hello comes from both.
    #[must_use]
    pub const fn is_servers(self) -> bool {
        matches!(self, Self::Hello | Self::Request | Self::Body | Self::BodyEnd | Self::BodyFailed)
    }

    /// Whether it belongs to the connection, and so to no exchange.
    #[must_use]
    pub const fn is_of_connection(self) -> bool {
        matches!(self, Self::Hello | Self::GoAway)
    }

    /// Whether its bytes are data that is handed on as it comes, in portions.
    #[must_use]
    pub const fn is_data(self) -> bool {
        matches!(self, Self::Body | Self::Chunk)
    }

    /// The shortest and the longest that it may be, in bytes.
    #[must_use]
    pub const fn bounds(self) -> (usize, usize) {
        match self {
            Self::Hello => (Hello::LENGTH, Hello::LENGTH),
            Self::Request => (8, LONGEST_HEAD),
            Self::Body | Self::Chunk => (1, LONGEST_DATA),
            Self::BodyFailed | Self::WantBody => (4, 4),
            Self::Informational | Self::Head => (16, LONGEST_HEAD),
            Self::Trailers => (0, LONGEST_HEAD),
            Self::File => (16, 16),
            Self::Log => (1, LONGEST_LOG),
            Self::Failed => (4, LONGEST_CAUSE),
            Self::BodyEnd | Self::Flush | Self::End | Self::GoAway => (0, 0),
        }
    }
}

/// What stands before a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The bytes that follow.
    pub length: usize,
    /// What they are.
    pub kind: Kind,
    /// The exchange that they belong to.
    pub exchange: u16,
}

/// What every build that numbers the keys of environ alike has in common, and no other (FNV-1a over their
/// names).
#[must_use]
pub fn fingerprint() -> u32 {
    Key::ALL
        .iter()
        .flat_map(|key| key.name().bytes().chain(std::iter::once(0)))
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`VERSION`] of the sender.
    pub version: u16,
    /// [`fingerprint`] of the sender.
    pub fingerprint: u32,
}

impl Hello {
    /// In bytes: the magic, the version, two zeroes, the fingerprint.
    pub const LENGTH: usize = 12;

    /// This build's own.
    #[must_use]
    pub fn own() -> Self {
        Self { version: VERSION, fingerprint: fingerprint() }
    }
}

/// How a request's body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BodyMode {
    /// There is none, and no frame of it.
    None = 0,
    /// It comes unasked.
    Pushed = 1,
    /// A [`Frame::WantBody`] asks for one portion; what nobody asks for never comes, and the next request
    /// ends it.
    Pulled = 2,
}

/// A frame, read. Data is handed out in the portions that it came in; everything else is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The first of a connection.
    Hello(Hello),
    /// A request's head.
    Request {
        /// The packed entries that all requests of the mount share.
        mount: &'a [u8],
        /// The packed entries of this request.
        head: &'a [u8],
        /// How the body comes.
        body: BodyMode,
    },
    /// A portion of the body, never empty.
    Body(&'a [u8]),
    /// The body is complete.
    BodyEnd,
    /// The body will not be complete.
    BodyFailed(BodyError),
    /// The next portion of the body is wanted, of at most so many bytes.
    WantBody(u32),
    /// An informational response.
    Informational(OwnedResponseHead),
    /// The response's head.
    Head {
        /// Judged anew: a worker is not trusted more than a client.
        head: OwnedResponseHead,
        /// The body is a file's: a [`Frame::File`] follows, and nothing that has to be buffered.
        is_file: bool,
    },
    /// A portion of the response's body, never empty.
    Chunk(&'a [u8]),
    /// So many bytes of the next descriptor's file, from an offset on.
    File {
        /// In bytes.
        offset: u64,
        /// In bytes.
        length: u64,
    },
    /// Everything so far has to leave.
    Flush,
    /// The packed fields behind the response's body.
    Trailers(&'a [u8]),
    /// A line for the error log.
    Log(Level, &'a [u8]),
    /// The response is complete.
    End,
    /// The response will not be complete.
    Failed {
        /// The status to answer; 0 where the head is out, so that the connection is to be cut.
        status: u16,
        /// Seconds for `Retry-After`; 0 for none.
        retry_after: u16,
        /// For the error log; empty where the worker has said it there.
        cause: &'a [u8],
    },
    /// No further request.
    GoAway,
}

impl Frame<'_> {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Request { .. } => Kind::Request,
            Self::Body(_) => Kind::Body,
            Self::BodyEnd => Kind::BodyEnd,
            Self::BodyFailed(_) => Kind::BodyFailed,
            Self::WantBody(_) => Kind::WantBody,
            Self::Informational(_) => Kind::Informational,
            Self::Head { .. } => Kind::Head,
            Self::Chunk(_) => Kind::Chunk,
            Self::File { .. } => Kind::File,
            Self::Flush => Kind::Flush,
            Self::Trailers(_) => Kind::Trailers,
            Self::Log(..) => Kind::Log,
            Self::End => Kind::End,
            Self::Failed { .. } => Kind::Failed,
            Self::GoAway => Kind::GoAway,
        }
    }
}

/// A frame with the exchange that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// From 1; 0 for what belongs to the connection.
    pub exchange: u16,
    /// The frame.
    pub frame: Frame<'a>,
}

/// The number of the exchange behind `exchange`.
#[must_use]
pub const fn next_exchange(exchange: u16) -> u16 {
    if exchange == u16::MAX { 1 } else { exchange + 1 }
}
