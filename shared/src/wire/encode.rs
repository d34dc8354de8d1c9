//! Frames as bytes. Each function adds one frame to `into`, or the header of one whose data follows from
//! elsewhere.

use super::frame::{
    BodyMode, HEADER, Hello, Kind, LONGEST_CAUSE, LONGEST_DATA, LONGEST_HEAD, LONGEST_LOG, MAGIC,
};
use crate::exchange::BodyError;
use crate::log::Level;
use crate::wsgi::response::ResponseHead;

/// The eight bytes before a frame of so many. Data frames ([`Kind::is_data`]) are written as these and the
/// data behind them; `length` is at most [`LONGEST_DATA`].
#[must_use]
pub const fn header(kind: Kind, exchange: u16, length: usize) -> [u8; HEADER] {
    debug_assert!(length <= LONGEST_DATA || !kind.is_data());
    // The limits of every kind are far below 4 GiB.
    let [a, b, c, d] = (length as u32).to_le_bytes();
    let [low, high] = exchange.to_le_bytes();
    [a, b, c, d, kind as u8, 0, low, high]
}

fn frame(into: &mut Vec<u8>, kind: Kind, exchange: u16, parts: &[&[u8]]) {
    into.extend_from_slice(&header(kind, exchange, parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        into.extend_from_slice(part);
    }
}

/// The first frame of a connection.
pub fn hello(into: &mut Vec<u8>) {
    let Hello { version, fingerprint } = Hello::own();
    let parts: [&[u8]; 4] = [&MAGIC, &version.to_le_bytes(), &[0, 0], &fingerprint.to_le_bytes()];
    frame(into, Kind::Hello, 0, &parts);
}

/// A request's head. `false` when it is longer than a frame may be; nothing is written then.
#[must_use]
pub fn request(into: &mut Vec<u8>, exchange: u16, mount: &[u8], head: &[u8], body: BodyMode) -> bool {
    if mount.len() + head.len() + 8 > LONGEST_HEAD {
        return false;
    }
    let mount_length = (mount.len() as u32).to_le_bytes();
    frame(into, Kind::Request, exchange, &[&[body as u8, 0, 0, 0], &mount_length, mount, head]);
    true
}

/// Data in as many frames as it takes.
pub fn data(into: &mut Vec<u8>, kind: Kind, exchange: u16, data: &[u8]) {
    for part in data.chunks(LONGEST_DATA) {
        frame(into, kind, exchange, &[part]);
    }
}

/// The body is complete.
pub fn body_end(into: &mut Vec<u8>, exchange: u16) {
    frame(into, Kind::BodyEnd, exchange, &[]);
}

/// The body will not be complete.
pub fn body_failed(into: &mut Vec<u8>, exchange: u16, error: BodyError) {
    frame(into, Kind::BodyFailed, exchange, &[&(error as u32).to_le_bytes()]);
}

/// So many more bytes of the body are wanted.
pub fn want_body(into: &mut Vec<u8>, exchange: u16, bytes: u32) {
    frame(into, Kind::WantBody, exchange, &[&bytes.to_le_bytes()]);
}

/// Whether the length is said.
pub(super) const HAS_LENGTH: u8 = 1;
/// Whether a file is the body.
pub(super) const IS_FILE: u8 = 2;

/// Says in a head that was written already, and begins at `head` in `bytes`, that a file is the body.
pub fn mark_file(bytes: &mut [u8], head: usize) {
    if let Some(flags) = bytes.get_mut(head + HEADER + 2) {
        *flags |= IS_FILE;
    }
}

/// The response's head ([`Kind::Head`]), or an informational one. `false` when it is longer than a frame may
/// be; nothing is written then.
#[must_use]
pub fn head(into: &mut Vec<u8>, kind: Kind, exchange: u16, head: ResponseHead<'_>) -> bool {
    if head.reason.len() + head.fields.len() + 16 > LONGEST_HEAD {
        return false;
    }
    let flags = if head.length.is_some() { HAS_LENGTH } else { 0 };
    let parts: [&[u8]; 6] = [
        &head.status.to_le_bytes(),
        &[flags, 0],
        &(head.reason.len() as u32).to_le_bytes(),
        &head.length.unwrap_or(0).to_le_bytes(),
        head.reason,
        head.fields,
    ];
    frame(into, kind, exchange, &parts);
    true
}

/// A range of a file. Its descriptor has to travel with the first byte of this frame.
pub fn file(into: &mut Vec<u8>, exchange: u16, offset: u64, length: u64) {
    frame(into, Kind::File, exchange, &[&offset.to_le_bytes(), &length.to_le_bytes()]);
}

/// Everything so far has to leave.
pub fn flush(into: &mut Vec<u8>, exchange: u16) {
    frame(into, Kind::Flush, exchange, &[]);
}

/// A line for the error log, cut where it is longer than a frame may be.
pub fn log(into: &mut Vec<u8>, exchange: u16, level: Level, message: &[u8]) {
    let message = message.get(..LONGEST_LOG - 1).unwrap_or(message);
    frame(into, Kind::Log, exchange, &[&[level as u8], message]);
}

/// The response is complete.
pub fn end(into: &mut Vec<u8>, exchange: u16) {
    frame(into, Kind::End, exchange, &[]);
}

/// The response will not be complete: see [`super::Frame::Failed`].
pub fn failed(into: &mut Vec<u8>, exchange: u16, status: u16, retry_after: u16, cause: &[u8]) {
    let cause = cause.get(..LONGEST_CAUSE - 4).unwrap_or(cause);
    frame(into, Kind::Failed, exchange, &[&status.to_le_bytes(), &retry_after.to_le_bytes(), cause]);
}

/// No further request.
pub fn go_away(into: &mut Vec<u8>) {
    frame(into, Kind::GoAway, 0, &[]);
}
