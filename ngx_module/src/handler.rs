//! Taking a request: what is answered at once, and how the others come to a thread.

use std::sync::Arc;

use shared::conf::groups::Runs;
use shared::fault::Fault;
use shared::log::Level;

use crate::conf::{Group, LocConf, NoMount};
use crate::entry;
use crate::exchange::NginxExchange;
use crate::ffi::request::Request;
use crate::ffi::{Code, DONE, SPECIAL_RESPONSE, built_for};
use crate::request::{self, BodyLength};
use crate::request_body::{self, Progress, StoredBody};
use crate::upstream::{self, GroupAddress};
use crate::worker::{self, Worker};
use crate::{fault, groups, log, serving};

const INTERNAL_SERVER_ERROR: Code = 500;

/// nginx's content handler.
pub fn handle(request: Request) -> Code {
    match built_for::check_request(&request) {
        Ok(true) => {}
        // It was said once for this process.
        Ok(false) => return INTERNAL_SERVER_ERROR,
        Err(another) => {
            log::emergency(&another.to_string());
            return INTERNAL_SERVER_ERROR;
        }
    }
    let Some(conf) = request.location() else { return 500 };
    if request.has_chunked_body() && request.is_main() && !conf.settings.chunked_request() {
        let discarded = request.discard_body();
        return if discarded >= SPECIAL_RESPONSE { discarded } else { 411 };
    }
    match groups::choose(&request, conf) {
        Ok(Runs::Embedded) => {}
        Ok(Runs::Group(group)) => return proxy(request, conf, &group),
        Err(code) => return code,
    }
    let streamed = !conf.settings.request_buffering()
        && request.is_main()
        && request.announces_body()
        && !request.body_was_begun();
    if streamed {
        request.hold();
        begin(request, true);
        return DONE;
    }
    let code = request.read_client_body(false, Some(entry::on_body_read));
    if code >= SPECIAL_RESPONSE { code } else { DONE }
}

/// Sends the request to a process group.
fn proxy(request: Request, conf: &LocConf, group: &Arc<GroupAddress>) -> Code {
    let mount = match mount_of(request, conf, &group.name) {
        Ok(mount) => mount,
        Err(code) => return code,
    };
    let streamed = !conf.settings.request_buffering()
        && request.is_main()
        && request.announces_body()
        && !request.body_was_begun();
    // Where variables name the group nothing of it was known when the location was configured.
    let timeouts = matches!(conf.group, Group::Variable(_)).then(|| conf.written_timeouts.or(group.timeouts));
    upstream::begin(request, group, timeouts, mount, streamed)
}

/// The body of a buffered request is here.
pub fn on_body_read(request: Request) {
    begin(request, false);
}

fn begin(request: Request, streamed: bool) {
    if let Err(code) = try_begin(request, streamed) {
        if streamed {
            let discarded = request.discard_body();
            request.finalize(if discarded >= SPECIAL_RESPONSE { discarded } else { code });
        } else {
            request.finalize(code);
        }
    }
}

/// Gives the request to the threads; the error is a status for a request that was not taken.
fn try_begin(request: Request, streamed: bool) -> Result<(), Code> {
    let Some(conf) = request.location() else { return Err(500) };
    let Some(worker) = worker::worker() else {
        let why = "no Python runs in this process, which was started with a configuration without wsgi_pass: restart nginx";
        return Err(fault::report(request, Fault::NoPython, why));
    };
    let mount = mount_of(request, conf, "")?;
    let (body, length) = body_of(request, streamed)?;
    let head = request::pack(&request, conf, length, None).ok_or(INTERNAL_SERVER_ERROR)?;
    let progress = if streamed { Progress::Untouched } else { Progress::Done };
    let link = serving::begin(request, progress).ok_or(INTERNAL_SERVER_ERROR)?;
    let exchange = NginxExchange::new(worker, Arc::clone(&link), mount, head, body);
    if worker.backlog().push(exchange).is_err() {
        refuse(request, worker, &link);
    }
    Ok(())
}

fn refuse(request: Request, worker: &Worker, link: &crate::link::Link) {
    let (fault, why) = if worker.has_failed() {
        (Fault::NoPython, "Python did not start in this worker; the log says why where the worker began")
    } else {
        let why =
            "too many requests wait for a Python thread: raise wsgi_threads, or make the application faster";
        (Fault::QueueFull, why)
    };
    serving::refuse(link, fault::report(request, fault, why));
}

fn mount_of(
    request: Request,
    conf: &LocConf,
    group: &str,
) -> Result<Arc<shared::http::packed::Packed>, Code> {
    conf.mount(&request, group).map_err(|error| {
        if !matches!(error, NoMount::Value) {
            log::request(request, Level::Error, error.to_string().as_bytes());
        }
        match error {
            NoMount::Missing { .. } => 404,
            NoMount::Value | NoMount::Target(_) | NoMount::Unset => 500,
        }
    })
}

fn body_of(request: Request, streamed: bool) -> Result<(StoredBody, BodyLength), Code> {
    if streamed {
        return Ok((StoredBody::Streamed, BodyLength::AsAnnounced));
    }
    if !request.is_main() || request.is_reading_body() {
        return Ok((StoredBody::Empty, BodyLength::NoBody));
    }
    let (body, length) = request_body::store(&request).map_err(|error| {
        let message = format!("cannot duplicate the descriptor of the request body's file: {error}");
        log::request(request, Level::Critical, message.as_bytes());
        INTERNAL_SERVER_ERROR
    })?;
    // Another location may have read all of it before this one got the request.
    let lost = length == 0 && request.announces_body() && !request.has_chunked_body();
    Ok((body, if lost { BodyLength::NoBody } else { BodyLength::Known(length) }))
}
