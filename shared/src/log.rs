//! Log lines: their levels, as both servers know them, and how a message becomes lines.

/// How much a log line matters. The numbers are syslog's (RFC 5424 section 6.2.1), which nginx and httpd both use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Level {
    /// The process cannot do its work.
    Critical = 2,
    /// A request or a start failed.
    Error = 3,
    /// Something is wrong, and was dealt with.
    Warning = 4,
    /// A normal event that an administrator wants to see.
    Notice = 5,
    /// Detail.
    Info = 6,
    /// Detail for the developers of Neat.
    Debug = 7,
}

impl Level {
    /// The level that a number of the boundary stands for; what is out of range is taken for the nearest.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0..=2 => Self::Critical,
            3 => Self::Error,
            4 => Self::Warning,
            5 => Self::Notice,
            6 => Self::Info,
            _ => Self::Debug,
        }
    }

    /// Its name in an error log; nginx and httpd have the same ones.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "crit",
            Self::Error => "error",
            Self::Warning => "warn",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// How control characters of a message are written, so that what a client made an application print can neither forge a line nor
/// steer the administrator's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    /// All of them but the tab are written out, as httpd does it (`\x1b`): for a server that writes bytes as they are.
    Control,
    /// The NUL alone: for a server that escapes by itself, but takes a NUL for the end.
    Nul,
}

impl Escaping {
    fn write(self, byte: u8, shown: &mut Vec<u8>) {
        match self {
            Self::Control if byte.is_ascii_control() && byte != b'\t' => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let digit = |four: u8| DIGITS.get(usize::from(four)).copied().unwrap_or(b'0');
                shown.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
            }
            Self::Nul if byte == 0 => shown.extend_from_slice(b"\\0"),
            Self::Control | Self::Nul => shown.push(byte),
        }
    }
}

/// Splits a message into lines of at most `max` bytes, which a server does not cut off. Line ends at its end are not lines of their
/// own.
#[must_use]
pub fn lines(message: &[u8], max: usize, escaping: Escaping) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for line in message.trim_ascii_end().split(|byte| *byte == b'\n') {
        let mut shown = Vec::with_capacity(line.len());
        line.iter().for_each(|byte| escaping.write(*byte, &mut shown));
        if shown.len() <= max {
            lines.push(shown);
        } else {
            lines.extend(shown.chunks(max.max(1)).map(<[u8]>::to_vec));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(message: &str, max: usize, escaping: Escaping) -> Vec<String> {
        lines(message.as_bytes(), max, escaping)
            .into_iter()
            .map(|line| String::from_utf8(line).unwrap())
            .collect()
    }

    #[test]
    fn a_message_is_split_at_its_line_ends_and_at_the_servers_limit() {
        assert_eq!(shown("one\ntwo\n\n", 100, Escaping::Control), ["one", "two"]);
        assert_eq!(shown("one\n\nthree", 100, Escaping::Control), ["one", "", "three"]);
        assert_eq!(shown("abcdefg\nh", 3, Escaping::Control), ["abc", "def", "g", "h"]);
        assert_eq!(shown("", 3, Escaping::Control), [""]);
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(shown("a\tb\x1b[2J\r\x7f\0é", 100, Escaping::Control), ["a\tb\\x1b[2J\\x0d\\x7f\\x00é"]);
        assert_eq!(shown("a\0b\x1b", 100, Escaping::Nul), ["a\\0b\x1b"]);
    }
}
