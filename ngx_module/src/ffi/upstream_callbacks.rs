//! nginx's machinery of an upstream, for a module that implements [`Callbacks`].
//!
//! nginx calls the functions of this file, each of which finds the module's state of the request (`T`), hands
//! it a view of nginx's own ([`Upstream`]) that lives as long as the call, and calls one safe method. The
//! state belongs to the request's pool.

use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;

use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_connection_t, ngx_event_free_peer_pt, ngx_event_get_peer_pt,
    ngx_event_pipe_t, ngx_http_request_t, ngx_http_upstream_create, ngx_http_upstream_init,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_uint_t, off_t,
};
use shared::ffi::guard::guard;

use super::links::{Chain, tag};
use super::live::Live;
use super::peer::IdleOwner;
use super::pipe::Pipe;
use super::request::Request;
use super::request_buffers::RequestBuffers;
use super::upstream::Upstream;
use super::upstream_conf::{Caches, PeerInit, Timeouts, UpstreamConf};
use super::zeroed::Zeroed;
use super::{Code, DONE, ERROR, OK, SPECIAL_RESPONSE, receive, text};

/// What nginx asks of a module with an upstream, under nginx's own names.
pub trait Callbacks: IdleOwner + Sized {
    /// What `$upstream_addr` and messages of nginx's show before an address.
    const SCHEMA: &'static CStr;
    /// The configuration of the request's location.
    fn conf(request: &Request) -> Option<&UpstreamConf>;
    /// The caches that are declared.
    fn caches(request: &Request) -> Option<&Caches>;
    /// Whether nginx has made an upstream that this module can use; where it has not, the reason is in the
    /// log.
    fn is_usable(request: &Request) -> bool;
    /// Says what the response is cached under.
    fn create_key(&mut self, upstream: &mut Upstream<'_>) -> Code;
    /// Makes the request that is sent.
    fn create_request(&mut self, upstream: &mut Upstream<'_>) -> Code;
    /// Prepares for another try.
    fn reinit_request(&mut self, upstream: &mut Upstream<'_>) -> Code;
    /// nginx gives the request up before it is answered.
    fn abort_request(&mut self, _upstream: &mut Upstream<'_>) {}
    /// nginx is done with the upstream: what there is belongs to the request's pool.
    fn finalize_request(&mut self, _upstream: &mut Upstream<'_>) {}
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
    /// Takes descriptors that came with bytes of the response; `is_truncated` where the system dropped some.
    fn receive_descriptors(&mut self, files: Vec<OwnedFd>, is_truncated: bool);
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
    conf: Live<'static, UpstreamConf>,
    get: ngx_event_get_peer_pt,
    free: ngx_event_free_peer_pt,
}

/// Sends a request to an upstream; nginx has it from here on. `timeouts` hold instead of those of the
/// location.
pub fn begin<T: Callbacks>(request: Request, streamed: bool, timeouts: Option<Timeouts>, state: T) -> Code {
    if create(request, timeouts, state).is_none() {
        return 500;
    }
    let code = request.read_client_body(streamed, Some(ngx_http_upstream_init));
    if code >= SPECIAL_RESPONSE { code } else { DONE }
}

fn create<T: Callbacks>(request: Request, timeouts: Option<Timeouts>, state: T) -> Option<()> {
    let (conf, caches) = (T::conf(&request)?, T::caches(&request)?.as_ptr());
    let buffering = conf.get().buffering != 0;
    // SAFETY: the location's configuration lives as long as the request.
    let of_location = unsafe { Live::to(std::ptr::from_ref(conf).cast_mut()) };
    let conf = match timeouts {
        Some(timeouts) => request.pool().alloc(conf.with_timeouts(timeouts))?,
        None => of_location,
    };
    let pipe = request.pool().alloc(ngx_event_pipe_t::zeroed())?;
    let head = Head { request, conf, get: Some(get_peer::<T>), free: Some(free_peer::<T>) };
    let inner = RefCell::new((state, RequestBuffers::new(request)));
    // SAFETY: the request lives.
    if unsafe { ngx_http_upstream_create(request.raw()) } != OK || !T::is_usable(&request) {
        return None;
    }
    let held = request.pool().own(Held { head, inner })?.as_ptr().cast();
    pipe.set(held, |pipe, held| {
        pipe.input_filter = Some(pipe_input_filter::<T>);
        pipe.input_ctx = held;
    });
    let made = (held, pipe.as_ptr(), conf.as_ptr().cast(), caches, buffering);
    request.live().upstream()?.set(made, |u, (held, pipe, conf, caches, buffering)| {
        u.schema = text(T::SCHEMA);
        u.output.tag = tag();
        (u.conf, u.caches, u.pipe) = (conf, caches, pipe);
        u.create_key = Some(create_key::<T>);
        u.create_request = Some(create_request::<T>);
        u.reinit_request = Some(reinit_request::<T>);
        u.process_header = Some(process_header::<T>);
        u.abort_request = Some(abort_request::<T>);
        u.finalize_request = Some(finalize_request::<T>);
        u.set_buffering(u32::from(buffering));
        u.input_filter_init = Some(input_filter_init::<T>);
        u.input_filter = Some(input_filter::<T>);
        u.output.output_filter = Some(output_filter::<T>);
        (u.input_filter_ctx, u.output.filter_ctx) = (held, held);
    });
    Some(())
}

/// The state that [`begin`] left, for a call of nginx's.
///
/// # Safety
/// `held` is null or what [`begin`] made for `T`; its request lives, and nginx called and waits for the
/// result.
unsafe fn state_of<'a, T>(held: *mut c_void) -> Option<&'a Held<T>> {
    // SAFETY: the caller's promise; what changes in the state is only ever reached through the RefCell.
    unsafe { held.cast::<Held<T>>().as_ref() }
}

/// Calls into a state; not while another call is in it.
fn enter<T, R>(held: Option<&Held<T>>, fallback: R, call: impl FnOnce(&mut T, &mut Upstream<'_>) -> R) -> R {
    let Some(held) = held else { return fallback };
    let request = held.head.request;
    // SAFETY: the location's, or a copy in the request's pool; neither is written to.
    let conf = unsafe { &*held.head.conf.as_ptr() };
    let Some(upstream) = request.live().upstream() else { return fallback };
    let Ok(mut inner) = held.inner.try_borrow_mut() else { return fallback };
    let (state, buffers) = &mut *inner;
    call(state, &mut Upstream::new(upstream, request, conf, buffers))
}

/// What [`begin`] left with a request.
///
/// # Safety
/// `r` is null or a living request.
pub(super) unsafe fn held_of(r: *mut ngx_http_request_t) -> *mut c_void {
    // SAFETY: the caller's promise.
    let upstream = unsafe { Live::new(r) }.and_then(Live::upstream);
    upstream.map_or(std::ptr::null_mut(), |upstream| upstream.get(|u| u.input_filter_ctx))
}

/// The functions that nginx calls: how C sees each, whose state it is about, and what is called.
macro_rules! entries {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty = $fallback:expr;
        $held:expr => |$state:pat_param, $upstream:pat_param| $call:expr;)*) => {$(
        pub(super) unsafe extern "C" fn $name<T: Callbacks>($($argument: $type),*) -> $result {
            guard(stringify!($name), $fallback, || {
                let held = $held;
                // SAFETY: `create` gave nginx this function together with the state.
                let held = unsafe { state_of::<T>(held) };
                enter(held, $fallback, |$state, $upstream| $call)
            })
        }
    )*};
}

entries! {
    create_key(r: *mut ngx_http_request_t) -> ngx_int_t = ERROR;
        // SAFETY: nginx lends the request for the call.
        unsafe { held_of(r) } => |state, upstream| state.create_key(upstream);
    create_request(r: *mut ngx_http_request_t) -> ngx_int_t = ERROR;
        // SAFETY: nginx lends the request for the call.
        unsafe { held_of(r) } => |state, upstream| state.create_request(upstream);
    reinit_request(r: *mut ngx_http_request_t) -> ngx_int_t = ERROR;
        // SAFETY: nginx lends the request for the call.
        unsafe { held_of(r) } => |state, upstream| state.reinit_request(upstream);
    process_header(r: *mut ngx_http_request_t) -> ngx_int_t = ERROR;
        // SAFETY: nginx lends the request for the call.
        unsafe { held_of(r) } => |state, upstream| state.process_header(upstream);
    abort_request(r: *mut ngx_http_request_t) -> () = ();
        // SAFETY: nginx lends the request for the call.
        unsafe { held_of(r) } => |state, upstream| state.abort_request(upstream);
    finalize_request(r: *mut ngx_http_request_t, _code: ngx_int_t) -> () = ();
        // SAFETY: nginx lends the request for the call.
        unsafe { held_of(r) } => |state, upstream| state.finalize_request(upstream);
    input_filter_init(held: *mut c_void) -> ngx_int_t = ERROR;
        held => |state, upstream| state.input_filter_init(upstream);
    input_filter(held: *mut c_void, bytes: isize) -> ngx_int_t = ERROR;
        held => |state, upstream| state.input_filter(upstream, usize::try_from(bytes).unwrap_or(0));
    pipe_input_filter(pipe: *mut ngx_event_pipe_t, buffer: *mut ngx_buf_t) -> ngx_int_t = ERROR;
        // SAFETY: nginx lends the pipe for the call.
        unsafe { (*pipe).input_ctx } => |state, upstream| {
            // SAFETY: nginx lends both for the call.
            let (pipe, buffer) = unsafe { (Live::to(pipe), Live::to(buffer)) };
            let mut pipe = Pipe::new(upstream.request(), pipe, buffer);
            pipe.filter(|pipe| state.pipe_input_filter(pipe))
        };
    output_filter(held: *mut c_void, chain: *mut ngx_chain_t) -> ngx_int_t = ERROR;
        held => |state, upstream| {
            let _ = upstream.connection().map(take_over::<T>);
            // SAFETY: nginx lends it for the call.
            state.output_filter(upstream, Chain::new(unsafe { Live::new(chain) }))
        };
    get_peer(_peer: *mut ngx_peer_connection_t, held: *mut c_void) -> ngx_int_t = ERROR;
        held => |state, upstream| state.get_peer(upstream);
    free_peer(_peer: *mut ngx_peer_connection_t, held: *mut c_void, _state: ngx_uint_t) -> () = ();
        held => |state, upstream| state.free_peer(upstream);
    receive(c: *mut ngx_connection_t, into: *mut u8, size: usize) -> isize = ERROR;
        // SAFETY: nginx lends the connection for the call, and its data is the request.
        unsafe { held_of((*c).data.cast()) } => |state, _| {
            // SAFETY: nginx lends the connection, and memory of that size to fill.
            let (c, into) = unsafe { (Live::to(c), std::slice::from_raw_parts_mut(into, size)) };
            receive::receive(c, &mut [IoSliceMut::new(into)], |files, cut| state.receive_descriptors(files, cut))
        };
    receive_chain(c: *mut ngx_connection_t, chain: *mut ngx_chain_t, limit: off_t) -> isize = ERROR;
        // SAFETY: nginx lends the connection for the call, and its data is the request.
        unsafe { held_of((*c).data.cast()) } => |state, _| {
            // SAFETY: nginx lends the connection and the chain, whose room nobody else looks at meanwhile.
            let (c, mut room) = unsafe { (Live::to(c), Chain::new(Live::new(chain)).room(limit)) };
            receive::receive(c, &mut room, |files, cut| state.receive_descriptors(files, cut))
        };
}

/// Has a connection, whose data is a request with a `T`, received by `receive` and `receive_chain`.
fn take_over<T: Callbacks>(c: Live<'_, ngx_connection_t>) {
    c.set((), |c, ()| {
        c.recv = Some(receive::<T>);
        c.recv_chain = Some(receive_chain::<T>);
    });
}

/// The peers of every upstream of this module's.
pub const PEERS: PeerInit = PeerInit(peer_init);

/// Prepares a request's peer: `peer.init` of the one upstream that all groups are ([`super::upstream_conf`]).
unsafe extern "C" fn peer_init(
    r: *mut ngx_http_request_t,
    _: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard("peer_init", ERROR, || {
        // SAFETY: nginx's own, and alive.
        let (held, u) = unsafe { (held_of(r), Live::new(r).and_then(Live::upstream)) };
        // SAFETY: `create` made the state, which begins with its head and lives as long as the request.
        let (Some(head), Some(u)) = (unsafe { held.cast::<Head>().as_ref() }, u) else { return ERROR };
        let tries = head.conf.get(|conf| conf.get().next_upstream_tries);
        u.peer().set((head.get, head.free, held, tries), |peer, (get, free, held, tries)| {
            (peer.get, peer.free, peer.data, peer.tries) = (get, free, held, tries);
        });
        OK
    })
}
