//! A response's head: validated when the application gives it, packed for its way to the server.

use thiserror::Error;

use crate::http::length;
use crate::http::token::{is_field_value, is_hop_by_hop, is_token};

/// Why a response's head is refused (PEP 3333, "The start_response() Callable"). The request is answered with
/// 500 and the message stands in the error log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// Not `999 Reason`.
    #[error("the status {0:?} is not three digits, a space and a reason, as in \"200 OK\"")]
    StatusForm(String),
    /// A code that no final response may have.
    #[error("the status code {0} is not that of a final response; it has to be from 200 to 999")]
    StatusCode(u16),
    /// A line break or another control character in the reason.
    #[error("the status {0:?} has control characters")]
    StatusControl(String),
    /// Not a token.
    #[error("{0:?} is not a header name (letters, digits and !#$%&'*+-.^_`|~ only)")]
    HeaderName(String),
    /// A line break or another control character in the value.
    #[error("the value of the header {name:?} has control characters: {value:?}")]
    HeaderValue {
        /// The header's name.
        name: String,
        /// The value as it was given.
        value: String,
    },
    /// A header about the connection.
    #[error("the hop-by-hop header {0:?} is the server's to send, not the application's")]
    HopByHop(String),
    /// Not digits.
    #[error("the Content-Length {0:?} is not a number of bytes")]
    ContentLength(String),
    /// Two lengths that differ.
    #[error("two different Content-Length headers: {0} and {1}")]
    TwoLengths(u64, u64),
    /// More than the boundary carries.
    #[error("the header {0:?} is too long to be sent")]
    TooLong(String),
}

fn shown(bytes: &[u8]) -> String {
    const MAX_SHOWN: usize = 200;
    let mut text: String = bytes.iter().take(MAX_SHOWN).map(|byte| char::from(*byte)).collect();
    if bytes.len() > MAX_SHOWN {
        text.push('…');
    }
    text
}

/// A response's head that owns what it says. Every value of this type has passed the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedResponseHead {
    status: u16,
    reason: Vec<u8>,
    fields: Vec<u8>,
    length: Option<u64>,
}

impl OwnedResponseHead {
    /// Validates a status line.
    ///
    /// # Errors
    /// A [`Violation`] of PEP 3333 or RFC 9110 section 15.
    pub fn new(status: &[u8]) -> Result<Self, Violation> {
        let (code, reason) = match status.split_at_checked(3) {
            Some((code, [])) => (code, &[][..]),
            Some((code, [b' ', reason @ ..])) => (code, reason),
            _ => return Err(Violation::StatusForm(shown(status))),
        };
        let code = length::parse(code)
            .and_then(|code| u16::try_from(code).ok())
            .ok_or_else(|| Violation::StatusForm(shown(status)))?;
        if code < 200 {
            return Err(Violation::StatusCode(code));
        }
        if !is_field_value(reason) {
            return Err(Violation::StatusControl(shown(status)));
        }
        // Room for the fields of most responses.
        Ok(Self { status: code, reason: reason.to_vec(), fields: Vec::with_capacity(256), length: None })
    }

    /// Validates a header and adds it. `Content-Length` is kept beside the fields: read it with
    /// [`ResponseHead::length`].
    ///
    /// # Errors
    /// A [`Violation`] of PEP 3333 or RFC 9110 section 5.
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        if !is_token(name) {
            return Err(Violation::HeaderName(shown(name)));
        }
        if !is_field_value(value) {
            return Err(Violation::HeaderValue { name: shown(name), value: shown(value) });
        }
        if is_hop_by_hop(name) {
            return Err(Violation::HopByHop(shown(name)));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            return self.add_length(value);
        }
        let too_long = |_| Violation::TooLong(shown(name));
        let name_length = u16::try_from(name.len()).map_err(too_long)?;
        let value_length = u32::try_from(value.len()).map_err(too_long)?;
        self.fields.extend_from_slice(&name_length.to_le_bytes());
        self.fields.extend_from_slice(&value_length.to_le_bytes());
        self.fields.extend_from_slice(name);
        self.fields.extend_from_slice(value);
        Ok(())
    }

    /// Validates a head that came from outside: another process is not trusted to have done so. `None` where
    /// it breaks a rule.
    #[must_use]
    pub fn validate(head: ResponseHead<'_>) -> Option<Self> {
        let is_final = (200..=999).contains(&head.status);
        if is_final { Self::validate_fields(head) } else { None }
    }

    /// The same for an informational response (RFC 9110 section 15.2), which is not the application's to
    /// give.
    #[must_use]
    pub fn validate_informational(head: ResponseHead<'_>) -> Option<Self> {
        let is_informational = (100..=199).contains(&head.status) && head.status != 101;
        if is_informational && head.length.is_none() { Self::validate_fields(head) } else { None }
    }

    fn validate_fields(head: ResponseHead<'_>) -> Option<Self> {
        if !is_field_value(head.reason) {
            return None;
        }
        let mut walked = 0;
        for (name, value) in head.fields() {
            let allowed = is_token(name) && is_field_value(value) && !is_hop_by_hop(name);
            if !allowed || name.eq_ignore_ascii_case(b"content-length") {
                return None;
            }
            walked += 6 + name.len() + value.len();
        }
        (walked == head.fields.len()).then(|| head.keep())
    }

    fn add_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        let given =
            length::parse(value.trim_ascii()).ok_or_else(|| Violation::ContentLength(shown(value)))?;
        match self.length {
            Some(before) if before != given => Err(Violation::TwoLengths(before, given)),
            _ => {
                self.length = Some(given);
                Ok(())
            }
        }
    }

    /// The length that the application declared.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Sets the length, where the application left it out and the server can tell it.
    pub fn set_length(&mut self, length: u64) {
        self.length = Some(length);
    }

    /// Whether a response of this status has a body at all (RFC 9110 sections 15.3.5 and 15.4.5; the answer
    /// to HEAD is the caller's to know).
    #[must_use]
    pub const fn has_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }

    /// What travels. A 204 has no length (RFC 9110 section 8.6), and neither has a 205 with a body that is
    /// none.
    #[must_use]
    pub fn view(&self) -> ResponseHead<'_> {
        ResponseHead {
            status: self.status,
            reason: &self.reason,
            fields: &self.fields,
            length: if self.status == 204 { None } else { self.length },
        }
    }
}

