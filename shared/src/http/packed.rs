//! A request's head as one packed run of bytes: the one currency between server module, engine and (later)
//! wire.
//!
//! Each entry is a key and a value. A common key is its number, one byte; any other is [`NAMED`], the length
//! of the name (two bytes) and the name. Then the length of the value (four bytes) and the value. Numbers are
//! little-endian, so that the bytes may also travel between processes.

use super::key::Key;
use super::token::{append_environ_name, is_environ_header, is_left_out, trim};

/// In place of a key's number: a name follows.
pub const NAMED: u8 = 254;
/// In place of a key's number: the entry was replaced, skip it.
const DEAD: u8 = 255;
/// The longest header name that reaches environ, in bytes. nginx and httpd both limit a header line to 8 KiB
/// by default.
const MAX_NAME: usize = 8192;

/// A request's head, packed. It owns its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    bytes: Vec<u8>,
}

impl Packed {
    /// The packed bytes; read them with [`entries`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value of a numbered key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&[u8]> {
        get(&self.bytes, key)
    }
}

/// The value of a numbered key in packed bytes.
#[must_use]
pub fn get(packed: &[u8], key: Key) -> Option<&[u8]> {
    entries(packed).find(|(name, _)| *name == Name::Common(key)).map(|(_, value)| value)
}

/// What an entry is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// One of the numbered keys.
    Common(Key),
    /// Any other key of environ.
    Other(&'a [u8]),
}

impl<'a> Name<'a> {
    /// The key of environ.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Common(key) => key.name().as_bytes(),
            Self::Other(name) => name,
        }
    }
}

/// Reads packed entries. Bytes that are no entries end the reading: a cut head is never read past its end.
#[must_use]
pub fn entries(packed: &[u8]) -> Entries<'_> {
    Entries { rest: packed }
}

/// The iterator that [`entries`] gives.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn entry(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let kind = *self.take(1)?.first()?;
        let name = if kind == NAMED {
            let length = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
            self.take(usize::from(length))?
        } else {
            &[]
        };
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        let value = self.take(usize::try_from(length).ok()?)?;
        Some((kind, name, value))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Name<'a>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (kind, name, value) = self.entry()?;
            match kind {
                NAMED => return Some((Name::Other(name), value)),
                DEAD => {}
                number => return Some((Name::Common(Key::of_number(number)?), value)),
            }
        }
    }
}

/// Packs a head. Setting a key again replaces its value; a header given again is joined (RFC 9110 section
/// 5.3).
#[derive(Debug)]
pub struct Packer {
    bytes: Vec<u8>,
    /// Where each numbered key's entry begins, plus one; 0 where there is none.
    common: [u32; Key::COUNT],
    /// Where each named entry begins.
    named: Vec<u32>,
    pass_authorization: bool,
}

impl Default for Packer {
    fn default() -> Self {
        Self::new()
    }
}

