//! Packing a request's head for the engine.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use shared::conf::location::LocationConf;
use shared::conf::mount::{Target, pack};
use shared::http::key::Key;
use shared::http::packed::{Packed, Packer};

use crate::ffi::{Request, banner};

/// What all requests of the script share.
pub fn mount(request: Request<'_>, callable: &str, conf: &LocationConf, group: &str) -> Packed {
    let script = PathBuf::from(OsStr::from_bytes(request.filename().unwrap_or(b"")));
    pack(&Target::Script(script), callable, conf, group, |head| {
        head.set(Key::ServerSoftware, banner());
        head.set(Key::GatewayInterface, b"CGI/1.1");
        let optional = |head: &mut Packer, key, value: Option<&[u8]>| {
            if let Some(value) = value {
                head.set(key, value);
            }
        };
        optional(head, Key::DocumentRoot, request.document_root());
        optional(head, Key::ServerAdmin, request.server().admin());
        let (prefix, root) = request.context();
        optional(head, Key::ContextPrefix, prefix);
        optional(head, Key::ContextDocumentRoot, root);
    })
}

/// What this request has.
pub fn head(request: Request<'_>, pass_authorization: bool) -> Packed {
    let mut head = Packer::new();
    head.pass_authorization(pass_authorization);
    for (name, value) in request.headers() {
        head.header(name, value);
    }
    for (name, value) in request.environment() {
        match Key::of_name(name) {
            Some(key) if is_open(key) => head.set(key, value),
            Some(_) => {}
            None => head.set_named(name, value),
        }
    }
    let uri = request.uri().unwrap_or(b"/");
    let path_info = request.path_info().unwrap_or(b"");
    let script_name = script_name(uri, path_info);
    head.set(Key::RequestMethod, request.method().unwrap_or(b"GET"));
    head.set(Key::ScriptName, script_name);
    head.set(Key::MountPoint, script_name);
    head.set(Key::PathInfo, path_info);
    head.set(Key::QueryString, request.query().unwrap_or(b""));
    head.set(Key::RequestUri, request_target(request));
    head.set(Key::RequestScheme, request.scheme());
    head.set(Key::UrlScheme, url_scheme(request));
    head.set(Key::ServerName, request.server_name().unwrap_or(b""));
    head.set(Key::ServerPort, request.server_port().to_string().as_bytes());
    head.set(Key::ServerProtocol, request.protocol().unwrap_or(b"HTTP/1.0"));
    let (address, port) = request.local();
    let port = port.to_string();
    head.set(Key::ServerAddr, address.unwrap_or(b""));
    head.set(Key::ListenerHost, address.unwrap_or(b""));
    head.set(Key::ListenerPort, port.as_bytes());
    head.set(Key::RemoteAddr, request.client_address().unwrap_or(b""));
    head.set(Key::RemotePort, request.client_port().to_string().as_bytes());
    if let Some(user) = request.user() {
        head.set(Key::RemoteUser, user);
    }
    if let Some(kind) = request.auth_type() {
        head.set(Key::AuthType, kind);
    }
    if let Some(id) = request.log_id() {
        head.set(Key::RequestId, id);
    }
    head.set(Key::ConnectionId, request.connection_id().to_string().as_bytes());
    head.set(Key::RequestStart, request.time().to_string().as_bytes());
    head.finish()
}

/// Whether the request's environment may set a key. The others are the request's own to say, as CGI's variables are: mod_include
/// leaves those of the page in the environment of what it includes.
fn is_open(key: Key) -> bool {
    matches!(key, Key::Https | Key::RemoteHost | Key::RemoteUser | Key::AuthType)
        || key.name().starts_with("HTTP_")
}

/// `wsgi.url_scheme`. As with mod_wsgi, a server behind a proxy that ends TLS says it with the variable HTTPS (`SetEnvIf
/// X-Forwarded-Proto https HTTPS=on`).
fn url_scheme(request: Request<'_>) -> &[u8] {
    let is_on = |value: &[u8]| value.eq_ignore_ascii_case(b"on") || value == b"1";
    if request.variable(c"HTTPS").is_some_and(is_on) { b"https" } else { request.scheme() }
}

/// What of a URL comes before its path info. Several slashes are the same as one, for httpd makes one of them where it looks for
/// the script (`ap_find_path_info`). All of the URL where a rewrite has nothing of it left.
fn script_name<'u>(uri: &'u [u8], path_info: &[u8]) -> &'u [u8] {
    let (mut rest, mut wanted) = (uri, path_info);
    while let Some((last, before)) = wanted.split_last() {
        let Some(shorter) = rest.strip_suffix(std::slice::from_ref(last)) else { return uri };
        (rest, wanted) =
            if *last == b'/' { (without_slashes(rest), without_slashes(wanted)) } else { (shorter, before) };
    }
    rest
}

/// A path without the slashes that it ends with.
fn without_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    path.get(..end).unwrap_or_default()
}

/// The request target as the client sent it; internal redirects change what the request itself says.
fn request_target(request: Request<'_>) -> &[u8] {
    let line = request.the_request().unwrap_or(b"");
    let sent = line.split(|byte| *byte == b' ').nth(1);
    sent.or_else(|| request.unparsed_uri()).unwrap_or(b"")
}
