//! What a request is answered that could not be served: one table for both servers and both modes, so that
//! the same failure has the same status, the same level in the error log and the same `Retry-After`.
//!
//! The statuses are RFC 9110's words taken literally: 500 is the administrator's to mend, 502 a worker that
//! did not answer properly, 503 what passes by itself, 504 a worker that took too long.

use crate::log::Level;

/// Why a request was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody listens at the group's socket, its queue of connections is full, or a connection ended before
    /// anything had left over it.
    Unreachable,
    /// Every worker that was asked gave the request back, since it was about to leave.
    NotBegun,
    /// A worker took nothing, or said nothing, for longer than the configuration allows.
    TimedOut,
    /// The connection ended before the response's head.
    Gone,
    /// A worker broke the protocol.
    Protocol,
    /// The request's head is longer than a frame may be.
    RequestHeadTooLong,
    /// More requests wait for a thread than may.
    QueueFull,
    /// The request waited for a thread for longer than it may.
    QueueTimedOut,
    /// The request names a group that this process cannot reach, though the configuration has it.
    NoPool,
    /// The request names a group that there is not, or that it may not choose.
    NoGroup,
    /// No process group is chosen, and applications may not run in the server's own processes.
    Restricted,
    /// Python does not run in this process of the server.
    NoPython,
    /// The exchange was left without an end.
    Unserved,
    /// The server's process is ending.
    Stopping,
}

/// What follows from a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status, where the response's head is not out.
    pub status: u16,
    /// Of the line in the error log.
    pub level: Level,
    /// Seconds for `Retry-After` (RFC 9110 section 10.2.3); 0 for none.
    pub retry_after: u16,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Unreachable,
        Self::NotBegun,
        Self::TimedOut,
        Self::Gone,
        Self::Protocol,
        Self::RequestHeadTooLong,
        Self::QueueFull,
        Self::QueueTimedOut,
        Self::NoPool,
        Self::NoGroup,
        Self::Restricted,
        Self::NoPython,
        Self::Unserved,
        Self::Stopping,
    ];

    /// The table.
    #[must_use]
    pub const fn reply(self) -> Reply {
        let (status, level, retry_after) = match self {
            // It begins, or has more to do than it can (RFC 9110 section 15.6.4): a client, and a balancer
            // before the server, are right to come back. mod_wsgi and mod_proxy answer 503 as well; nginx
            // says 502 of other upstreams, which here would be the word for a worker that died.
            Self::Unreachable => (503, Level::Error, 1),
            // As above: it was not begun, and surely can be repeated.
            Self::NotBegun => (503, Level::Error, 1),
            // RFC 9110 section 15.6.5. Without Retry-After: whether it has side effects is not known.
            Self::TimedOut => (504, Level::Error, 0),
            // RFC 9110 section 15.6.3, and what both servers say of every other upstream.
            Self::Gone => (502, Level::Error, 0),
            Self::Protocol => (502, Level::Error, 0),
            // RFC 6585 section 5. The client's doing: nginx logs too long a header at info as well, so that
            // nobody outside fills an error log.
            Self::RequestHeadTooLong => (431, Level::Info, 0),
            // Overload passes by itself (RFC 9110 section 15.6.4), and nothing was begun.
            Self::QueueFull => (503, Level::Error, 1),
            Self::QueueTimedOut => (503, Level::Error, 1),
            // A child of an earlier configuration, which httpd is about to replace.
            Self::NoPool => (503, Level::Error, 1),
            // Wrong until the configuration is mended. mod_wsgi answers 500 to both.
            Self::NoGroup => (500, Level::Error, 0),
            Self::Restricted => (500, Level::Error, 0),
            // Another process may have it, and a balancer should look elsewhere; but this one never will,
            // so that there is no time after which it is worth another try.
            Self::NoPython => (503, Level::Error, 0),
            // An error of Neat's own.
            Self::Unserved => (500, Level::Error, 0),
            // Another process takes over in that moment.
            Self::Stopping => (503, Level::Notice, 1),
        };
        Reply { status, level, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_is_worth_another_try() {
        for fault in Fault::ALL {
            let Reply { status, retry_after, .. } = fault.reply();
            assert!((400..600).contains(&status), "{fault:?}");
            assert!(retry_after == 0 || status == 503, "{fault:?}");
        }
    }

    #[test]
    fn what_is_not_begun_is_no_bad_gateway() {
        use Fault::{NoPool, NotBegun, QueueFull, QueueTimedOut, Unreachable};
        for fault in [Unreachable, NotBegun, QueueFull, QueueTimedOut, NoPool] {
            assert_eq!((fault.reply().status, fault.reply().retry_after), (503, 1), "{fault:?}");
        }
    }

    #[test]
    fn a_client_does_not_fill_the_error_log() {
        assert!(Fault::RequestHeadTooLong.reply().level > Level::Notice);
    }
}
