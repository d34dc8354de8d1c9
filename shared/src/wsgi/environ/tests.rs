use std::collections::BTreeMap;
use std::convert::Infallible;

use super::keys::{KEYS, Presence};
use super::mount::{Mount, Site};
use super::*;
use crate::conf::location::LocationConf;
use crate::http::packed::entries;
use crate::http::target;

/// A server made of constants. Each test changes what it is about.
struct Server {
    method: &'static str,
    target: &'static str,
    path: &'static str,
    mount: &'static str,
    protocol: &'static str,
    scheme: &'static str,
    https: Option<&'static str>,
    server_name: Option<&'static str>,
    user: Option<&'static str>,
    headers: &'static [(&'static str, &'static str)],
    passes_authorization: bool,
    body: BodyLength,
    variables: &'static [(&'static str, &'static str)],
    parameters: &'static [(&'static str, &'static str)],
}

const SERVER: Server = Server {
    method: "GET",
    target: "/app/a%20b?c=d",
    path: "/app/a b",
    mount: "/app",
    protocol: "HTTP/1.1",
    scheme: "http",
    https: None,
    server_name: Some("example.org"),
    user: None,
    headers: &[("Host", "example.org")],
    passes_authorization: false,
    body: BodyLength::AsAnnounced,
    variables: &[],
    parameters: &[],
};

fn pairs<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

impl ServerRequest for Server {
    type Error = Infallible;

    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }
    fn target(&self) -> &[u8] {
        self.target.as_bytes()
    }
    fn split_path(&self) -> (&[u8], &[u8]) {
        target::split(self.path.as_bytes(), self.mount.as_bytes())
    }
    fn mount_point(&self) -> Option<&[u8]> {
        Some(self.mount.as_bytes())
    }
    fn query(&self) -> &[u8] {
        b"c=d"
    }
    fn protocol(&self) -> &[u8] {
        self.protocol.as_bytes()
    }
    fn scheme(&self) -> &[u8] {
        self.scheme.as_bytes()
    }
    fn https(&self) -> Option<&[u8]> {
        self.https.map(str::as_bytes)
    }
    fn server_name(&self) -> Option<&[u8]> {
        self.server_name.map(str::as_bytes)
    }
    fn server_port(&self) -> u16 {
        8080
    }
    fn server_address(&self) -> HostPort<'_> {
        HostPort { host: b"192.0.2.1", port: 80 }
    }
    fn listener_host(&self) -> &[u8] {
        b"192.0.2.2"
    }
    fn client_address(&self) -> HostPort<'_> {
        HostPort { host: b"198.51.100.1", port: 65535 }
    }
    fn user(&self) -> Option<&[u8]> {
        self.user.map(str::as_bytes)
    }
    fn auth_type(&self) -> Option<&[u8]> {
        self.user.map(|_| &b"Basic"[..])
    }
    fn request_id(&self) -> Option<&[u8]> {
        Some(b"id")
    }
    fn connection_id(&self) -> u64 {
        0
    }
    fn started_at(&self) -> u64 {
        1_700_000_000_000_000
    }
    fn queued_at(&self) -> Option<u64> {
        Some(u64::MAX)
    }
    fn document_root(&self) -> Result<Option<&[u8]>, Infallible> {
        Ok(Some(b"/srv/www"))
    }
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        pairs(self.headers)
    }
    fn passes_authorization(&self) -> bool {
        self.passes_authorization
    }
    fn body(&self) -> BodyLength {
        self.body
    }
    fn variables(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        pairs(self.variables)
    }
    fn parameters(&self, mut set: impl FnMut(&[u8], &[u8])) -> Result<(), Infallible> {
        pairs(self.parameters).for_each(|(name, value)| set(name, value));
        Ok(())
    }
}

fn listed(packed: &Packed) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    entries(packed.as_bytes()).map(|(name, value)| (text(name.as_bytes()), text(value))).collect()
}

fn environ(server: &Server) -> BTreeMap<String, String> {
    match pack(server) {
        Ok(packed) => listed(&packed),
        Err(never) => match never {},
    }
}

#[track_caller]
fn assert_has(server: &Server, expected: &[(&str, Option<&str>)]) {
    let environ = environ(server);
    for (key, value) in expected {
        assert_eq!(environ.get(*key).map(String::as_str), *value, "{key}");
    }
}

