//! Lines of a group's processes that belong to no request, on their way to the error log.

use serde::{Deserialize, Serialize};
use shared::log::Level;

use crate::log::Log;

/// The longest text of a line, in bytes; what is behind it is cut off.
const MAX_TEXT: usize = 96 * 1024;

/// A short line, in bytes.
const SHORT: usize = 512;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whose.
    pid: u32,
    /// A [`Level`].
    level: u32,
    text: String,
}

impl Line {
    /// A line of this process.
    pub fn new(level: Level, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text.get(..MAX_TEXT).unwrap_or(text)).into_owned();
        Self { pid: std::process::id(), level: level as u32, text }
    }

    /// A line that a process wrote to its standard error.
    pub fn written(pid: u32, text: &[u8]) -> Self {
        Self { pid, ..Self::new(Level::Error, text) }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many lines of the log it is; of one that is long, how many short ones it counts for.
    pub fn count(&self) -> u32 {
        let lines = self.text.lines().map(|line| 1 + line.len() / SHORT).sum::<usize>();
        u32::try_from(lines).unwrap_or(u32::MAX).max(1)
    }

    /// Writes it, as a line of a group's.
    pub fn write(&self, log: &mut Log, group: &str) {
        let label = format!("process group {group}: ");
        log.line(Level::from_number(self.level), self.pid, &label, &self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_what_a_message_carries() {
        let long = vec![b'x'; MAX_TEXT + 1];
        assert_eq!(Line::new(Level::Error, &long).text().len(), MAX_TEXT);
        assert_eq!(Line::new(Level::Error, b"a\xffb").text(), "a\u{fffd}b");
    }
}
