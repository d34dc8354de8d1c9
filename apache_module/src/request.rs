//! Packing a request's head for the engine.

use std::path::PathBuf;

use shared::conf::location::LocationConf;
use shared::conf::mount::{Target, pack};
use shared::http::head::{HeadBuilder, RequestHead};
use shared::http::key::Key;

use crate::conf::Mounted;
use crate::ffi::{Request, banner};

/// What all requests of the script share.
pub fn mount(
    request: Request<'_>,
    script: PathBuf,
    conf: &LocationConf,
    mounted: Option<&Mounted>,
) -> RequestHead {
    let callable = mounted.and_then(|mounted| mounted.callable.as_deref()).unwrap_or_else(|| conf.callable());
    pack(&Target::Script(script), callable, conf, |head| {
        head.set(Key::ServerSoftware, banner());
        head.set(Key::GatewayInterface, b"CGI/1.1");
        let optional = |head: &mut HeadBuilder, key, value: Option<&[u8]>| {
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
pub fn head(request: Request<'_>, pass_authorization: bool) -> RequestHead {
    let mut head = HeadBuilder::new();
    head.pass_authorization(pass_authorization);
    for (name, value) in request.headers() {
        head.header(name, value);
    }
    let uri = request.uri().unwrap_or(b"/");
    let path_info = request.path_info().unwrap_or(b"");
    let script_name = uri.strip_suffix(path_info).unwrap_or(uri);
    let scheme = request.scheme();
    head.set(Key::RequestMethod, request.method().unwrap_or(b"GET"));
    head.set(Key::ScriptName, script_name);
    head.set(Key::MountPoint, script_name);
    head.set(Key::PathInfo, path_info);
    head.set(Key::QueryString, request.query().unwrap_or(b""));
    head.set(Key::RequestUri, request_target(request));
    head.set(Key::RequestScheme, scheme);
    head.set(Key::UrlScheme, scheme);
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
    for (name, value) in request.environment() {
        head.set_named(name, value);
    }
    head.finish()
}

/// The request target as the client sent it; internal redirects change what the request itself says.
fn request_target(request: Request<'_>) -> &[u8] {
    let line = request.the_request().unwrap_or(b"");
    let sent = line.split(|byte| *byte == b' ').nth(1);
    sent.or_else(|| request.unparsed_uri()).unwrap_or(b"")
}
