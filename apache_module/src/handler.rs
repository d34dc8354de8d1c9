//! The content handler: whether the script may run, and running it.

use std::cell::RefCell;
use std::ffi::CString;
use std::fmt::Display;

use httpd_sys::OPT_EXECCGI;
use shared::conf::groups::Runs;
use shared::conf::location::LocationConf;
use shared::fault::{Fault, Reply};
use shared::http::body::validate_coding;
use shared::log::Level;

use crate::conf::{Alias, DirectoryConf};
use crate::exchange::{HttpdExchange, Outcome, Parts};
use crate::ffi::{FileKind, FileSending, Request};
use crate::group_response::GroupResponses;
use crate::{child, groups, log, request};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The request is another handler's.
    Declined,
    /// There is a response.
    Done,
    /// httpd answers this status, with its `ErrorDocument`.
    Status(u16),
}

/// The names that configurations use for this handler.
const NAMES: [&[u8]; 2] = [b"wsgi-script", b"application/x-httpd-wsgi"];

/// Serves a request, if it is for this handler.
pub fn handle(request: Request<'_>) -> Handled {
    if !request.handler().is_some_and(|handler| NAMES.contains(&handler)) {
        return Handled::Declined;
    }
    let alias = request.note::<Alias>();
    match refused_script(request, alias.is_some()) {
        Some(status) => Handled::Status(status),
        None => serve(request, alias),
    }
}

/// Why the script may not run, as a status; the log has the reason.
fn refused_script(request: Request<'_>, mounted: bool) -> Option<u16> {
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

fn serve(request: Request<'_>, alias: Option<&Alias>) -> Handled {
    let defaults = LocationConf::default();
    let location = request.directory_conf::<DirectoryConf>().map_or(&defaults, |conf| &conf.location);
    let written = alias.and_then(|alias| alias.conf.process_group.as_deref());
    let variable = |name: &str| {
        let name = CString::new(name).ok()?;
        request.variable(&name).map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let chosen = groups::choose(
        written.unwrap_or_else(|| location.process_group()),
        location.restrict_process(),
        variable,
    );
    let runs = match chosen {
        Ok(runs) => runs,
        Err(error) => return refuse(request, error.fault(), &error),
    };
    let name = match &runs {
        Runs::Embedded => "",
        Runs::Group(pool) => pool.group(),
    };
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
                // A group's process can make its file shorter while a filter reads the mapping, which would
                // end this child with SIGBUS.
                mmap: matches!(runs, Runs::Embedded) && request.core_mmap(),
            },
            group_responses: match runs {
                Runs::Group(_) => Some(GroupResponses { error_override: location.error_override() }),
                Runs::Embedded => None,
            },
            outcome: &outcome,
        },
    );
    match runs {
        Runs::Group(pool) => pool.serve(&mut exchange),
        Runs::Embedded => match child::engine() {
            Some(engine) => engine.call(exchange),
            None if child::is_restricted(request.server()) => {
                let why = "WSGIRestrictEmbedded is on, and no process group is chosen for this request";
                return refuse(request, Fault::Restricted, &why);
            }
            None => {
                let why = "no Python runs in this process: it did not start, which the error log says, or \
                           every place of the configuration names a process group";
                return refuse(request, Fault::NoPython, &why);
            }
        },
    }
    match outcome.into_inner() {
        Outcome::Responded => Handled::Done,
        Outcome::Status(status) => Handled::Status(status),
        Outcome::Unserved => Handled::Status(Fault::Unserved.reply().status),
        Outcome::Redirect(location) => {
            request.redirect_inside(&location);
            Handled::Done
        }
    }
}

/// Logs why a request cannot be served, and has httpd answer what the table of faults says.
fn refuse(request: Request<'_>, fault: Fault, why: &dyn Display) -> Handled {
    let Reply { status, level, retry_after } = fault.reply();
    log::to_request(request, level, why.to_string().as_bytes());
    if retry_after > 0 {
        request.set_error_header(b"Retry-After", retry_after.to_string().as_bytes());
    }
    Handled::Status(status)
}
