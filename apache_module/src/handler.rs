//! The content handler: whether the script may run, and running it.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use httpd_sys::OPT_EXECCGI;
use shared::http::length;
use shared::log::Level;

use crate::conf::{DirectoryConf, Mounted};
use crate::exchange::{HttpdExchange, Outcome, Parts};
use crate::ffi::{FileKind, Request};
use crate::{log, process, request};

/// What a handler tells httpd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request is another handler's.
    Declined,
    /// There is a response.
    Done,
    /// httpd is to answer this status, with its `ErrorDocument`.
    Status(u16),
}

/// The names that configurations use for this handler.
const NAMES: [&[u8]; 2] = [b"wsgi-script", b"application/x-httpd-wsgi"];

/// Serves a request, if it is for this handler.
pub fn handle(request: Request<'_>) -> Answer {
    if !request.handler().is_some_and(|handler| NAMES.contains(&handler)) {
        return Answer::Declined;
    }
    let mounted = request.note::<Mounted>();
    match refusal(request, mounted) {
        Some(status) => Answer::Status(status),
        None => serve(request, mounted),
    }
}

/// Why the script may not run, as a status; the log has the reason.
fn refusal(request: Request<'_>, mounted: Option<&Mounted>) -> Option<u16> {
    let refuse = |status, why: &str| {
        let file = String::from_utf8_lossy(request.filename().unwrap_or(b"")).into_owned();
        log::to_request(request, Level::Error, format!("{why}: {file}").as_bytes());
        Some(status)
    };
    if mounted.is_none() && !request.allows(OPT_EXECCGI) {
        return refuse(403, "Options ExecCGI is off in this directory, so that this script may not run");
    }
    match request.file_kind() {
        FileKind::Missing => return refuse(404, "there is no such WSGI script"),
        FileKind::Directory => return refuse(403, "this WSGI script is a directory"),
        FileKind::Other => {}
    }
    if request.rejects_path_info() && request.path_info().is_some_and(|path| !path.is_empty()) {
        return refuse(404, "AcceptPathInfo is off, so that no path may follow this script");
    }
    let chunked = request.header(c"Transfer-Encoding").is_some();
    let allowed =
        request.directory_conf::<DirectoryConf>().is_none_or(|conf| conf.location.chunked_request());
    if chunked && !allowed {
        refuse(411, "a request body in chunks is not accepted here (WSGIChunkedRequest)")
    } else {
        None
    }
}

fn serve(request: Request<'_>, mounted: Option<&Mounted>) -> Answer {
    let Some(engine) = process::engine() else {
        log::to_request(
            request,
            Level::Error,
            b"Python is not running in this process; the error log says why at its start",
        );
        return Answer::Status(503);
    };
    let location =
        request.directory_conf::<DirectoryConf>().map(|conf| conf.location.clone()).unwrap_or_default();
    let pass_authorization = mounted.and_then(|mounted| mounted.pass_authorization);
    let script = PathBuf::from(OsStr::from_bytes(request.filename().unwrap_or(b"")));
    let mount = request::mount(request, script, &location, mounted);
    let head = request::head(request, pass_authorization.unwrap_or_else(|| location.pass_authorization()));
    let outcome = Cell::new(Outcome::default());
    engine.call(HttpdExchange::new(
        request,
        Parts {
            mount: mount.as_bytes(),
            head: &head,
            has_body: has_body(request),
            sendfile: location.enable_sendfile().unwrap_or_else(|| request.core_sendfile()),
            outcome: &outcome,
        },
    ));
    match outcome.get() {
        Outcome::Answered => Answer::Done,
        Outcome::Status(status) => Answer::Status(status),
        Outcome::Unserved => Answer::Status(500),
    }
}

/// Whether there is a body to read (RFC 9112 section 6.3). HTTP/2 needs neither header for one.
fn has_body(request: Request<'_>) -> bool {
    if request.header(c"Transfer-Encoding").is_some() {
        return true;
    }
    match request.header(c"Content-Length") {
        Some(length) => length::parse(length) != Some(0),
        None => {
            request.protocol() == Some(b"HTTP/2.0") && !matches!(request.method(), Some(b"GET" | b"HEAD"))
        }
    }
}
