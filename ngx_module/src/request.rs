//! What nginx says of a request, as environ asks for it.

#![deny(unsafe_code)]

use std::time::{SystemTime, UNIX_EPOCH};

use shared::http::body::{Announced, BodyLength};
use shared::http::host::{HostPort, of_listener};
use shared::http::packed::Packed;
use shared::http::target;
use shared::http::token::is_conditional;
use shared::wsgi::environ::{self, ServerRequest};

use crate::conf::LocConf;
use crate::ffi::request::Request;

/// What is asked where the answer is to be cached: it will be everybody's, so that nothing of one client's
/// own may shape it.
pub struct ForCache {
    /// A HEAD request asks for the whole answer.
    pub as_get: bool,
    /// The time of a cached answer that has expired; empty where the group need not be asked whether that
    /// still holds.
    pub last_modified: Vec<u8>,
    /// Its tag, as above.
    pub etag: Vec<u8>,
}

/// What the head announces of the body; nginx has read the fields.
pub fn announced(request: &Request) -> Announced {
    if request.has_chunked_body() {
        return Announced::Unknown;
    }
    request.content_length().map_or(Announced::Nothing, Announced::Length)
}

/// Packs the head; `None` where nginx could not evaluate a variable, which it has logged.
pub fn pack(
    request: &Request,
    conf: &LocConf,
    body: BodyLength,
    for_cache: Option<&ForCache>,
) -> Option<Packed> {
    let mut address = [0; 128];
    let (host, port) = request.server_address(&mut address);
    environ::pack(&NginxRequest { request, conf, body, for_cache, server: HostPort { host, port } }).ok()
}

/// nginx could not evaluate a variable.
struct NoValue;

struct NginxRequest<'a> {
    request: &'a Request,
    conf: &'a LocConf,
    body: BodyLength,
    for_cache: Option<&'a ForCache>,
    server: HostPort<'a>,
}

impl ServerRequest for NginxRequest<'_> {
    type Error = NoValue;

    fn method(&self) -> &[u8] {
        let as_get = self.for_cache.is_some_and(|asked| asked.as_get);
        if as_get { b"GET" } else { self.request.method() }
    }

    fn target(&self) -> &[u8] {
        self.request.unparsed_uri()
    }

    fn split_path(&self) -> (&[u8], &[u8]) {
        target::split(self.request.uri(), &self.conf.mount_point)
    }

    fn query(&self) -> &[u8] {
        self.request.arguments()
    }

    fn protocol(&self) -> &[u8] {
        self.request.protocol()
    }

    fn scheme(&self) -> &[u8] {
        if self.request.is_encrypted() { b"https" } else { b"http" }
    }

    fn https(&self) -> Option<&[u8]> {
        self.request.is_encrypted().then_some(b"on")
    }

    fn server_name(&self) -> Option<&[u8]> {
        let host = self.request.host();
        let name = if host.is_empty() { self.server.host } else { host };
        self.conf.server_name.is_none().then_some(name)
    }

    fn server_port(&self) -> u16 {
        self.server.port
    }

    fn server_address(&self) -> HostPort<'_> {
        self.server
    }

    fn listener_host(&self) -> &[u8] {
        of_listener(self.request.listener())
    }

    fn client_address(&self) -> HostPort<'_> {
        HostPort { host: self.request.client_address(), port: self.request.client_port() }
    }

    fn user(&self) -> Option<&[u8]> {
        let user = self.request.user();
        (!user.is_empty()).then_some(user)
    }

    fn auth_type(&self) -> Option<&[u8]> {
        self.user().map(|_| &b"Basic"[..])
    }

    fn connection_id(&self) -> u64 {
        self.request.connection_number()
    }

    fn started_at(&self) -> u64 {
        self.request.started_at() * 1000
    }

    fn queued_at(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_micros()).ok()
    }

    fn document_root(&self) -> Result<Option<&[u8]>, NoValue> {
        let root = self.conf.root.as_ref().map(|root| root.evaluate(self.request).ok_or(NoValue));
        root.transpose()
    }

    /// Where the answer is to be cached: without the client's own conditions, with those of the answer that
    /// has expired.
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let is_cached = self.for_cache.is_some();
        let sent = self.request.headers().filter(move |(name, _)| !is_cached || !is_conditional(name));
        let added = self.for_cache.map(|asked| {
            [
                (&b"If-Modified-Since"[..], asked.last_modified.as_slice()),
                (b"If-None-Match", asked.etag.as_slice()),
            ]
        });
        sent.chain(added.into_iter().flatten().filter(|(_, value)| !value.is_empty()))
    }

    fn passes_authorization(&self) -> bool {
        self.conf.settings.pass_authorization()
    }

    fn body(&self) -> BodyLength {
        self.body
    }

    fn parameters(&self, mut set: impl FnMut(&[u8], &[u8])) -> Result<(), NoValue> {
        for param in self.conf.params.iter() {
            let value = param.value.evaluate(self.request).ok_or(NoValue)?;
            if !(param.if_not_empty && value.is_empty()) {
                set(&param.name, value);
            }
        }
        Ok(())
    }
}