impl Packer {
    /// An empty head.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(1024),
            common: [0; Key::COUNT],
            named: Vec::new(),
            pass_authorization: false,
        }
    }

    /// Lets `Authorization` and `Proxy-Authorization` through to environ (`WSGIPassAuthorization`,
    /// `wsgi_pass_authorization`).
    pub fn pass_authorization(&mut self, pass: bool) {
        self.pass_authorization = pass;
    }

    /// Sets a numbered key.
    pub fn set(&mut self, key: Key, value: &[u8]) {
        self.set_parts(key, &[value]);
    }

    /// Sets a numbered key to a value that is put together.
    pub fn set_parts(&mut self, key: Key, parts: &[&[u8]]) {
        let Some(slot) = self.common.get_mut(key as usize) else { return };
        let start = self.bytes.len();
        if *slot != 0 {
            if let Some(kind) = self.bytes.get_mut(*slot as usize - 1) {
                *kind = DEAD;
            }
        }
        *slot = u32::try_from(start + 1).unwrap_or(0);
        self.bytes.push(key as u8);
        self.push_value(parts);
    }

    /// Sets a key that has no number, or has one: `wsgi_param`, `SetEnv`, what other modules left.
    pub fn set_named(&mut self, name: &[u8], value: &[u8]) {
        if let Some(key) = Key::of_name(name) {
            if !key.is_control() {
                self.set(key, value);
            }
            return;
        }
        self.forget_named(name);
        self.push_named(name, &[value]);
    }

    /// Takes a header of the request: `Content-Type` and `Content-Length` under their CGI names, any other as
    /// `HTTP_` and its name in capitals (RFC 3875 section 4.1.18). Left out are names that could pose as
    /// another (anything but letters, digits and `-`), those of [`is_left_out`], and credentials unless
    /// [`Packer::pass_authorization`] was said.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        let value = trim(value);
        if name.len() > MAX_NAME || !is_environ_header(name) || is_left_out(name) {
            return;
        }
        let secret =
            name.eq_ignore_ascii_case(b"authorization") || name.eq_ignore_ascii_case(b"proxy-authorization");
        if secret && !self.pass_authorization {
            return;
        }
        let mut buffer = [0_u8; 64];
        let long;
        let key = if let Some(short) = append_environ_name(name, &mut buffer) {
            short
        } else {
            long = [b"HTTP_", name].concat().iter().map(environ_byte).collect::<Vec<_>>();
            &long
        };
        if let Some(common) = Key::of_name(key) {
            let joint: &[u8] = if common == Key::HttpCookie { b"; " } else { b", " };
            match self.value_of(common) {
                Some(before) => self.set_parts(common, &[&before, joint, value]),
                None => self.set(common, value),
            }
        } else {
            match self.forget_named(key) {
                Some(before) => self.push_named(key, &[&before, b", ", value]),
                None => self.push_named(key, &[value]),
            }
        }
    }

    /// The packed head.
    #[must_use]
    pub fn finish(self) -> Packed {
        Packed { bytes: self.bytes }
    }

    fn push_named(&mut self, name: &[u8], parts: &[&[u8]]) {
        let Ok(length) = u16::try_from(name.len()) else { return };
        self.named.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.bytes.push(NAMED);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(name);
        self.push_value(parts);
    }

    fn push_value(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    fn value_of(&self, key: Key) -> Option<Vec<u8>> {
        let slot = *self.common.get(key as usize)?;
        let entry = self.bytes.get(slot.checked_sub(1)? as usize..)?;
        entries(entry).next().map(|(_, value)| value.to_vec())
    }

    fn forget_named(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        let position = self.named.iter().position(|start| {
            let entry = self.bytes.get(*start as usize..).unwrap_or_default();
            entries(entry).next().is_some_and(|(found, _)| found == Name::Other(name))
        })?;
        let start = self.named.swap_remove(position) as usize;
        let value = entries(self.bytes.get(start..)?).next().map(|(_, value)| value.to_vec());
        // A dead entry has no name: its name and its value become one value, so that readers step over both.
        let named = u32::try_from(name.len()).ok()?;
        let size = u32::try_from(value.as_ref()?.len()).ok()?;
        let entry = self.bytes.get_mut(start..)?;
        *entry.first_mut()? = DEAD;
        entry.get_mut(1..5)?.copy_from_slice(&(named + size + 2).to_le_bytes());
        value
    }
}

