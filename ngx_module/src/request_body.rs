//! The body of a request, from nginx's buffers to the thread that reads it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use shared::exchange::BodyError;

use crate::ffi::request::Request;
use crate::ffi::request_body::{Part, duplicate};
use crate::ffi::{Code, SPECIAL_RESPONSE};
use crate::link::{BODY_WINDOW, Link};

/// Where the body is when a thread takes the request.
#[derive(Debug)]
pub enum StoredBody {
    /// There is none.
    Empty,
    /// All of it is here.
    Memory(Vec<u8>),
    /// nginx wrote it to a temporary file, or to several places.
    Stored(Stored),
    /// It comes through the link.
    Streamed,
}

/// A body that nginx stored, read from its beginning to its end.
#[derive(Debug, Default)]
pub struct Stored {
    parts: VecDeque<StoredPart>,
}

#[derive(Debug)]
enum StoredPart {
    Memory { bytes: Vec<u8>, next: usize },
    File { file: File, next: u64, left: u64 },
}

impl Stored {
    /// A body in memory.
    pub fn of_memory(bytes: Vec<u8>) -> Self {
        Self { parts: VecDeque::from([StoredPart::Memory { bytes, next: 0 }]) }
    }

    /// Reads the next bytes; 0 is the end.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than it was.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(part) = self.parts.front_mut() {
            let read = match part {
                StoredPart::Memory { bytes, next } => {
                    let rest = bytes.get(*next..).unwrap_or_default();
                    let count = rest.len().min(into.len());
                    if let (Some(to), Some(from)) = (into.get_mut(..count), rest.get(..count)) {
                        to.copy_from_slice(from);
                    }
                    *next += count;
                    count
                }
                StoredPart::File { left: 0, .. } => 0,
                StoredPart::File { file, next, left } => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(into.len());
                    let count = file.read_at(into.get_mut(..most).unwrap_or_default(), *next)?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    *next += count as u64;
                    *left -= count as u64;
                    count
                }
            };
            if read > 0 {
                return Ok(read);
            }
            self.parts.pop_front();
        }
        Ok(0)
    }
}

/// Takes over the body that nginx has read, and says how long it is.
///
/// # Errors
/// A descriptor cannot be duplicated.
pub fn store(request: &Request) -> io::Result<(StoredBody, u64)> {
    let length: u64 = request.body_parts().map(|part| part.len()).sum();
    if length == 0 {
        return Ok((StoredBody::Empty, 0));
    }
    if request.body_parts().all(|part| matches!(part, Part::Memory(_))) {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        for part in request.body_parts() {
            if let Part::Memory(run) = part {
                bytes.extend_from_slice(run);
            }
        }
        return Ok((StoredBody::Memory(bytes), length));
    }
    let mut parts = VecDeque::new();
    for part in request.body_parts() {
        parts.push_back(match part {
            Part::Memory(run) => StoredPart::Memory { bytes: run.to_vec(), next: 0 },
            Part::File(file, next, left) => {
                StoredPart::File { file: File::from(duplicate(file)?), next, left }
            }
        });
    }
    Ok((StoredBody::Stored(Stored { parts }), length))
}

/// How far a streamed body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is none to stream, or it ended.
    Done,
    /// Nobody asked for it yet, so that nothing was read and `Expect: 100-continue` is unanswered.
    Untouched,
    /// It is being read.
    Reading,
    /// nginx has all of it, and says so when it has put it together: what HTTP/2 does with a body that ended before anybody
    /// began to read it, although it was to be handed on as it comes.
    Complete,
}

/// Reads on until the window is full, the client has nothing more now, or the body ends.
///
/// # Errors
/// nginx's status for a request whose body failed; the thread was told.
pub fn advance(request: Request, link: &Link, begun: Code) -> Result<Progress, Code> {
    let mut code = begun;
    loop {
        let mut bytes = Vec::new();
        if !request.take_body_parts(|part| bytes.extend_from_slice(part)) {
            link.supply(&[], Some(Err(BodyError::Server)));
            return Ok(Progress::Done);
        }
        if code >= SPECIAL_RESPONSE {
            link.supply(&bytes, Some(Err(error_of(request, code))));
            return Err(code);
        }
        let ended = !request.is_reading_body();
        let quiet = bytes.is_empty();
        link.supply(&bytes, ended.then_some(Ok(())));
        if ended {
            return Ok(Progress::Done);
        }
        if link.body_waiting() >= BODY_WINDOW {
            request.stop_read_timer();
            return Ok(Progress::Reading);
        }
        if quiet && code == crate::ffi::AGAIN {
            return Ok(Progress::Reading);
        }
        code = request.read_unbuffered_body();
    }
}

fn error_of(request: Request, code: Code) -> BodyError {
    match code {
        400 if request.is_broken() => BodyError::Disconnected,
        400 => BodyError::Malformed,
        408 => BodyError::TimedOut,
        413 => BodyError::TooLarge,
        _ => BodyError::Server,
    }
}
