//! The engine's messages as lines of httpd's error log. httpd writes a line break as `\n`, so that each line is one of its own.

use shared::log::{Escaping, Level};

use crate::ffi::{Request, main_server_line};

/// httpd cuts a line at 8 KiB, with what it puts before it.
const MAX_LINE: usize = 7 * 1024;

fn lines(message: &[u8]) -> Vec<Vec<u8>> {
    // httpd writes control characters out by itself, but takes a NUL for the end.
    shared::log::lines(message, MAX_LINE, Escaping::Nul)
}

/// Writes to the log of the request's server, with its context.
pub fn to_request(request: Request<'_>, level: Level, message: &[u8]) {
    lines(message).iter().for_each(|line| request.log(level, line));
}

/// Writes to the main server's log.
pub fn to_server(level: Level, message: &[u8]) {
    lines(message).iter().for_each(|line| main_server_line(level, line));
}
