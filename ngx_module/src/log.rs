//! From the engine's levels and messages to nginx's lines.

use shared::log::Level;

use crate::ffi::cycle;
use crate::ffi::request::Request;

/// nginx's number of a level: its `stderr` stands before syslog's first, so that each is one higher.
pub const fn number(level: Level) -> u32 {
    level as u32 + 1
}

/// Splits a message into lines that nginx does not cut off.
fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message
        .trim_ascii_end()
        .split(|byte| *byte == b'\n')
        .flat_map(|line| line.chunks(cycle::LONGEST_LINE).chain(line.is_empty().then_some(line)))
}

/// Writes to the log of the process. Only the loop's thread may; others go through [`crate::event_loop::Door::log`].
pub fn process(level: Level, message: &[u8]) {
    numbered(number(level), message);
}

/// [`process`] for a level that only nginx has: the process cannot do its work.
pub fn emergency(message: &str) {
    numbered(cycle::EMERGENCY, message.as_bytes());
}

/// [`process`] for nginx's number of a level.
pub fn numbered(level: u32, message: &[u8]) {
    lines(message).for_each(|line| cycle::log(level, line));
}

/// Writes to the log of a request: the first line says which one.
pub fn request(request: Request, level: Level, message: &[u8]) {
    for (index, line) in lines(message).enumerate() {
        request.write_log(number(level), line, index == 0);
    }
}
