//! Daemon mode in nginx's own upstream machinery: its timeouts, buffers, temporary files, cache and `$upstream_*` variables work
//! as for its other upstreams.
//!
//! What is ours: the request as frames ([`ask`]), the connections ([`peer`], [`receive`]), and the answer from frames ([`answer`]).
//! All of it runs on the event loop's thread, and belongs to one request ([`Asking`]) that its pool frees.

mod answer;
mod ask;
mod cache;
mod conf;
mod inherit;
mod peer;
mod rate;
mod receive;
mod retry;
mod slots;
mod store;
mod told;

use std::collections::VecDeque;
use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nginx_sys::{
    ngx_command_t, ngx_event_pipe_t, ngx_http_request_t, ngx_http_upstream_conf_t, ngx_http_upstream_create,
    ngx_http_upstream_init, ngx_http_upstream_t, ngx_int_t, ngx_pcalloc, ngx_pool_cleanup_add, ngx_str_t,
};
use shared::ffi::guard::guard;
use shared::http::packed::Packed;
use shared::wire::Reader;
use shared::wire::session::ServerSide;

use super::request::Request;
use super::{Code, DONE, ERROR, SPECIAL_RESPONSE};
pub use conf::{Timeouts, UpstreamConf};

/// nginx's tables of the directives of an upstream, which stand in `shared::vocabulary::upstream` too.
pub const COMMANDS: [&[ngx_command_t]; 5] =
    told::all_told([&conf::COMMANDS, &retry::COMMANDS, &cache::COMMANDS, &store::COMMANDS, &rate::COMMANDS]);

/// A connection to a worker, besides nginx's own.
pub(super) struct Link {
    reader: Reader,
    answers: ServerSide,
    /// Descriptors that came and belong to file frames that are still to come.
    files: VecDeque<OwnedFd>,
    is_new: bool,
}

/// A process group, as a worker of nginx knows it.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub path: std::path::PathBuf,
}

/// A request on its way to a worker and back.
pub(super) struct Asking {
    request: Request,
    group: Arc<Upstream>,
    mount: Arc<Packed>,
    streamed: bool,
    /// The worker is asked for a head only; a HEAD request whose answer is to be cached asks for all of it.
    head_only: bool,
    peer: peer::Peer,
    link: Option<Box<Link>>,
    frames: ask::Frames,
    /// The response is complete.
    ended: bool,
    /// It was answered in a way that no other worker is to be asked.
    is_final: bool,
    /// It is certain that it was not begun.
    was_never_started: bool,
    /// It was tried before.
    is_again: bool,
    /// The configuration as it was decided.
    conf: *mut ngx_http_upstream_conf_t,
    untouched: retry::Untouched,
}

/// Sends a request to a group; nginx has it from here on.
pub fn begin(request: Request, group: &Arc<Upstream>, mount: Arc<Packed>, streamed: bool) -> Code {
    let Some(conf) = request.location() else { return ERROR };
    let upstream_conf = conf.upstream.as_ptr();
    let Some(main) = request.main_caches() else { return ERROR };
    // SAFETY: the request lives; what is allocated here is its pool's, and the cleanup frees what is ours.
    unsafe {
        let r = request.raw();
        if ngx_http_upstream_create(r) != super::OK {
            return 500;
        }
        if let Err(another) = super::built_for::check_upstream(&request) {
            crate::log::emergency(&another.to_string());
            return 500;
        }
        let cleanup = ngx_pool_cleanup_add((*r).pool, 0);
        let pipe: *mut ngx_event_pipe_t = ngx_pcalloc((*r).pool, size_of::<ngx_event_pipe_t>()).cast();
        let Some(peer) = peer::Peer::new(request, group) else { return 500 };
        if cleanup.is_null() || pipe.is_null() {
            return 500;
        }
        let asking = Box::into_raw(Box::new(Asking {
            request,
            group: Arc::clone(group),
            mount,
            streamed,
            head_only: request.is_head(),
            peer,
            link: None,
            frames: ask::Frames::default(),
            ended: false,
            is_final: false,
            was_never_started: false,
            is_again: false,
            conf: upstream_conf,
            untouched: retry::Untouched::default(),
        }));
        (*cleanup).handler = Some(drop_asking);
        (*cleanup).data = asking.cast();
        let u = &mut *(*r).upstream;
        u.schema = ngx_str_t { len: 7, data: c"wsgi://".as_ptr().cast_mut().cast() };
        u.output.tag = tag();
        u.conf = upstream_conf;
        u.caches = main;
        u.create_key = Some(conf::create_key);
        u.create_request = Some(create_request);
        u.reinit_request = Some(reinit_request);
        u.process_header = Some(process_header);
        u.abort_request = Some(abort_request);
        u.finalize_request = Some(finalize_request);
        u.set_buffering(u32::from((*upstream_conf).buffering != 0));
        (*pipe).input_filter = Some(pipe_filter);
        (*pipe).input_ctx = asking.cast();
        u.pipe = pipe;
        u.input_filter_init = Some(filter_init);
        u.input_filter = Some(filter);
        u.input_filter_ctx = asking.cast();
        u.output.output_filter = Some(output_filter);
        u.output.filter_ctx = asking.cast();
    }
    let code = request.read_client_body(streamed, Some(upstream_init));
    if code >= SPECIAL_RESPONSE { code } else { DONE }
}

