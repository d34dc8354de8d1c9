//! The body of a request, from nginx's buffers to the thread that reads it.
#![deny(unsafe_code)]

use std::fs::File;
use std::io;

use shared::exchange::BodyError;
use shared::relay::body::{Body, StoredBody};
use shared::relay::channel::{BODY_WINDOW, LoopEnd};

use crate::ffi::request::Request;
use crate::ffi::request_body::{Part, duplicate};
use crate::ffi::{Code, SPECIAL_RESPONSE};

/// Takes over the body that nginx has read, and says how long it is.
///
/// # Errors
/// A descriptor cannot be duplicated.
pub fn store(request: &Request) -> io::Result<(Body, u64)> {
    let length: u64 = request.body_parts().map(|part| part.len()).sum();
    if length == 0 {
        return Ok((Body::Empty, 0));
    }
    if request.body_parts().all(|part| matches!(part, Part::Memory(_))) {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        for part in request.body_parts() {
            if let Part::Memory(run) = part {
                bytes.extend_from_slice(run);
            }
        }
        return Ok((Body::Memory(bytes), length));
    }
    let mut stored = StoredBody::default();
    for part in request.body_parts() {
        match part {
            Part::Memory(run) => stored.push_memory(run.to_vec()),
            Part::File(file, from, length) => stored.push_file(File::from(duplicate(file)?), from, length),
        }
    }
    Ok((Body::Stored(stored), length))
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
    /// nginx has all of it, and says so when it has put it together: what HTTP/2 does with a body that ended
    /// before anybody began to read it, although it was to be handed on as it comes.
    Complete,
}

/// Reads on until the window is full, the client has nothing more now, or the body ends.
///
/// # Errors
/// nginx's status for a request whose body failed; the thread was told.
pub fn advance(request: Request, end: &LoopEnd, begun: Code) -> Result<Progress, Code> {
    let mut code = begun;
    loop {
        let mut bytes = Vec::new();
        if !request.take_body_parts(|part| bytes.extend_from_slice(part)) {
            end.supply(&[], Some(Err(BodyError::Server)));
            return Ok(Progress::Done);
        }
        if code >= SPECIAL_RESPONSE {
            end.supply(&bytes, Some(Err(error_of(request, code))));
            return Err(code);
        }
        let ended = !request.is_reading_body();
        let quiet = bytes.is_empty();
        end.supply(&bytes, ended.then_some(Ok(())));
        if ended {
            return Ok(Progress::Done);
        }
        if end.body_waiting() >= BODY_WINDOW {
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
