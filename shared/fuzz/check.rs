//! What holds of the wire protocol whatever comes in. The fuzz targets and the test of the corpus
//! (`shared/tests/wire_corpus`) both check it with this file.
//!
//! An input is [`SIZES`] bytes that say in which portions the stream comes, one byte of choices, and the
//! stream. It is read in these portions, as a whole and byte by byte, and the three have to agree about every
//! frame and about the error.
//!
//! The hello of this build is put before the stream, unless [`RAW`] is chosen: a fuzzer would not guess it,
//! and a corpus that held it would say nothing any more once a key is added to environ.

mod conversing;

use std::ops::Range;

use shared::http::packed::entries;
use shared::wire::decode::{Side, header};
use shared::wire::frame::{KEPT, next_exchange};
use shared::wire::session::{Incoming, ServerSide, WorkerSide};
use shared::wire::{BodyMode, Frame, HEADER, Kind, Reader, Received, WireError, encode};

use conversing::Conversing;

/// How many bytes say in which portions the stream comes; they are used in turns.
pub const SIZES: usize = 4;
/// The choice to send the stream as it is, without a hello before it.
pub const RAW: u8 = 0x80;
/// For what a worker sends, in four bits: whether exchange number n (mod 4) is a HEAD request. For what a
/// server sends, in the first bit: whether the connection is one that another worker began with, shortly
/// before the exchanges' numbers start anew.
pub const FIRST: u8 = 0x01;
/// For what a worker sends, in three bits: whether nothing is asked before frame number n (mod 3).
pub const SILENT: u8 = 0x10;

/// Checks an input.
pub fn check(from: Side, input: &[u8]) {
    let Some((sizes, [choices, rest @ ..])) = input.split_first_chunk::<SIZES>() else { return };
    let mut stream = Vec::new();
    if choices & RAW == 0 {
        encode::hello(&mut stream);
    }
    stream.extend_from_slice(rest);
    let read = |portions: &mut dyn Iterator<Item = usize>| match from {
        Side::Worker => Reading::new(from, &stream, Asked::new(*choices)).read(portions),
        Side::Server => Reading::new(from, &stream, Served::new(*choices)).read(portions),
    };
    agree(sizes, &stream, read);
    if from == Side::Worker {
        agree(sizes, &stream, |portions| Conversing::new(*choices).read(&stream, portions));
    }
}

/// Has a stream read in the three ways, which have to come to the same.
fn agree<T: PartialEq + std::fmt::Debug>(
    sizes: &[u8; SIZES],
    stream: &[u8],
    read: impl Fn(&mut dyn Iterator<Item = usize>) -> T,
) {
    let whole = read(&mut std::iter::empty());
    assert_eq!(read(&mut sizes.iter().cycle().map(|size| portion(*size)).take(stream.len() * SIZES)), whole);
    assert_eq!(read(&mut std::iter::repeat_n(1, stream.len())), whole);
}

/// How many bytes a size stands for: none, each number up to 127, each multiple of 64 up to 8128, or all that
/// is left.
fn portion(size: u8) -> usize {
    match size {
        0..=127 => size.into(),
        128..=254 => usize::from(size - 127) * 64,
        255 => usize::MAX,
    }
}

/// A stream on its way through a reader.
struct Reading<'s, S> {
    reader: Reader,
    session: S,
    taken: Taken<'s>,
}

impl<'s, S: Session> Reading<'s, S> {
    fn new(from: Side, stream: &'s [u8], session: S) -> Self {
        let taken = Taken { from, stream, used: 0, frame: 0, frames: Vec::new(), last: 0 };
        Self { reader: Reader::new(from), session, taken }
    }

    /// Reads the stream in portions, and what they leave of it as one.
    fn read(mut self, portions: &mut dyn Iterator<Item = usize>) -> (Vec<u8>, Result<(), WireError>) {
        let stream = self.taken.stream;
        let mut given = 0;
        for size in portions.chain(std::iter::once(usize::MAX)) {
            let end = given + size.min(stream.len() - given);
            if let Err(error) = self.read_portion(&stream[given..end]) {
                return (self.taken.frames, Err(error));
            }
            assert_eq!(self.taken.used, end, "a portion was not used up");
            assert_eq!(self.reader.is_in_frame(), self.taken.frame < end);
            given = end;
        }
        (self.taken.frames, Ok(()))
    }

    fn read_portion(&mut self, portion: &[u8]) -> Result<(), WireError> {
        let mut input = portion;
        loop {
            let before = input.len();
            let received = self.reader.next(&mut input);
            assert!(portion.ends_with(input), "the reader took more than it was given");
            self.taken.used += before - input.len();
            let Some(received) = received? else {
                assert!(self.reader.capacity() <= self.taken.allowed());
                return Ok(());
            };
            let frame = self.taken.take(&received);
            let judged = self.session.take(&received, frame.is_first);
            assert!(self.reader.capacity() <= KEPT.max(frame.length));
            if let Err(error) = judged {
                // How much of a data frame was let through before depends on the portions.
                self.taken.frames.truncate(self.taken.last);
                return Err(error);
            }
        }
    }
}

