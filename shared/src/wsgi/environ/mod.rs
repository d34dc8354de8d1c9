//! environ (PEP 3333, "environ Variables"): which keys it has, and from what. A server only answers the
//! questions of [`ServerRequest`]; [`mount`] has what all requests of a mount share, and [`keys`] the
//! documentation of each key.
//!
//! Which request headers stand in environ, and under which names, is in [`crate::http::packed`] and
//! [`crate::http::token`].

pub mod keys;
pub mod mount;
#[cfg(test)]
mod tests;

use crate::http::body::{BodyLength, is_about_body};
use crate::http::host::{HostPort, is_bare_ipv6};
use crate::http::key::Key;
use crate::http::packed::{Packed, Packer};

/// What a server is asked about a request. Each answer is borrowed from the server's own structures.
pub trait ServerRequest {
    /// Why a request has no environ: the server could not evaluate a parameter.
    type Error;

    /// `GET`.
    fn method(&self) -> &[u8];

    /// The request target as the client sent it (RFC 9112 section 3.2).
    fn target(&self) -> &[u8];

    /// The decoded path as SCRIPT_NAME and PATH_INFO ([`crate::http::target`]).
    fn split_path(&self) -> (&[u8], &[u8]);

    /// Where the application is mounted, where that is the request's to say and not the mount's.
    fn mount_point(&self) -> Option<&[u8]> {
        None
    }

    /// What stands behind the question mark.
    fn query(&self) -> &[u8];

    /// `HTTP/1.1`; empty for HTTP/0.9, which does not say.
    fn protocol(&self) -> &[u8];

    /// `http` or `https`, as the connection is.
    fn scheme(&self) -> &[u8];

    /// The variable HTTPS: `on` over an encrypted connection, or what a configuration behind a proxy that
    /// ends TLS says.
    fn https(&self) -> Option<&[u8]>;

    /// The name under which the server was asked for; `None` where the mount says it.
    fn server_name(&self) -> Option<&[u8]>;

    /// The port under which the server was asked for.
    fn server_port(&self) -> u16;

    /// The address that the client connected to.
    fn server_address(&self) -> HostPort<'_>;

    /// The host that is listened on; empty for every address of the machine.
    fn listener_host(&self) -> &[u8];

    /// The client's address.
    fn client_address(&self) -> HostPort<'_>;

    /// Who has logged in with the server.
    fn user(&self) -> Option<&[u8]>;

    /// How (RFC 3875 section 4.1.1).
    fn auth_type(&self) -> Option<&[u8]>;

    /// The request's identifier in the server's log.
    fn request_id(&self) -> Option<&[u8]> {
        None
    }

    /// The connection's number.
    fn connection_id(&self) -> u64;

    /// When the request came, in microseconds since the epoch.
    fn started_at(&self) -> u64;

    /// When the server passed it on, in microseconds since the epoch, where the request may have to wait
    /// then.
    fn queued_at(&self) -> Option<u64> {
        None
    }

    /// The document root, where it is the request's to say and not the mount's.
    ///
    /// # Errors
    /// It has variables that the server could not evaluate.
    fn document_root(&self) -> Result<Option<&[u8]>, Self::Error> {
        Ok(None)
    }

    /// The header fields in the client's order.
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// Whether credentials may stand in environ (`WSGIPassAuthorization`, `wsgi_pass_authorization`).
    fn passes_authorization(&self) -> bool;

    /// How long the body is.
    fn body(&self) -> BodyLength;

    /// What other modules of the server left in the request's environment (`SetEnv`, mod_ssl). It never
    /// stands for what the request says itself: see [`may_be_a_variable`].
    fn variables(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::empty()
    }