/// A response's head on its way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// From 200 to 999.
    pub status: u16,
    /// May be empty; never has control characters.
    pub reason: &'a [u8],
    /// The packed fields; read them with [`ResponseHead::fields`].
    pub(crate) fields: &'a [u8],
    /// The length of the body in bytes (for HEAD and 304 of the body that is not sent); `None` where it is
    /// not known before the end.
    pub length: Option<u64>,
}

impl<'a> ResponseHead<'a> {
    /// The same head with bytes of its own, for a server that sends it after the call.
    #[must_use]
    pub fn keep(&self) -> OwnedResponseHead {
        OwnedResponseHead {
            status: self.status,
            reason: self.reason.to_vec(),
            fields: self.fields.to_vec(),
            length: self.length,
        }
    }

    /// The fields in the application's order, without `Content-Length`.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            let (lengths, after) = rest.split_at_checked(6)?;
            let (name, value) = lengths.split_at(2);
            let name_length = u16::from_le_bytes(name.try_into().ok()?);
            let value_length = u32::from_le_bytes(value.try_into().ok()?);
            let (name, after) = after.split_at_checked(usize::from(name_length))?;
            let (value, after) = after.split_at_checked(usize::try_from(value_length).ok()?)?;
            rest = after;
            Some((name, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: &str, fields: &[(&str, &str)]) -> Result<OwnedResponseHead, Violation> {
        let mut head = OwnedResponseHead::new(status.as_bytes())?;
        for (name, value) in fields {
            head.add(name.as_bytes(), value.as_bytes())?;
        }
        Ok(head)
    }

    #[test]
    fn a_status_is_three_digits_and_a_reason() {
        let good = head("404 Not Found", &[]).unwrap();
        assert_eq!((good.view().status, good.view().reason), (404, &b"Not Found"[..]));
        assert_eq!(head("299 ", &[]).unwrap().view().reason, b"");
        for wrong in ["", "20", "2000 OK", "200OK", "abc OK", "+20 OK", " 200 OK"] {
            assert!(matches!(head(wrong, &[]), Err(Violation::StatusForm(_))), "{wrong:?}");
        }
        assert_eq!(head("101 Switching", &[]), Err(Violation::StatusCode(101)));
        assert!(matches!(head("200 OK\r\nX: y", &[]), Err(Violation::StatusControl(_))));
    }

    #[test]
    fn fields_keep_their_order_and_their_repetitions() {
        let head = head("200 OK", &[("Set-Cookie", "a"), ("X", ""), ("Set-Cookie", "b")]).unwrap();
        let fields: Vec<_> = head.view().fields().collect();
        assert_eq!(fields, [(&b"Set-Cookie"[..], &b"a"[..]), (b"X", b""), (b"Set-Cookie", b"b")]);
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        for (name, value) in
            [("a b", "c"), ("a", "b\r\nc: d"), ("Connection", "close"), ("Content-Length", "x"), ("", "v")]
        {
            assert!(head("200 OK", &[(name, value)]).is_err(), "{name}: {value:?}");
        }
        assert_eq!(
            head("200 OK", &[("Content-Length", "1"), ("content-length", "2")]),
            Err(Violation::TwoLengths(1, 2))
        );
    }

    #[test]
    fn a_length_that_is_said_twice_is_said_once() {
        let head = head("200 OK", &[("Content-Length", "7"), ("content-length", "7")]).unwrap();
        assert_eq!((head.view().length, head.view().fields().count()), (Some(7), 0));
    }

    #[test]
    fn a_204_says_no_length() {
        let head = head("204 No Content", &[("Content-Length", "7")]).unwrap();
        assert_eq!((head.has_body(), head.view().length), (false, None));
    }
}
