//! When a request that got no response is sent again: one rule for nginx's upstream and for httpd's client.
//!
//! The peers of a process group are the workers behind one socket, so that every further try meets the same
//! group. What surely never began is repeated. What may have begun is not, unless the administrator asks for
//! it: a worker that dies in the middle of a request was most likely killed by it, and the next one would be.

use crate::wire::Cut;

/// How often a request is sent at most, the first time included, where the configuration says nothing.
pub const DEFAULT_TRIES: u32 = 2;
/// How often workers may give a request back: each that does is about to leave, and a group in which all do
/// has nobody to serve it.
pub const MAX_GIVEN_BACK: u32 = 8;

/// A try that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How far it had come.
    pub cut: Cut,
    /// Whether all of the request can be sent once more: a body that is passed on as it comes is gone with
    /// its first portion.
    pub can_resend: bool,
    /// Whether connecting was tried again and again for as long as the configuration allows.
    pub has_waited: bool,
    /// Tries that are spent, this one included.
    pub tries: u32,
    /// Tries that there are.
    pub max_tries: u32,
    /// How often it was given back, this time included.
    pub given_back: u32,
    /// Whether the administrator wants no other try (`wsgi_next_upstream off`).
    pub is_off: bool,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Over another connection, and as often as before: this was no try.
    Free,
    /// Over another connection, with one try less.
    Spend,
    /// Only where the configuration names this failure and the method may be repeated (`wsgi_next_upstream`).
    IfConfigured,
    /// Not at all.
    Never,
}

/// Decides it.
#[must_use]
pub const fn decide(attempt: &Attempt) -> Retry {
    let has_tries = attempt.tries < attempt.max_tries;
    match attempt.cut {
        _ if !attempt.can_resend => Retry::Never,
        // In the course of every reload, so that neither `off` nor the tries matter.
        Cut::NotBegun if attempt.given_back <= MAX_GIVEN_BACK => Retry::Free,
        Cut::Unsent if has_tries && !attempt.is_off && !attempt.has_waited => Retry::Spend,
        Cut::Unanswered | Cut::InFrame if has_tries && !attempt.is_off => Retry::IfConfigured,
        Cut::NotBegun | Cut::Unsent | Cut::Unanswered | Cut::InFrame | Cut::InResponse => Retry::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first of two tries.
    const FIRST: Attempt = Attempt {
        cut: Cut::Unanswered,
        can_resend: true,
        has_waited: false,
        tries: 1,
        max_tries: DEFAULT_TRIES,
        given_back: 0,
        is_off: false,
    };

    #[test]
    fn a_request_is_sent_again_where_it_was_surely_not_begun() {
        let last = Attempt { tries: 2, ..FIRST };
        let off = Attempt { is_off: true, ..FIRST };
        let waited = Attempt { has_waited: true, ..FIRST };
        let consumed = Attempt { can_resend: false, ..FIRST };
        let given_back = Attempt { given_back: MAX_GIVEN_BACK, ..last };
        let too_often = Attempt { given_back: MAX_GIVEN_BACK + 1, ..FIRST };
        for (attempt, cut, expected) in [
            (FIRST, Cut::NotBegun, Retry::Free),
            (last, Cut::NotBegun, Retry::Free),
            (off, Cut::NotBegun, Retry::Free),
            (waited, Cut::NotBegun, Retry::Free),
            (given_back, Cut::NotBegun, Retry::Free),
            (too_often, Cut::NotBegun, Retry::Never),
            (consumed, Cut::NotBegun, Retry::Never),
            (FIRST, Cut::Unsent, Retry::Spend),
            (last, Cut::Unsent, Retry::Never),
            (off, Cut::Unsent, Retry::Never),
            (waited, Cut::Unsent, Retry::Never),
            (consumed, Cut::Unsent, Retry::Never),
            (too_often, Cut::Unsent, Retry::Spend),
            (FIRST, Cut::Unanswered, Retry::IfConfigured),
            (last, Cut::Unanswered, Retry::Never),
            (off, Cut::Unanswered, Retry::Never),
            (consumed, Cut::Unanswered, Retry::Never),
            (FIRST, Cut::InFrame, Retry::IfConfigured),
            (last, Cut::InFrame, Retry::Never),
            (FIRST, Cut::InResponse, Retry::Never),
        ] {
            let attempt = Attempt { cut, ..attempt };
            assert_eq!(decide(&attempt), expected, "{attempt:?}");
        }
    }
}