    /// Gives the further keys that the administrator set (`wsgi_param`) to `set`; they replace what was
    /// there.
    ///
    /// # Errors
    /// A value has variables that the server could not evaluate.
    fn parameters(&self, _set: impl FnMut(&[u8], &[u8])) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Packs what a request has in environ beyond its mount.
///
/// # Errors
/// The server could not evaluate a parameter.
pub fn pack<R: ServerRequest>(request: &R) -> Result<Packed, R::Error> {
    let mut head = Packer::new();
    set_headers(request, &mut head);
    for (name, value) in request.variables() {
        match Key::of_name(name) {
            Some(key) if may_be_a_variable(key) => head.set(key, value),
            Some(_) => {}
            None => head.set_named(name, value),
        }
    }
    set_request_line(request, &mut head);
    set_scheme(request, &mut head);
    set_addresses(request, &mut head);
    let optional = |head: &mut Packer, key, value: Option<&[u8]>| {
        if let Some(value) = value {
            head.set(key, value);
        }
    };
    optional(&mut head, Key::RemoteUser, request.user());
    optional(&mut head, Key::AuthType, request.auth_type());
    optional(&mut head, Key::RequestId, request.request_id());
    set_number(&mut head, Key::ConnectionId, request.connection_id());
    set_number(&mut head, Key::RequestStart, request.started_at());
    if let Some(queued_at) = request.queued_at() {
        set_number(&mut head, Key::QueueStart, queued_at);
    }
    optional(&mut head, Key::DocumentRoot, request.document_root()?);
    request.parameters(|name, value| head.set_named(name, value))?;
    Ok(head.finish())
}

fn set_headers(request: &impl ServerRequest, head: &mut Packer) {
    head.pass_authorization(request.passes_authorization());
    let body = request.body();
    for (name, value) in request.headers() {
        if body != BodyLength::NoBody || !is_about_body(name) {
            head.header(name, value);
        }
    }
    if let BodyLength::Known(length) = body {
        set_number(head, Key::ContentLength, length);
    }
}

fn set_request_line(request: &impl ServerRequest, head: &mut Packer) {
    head.set(Key::RequestMethod, request.method());
    let (script_name, path_info) = request.split_path();
    head.set(Key::ScriptName, script_name);
    head.set(Key::PathInfo, path_info);
    if let Some(mount_point) = request.mount_point() {
        head.set(Key::MountPoint, mount_point);
    }
    head.set(Key::QueryString, request.query());
    head.set(Key::RequestUri, request.target());
    let protocol = request.protocol();
    head.set(Key::ServerProtocol, if protocol.is_empty() { b"HTTP/0.9" } else { protocol });
}

fn set_scheme(request: &impl ServerRequest, head: &mut Packer) {
    let https = request.https();
    let is_on = |value: &[u8]| value.eq_ignore_ascii_case(b"on") || value == b"1";
    head.set(Key::RequestScheme, request.scheme());
    head.set(Key::UrlScheme, if https.is_some_and(is_on) { b"https" } else { request.scheme() });
    if let Some(https) = https {
        head.set(Key::Https, https);
    }
}

fn set_addresses(request: &impl ServerRequest, head: &mut Packer) {
    if let Some(name) = request.server_name() {
        if is_bare_ipv6(name) {
            // The form of a URL's host (RFC 3875 section 4.1.14).
            head.set_parts(Key::ServerName, &[b"[", name, b"]"]);
        } else {
            head.set(Key::ServerName, name);
        }
    }
    set_number(head, Key::ServerPort, request.server_port().into());
    let server = request.server_address();
    head.set(Key::ServerAddr, server.host);
    head.set(Key::ListenerHost, request.listener_host());
    set_number(head, Key::ListenerPort, server.port.into());
    let client = request.client_address();
    head.set(Key::RemoteAddr, client.host);
    set_number(head, Key::RemotePort, client.port.into());
}

/// Whether the request's environment may set a key. The others are the request's own to say, as CGI's
/// variables are: mod_include leaves those of the page in the environment of what it includes.
#[must_use]
pub fn may_be_a_variable(key: Key) -> bool {
    matches!(key, Key::RemoteHost | Key::RemoteUser | Key::AuthType) || key.name().starts_with("HTTP_")
}

/// Sets a key to a number in decimal digits.
fn set_number(head: &mut Packer, key: Key, number: u64) {
    // As many digits as u64::MAX has.
    let mut digits = [0; 20];
    let mut rest = number;
    let mut first = digits.len();
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (rest % 10) as u8;
        (first, rest) = (index, rest / 10);
        if rest == 0 {
            break;
        }
    }
    head.set(key, digits.get(first..).unwrap_or_default());
}
