//! What a header may be called and what it may say (RFC 9110 sections 5.1 and 5.5).

/// Whether `name` is a token (RFC 9110 section 5.6.2), as a field name has to be.
#[must_use]
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Whether `value` may stand in a field: no control characters but the tab, so no line break that would begin
/// another field. RFC 9110 section 5.5; PEP 3333 says the same of header values.
#[must_use]
pub fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f))
}

/// A field's value without the whitespace around it (RFC 9110 sections 5.5 and 5.6.3: SP and HTAB).
#[must_use]
pub fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let Some(first) = value.iter().position(is_text) else { return &[] };
    let end = value.iter().rposition(is_text).map_or(first, |last| last + 1);
    value.get(first..end).unwrap_or_default()
}

/// Whether a request header of this name may stand in environ. There `-` becomes `_`, so a name that has `_`
/// of its own could pose as another one.
#[must_use]
pub fn is_environ_header(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Whether a request header never stands in environ: `Proxy`, which programs take for a setting of theirs
/// (CVE-2016-5385), and `Transfer-Encoding`, which the server has taken off the body (RFC 9112 section 6.1):
/// an application that looks for it would decode a second time.
#[must_use]
pub fn is_left_out(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"proxy") || name.eq_ignore_ascii_case(b"transfer-encoding")
}

/// Whether a field is about the connection and not about the message, which an application may not say
/// anything about (PEP 3333, "Other HTTP Features"; the list is that of `wsgiref.util.is_hop_by_hop`, with
/// RFC 9110's spelling of Trailer).
#[must_use]
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a field asks for a part of the answer, or for none where the client has one (RFC 9110 sections
/// 13.1 and 14.2; the list is that of `ngx_http_uwsgi_cache_headers`).
#[must_use]
pub fn is_conditional(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] =
        [b"if-modified-since", b"if-unmodified-since", b"if-none-match", b"if-match", b"range", b"if-range"];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Writes the name in environ of the header `name` into `buffer`; `None` where it does not fit.
pub(crate) fn append_environ_name<'b>(name: &[u8], buffer: &'b mut [u8; 64]) -> Option<&'b [u8]> {
    let prefix: &[u8] =
        if name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"content-length") {
            b""
        } else {
            b"HTTP_"
        };
    let length = prefix.len() + name.len();
    let target = buffer.get_mut(..length)?;
    let (head, tail) = target.split_at_mut(prefix.len());
    head.copy_from_slice(prefix);
    for (to, from) in tail.iter_mut().zip(name) {
        *to = if *from == b'-' { b'_' } else { from.to_ascii_uppercase() };
    }
    buffer.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_name_is_a_token() {
        assert!(is_token(b"X-Y_z.1"));
        for wrong in [&b""[..], b"a b", b"a:", b"a\r\n", b"\xe4"] {
            assert!(!is_token(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_field_value_has_no_control_characters() {
        assert!(is_field_value(b"a\tb \xe4"));
        for wrong in [&b"a\r\nB: c"[..], b"a\n", b"\0", b"\x7f"] {
            assert!(!is_field_value(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_condition_is_known_in_any_case() {
        assert!(is_conditional(b"If-None-Match") && is_conditional(b"RANGE"));
        assert!(!is_conditional(b"Accept-Ranges"));
    }

    #[test]
    fn hop_by_hop_is_known_in_any_case() {
        assert!(is_hop_by_hop(b"Transfer-ENCODING"));
        assert!(!is_hop_by_hop(b"Content-Length"));
    }
}
