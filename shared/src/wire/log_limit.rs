//! How much of a request's lines a server writes to its error log: a worker that says nothing else must not
//! fill the disk, nor keep the server writing.

use crate::log::Level;

/// The most bytes of lines of one exchange. Each line counts for some more than it has.
pub(super) const MAX_LOGGED: u64 = 8 << 20;
/// What a line costs beside its bytes: the time and the context of the server's own line.
const LINE_COST: u64 = 256;

/// What is written in place of the line with which the limit was reached.
const LAST_LINE: &[u8] = b"this request has written 8 MiB to the error log; what else it writes is left out";

/// What was written for one exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogLimit(u64);

impl LogLimit {
    /// Nothing was written.
    pub(super) const NOTHING: Self = Self(0);

    /// What is to be written where this line came: it, once a word about the limit, then nothing.
    pub(super) fn admit<'m>(&mut self, level: Level, message: &'m [u8]) -> Option<(Level, &'m [u8])> {
        let is_over = self.0 > MAX_LOGGED;
        self.0 = self.0.saturating_add(LINE_COST + message.len() as u64);
        match (is_over, self.0 > MAX_LOGGED) {
            (true, _) => None,
            (false, true) => Some((Level::Warning, LAST_LINE)),
            (false, false) => Some((level, message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_writes_so_much_and_then_one_line_more() {
        let mut limit = LogLimit::default();
        let line = [b'x'; 1024];
        let mut written = 0u64;
        while let Some((Level::Info, line)) = limit.admit(Level::Info, &line) {
            written += line.len() as u64;
        }
        assert!((MAX_LOGGED / 2..=MAX_LOGGED).contains(&written), "{written}");
        assert_eq!(limit.admit(Level::Critical, b"more"), None);
    }

    #[test]
    fn the_last_line_says_why_it_is_the_last() {
        let mut limit = LogLimit(MAX_LOGGED);
        let (level, line) = limit.admit(Level::Info, b"").unwrap();
        assert_eq!(level, Level::Warning);
        assert!(line.ends_with(b"is left out"));
    }
}
