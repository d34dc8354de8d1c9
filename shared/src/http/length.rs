//! How long a response's body is, and holding it to that.

/// A declared length, and what of it is still to come. Declared is law: what is more is dropped, what is less
/// is a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: Option<u64>,
    dropped: u64,
}

impl Budget {
    /// A body of `declared` bytes; `None` where the response does not say.
    #[must_use]
    pub const fn new(declared: Option<u64>) -> Self {
        Self { left: declared, dropped: 0 }
    }

    /// How many of the next `length` bytes may be sent; the others are counted as dropped.
    pub fn admit(&mut self, length: u64) -> u64 {
        let Some(left) = &mut self.left else { return length };
        let admitted = length.min(*left);
        *left -= admitted;
        self.dropped += length - admitted;
        admitted
    }

    /// How many bytes may still come; `None` where the response does not say.
    #[must_use]
    pub const fn left(&self) -> Option<u64> {
        self.left
    }

    /// How many bytes are missing, at the end of the body.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.left.unwrap_or(0)
    }

    /// How many bytes came beyond the declared length.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Reads a `Content-Length` (RFC 9110 section 8.6: digits only; no sign, no list).
#[must_use]
pub fn parse(value: &[u8]) -> Option<u64> {
    let add = |number: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    if value.is_empty() { None } else { value.iter().try_fold(0, add) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_declared_is_dropped_and_less_is_missing() {
        let mut budget = Budget::new(Some(10));
        assert_eq!(budget.admit(4), 4);
        assert_eq!(budget.missing(), 6);
        assert_eq!(budget.admit(9), 6);
        assert_eq!((budget.missing(), budget.dropped()), (0, 3));
        assert_eq!(budget.admit(1), 0);
        assert_eq!(budget.dropped(), 4);
    }

    #[test]
    fn an_undeclared_body_has_no_bounds() {
        let mut budget = Budget::new(None);
        assert_eq!(budget.admit(u64::MAX), u64::MAX);
        assert_eq!((budget.missing(), budget.dropped()), (0, 0));
    }

    #[test]
    fn a_length_is_digits() {
        assert_eq!(parse(b"0"), Some(0));
        assert_eq!(parse(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [&b""[..], b"+1", b"-1", b"1, 1", b" 1", b"0x1", b"18446744073709551616"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
