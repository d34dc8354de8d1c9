//! Taking a request: what is answered at once, and how the others come to a thread.
#![deny(unsafe_code)]

use std::sync::Arc;

use shared::conf::groups::Runs;
use shared::fault::Fault;
use shared::http::body::BodyLength;
use shared::log::Level;
use shared::relay::body::Body;
use shared::relay::channel::Channel;
use shared::relay::thread_side::ThreadSide;

use crate::conf::{Group, LocConf, NoMount};
use crate::embedded::loop_side;
use crate::embedded::request_body::{self, Progress};
use crate::embedded::worker::{self, Worker};
use crate::entry;
use crate::ffi::request::Request;
use crate::ffi::{Code, DONE, SPECIAL_RESPONSE, built_for, callback};
use crate::group_address::GroupAddress;
use crate::{fault, groups, log, request, upstream};

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
        && request::announced(&request).has_body()
        && !request.body_was_begun();
    if streamed {
        request.hold();
        begin(request, true);
        return DONE;
    }
    let code = request.read_client_body(false, callback::event(entry::on_body_read));
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
        && request::announced(&request).has_body()
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
        let why = "no Python runs in this process, which was started with a configuration without wsgi_pass: restart \
                   nginx";
        return Err(fault::report(request, Fault::NoPython, why));
    };
    let mount = mount_of(request, conf, "")?;
    let (body, length) = body_of(request, streamed)?;
    let head = request::pack(&request, conf, length, None).ok_or(INTERNAL_SERVER_ERROR)?;
    let progress = if streamed { Progress::Untouched } else { Progress::Done };
    let channel = loop_side::begin(request, progress).ok_or(INTERNAL_SERVER_ERROR)?;
    let exchange = ThreadSide::new(worker, Arc::clone(&channel), mount, head, body);
    if let Err(refused) = worker.backlog().push(exchange) {
        refuse(request, worker, &channel);
        // Now that the channel is closed it has nothing to say.
        drop(refused);
    }
    Ok(())
}

fn refuse(request: Request, worker: &Worker, channel: &Channel) {
    let (fault, why) = if worker.has_failed() {
        (Fault::NoPython, "Python did not start in this worker; the log says why where the worker began")
    } else {
        let why =
            "too many requests wait for a Python thread: raise wsgi_threads, or make the application faster";
        (Fault::QueueFull, why)
    };
    loop_side::refuse(channel, fault::report(request, fault, why));
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

fn body_of(request: Request, streamed: bool) -> Result<(Body, BodyLength), Code> {
    if streamed {
        return Ok((Body::Streamed, BodyLength::AsAnnounced));
    }
    if !request.is_main() || request.is_reading_body() {
        return Ok((Body::Empty, request::announced(&request).when_read(None)));
    }
    let (body, length) = request_body::store(&request).map_err(|error| {
        let message = format!("cannot duplicate the descriptor of the request body's file: {error}");
        log::request(request, Level::Critical, message.as_bytes());
        INTERNAL_SERVER_ERROR
    })?;
    Ok((body, request::announced(&request).when_read(Some(length))))
}
