//! The engine's messages as lines of httpd's error log. httpd writes a line break as `\n`, so that each line is one of its own.

use shared::log::Level;

use crate::ffi::{Request, main_server_line};

/// httpd cuts a line at 8 KiB, with what it puts before it.
const LONGEST: usize = 7 * 1024;

/// Splits a message into lines that httpd does not cut off. It writes control characters out by itself, but takes a NUL for the end.
fn lines(message: &[u8]) -> Vec<Vec<u8>> {
    let lines = message.trim_ascii_end().split(|byte| *byte == b'\n');
    let shown = lines.map(|line| line.split(|byte| *byte == 0).collect::<Vec<_>>().join(&b"\\0"[..]));
    shown.flat_map(|line| line.chunks(LONGEST).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
}

/// Writes to the log of the request's server, with its context.
pub fn to_request(request: Request<'_>, level: Level, message: &[u8]) {
    lines(message).iter().for_each(|line| request.log(level, line));
}

/// Writes to the main server's log.
pub fn to_server(level: Level, message: &[u8]) {
    lines(message).iter().for_each(|line| main_server_line(level, line));
}