/// What a reader has taken of a stream.
struct Taken<'s> {
    from: Side,
    stream: &'s [u8],
    /// How much it took.
    used: usize,
    /// Where in the stream the frame begins that is being read.
    frame: usize,
    /// The frames so far, encoded anew: the same for every way to cut the stream.
    frames: Vec<u8>,
    /// Where in `frames` the last one begins.
    last: usize,
}

/// What a portion belongs to.
struct Part {
    /// Of the whole frame, with its header.
    length: usize,
    /// Nothing of it was handed out before.
    is_first: bool,
}

impl Taken<'_> {
    /// How much memory a reader may have for what it was given.
    fn allowed(&self) -> usize {
        let frame = header(&self.stream[self.frame..self.used], self.from);
        let length =
            frame.ok().flatten().filter(|header| !header.kind.is_data()).map_or(0, |header| header.length);
        KEPT.max(HEADER + length)
    }

    /// Compares a frame with the bytes that it came from.
    fn take(&mut self, received: &Received<'_>) -> Part {
        let kind = received.frame.kind();
        let bytes = &self.stream[self.frame..self.used];
        let Ok(Some(header)) = header(bytes, self.from) else { panic!("{received:?} without a header") };
        assert_eq!((header.kind, header.exchange), (kind, received.exchange));
        let length = HEADER + header.length;
        assert!(bytes.len() <= length, "{received:?} was read past its end");
        let is_first;
        if let Frame::Body(data) | Frame::Chunk(data) = received.frame {
            assert!(!data.is_empty());
            is_first = bytes.len() == HEADER + data.len();
            if is_first {
                self.last = self.frames.len();
                self.frames.extend_from_slice(&encode::header(kind, header.exchange, header.length));
            }
            self.frames.extend_from_slice(data);
            assert!(bytes.ends_with(data));
            assert_eq!(self.frames.len() - self.last, bytes.len(), "a portion is missing");
        } else {
            is_first = true;
            self.last = self.frames.len();
            encode_anew(received, &mut self.frames);
            let mut anew = self.frames[self.last..].to_vec();
            assert_eq!(bytes.len(), length, "{received:?} is not whole");
            assert_eq!(anew.len(), length, "{received:?} is longer or shorter than its bytes");
            for range in lenient(kind) {
                let range = HEADER + range.start..HEADER + range.end;
                anew[range.clone()].copy_from_slice(&bytes[range]);
            }
            assert_eq!(anew, bytes);
        }
        if bytes.len() == length {
            self.frame = self.used;
        }
        Part { length, is_first }
    }
}

/// Which bytes of a kind need not be what the encoder writes.
const fn lenient(kind: Kind) -> [Range<usize>; 2] {
    match kind {
        // Flags that say nothing of this head, and the length that is there without its flag.
        Kind::Head | Kind::Informational => [2..3, 8..16],
        // A number that is not known stands for another.
        Kind::BodyFailed => [0..4, 0..0],
        Kind::Log => [0..1, 0..0],
        _ => [0..0, 0..0],
    }
}

/// Adds what the encoder makes of a frame.
fn encode_anew(received: &Received<'_>, into: &mut Vec<u8>) {
    let (at, exchange, kind) = (into.len(), received.exchange, received.frame.kind());
    match &received.frame {
        Frame::Hello(_) => encode::hello(into),
        Frame::Request { mount, head, body } => {
            assert!(encode::request(into, exchange, mount, head, *body));
        }
        Frame::Body(data) | Frame::Chunk(data) => encode::data(into, kind, exchange, data),
        Frame::BodyEnd => encode::body_end(into, exchange),
        Frame::BodyFailed(error) => encode::body_failed(into, exchange, *error),
        Frame::WantBody(bytes) => encode::want_body(into, exchange, *bytes),
        Frame::Informational(head) => assert!(encode::head(into, kind, exchange, head.view())),
        Frame::Head { head, is_file } => {
            assert!(encode::head(into, kind, exchange, head.view()));
            if *is_file {
                encode::mark_file(into, at);
            }
        }
        Frame::File { offset, length } => encode::file(into, exchange, *offset, *length),
        Frame::Flush => encode::flush(into, exchange),
        Frame::Trailers(fields) => {
            into.extend_from_slice(&encode::header(kind, exchange, fields.len()));
            into.extend_from_slice(fields);
        }
        Frame::Log(level, message) => encode::log(into, exchange, *level, message),
        Frame::End => encode::end(into, exchange),
        Frame::Failed { status, retry_after, cause } => {
            encode::failed(into, exchange, *status, *retry_after, cause);
        }
        Frame::GoAway => encode::go_away(into),
    }
}