#[test]
fn every_key_comes_from_the_servers_answer() {
    assert_has(
        &SERVER,
        &[
            ("REQUEST_METHOD", Some("GET")),
            ("SCRIPT_NAME", Some("/app")),
            ("PATH_INFO", Some("/a b")),
            ("mod_wsgi.mount_point", Some("/app")),
            ("QUERY_STRING", Some("c=d")),
            ("REQUEST_URI", Some("/app/a%20b?c=d")),
            ("SERVER_PROTOCOL", Some("HTTP/1.1")),
            ("REQUEST_SCHEME", Some("http")),
            ("wsgi.url_scheme", Some("http")),
            ("HTTPS", None),
            ("SERVER_NAME", Some("example.org")),
            ("SERVER_PORT", Some("8080")),
            ("SERVER_ADDR", Some("192.0.2.1")),
            ("mod_wsgi.listener_host", Some("192.0.2.2")),
            ("mod_wsgi.listener_port", Some("80")),
            ("REMOTE_ADDR", Some("198.51.100.1")),
            ("REMOTE_PORT", Some("65535")),
            ("REMOTE_USER", None),
            ("AUTH_TYPE", None),
            ("mod_wsgi.request_id", Some("id")),
            ("mod_wsgi.connection_id", Some("0")),
            ("mod_wsgi.request_start", Some("1700000000000000")),
            ("mod_wsgi.queue_start", Some("18446744073709551615")),
            ("DOCUMENT_ROOT", Some("/srv/www")),
            ("HTTP_HOST", Some("example.org")),
            ("CONTENT_LENGTH", None),
            ("CONTENT_TYPE", None),
        ],
    );
}

#[test]
fn every_key_that_is_packed_is_documented_and_what_is_always_there_is_packed() {
    let conf = LocationConf::default();
    let site = Site {
        software: Some(b"s"),
        server_name: Some(b"n"),
        admin: Some(b"a"),
        document_root: Some(b"/"),
        mount_point: Some(b"/"),
        context_prefix: Some(b""),
        context_document_root: Some(b"/"),
    };
    let mount = Mount::of_script("/a.wsgi".as_ref(), "app", &conf, "").at(site).pack();
    let mut found = environ(&SERVER);
    found.extend(listed(&mount));
    let is_control = |name: &str| Key::of_name(name.as_bytes()).is_some_and(Key::is_control);
    for name in found.keys().filter(|name| !is_control(name) && !name.starts_with("HTTP_")) {
        assert!(KEYS.iter().any(|key| key.name == name), "{name} is not documented");
    }
    // Those that begin so are the engine's, which says them of its process.
    let is_engines = |name: &str| {
        let common = Key::of_name(name.as_bytes());
        common.is_none() && (name.starts_with("wsgi.") || name.starts_with("mod_wsgi."))
    };
    for key in KEYS.iter().filter(|key| key.presence == Presence::Always && !is_engines(key.name)) {
        assert!(found.contains_key(key.name), "{} is not packed", key.name);
    }
}

#[test]
fn the_protocol_is_the_requests_and_http_0_9_does_not_say() {
    for (protocol, expected) in
        [("HTTP/1.0", "HTTP/1.0"), ("HTTP/1.1", "HTTP/1.1"), ("HTTP/2.0", "HTTP/2.0"), ("", "HTTP/0.9")]
    {
        assert_has(&Server { protocol, ..SERVER }, &[("SERVER_PROTOCOL", Some(expected))]);
    }
}

#[test]
fn the_scheme_is_the_connections_or_what_the_variable_https_says() {
    for (scheme, https, url_scheme) in [
        ("http", None, "http"),
        ("https", Some("on"), "https"),
        ("https", None, "https"),
        ("http", Some("On"), "https"),
        ("http", Some("1"), "https"),
        ("http", Some("off"), "http"),
    ] {
        assert_has(
            &Server { scheme, https, ..SERVER },
            &[("wsgi.url_scheme", Some(url_scheme)), ("REQUEST_SCHEME", Some(scheme)), ("HTTPS", https)],
        );
    }
}

