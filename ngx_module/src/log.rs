//! From the engine's levels and messages to nginx's lines.

use shared::log::Level;

use crate::ffi::cycle;
use crate::ffi::request::Request;

/// nginx's number of a level: its `stderr` stands before syslog's first, so that each is one higher.
pub const fn number(level: Level) -> u32 {
    level as u32 + 1
}

/// Splits a message into lines that nginx does not cut off. Control characters are written out (`\x1b`), as httpd does it:
/// what a client made an application print must not steer the administrator's terminal.
fn lines(message: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for line in message.trim_ascii_end().split(|byte| *byte == b'\n') {
        let mut shown = Vec::with_capacity(line.len());
        for byte in line {
            if byte.is_ascii_control() && *byte != b'\t' {
                shown.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
            } else {
                shown.push(*byte);
            }
        }
        if shown.len() <= cycle::LONGEST_LINE {
            lines.push(shown);
        } else {
            lines.extend(shown.chunks(cycle::LONGEST_LINE).map(<[u8]>::to_vec));
        }
    }
    lines
}

/// Writes to the log of the process. Only the loop's thread may; others go through [`crate::embedded::queue::Door::log`].
pub fn process(level: Level, message: &[u8]) {
    numbered(number(level), message);
}

/// [`server`] for a level that only nginx has: the process cannot do its work.
pub fn emergency(message: &str) {
    numbered(cycle::EMERGENCY, message.as_bytes());
}

/// [`server`] for nginx's number of a level.
pub fn numbered(level: u32, message: &[u8]) {
    lines(message).iter().for_each(|line| cycle::log(level, line));
}

/// Writes to the log of a request: the first line says which one.
pub fn request(request: Request, level: Level, message: &[u8]) {
    for (index, line) in lines(message).iter().enumerate() {
        request.write_log(number(level), line, index == 0);
    }
}
