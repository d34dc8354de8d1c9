//! Hosts and ports, as environ has them.

/// A host and a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// An address or a name; empty where it is not known.
    pub host: &'a [u8],
    /// 0 where there is none (a Unix socket).
    pub port: u16,
}

/// The host of the address that a server listens on, written as `host:port`; empty, as in mod_wsgi, where
/// every address of the machine is listened on.
#[must_use]
pub fn of_listener(address: &[u8]) -> &[u8] {
    let end = address.iter().rposition(|byte| *byte == b':').unwrap_or(address.len());
    match address.get(..end).unwrap_or_default() {
        b"0.0.0.0" | b"[::]" | b"*" => b"",
        host => host,
    }
}

/// Whether a host is an IPv6 address without the brackets that it has in a URL (RFC 3986 section 3.2.2).
#[must_use]
pub fn is_bare_ipv6(host: &[u8]) -> bool {
    host.contains(&b':') && !host.starts_with(b"[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_for_all_addresses_has_no_host() {
        for (address, host) in [
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("0.0.0.0:80", ""),
            ("[::]:80", ""),
            ("*:80", ""),
            ("unix:/run/a.sock", "unix"),
            ("", ""),
        ] {
            assert_eq!(of_listener(address.as_bytes()), host.as_bytes(), "{address}");
        }
    }
}
