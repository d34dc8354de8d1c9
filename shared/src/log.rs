//! The levels of a log line, as both servers know them.

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
