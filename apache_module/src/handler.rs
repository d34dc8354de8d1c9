//! The content handler: whether the script may run, and running it.

use std::cell::RefCell;
use std::ffi::CString;

use httpd_sys::OPT_EXECCGI;
use shared::conf::location::LocationConf;
use shared::http::body::validate_coding;
use shared::log::Level;

use crate::conf::{Alias, DirectoryConf};
use crate::exchange::{HttpdExchange, Outcome, Parts};
use crate::ffi::{FileKind, FileSending, Request};
use crate::{child, groups, log, request};

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
    let alias = request.note::<Alias>();
    match refusal(request, alias.is_some()) {
        Some(status) => Answer::Status(status),
        None => serve(request, alias),
    }
}

/// Why the script may not run, as a status; the log has the reason.
fn refusal(request: Request<'_>, mounted: bool) -> Option<u16> {
    let refuse = |status, why: &str| {
        let file = String::from_utf8_lossy(request.filename().unwrap_or(b"")).into_owned();
        log::to_request(request, Level::Error, format!("{why}: {file}").as_bytes());
        Some(status)
    };
    if !mounted && !request.allows(OPT_EXECCGI) {
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
    let coding = request.header(c"Transfer-Encoding");
    if let Some(Err(error)) = coding.map(validate_coding) {
        request.close_connection();
        return refuse(error.status(), &error.to_string());
    }
    let allowed =
        request.directory_conf::<DirectoryConf>().is_none_or(|conf| conf.location.chunked_request());
    if coding.is_some() && !allowed {
        refuse(411, "a request body in chunks is not accepted here (WSGIChunkedRequest)")
    } else {
        None
    }
}

fn serve(request: Request<'_>, alias: Option<&Alias>) -> Answer {
    let defaults = LocationConf::default();
    let location = request.directory_conf::<DirectoryConf>().map_or(&defaults, |conf| &conf.location);
    let written = alias.and_then(|alias| alias.conf.process_group.as_deref());
    let variable = |name: &str| {
        let name = CString::new(name).ok()?;
        request.variable(&name).map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let chosen = groups::connections(
        written.unwrap_or_else(|| location.process_group()),
        location.restrict_process(),
        variable,
    );
    let group = match chosen {
        Ok(group) => group,
        Err(error) => {
            log::to_request(request, Level::Error, error.to_string().as_bytes());
            return Answer::Status(500);
        }
    };
    let name = group.as_ref().map(|(name, _)| name.as_str()).unwrap_or_default();
    let pass_authorization = alias.and_then(|alias| alias.conf.pass_authorization);
    let callable =
        alias.and_then(|alias| alias.conf.callable.as_deref()).unwrap_or_else(|| location.callable());
    let mount = request::mount(request, callable, location, name);
    let head = request::head(request, pass_authorization.unwrap_or_else(|| location.pass_authorization()));
    let outcome = RefCell::new(Outcome::default());
    let mut exchange = HttpdExchange::new(
        request,
        Parts {
            mount: mount.as_bytes(),
            head: &head,
            has_body: request::announced(request).has_body(),
            sending: FileSending {
                sendfile: location.enable_sendfile().unwrap_or_else(|| request.core_sendfile()),
                mmap: request.core_mmap(),
            },
            is_daemons: group.is_some(),
            error_override: location.error_override(),
            outcome: &outcome,
        },
    );
    match (group, child::engine()) {
        (Some((_, connections)), _) => connections.serve(&mut exchange),
        (None, Some(engine)) => engine.call(exchange),
        (None, None) => {
            let why = "no application runs in httpd's own processes here: WSGIRestrictEmbedded is on, every place names a process \
                       group, or Python did not start, which the error log says then";
            log::to_request(request, Level::Error, why.as_bytes());
            return Answer::Status(if child::is_restricted(request.server()) { 500 } else { 503 });
        }
    }
    match outcome.into_inner() {
        Outcome::Answered => Answer::Done,
        Outcome::Status(status) => Answer::Status(status),
        Outcome::Unserved => Answer::Status(500),
        Outcome::Elsewhere(location) => {
            request.redirect_inside(&location);
            Answer::Done
        }
    }
}