unsafe extern "C" fn upstream_init(r: *mut ngx_http_request_t) {
    // SAFETY: nginx's own, and alive.
    guard("upstream_init", (), || unsafe { ngx_http_upstream_init(r) });
}

/// What marks buffers as ours.
pub(super) fn tag() -> *mut c_void {
    std::ptr::from_ref(crate::entry::lies_here()).cast_mut().cast()
}

unsafe extern "C" fn drop_asking(asking: *mut c_void) {
    // SAFETY: made by `begin` from a box of this type, and called once.
    guard("drop_asking", (), || drop(unsafe { Box::from_raw(asking.cast::<Asking>()) }));
}

/// The request's upstream and what is ours of it.
///
/// # Safety
/// `r` is a living request that `begin` was called with.
unsafe fn parts<'a>(r: *mut ngx_http_request_t) -> Option<(&'a mut ngx_http_upstream_t, &'a mut Asking)> {
    // SAFETY: the caller's promise; nobody else refers to either while a callback of nginx's runs.
    unsafe {
        let upstream = (*r).upstream.as_mut()?;
        let asking = upstream.input_filter_ctx.cast::<Asking>().as_mut()?;
        Some((upstream, asking))
    }
}

unsafe extern "C" fn create_request(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard("create_request", ERROR, || {
        // SAFETY: nginx's own, and alive.
        unsafe { parts(r) }.map_or(ERROR, |(upstream, asking)| asking.create_request(upstream))
    })
}

unsafe extern "C" fn reinit_request(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard("reinit_request", ERROR, || {
        // SAFETY: nginx's own, and alive.
        if let Some((upstream, asking)) = unsafe { parts(r) } {
            asking.forget_answer(upstream);
        }
        super::OK
    })
}

unsafe extern "C" fn process_header(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard("process_header", ERROR, || {
        // SAFETY: nginx's own, and alive.
        unsafe { parts(r) }.map_or(ERROR, |(upstream, asking)| asking.process_header(upstream))
    })
}

unsafe extern "C" fn abort_request(_r: *mut ngx_http_request_t) {}

unsafe extern "C" fn finalize_request(_r: *mut ngx_http_request_t, _code: ngx_int_t) {}

unsafe extern "C" fn filter_init(asking: *mut c_void) -> ngx_int_t {
    guard("filter_init", ERROR, || {
        // SAFETY: what `begin` said.
        let asking = unsafe { asking.cast::<Asking>().as_mut() };
        asking.map_or(ERROR, |asking| asking.filter_init())
    })
}

unsafe extern "C" fn filter(asking: *mut c_void, bytes: isize) -> ngx_int_t {
    guard("filter", ERROR, || {
        // SAFETY: what `begin` said.
        let asking = unsafe { asking.cast::<Asking>().as_mut() };
        asking.map_or(ERROR, |asking| asking.filter(usize::try_from(bytes).unwrap_or(0)))
    })
}

unsafe extern "C" fn pipe_filter(
    pipe: *mut ngx_event_pipe_t,
    buffer: *mut nginx_sys::ngx_buf_t,
) -> ngx_int_t {
    guard("pipe_filter", ERROR, || {
        // SAFETY: nginx's own, and what `begin` said.
        let parts =
            unsafe { pipe.as_mut().and_then(|pipe| Some((pipe.input_ctx.cast::<Asking>().as_mut()?, pipe))) };
        parts.map_or(ERROR, |(asking, pipe)| asking.pipe_filter(pipe, buffer))
    })
}

unsafe extern "C" fn output_filter(asking: *mut c_void, chain: *mut nginx_sys::ngx_chain_t) -> ngx_int_t {
    guard("output_filter", ERROR, || {
        // SAFETY: what `begin` said.
        let asking = unsafe { asking.cast::<Asking>().as_mut() };
        asking.map_or(ERROR, |asking| asking.send(chain))
    })
}
