//! Whether a request has a body, and how long it is (RFC 9112 section 6.3).

use thiserror::Error;

use super::length;
use super::token::trim;

/// Why a request's transfer coding is refused (RFC 9112 section 6.1). A server that goes on with such a
/// message may take its body for another request, so that the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadCoding {
    /// chunked stands twice, or not at the end.
    #[error("the request's Transfer-Encoding has chunked more than once, or not at its end")]
    Malformed,
    /// The application would get coded bytes.
    #[error("the request has a transfer coding besides chunked, which nobody takes off")]
    Unknown,
}

impl BadCoding {
    /// What is answered.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unknown => 501,
        }
    }
}

/// Validates a `Transfer-Encoding`: chunked, once and alone, is all that is taken off.
///
/// # Errors
/// [`BadCoding`].
pub fn validate_coding(value: &[u8]) -> Result<(), BadCoding> {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut codings = value.split(|byte| *byte == b',').map(trim).filter(|coding| !coding.is_empty());
    match (codings.next(), codings.next()) {
        (Some(only), None) if is_chunked(only) => Ok(()),
        (Some(first), Some(_)) if is_chunked(first) => Err(BadCoding::Malformed),
        (Some(_), Some(second)) if is_chunked(second) && codings.next().is_some() => {
            Err(BadCoding::Malformed)
        }
        _ => Err(BadCoding::Unknown),
    }
}

/// What a request's head says of its body, before any of it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// There is none.
    Nothing,
    /// So many bytes, which may be 0.
    Length(u64),
    /// Its end shows when it comes: in chunks, or in frames of HTTP/2.
    Unknown,
}

impl Announced {
    /// Reads the fields of a head. `is_framed` says that the protocol shows a body's end by itself (HTTP/2
    /// and later), where a method that commonly has a body may have one without any field.
    #[must_use]
    pub fn of_fields(
        transfer_encoding: Option<&[u8]>,
        content_length: Option<&[u8]>,
        is_framed: bool,
        method: &[u8],
    ) -> Self {
        match (transfer_encoding, content_length) {
            (Some(_), _) => Self::Unknown,
            // A length that is no number is the server's to refuse. Until then there may be something to
            // read.
            (None, Some(value)) => length::parse(value).map_or(Self::Unknown, Self::Length),
            (None, None) if is_framed && !matches!(method, b"GET" | b"HEAD") => Self::Unknown,
            (None, None) => Self::Nothing,
        }
    }

    /// Whether there may be something to read.
    #[must_use]
    pub const fn has_body(self) -> bool {
        !matches!(self, Self::Nothing | Self::Length(0))
    }

    /// What holds once the server has read the body: `stored` bytes of it, or `None` where this request gets
    /// none of it (a subrequest has the main request's head, but not its body).
    #[must_use]
    pub const fn when_read(self, stored: Option<u64>) -> BodyLength {
        match (stored, self) {
            (None, _) => BodyLength::NoBody,
            // Another location read all of it before this one got the request.
            (Some(0), Self::Length(announced)) if announced > 0 => BodyLength::NoBody,
            (Some(0), Self::Nothing) => BodyLength::AsAnnounced,
            (Some(length), _) => BodyLength::Known(length),
        }
    }
}

/// What environ says about a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// The request has none, whatever its fields say.
    NoBody,
    /// The server has read so many bytes.
    Known(u64),
    /// It is streamed, or nothing was read: what the fields say holds.
    AsAnnounced,
}

/// Whether a field is about how the body comes, so that a request without that body must not have it.
#[must_use]
pub fn is_about_body(name: &[u8]) -> bool {
    [&b"content-length"[..], b"transfer-encoding", b"expect"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_announced_by_a_coding_a_length_or_frames() {
        let chunked = Some(&b"chunked"[..]);
        for (coding, length, is_framed, method, expected) in [
            (None, None, false, "GET", Announced::Nothing),
            (None, None, false, "POST", Announced::Nothing),
            (None, Some("0"), false, "POST", Announced::Length(0)),
            (None, Some("12"), false, "GET", Announced::Length(12)),
            (None, Some("many"), false, "POST", Announced::Unknown),
            (chunked, None, false, "POST", Announced::Unknown),
            (chunked, Some("12"), false, "POST", Announced::Unknown),
            (None, None, true, "GET", Announced::Nothing),
            (None, None, true, "HEAD", Announced::Nothing),
            (None, None, true, "POST", Announced::Unknown),
            (None, Some("0"), true, "POST", Announced::Length(0)),
        ] {
            let found = Announced::of_fields(coding, length.map(str::as_bytes), is_framed, method.as_bytes());
            assert_eq!(found, expected, "{coding:?} {length:?} {is_framed} {method}");
        }
    }

    #[test]
    fn chunked_once_and_alone_is_the_only_coding() {
        for (value, expected) in [
            ("chunked", Ok(())),
            ("Chunked", Ok(())),
            (" chunked\t", Ok(())),
            (", chunked,", Ok(())),
            ("chunked, chunked", Err(BadCoding::Malformed)),
            ("chunked, gzip", Err(BadCoding::Malformed)),
            ("gzip, chunked, chunked", Err(BadCoding::Malformed)),
            ("gzip, chunked", Err(BadCoding::Unknown)),
            ("identity, chunked", Err(BadCoding::Unknown)),
            ("gzip", Err(BadCoding::Unknown)),
            ("chunked;q=1", Err(BadCoding::Unknown)),
            ("", Err(BadCoding::Unknown)),
        ] {
            assert_eq!(validate_coding(value.as_bytes()), expected, "{value:?}");
        }
        assert_eq!((BadCoding::Malformed.status(), BadCoding::Unknown.status()), (400, 501));
    }

    #[test]
    fn nothing_is_read_where_nothing_or_a_length_of_0_is_announced() {
        assert!(!Announced::Nothing.has_body());
        assert!(!Announced::Length(0).has_body());
        assert!(Announced::Length(1).has_body());
        assert!(Announced::Unknown.has_body());
    }

    #[test]
    fn a_body_that_was_read_has_the_length_that_was_read() {
        for (announced, stored, expected) in [
            (Announced::Length(5), Some(5), BodyLength::Known(5)),
            (Announced::Length(0), Some(0), BodyLength::Known(0)),
            (Announced::Unknown, Some(5), BodyLength::Known(5)),
            (Announced::Unknown, Some(0), BodyLength::Known(0)),
            (Announced::Nothing, Some(0), BodyLength::AsAnnounced),
            // HTTP/2 may send what no field announced.
            (Announced::Nothing, Some(5), BodyLength::Known(5)),
            (Announced::Length(5), Some(0), BodyLength::NoBody),
            (Announced::Length(5), None, BodyLength::NoBody),
            (Announced::Unknown, None, BodyLength::NoBody),
        ] {
            assert_eq!(announced.when_read(stored), expected, "{announced:?} {stored:?}");
        }
    }
}
