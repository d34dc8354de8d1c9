//! The head of a request, from nginx's fields to the packed one.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::http::key::Key;
use shared::http::packed::{Packed, Packer};
use shared::http::target;

use crate::conf::LocConf;
use crate::ffi::request::Request;

/// What is said about the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// The request carries none, whatever its headers say: a subrequest has those of the main request.
    NoBody,
    /// nginx has read so many bytes.
    Known(u64),
    /// It is streamed: what the headers say holds.
    AsAnnounced,
}

/// What is asked where the answer is to be cached: it will be everybody's, so that nothing of one client's own may shape it.
pub struct ForCache {
    /// A HEAD request asks for the whole answer.
    pub as_get: bool,
    /// The time of a cached answer that has expired; empty where the group need not be asked whether that still holds.
    pub last_modified: Vec<u8>,
    /// Its tag, as above.
    pub etag: Vec<u8>,
}

/// Packs the head.
pub fn pack(
    request: &Request,
    conf: &LocConf,
    body: BodyLength,
    for_cache: Option<&ForCache>,
) -> Option<Packed> {
    let mut head = Packer::new();
    head.pass_authorization(conf.settings.pass_authorization());
    for (name, value) in request.headers() {
        if body == BodyLength::NoBody && is_about_body(name) || for_cache.is_some() && is_condition(name) {
            continue;
        }
        head.header(name, value);
    }
    if let Some(asked) = for_cache {
        for (name, value) in
            [(&b"If-Modified-Since"[..], &asked.last_modified), (b"If-None-Match", &asked.etag)]
        {
            if !value.is_empty() {
                head.header(name, value);
            }
        }
    }
    if let BodyLength::Known(length) = body {
        if length > 0 || request.has_chunked_body() {
            head.set(Key::ContentLength, length.to_string().as_bytes());
        }
    }
    let as_get = for_cache.is_some_and(|asked| asked.as_get);
    head.set(Key::RequestMethod, if as_get { b"GET" } else { request.method() });
    let (script_name, path_info) = target::split(request.uri(), &conf.mount_point);
    head.set(Key::ScriptName, script_name);
    head.set(Key::PathInfo, path_info);
    head.set(Key::QueryString, request.arguments());
    head.set(Key::RequestUri, request.unparsed_uri());
    let protocol = request.protocol();
    head.set(Key::ServerProtocol, if protocol.is_empty() { b"HTTP/0.9" } else { protocol });
    set_addresses(request, conf, &mut head);
    let scheme: &[u8] = if request.is_encrypted() { b"https" } else { b"http" };
    head.set(Key::UrlScheme, scheme);
    head.set(Key::RequestScheme, scheme);
    if request.is_encrypted() {
        head.set(Key::Https, b"on");
    }
    if !request.user().is_empty() {
        head.set(Key::RemoteUser, request.user());
        head.set(Key::AuthType, b"Basic");
    }
    head.set(Key::ConnectionId, request.connection_number().to_string().as_bytes());
    head.set(Key::RequestStart, (request.started_at() * 1000).to_string().as_bytes());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    head.set(Key::QueueStart, now.as_micros().to_string().as_bytes());
    if let Some(root) = &conf.root {
        head.set(Key::DocumentRoot, root.evaluate(request)?);
    }
    for param in conf.params.iter() {
        let value = param.value.evaluate(request)?;
        if !(param.if_not_empty && value.is_empty()) {
            head.set_named(&param.name, value);
        }
    }
    Some(head.finish())
}

fn set_addresses(request: &Request, conf: &LocConf, head: &mut Packer) {
    let mut buffer = [0; 128];
    let (address, port) = request.server_address(&mut buffer);
    if !conf.names_server {
        let name = if request.host().is_empty() { address } else { request.host() };
        head.set(Key::ServerName, name);
    }
    let port = port.to_string();
    head.set(Key::ServerAddr, address);
    head.set(Key::ServerPort, port.as_bytes());
    head.set(Key::ListenerPort, port.as_bytes());
    head.set(Key::ListenerHost, listener_host(request.listener()));
    head.set(Key::RemoteAddr, request.client_address());
    head.set(Key::RemotePort, request.client_port().to_string().as_bytes());
}

/// Headers that say how the main request's body comes.
fn is_about_body(name: &[u8]) -> bool {
    [&b"content-length"[..], b"transfer-encoding", b"expect"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// Headers that ask for a part of the answer, or for none where the client has one (`ngx_http_uwsgi_cache_headers`).
fn is_condition(name: &[u8]) -> bool {
    let known: [&[u8]; 6] =
        [b"if-modified-since", b"if-unmodified-since", b"if-none-match", b"if-match", b"range", b"if-range"];
    known.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The address without its port; empty, as in mod_wsgi, where every address of the machine is listened on.
fn listener_host(listener: &[u8]) -> &[u8] {
    let end = listener.iter().rposition(|byte| *byte == b':').unwrap_or(listener.len());
    match listener.get(..end).unwrap_or_default() {
        b"0.0.0.0" | b"[::]" | b"*" => b"",
        host => host,
    }
}