fn environ_byte(byte: &u8) -> u8 {
    if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(head: &Packed) -> Vec<(String, String)> {
        entries(head.as_bytes())
            .map(|(name, value)| {
                (String::from_utf8_lossy(name.as_bytes()).into(), String::from_utf8_lossy(value).into())
            })
            .collect()
    }

    fn headers(given: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut head = Packer::new();
        for (name, value) in given {
            head.header(name.as_bytes(), value.as_bytes());
        }
        listed(&head.finish())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn headers_get_their_cgi_names() {
        assert_eq!(
            headers(&[("Content-Type", "a/b"), ("content-length", "3"), ("Host", "h"), ("X-One-2", "v")]),
            [
                pair("CONTENT_TYPE", "a/b"),
                pair("CONTENT_LENGTH", "3"),
                pair("HTTP_HOST", "h"),
                pair("HTTP_X_ONE_2", "v")
            ]
        );
    }

    #[test]
    fn whitespace_around_a_value_is_not_part_of_it() {
        assert_eq!(
            headers(&[("X-A", "\t a \t b\t "), ("X-B", " \t "), ("X-A", "\tc")]),
            [pair("HTTP_X_B", ""), pair("HTTP_X_A", "a \t b, c")]
        );
    }

    #[test]
    fn names_that_could_pose_as_another_are_left_out() {
        assert_eq!(headers(&[("X_Forwarded_For", "1"), ("X.Y", "1"), ("Proxy", "1"), ("", "1")]), []);
    }

    #[test]
    fn credentials_need_a_word() {
        assert_eq!(headers(&[("Authorization", "Basic x"), ("Proxy-Authorization", "y")]), []);
        let mut head = Packer::new();
        head.pass_authorization(true);
        head.header(b"AUTHORIZATION", b"Basic x");
        assert_eq!(listed(&head.finish()), [pair("HTTP_AUTHORIZATION", "Basic x")]);
    }

    #[test]
    fn repeated_headers_are_joined() {
        assert_eq!(
            headers(&[
                ("X-A", "1"),
                ("Cookie", "a=1"),
                ("X-B", "2"),
                ("x-a", "3"),
                ("cookie", "b=2"),
                ("X-A", "4")
            ]),
            [pair("HTTP_X_B", "2"), pair("HTTP_COOKIE", "a=1; b=2"), pair("HTTP_X_A", "1, 3, 4")]
        );
    }

    #[test]
    fn a_transfer_coding_was_taken_off_and_is_left_out() {
        assert_eq!(headers(&[("Transfer-Encoding", "chunked"), ("X-A", "1")]), [pair("HTTP_X_A", "1")]);
    }

    #[test]
    fn a_parameter_replaces_what_was_there_and_cannot_steer_the_engine() {
        let mut head = Packer::new();
        head.set(Key::RemoteUser, b"ann");
        head.set_named(b"REMOTE_USER", b"bob");
        head.set_named(b"SPAM", b"1");
        head.set_named(b"SPAM", b"2");
        head.set_named(b"neat.target_script", b"/etc/passwd");
        assert_eq!(listed(&head.finish()), [pair("REMOTE_USER", "bob"), pair("SPAM", "2")]);
    }

    #[test]
    fn long_names_are_kept_whole() {
        let name = "X-".to_owned() + &"long-".repeat(40) + "Name";
        let expected = "HTTP_X_".to_owned() + &"LONG_".repeat(40) + "NAME";
        assert_eq!(headers(&[(&name, "v")]), [pair(&expected, "v")]);
    }

    proptest! {
        #[test]
        fn what_is_no_head_is_read_without_harm(bytes: Vec<u8>) {
            let total: usize = entries(&bytes).map(|(_, value)| value.len()).sum();
            prop_assert!(total <= bytes.len());
        }

        #[test]
        fn the_last_value_of_a_key_is_the_one_that_is_read(
            given in proptest::collection::vec(("[A-C]{1,2}", ".{0,12}"), 0..20)
        ) {
            let mut head = Packer::new();
            let mut expected = std::collections::BTreeMap::new();
            for (name, value) in &given {
                head.set_named(name.as_bytes(), value.as_bytes());
                expected.insert(name.clone(), value.clone());
            }
            let read = listed(&head.finish());
            prop_assert_eq!(read.len(), expected.len());
            prop_assert_eq!(read.into_iter().collect::<std::collections::BTreeMap<_, _>>(), expected);
        }
    }
}
