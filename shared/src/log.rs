//! Log lines: their levels, as both servers know them, and how a message becomes lines.

/// How much a log line matters. The numbers are syslog's (RFC 5424 section 6.2.1), which nginx and httpd both
/// use.
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

/// Which control characters of a message are written out, so that what a client made an application print
/// can neither forge a line nor steer the administrator's terminal.
///
/// Beyond those of ASCII: the second set of controls (C1, of which U+009B begins a terminal's commands as ESC
/// does, ECMA-48), line and paragraph separators, what changes the order of what is shown (Unicode Standard
/// Annex 9, section 2), and bytes that are no UTF-8, which a terminal may take for C1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    /// All of them but the tab, as httpd writes them (`\x1b`): for a server that writes bytes as they are.
    Control,
    /// All but those of ASCII, and the NUL: for a server that escapes those by itself, but takes a NUL for
    /// the end.
    Nul,
}

impl Escaping {
    fn write(self, line: &[u8], shown: &mut Vec<u8>) {
        for chunk in line.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '\0' if self == Self::Nul => shown.extend_from_slice(b"\\0"),
                    '\t' => shown.push(b'\t'),
                    letter if letter.is_ascii_control() && self == Self::Control => {
                        write_byte(letter as u8, shown);
                    }
                    letter if is_misleading(letter) => {
                        shown.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
                    }
                    letter => shown.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            chunk.invalid().iter().for_each(|byte| write_byte(*byte, shown));
        }
    }
}

fn write_byte(byte: u8, shown: &mut Vec<u8>) {
    shown.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
}

/// Whether a character beyond ASCII changes what is shown of others.
const fn is_misleading(letter: char) -> bool {
    matches!(letter, '\u{80}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Splits a message into lines of at most `max` bytes, which a server does not cut off. Line ends at its end
/// are not lines of their own.
#[must_use]
pub fn lines(message: &[u8], max: usize, escaping: Escaping) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for line in message.trim_ascii_end().split(|byte| *byte == b'\n') {
        let mut shown = Vec::with_capacity(line.len());
        escaping.write(line, &mut shown);
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

    #[test]
    fn what_misleads_beyond_ascii_is_written_out_for_every_server() {
        for escaping in [Escaping::Control, Escaping::Nul] {
            assert_eq!(shown("a\u{9b}2Jb\u{202e}c\u{2028}", 100, escaping), ["a\\u009b2Jb\\u202ec\\u2028"]);
            assert_eq!(lines(b"a\x9b\xffb", 100, escaping), [b"a\\x9b\\xffb"]);
            assert_eq!(
                shown("gr\u{fc}\u{df}e \u{65e5}\u{672c}", 100, escaping),
                ["gr\u{fc}\u{df}e \u{65e5}\u{672c}"]
            );
        }
    }
}
