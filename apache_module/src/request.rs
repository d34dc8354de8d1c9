//! What httpd says of a request, as environ asks for it.

#![deny(unsafe_code)]

use std::cell::RefCell;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use shared::conf::location::LocationConf;
use shared::http::body::{Announced, BodyLength};
use shared::http::host::HostPort;
use shared::http::packed::Packed;
use shared::http::target;
use shared::wsgi::environ::mount::{Mount, MountCache, Site};
use shared::wsgi::environ::{self, ServerRequest};

use crate::ffi::{Request, banner};

thread_local! {
    /// What the thread's last requests were mounted at. The script is the request's: a directory may be
    /// mounted, or AddHandler may say what a script is.
    static MOUNTS: RefCell<MountCache> = const { RefCell::new(MountCache::new()) };
}

/// What all requests of the script share.
pub fn mount(request: Request<'_>, callable: &str, conf: &LocationConf, group: &str) -> Arc<Packed> {
    let script = Path::new(OsStr::from_bytes(request.filename().unwrap_or(b"")));
    let (context_prefix, context_document_root) = request.context();
    let mount = Mount::of_script(script, callable, conf, group).at(Site {
        software: Some(banner()),
        server_name: None,
        admin: request.server().admin(),
        document_root: request.document_root(),
        mount_point: None,
        context_prefix,
        context_document_root,
    });
    MOUNTS.with_borrow_mut(|mounts| mounts.get(&mount))
}

/// What this request has.
pub fn head(request: Request<'_>, passes_authorization: bool) -> Packed {
    let (path, path_info) = (request.uri().unwrap_or(b"/"), request.path_info().unwrap_or(b""));
    let (host, port) = request.local();
    let packed = environ::pack(&HttpdRequest {
        request,
        passes_authorization,
        script_name: target::before_path_info(path, path_info),
        path_info,
        server: HostPort { host: host.unwrap_or(b""), port },
    });
    match packed {
        Ok(packed) => packed,
        Err(never) => match never {},
    }
}

/// What the head announces of the body.
pub fn announced(request: Request<'_>) -> Announced {
    Announced::of_fields(
        request.header(c"Transfer-Encoding"),
        request.header(c"Content-Length"),
        request.protocol() == Some(b"HTTP/2.0"),
        request.method().unwrap_or(b"GET"),
    )
}

struct HttpdRequest<'r> {
    request: Request<'r>,
    passes_authorization: bool,
    script_name: &'r [u8],
    path_info: &'r [u8],
    server: HostPort<'r>,
}

impl ServerRequest for HttpdRequest<'_> {
    type Error = Infallible;

    fn method(&self) -> &[u8] {
        self.request.method().unwrap_or(b"GET")
    }

    /// Internal redirects change what the request itself says.
    fn target(&self) -> &[u8] {
        let sent = target::of_request_line(self.request.the_request().unwrap_or(b""));
        sent.or_else(|| self.request.unparsed_uri()).unwrap_or(b"")
    }

    fn split_path(&self) -> (&[u8], &[u8]) {
        (self.script_name, self.path_info)
    }

    fn mount_point(&self) -> Option<&[u8]> {
        Some(self.script_name)
    }

    fn query(&self) -> &[u8] {
        self.request.query().unwrap_or(b"")
    }

    fn protocol(&self) -> &[u8] {
        self.request.protocol().unwrap_or(b"HTTP/1.0")
    }

    fn scheme(&self) -> &[u8] {
        self.request.scheme()
    }

    /// mod_ssl sets it. As with mod_wsgi, a server behind a proxy that ends TLS sets it with `SetEnvIf
    /// X-Forwarded-Proto https HTTPS=on`.
    fn https(&self) -> Option<&[u8]> {
        self.request.variable(c"HTTPS")
    }

    fn server_name(&self) -> Option<&[u8]> {
        Some(self.request.server_name().unwrap_or(b""))
    }

    fn server_port(&self) -> u16 {
        self.request.server_port()
    }

    fn server_address(&self) -> HostPort<'_> {
        self.server
    }

    fn listener_host(&self) -> &[u8] {
        self.server.host
    }

    fn client_address(&self) -> HostPort<'_> {
        HostPort { host: self.request.client_address().unwrap_or(b""), port: self.request.client_port() }
    }

    fn user(&self) -> Option<&[u8]> {
        self.request.user()
    }

    fn auth_type(&self) -> Option<&[u8]> {
        self.request.auth_type()
    }

    fn request_id(&self) -> Option<&[u8]> {
        self.request.log_id()
    }

    fn connection_id(&self) -> u64 {
        u64::try_from(self.request.connection_id()).unwrap_or(0)
    }

    fn started_at(&self) -> u64 {
        u64::try_from(self.request.time()).unwrap_or(0)
    }

    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.request.headers()
    }

    fn passes_authorization(&self) -> bool {
        self.passes_authorization
    }

    fn body(&self) -> BodyLength {
        BodyLength::AsAnnounced
    }

    fn variables(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.request.environment()
    }
}
