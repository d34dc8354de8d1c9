//! nginx's machinery of an upstream, for a module that implements [`Callbacks`].
//!
//! nginx calls the functions of this file, each of which finds the module's state of the request (`T`), hands it a view of nginx's
//! own ([`Upstream`]) that lives as long as the call, and calls one safe method. The state belongs to the request's pool.

use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_event_pipe_t, ngx_http_request_t, ngx_http_upstream_conf_t,
    ngx_http_upstream_create, ngx_http_upstream_init, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_peer_connection_t, ngx_uint_t,
};
use shared::ffi::guard::guard;

use super::links::{Chain, tag};
use super::peer::{self, ConnectionId};
use super::pipe::Pipe;
use super::request::Request;
use super::request_buffers::RequestBuffers;
use super::upstream::{Upstream, copy_of};
use super::upstream_conf::{Caches, Timeouts, UpstreamConf, text};
use super::{Code, DONE, ERROR, OK, SPECIAL_RESPONSE, receive};

/// What nginx asks of a module with an upstream, under nginx's own names.
pub trait Callbacks: Sized + 'static {
    /// What `$upstream_addr` and messages of nginx's show before an address.
    const SCHEMA: &'static CStr;
    /// The configuration of the request's location.
    fn conf(request: &Request) -> Option<&UpstreamConf>;
    /// The caches that are declared.
    fn caches(request: &Request) -> Option<&Caches>;
    /// Says what the response is cached under.
    fn create_key(&mut self, upstream: &mut Upstream<'_>) -> Code;
    /// Makes the request that is sent.
    fn create_request(&mut self, upstream: &mut Upstream<'_>) -> Code;
    /// Prepares for another try.
    fn reinit_request(&mut self, upstream: &mut Upstream<'_>) -> Code;
    /// Reads the response's head.
    fn process_header(&mut self, upstream: &mut Upstream<'_>) -> Code;
    /// Prepares for the response's body.
    fn input_filter_init(&mut self, upstream: &mut Upstream<'_>) -> Code;
    /// Takes so many bytes more of an unbuffered response.
    fn input_filter(&mut self, upstream: &mut Upstream<'_>, bytes: usize) -> Code;
    /// Takes a buffer of a buffered response (`pipe->input_filter`).
    fn pipe_input_filter(&mut self, pipe: &mut Pipe<'_>) -> Code;
    /// Sends a part of the request (`output.output_filter`).
    fn output_filter(&mut self, upstream: &mut Upstream<'_>, chain: Chain<'_>) -> Code;
    /// Says whom to connect to (`peer.get`).
    fn get_peer(&mut self, upstream: &mut Upstream<'_>) -> Code;
    /// Takes a connection back, whatever became of it (`peer.free`).
    fn free_peer(&mut self, upstream: &mut Upstream<'_>);
    /// Takes a descriptor that came with bytes of the response.
    fn receive_descriptor(&mut self, file: OwnedFd);
    /// A connection that is kept ended, or something came over it.
    fn idle_ended(connection: ConnectionId);
}

/// The state of a request on its way to an upstream, which its pool frees.
#[repr(C)]
struct Held<T> {
    head: Head,
    inner: RefCell<(T, RequestBuffers)>,
}

/// What does not depend on the type of the state.
struct Head {
    request: Request,
    /// nginx's configuration for this request, before a try changed it.
    conf: NonNull<ngx_http_upstream_conf_t>,
    get: unsafe extern "C" fn(*mut ngx_peer_connection_t, *mut c_void) -> ngx_int_t,
    free: unsafe extern "C" fn(*mut ngx_peer_connection_t, *mut c_void, ngx_uint_t),
}

/// Sends a request to an upstream; nginx has it from here on. `timeouts` hold instead of those of the location.
pub fn begin<T: Callbacks>(request: Request, streamed: bool, timeouts: Option<Timeouts>, state: T) -> Code {
    if create(request, timeouts, state).is_none() {
        return 500;
    }
    let code = request.read_client_body(streamed, Some(upstream_init));
    if code >= SPECIAL_RESPONSE { code } else { DONE }
}

fn create<T: Callbacks>(request: Request, timeouts: Option<Timeouts>, state: T) -> Option<()> {
    let (conf, caches) = (T::conf(&request)?, T::caches(&request)?.as_ptr());
    let buffering = conf.get().buffering != 0;
    let mut conf = conf.as_ptr();
    if let Some(timeouts) = timeouts {
        conf = copy_of(request, conf, |conf| {
            conf.connect_timeout = timeouts.connect;
            (conf.send_timeout, conf.read_timeout) = (timeouts.send, timeouts.read);
        })?;
    }
    let inner = RefCell::new((state, RequestBuffers::new(request)));
    let (get, free) = (peer::get::<T>, peer::free::<T>);
    // SAFETY: the request lives, and with it its pool; zeroed memory is an empty pipe.
    let (u, pipe) = unsafe {
        if ngx_http_upstream_create(request.raw()) != OK {
            return None;
        }
        let pipe: *mut ngx_event_pipe_t =
            nginx_sys::ngx_pcalloc(request.pool(), size_of::<ngx_event_pipe_t>()).cast();
        ((*request.raw()).upstream.as_mut()?, pipe.as_mut()?)
    };
    let held: *mut c_void = request.own(Held { head: Head { request, conf, get, free }, inner })?.cast();
    u.schema = text(T::SCHEMA);
    u.output.tag = tag();
    u.conf = conf.as_ptr();
    u.caches = caches;
    u.create_key = Some(create_key::<T>);
    u.create_request = Some(create_request::<T>);
    u.reinit_request = Some(reinit_request::<T>);
    u.process_header = Some(process_header::<T>);
    u.abort_request = Some(abort_request);
    u.finalize_request = Some(finalize_request);
    u.set_buffering(buffering.into());
    u.input_filter_init = Some(input_filter_init::<T>);
    u.input_filter = Some(input_filter::<T>);
    u.input_filter_ctx = held;
    u.output.output_filter = Some(output_filter::<T>);
    u.output.filter_ctx = held;
    pipe.input_filter = Some(pipe_input_filter::<T>);
    pipe.input_ctx = held;
    u.pipe = pipe;
    Some(())
}

/// Calls into the state of a request.
///
/// # Safety
/// `held` is null or what [`begin`] made for `T`; its request lives, and nginx called and waits for the result.
pub(super) unsafe fn with<T, R>(
    held: *mut c_void,
    fallback: R,
    call: impl FnOnce(&mut T, &mut Upstream<'_>) -> R,
) -> R {
    // SAFETY: the caller's promise; the state is only ever reached through the RefCell.
    let Some(held) = (unsafe { held.cast::<Held<T>>().as_ref() }) else { return fallback };
    let Head { request, conf, .. } = held.head;
    let Some(raw) = NonNull::new(request.get().upstream) else { return fallback };
    let Ok(mut inner) = held.inner.try_borrow_mut() else { return fallback };
    let (state, buffers) = &mut *inner;
    call(state, &mut Upstream::new(raw, request, conf, buffers))
}

/// What [`begin`] left with a request.
///
/// # Safety
/// `r` is null or a living request.
pub(super) unsafe fn held_of(r: *const ngx_http_request_t) -> *mut c_void {
    // SAFETY: the caller's promise.
    let upstream = unsafe { r.as_ref().and_then(|r| r.upstream.as_ref()) };
    upstream.map_or(std::ptr::null_mut(), |upstream| upstream.input_filter_ctx)
}

unsafe extern "C" fn upstream_init(r: *mut ngx_http_request_t) {
    // SAFETY: nginx's own, and alive.
    guard("upstream_init", (), || unsafe { ngx_http_upstream_init(r) });
}

/// Callbacks that take the request.
macro_rules! of_request {
    ($($name:ident)*) => {$(
        unsafe extern "C" fn $name<T: Callbacks>(r: *mut ngx_http_request_t) -> ngx_int_t {
            guard(stringify!($name), ERROR, || {
                // SAFETY: nginx's own, and alive; `create` gave it this function with `T`.
                unsafe { with::<T, _>(held_of(r), ERROR, |state, upstream| state.$name(upstream)) }
            })
        }
    )*};
}

of_request!(create_key create_request reinit_request process_header);

/// What there is belongs to the request's pool.
unsafe extern "C" fn abort_request(_r: *mut ngx_http_request_t) {}

/// As above.
unsafe extern "C" fn finalize_request(_r: *mut ngx_http_request_t, _code: ngx_int_t) {}

unsafe extern "C" fn input_filter_init<T: Callbacks>(held: *mut c_void) -> ngx_int_t {
    guard("input_filter_init", ERROR, || {
        // SAFETY: `create` gave nginx this function with this state.
        unsafe { with::<T, _>(held, ERROR, |state, upstream| state.input_filter_init(upstream)) }
    })
}

unsafe extern "C" fn input_filter<T: Callbacks>(held: *mut c_void, bytes: isize) -> ngx_int_t {
    guard("input_filter", ERROR, || {
        let bytes = usize::try_from(bytes).unwrap_or(0);
        // SAFETY: as for `input_filter_init`.
        unsafe { with::<T, _>(held, ERROR, |state, upstream| state.input_filter(upstream, bytes)) }
    })
}

unsafe extern "C" fn pipe_input_filter<T: Callbacks>(
    pipe: *mut ngx_event_pipe_t,
    buffer: *mut ngx_buf_t,
) -> ngx_int_t {
    guard("pipe_input_filter", ERROR, || {
        // SAFETY: nginx lends both, and `create` put this state into the pipe.
        unsafe {
            let Some(mut pipe) = Pipe::new(pipe, buffer) else { return ERROR };
            with::<T, _>(pipe.context(), ERROR, |state, _| pipe.filter(|pipe| state.pipe_input_filter(pipe)))
        }
    })
}

unsafe extern "C" fn output_filter<T: Callbacks>(held: *mut c_void, chain: *mut ngx_chain_t) -> ngx_int_t {
    guard("output_filter", ERROR, || {
        // SAFETY: nginx lends the chain, `create` gave it this state, and the upstream's connection, if there is one, lives.
        unsafe {
            with::<T, _>(held, ERROR, |state, upstream| {
                receive::take_over::<T>(upstream.connection());
                state.output_filter(upstream, Chain::new(chain))
            })
        }
    })
}

/// Prepares a request's peer: `peer.init` of the one upstream that all groups are ([`super::upstream_conf`]).
pub(super) unsafe extern "C" fn peer_init(
    r: *mut ngx_http_request_t,
    _: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard("peer_init", ERROR, || {
        // SAFETY: nginx's own, and alive; `create` made the state, which begins with its head, and the configuration lives as long.
        unsafe {
            let held = held_of(r);
            let (Some(head), Some(u)) = (held.cast::<Head>().as_ref(), (*r).upstream.as_mut()) else {
                return ERROR;
            };
            (u.peer.get, u.peer.free, u.peer.data) = (Some(head.get), Some(head.free), held);
            u.peer.tries = head.conf.as_ref().next_upstream_tries;
        }
        OK
    })
}