#[test]
fn a_body_that_was_read_has_its_length() {
    const CHUNKED: &[(&str, &str)] = &[("Transfer-Encoding", "chunked"), ("Expect", "100-continue")];
    const MEASURED: &[(&str, &str)] = &[("Content-Length", "5"), ("Content-Type", "text/plain")];
    let read = BodyLength::Known(5);
    for (headers, body, length) in [
        (CHUNKED, read, Some("5")),
        (CHUNKED, BodyLength::AsAnnounced, None),
        (CHUNKED, BodyLength::NoBody, None),
        (MEASURED, read, Some("5")),
        (MEASURED, BodyLength::AsAnnounced, Some("5")),
        (MEASURED, BodyLength::NoBody, None),
        (&[], BodyLength::Known(0), Some("0")),
        (&[], BodyLength::AsAnnounced, None),
    ] {
        assert_has(&Server { headers, body, ..SERVER }, &[("CONTENT_LENGTH", length)]);
    }
    let measured = Server { headers: MEASURED, ..SERVER };
    assert_has(&measured, &[("CONTENT_TYPE", Some("text/plain")), ("HTTP_CONTENT_LENGTH", None)]);
}

#[test]
fn a_request_without_the_body_has_none_of_its_fields() {
    let headers = &[
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Expect", "100-continue"),
        ("X-Other", "1"),
    ];
    assert_has(
        &Server { headers, body: BodyLength::NoBody, ..SERVER },
        &[
            ("CONTENT_LENGTH", None),
            ("HTTP_TRANSFER_ENCODING", None),
            ("HTTP_EXPECT", None),
            ("HTTP_X_OTHER", Some("1")),
        ],
    );
}

#[test]
fn credentials_are_passed_only_where_it_is_configured() {
    let headers = &[("Authorization", "Basic eA=="), ("Proxy", "x")];
    assert_has(&Server { headers, ..SERVER }, &[("HTTP_AUTHORIZATION", None), ("HTTP_PROXY", None)]);
    assert_has(
        &Server { headers, passes_authorization: true, ..SERVER },
        &[("HTTP_AUTHORIZATION", Some("Basic eA==")), ("HTTP_PROXY", None)],
    );
}

#[test]
fn a_variable_of_the_server_never_stands_for_what_the_request_says() {
    let variables = &[
        ("SCRIPT_NAME", "/page"),
        ("REQUEST_METHOD", "POST"),
        ("CONTENT_LENGTH", "7"),
        ("wsgi.url_scheme", "gopher"),
        ("neat.target_script", "/etc/passwd"),
        ("HTTPS", "on"),
        ("REMOTE_USER", "ann"),
        ("REMOTE_HOST", "client.example"),
        ("HTTP_X_ADDED", "1"),
        ("UNIQUE_ID", "u"),
    ];
    assert_has(
        &Server { variables, ..SERVER },
        &[
            ("SCRIPT_NAME", Some("/app")),
            ("REQUEST_METHOD", Some("GET")),
            ("CONTENT_LENGTH", None),
            ("wsgi.url_scheme", Some("http")),
            ("neat.target_script", None),
            ("HTTPS", None),
            ("REMOTE_USER", Some("ann")),
            ("REMOTE_HOST", Some("client.example")),
            ("HTTP_X_ADDED", Some("1")),
            ("UNIQUE_ID", Some("u")),
        ],
    );
    // Whom the server itself has authenticated comes before the variable.
    let both = Server { variables, user: Some("bob"), ..SERVER };
    assert_has(&both, &[("REMOTE_USER", Some("bob")), ("AUTH_TYPE", Some("Basic"))]);
}

#[test]
fn a_parameter_replaces_what_was_there() {
    let parameters = &[("REMOTE_USER", "eve"), ("PATH_TRANSLATED", "/srv"), ("SPAM", "1")];
    assert_has(
        &Server { parameters, user: Some("bob"), ..SERVER },
        &[("REMOTE_USER", Some("eve")), ("PATH_TRANSLATED", Some("/srv")), ("SPAM", Some("1"))],
    );
}

#[test]
fn an_ipv6_address_that_is_the_servers_name_has_brackets() {
    for (given, expected) in
        [("::1", "[::1]"), ("[::1]", "[::1]"), ("192.0.2.1", "192.0.2.1"), ("example.org", "example.org")]
    {
        let server = Server { server_name: Some(given), ..SERVER };
        assert_has(&server, &[("SERVER_NAME", Some(expected))]);
    }
}

#[test]
fn a_server_name_that_the_mount_says_is_not_the_requests() {
    assert_has(&Server { server_name: None, ..SERVER }, &[("SERVER_NAME", None)]);
}
