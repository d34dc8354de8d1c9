//! From the engine's levels and messages to nginx's lines.
#![deny(unsafe_code)]

use shared::log::{Escaping, Level};

use crate::ffi::cycle;
use crate::ffi::request::Request;

/// nginx's number of a level: its `stderr` stands before syslog's first, so that each is one higher.
pub const fn number(level: Level) -> u32 {
    level as u32 + 1
}

fn lines(message: &[u8]) -> Vec<Vec<u8>> {
    // nginx writes control characters as they are.
    shared::log::lines(message, cycle::MAX_LINE, Escaping::Control)
}

/// Writes to the log of the process. Only the loop's thread may; others go through the loop's queue.
pub fn process(level: Level, message: &[u8]) {
    numbered(number(level), message);
}

/// [`process`] for a level that only nginx has: the process cannot do its work.
pub fn emergency(message: &str) {
    numbered(cycle::EMERGENCY, message.as_bytes());
}

/// [`process`] for nginx's number of a level.
pub fn numbered(level: u32, message: &[u8]) {
    lines(message).iter().for_each(|line| cycle::log(level, line));
}

/// Writes to the log of a request: the first line says which one.
pub fn request(request: Request, level: Level, message: &[u8]) {
    for (index, line) in lines(message).iter().enumerate() {
        request.write_log(number(level), line, index == 0);
    }
}