/// The order that one side is held to, and beside it an account of its own of what was let through.
trait Session {
    /// Judges a frame, or the next portion of a data frame.
    fn take(&mut self, received: &Received<'_>, is_first: bool) -> Result<(), WireError>;
}

/// A server that asks whenever it may.
struct Asked {
    answers: ServerSide,
    choices: u8,
    /// How many frames came.
    frames: usize,
    head_only: bool,
    /// How long the open response is, as far as it is known.
    declared: Option<u64>,
    /// How much of it came.
    sent: u128,
    files: u64,
}

impl Asked {
    const fn new(choices: u8) -> Self {
        let answers = ServerSide::new();
        Self { answers, choices, frames: 0, head_only: false, declared: None, sent: 0, files: 0 }
    }

    fn ask(&mut self) {
        let before = self.answers.exchange();
        let exchange = next_exchange(before);
        let is_silent = self.choices & (SILENT << (self.frames % 3)) != 0;
        self.frames += 1;
        if is_silent {
            return;
        }
        let head_only = self.choices & (FIRST << (exchange % 4)) != 0;
        let is_idle = self.answers.is_idle();
        let begun = self.answers.begin(head_only);
        assert_eq!(begun, is_idle.then_some(exchange));
        assert_eq!(self.answers.exchange(), begun.unwrap_or(before));
        if is_idle {
            (self.head_only, self.declared, self.sent) = (head_only, None, 0);
        }
        assert!(!self.answers.is_idle());
    }
}

impl Session for Asked {
    fn take(&mut self, received: &Received<'_>, is_first: bool) -> Result<(), WireError> {
        if is_first {
            self.ask();
        }
        let (had_head, was_idle) = (self.answers.has_head(), self.answers.is_idle());
        self.answers.take(received)?;
        let of_connection = matches!(received.frame, Frame::Hello(_) | Frame::GoAway);
        assert!(of_connection || !was_idle && received.exchange == self.answers.exchange());
        let mut has_ended = false;
        match &received.frame {
            Frame::Head { head, .. } => {
                assert!(!had_head);
                let is_bodiless = self.head_only || !head.has_body();
                self.declared = if is_bodiless { Some(0) } else { head.length() };
                assert!(self.answers.has_head());
            }
            Frame::Chunk(data) => self.sent += data.len() as u128,
            Frame::File { length, .. } => {
                self.sent += u128::from(*length);
                self.files += 1;
            }
            Frame::End => {
                assert!(self.declared.is_none_or(|declared| self.sent == u128::from(declared)));
                has_ended = true;
            }
            Frame::Failed { status, .. } => {
                assert_eq!(*status == 0, had_head);
                has_ended = true;
            }
            Frame::GoAway => {
                assert!(!had_head && self.answers.begin(false).is_none());
            }
            _ => {}
        }
        let of_body = matches!(
            received.frame,
            Frame::Chunk(_) | Frame::File { .. } | Frame::Flush | Frame::Trailers(_)
        );
        assert!(had_head || !of_body && received.frame != Frame::End);
        assert!(self.declared.is_none_or(|declared| self.sent <= u128::from(declared)));
        assert_eq!(self.answers.files(), self.files);
        assert_eq!(self.answers.is_idle(), has_ended || was_idle && received.frame != Frame::GoAway);
        Ok(())
    }
}

/// A worker that serves what it is asked.
struct Served {
    requests: WorkerSide,
    /// The exchange that is open and how its body comes, with whether more of it may.
    exchange: u16,
    mode: BodyMode,
    is_open: bool,
}

impl Served {
    const fn new(choices: u8) -> Self {
        let is_resumed = choices & FIRST != 0;
        let exchange = if is_resumed { u16::MAX - 1 } else { 0 };
        let requests = if is_resumed { WorkerSide::resume(exchange) } else { WorkerSide::new() };
        Self { requests, exchange, mode: BodyMode::None, is_open: false }
    }
}

impl Session for Served {
    fn take(&mut self, received: &Received<'_>, _: bool) -> Result<(), WireError> {
        let incoming = self.requests.take(received)?;
        if let Frame::Request { mount, head, body } = received.frame {
            // A body that was pushed is complete before the next request; one that is pulled ends with it.
            assert!(!self.is_open || self.mode == BodyMode::Pulled);
            self.exchange = next_exchange(self.exchange);
            (self.mode, self.is_open) = (body, body != BodyMode::None);
            for packed in [mount, head] {
                assert!(entries(packed).map(|(_, value)| value.len()).sum::<usize>() <= packed.len());
            }
        } else if incoming == Incoming::Current {
            assert!(self.is_open);
            self.is_open = received.frame.kind() == Kind::Body;
        }
        let of_connection = received.frame.kind() == Kind::Hello;
        assert_eq!(incoming == Incoming::Connection, of_connection);
        assert!(of_connection || received.exchange == self.exchange);
        assert_eq!(self.requests.exchange(), self.exchange);
        assert_eq!(self.requests.is_body_open(), self.is_open);
        Ok(())
    }
}
