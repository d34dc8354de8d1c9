//! The engine's messages as lines of httpd's error log. httpd writes a line break as `\n`, so that each line is one of its own.

use shared::log::Level;

use crate::ffi::{Request, main_server_line};

/// httpd cuts a line at 8 KiB, with what it puts before it.
const LONGEST: usize = 7 * 1024;

fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message.split(|byte| *byte == b'\n').flat_map(|line| line.chunks(LONGEST))
}

/// Writes to the log of the request's server, with its context.
pub fn to_request(request: Request<'_>, level: Level, message: &[u8]) {
    lines(message).for_each(|line| request.log(level, line));
}

/// Writes to the main server's log.
pub fn to_server(level: Level, message: &[u8]) {
    lines(message).for_each(|line| main_server_line(level, line));
}
