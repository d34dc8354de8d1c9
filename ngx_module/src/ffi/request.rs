//! A request of nginx: how it is answered and how it ends. What it says is in [`super::environment`] and
//! [`super::request_headers`], its body in [`super::request_body`].

use std::ptr::NonNull;

use nginx_sys::{
    ngx_connection_t, ngx_http_cleanup_add, ngx_http_cleanup_t, ngx_http_core_loc_conf_t,
    ngx_http_event_handler_pt, ngx_http_finalize_request, ngx_http_log_ctx_t, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_http_send_header, ngx_log_t, ngx_pool_t,
};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;
use shared::relay::registry::Id;

use super::live::Live;
use super::module::{HttpCore, Module};
use super::{Code, ERROR};

/// The number that [`Request::attach_to`] noted as a handler's data.
pub fn id_from_pointer(data: *mut std::ffi::c_void) -> Option<Id> {
    Id::from_bits(data.addr() as u64)
}

/// A request. Valid on the loop's thread from the handler's call until it is finalized or its cleanup ran;
/// whoever keeps one longer forgets it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Request(NonNull<ngx_http_request_t>);

/// A connection that may outlive its request.
#[derive(Clone, Copy, Debug)]
pub struct Connection(Live<'static, ngx_connection_t>);

/// A handler of a request's end, which can be taken back.
#[derive(Clone, Copy, Debug)]
pub struct Cleanup(Live<'static, ngx_http_cleanup_t>);

impl Cleanup {
    /// Takes the handler back.
    pub fn disarm(self) {
        self.0.set(None, |cleanup, none| cleanup.handler = none);
    }
}

impl Connection {
    /// Runs what was posted while a request was worked on (`ngx_http_run_posted_requests`), as every event
    /// handler of nginx has to; also when the request is gone.
    pub fn run_posted_requests(self) {
        // SAFETY: connections live in the cycle's table; nginx looks at `destroyed` first.
        unsafe { ngx_http_run_posted_requests(self.0.as_ptr()) };
    }
}

impl Request {
    pub(crate) const fn raw(self) -> *mut ngx_http_request_t {
        self.0.as_ptr()
    }

    /// The handle that leads to what belongs to the request.
    pub(super) fn live<'r>(self) -> Live<'r, ngx_http_request_t> {
        // SAFETY: valid, as the type says.
        unsafe { Live::to(self.raw()) }
    }

    /// Reads it.
    pub(super) fn get<R>(self, read: fn(&ngx_http_request_t) -> R) -> R {
        self.live().get(read)
    }

    /// Changes it with a value.
    pub(super) fn set<V>(self, value: V, change: fn(&mut ngx_http_request_t, V)) {
        self.live().set(value, change);
    }

    pub(super) fn pool<'r>(self) -> Live<'r, ngx_pool_t> {
        self.live().pool()
    }

    pub(super) fn log<'r>(self) -> Option<Live<'r, ngx_log_t>> {
        self.live().connection().log()
    }

    /// Its connection.
    pub fn connection(self) -> Connection {
        Connection(self.live().connection())
    }

    /// The core module's configuration of the request's location.
    fn core_location(&self) -> Option<&ngx_http_core_loc_conf_t> {
        self.live().confs().loc::<HttpCore>()
    }

    /// A module's configuration of the request's location; `None` where nginx was short of memory.
    pub fn loc_conf_of<M: Module>(&self) -> Option<&M::Loc> {
        self.live().confs().loc::<M>()
    }

    /// A module's configuration of the process; as above.
    pub fn main_conf_of<M: Module>(&self) -> Option<&M::Main> {
        self.live().confs().main::<M>()
    }

    /// Whether the method is HEAD.
    pub fn is_head(self) -> bool {
        self.get(|request| request.method) == nginx_sys::NGX_HTTP_HEAD as usize
    }

    /// Whether the client asked for it, and not another request.
    pub fn is_main(self) -> bool {
        self.get(|request| request.main) == self.raw()
    }

    /// Makes log lines of the connection speak of this request, as nginx's own event handlers do.
    pub fn set_log_request(self) {
        let data = self.log().and_then(|log| {
            // SAFETY: the data of a connection's log is an ngx_http_log_ctx_t while it serves HTTP, or null.
            unsafe { Live::<ngx_http_log_ctx_t>::new(log.get(|log| log.data).cast()) }
        });
        if let Some(context) = data {
            context.set(self.raw(), |context, request| context.current_request = request);
        }
    }

    /// The number that [`Request::attach_to`] noted.
    pub fn id_of<M: Module>(self) -> Option<Id> {
        id_from_pointer(self.live().contexts().get::<M>())
    }

    /// Notes the number under which this request is served, and has both ends of the request call back with
    /// it: the first when it cannot be answered any more, the second when its memory goes. `None` when nginx
    /// has no memory.
    pub fn attach_to<M: Module>(
        self,
        id: Id,
        gone: extern "C" fn(*mut std::ffi::c_void),
        freed: extern "C" fn(*mut std::ffi::c_void),
    ) -> Option<Cleanup> {
        // Where nginx has a pointer for a handler there is a number, which leads nowhere once the request is
        // gone.
        let data = std::ptr::without_provenance_mut(usize::try_from(id.to_bits()).ok()?);
        // SAFETY: the request lives; the cleanup is of its pool, or null.
        let cleanup = unsafe { Live::new(ngx_http_cleanup_add(self.raw(), 0)) }?;
        self.pool().at_end(freed, data)?;
        cleanup.set((gone, data), |cleanup: &mut ngx_http_cleanup_t, (gone, data)| {
            cleanup.handler = Some(gone);
            cleanup.data = data;
        });
        self.live().contexts().set::<M>(data);
        Some(Cleanup(cleanup))
    }

    /// Keeps the request alive until it is finalized once more.
    pub fn hold(self) {
        self.live().main().set(1, |main, one| main.set_count(main.count() + one));
    }

    /// Takes one [`Request::hold`] back.
    pub fn release(self) {
        self.live().main().set(1, |main, one| main.set_count(main.count() - one));
    }

    /// Says what happens when the connection can be read from and written to.
    pub fn set_handlers(self, read: ngx_http_event_handler_pt, write: ngx_http_event_handler_pt) {
        self.set_read_handler(read);
        self.set_write_handler(write);
    }

    /// Says what happens when the connection can be written to.
    pub fn set_write_handler(self, write: ngx_http_event_handler_pt) {
        self.set(write, |request, write| request.write_event_handler = write);
    }

    /// Says what happens when the connection can be read from.
    pub fn set_read_handler(self, read: ngx_http_event_handler_pt) {
        self.set(read, |request, read| request.read_event_handler = read);
    }

    /// Sends the head that [`super::response_headers`] filled in.
    pub fn send_header(self) -> Code {
        // SAFETY: the request lives.
        unsafe { ngx_http_send_header(self.raw()) }
    }

    /// Whether only the head is sent: HEAD, 204, 304.
    pub fn is_header_only(self) -> bool {
        self.get(|request| request.header_only()) != 0
    }

    /// Whether nginx itself holds bytes back.
    pub fn is_buffered(self) -> bool {
        self.get(|request| request.buffered()) != 0
            || self.live().connection().get(|connection| connection.buffered()) != 0
    }

    /// Whether other requests of the same connection send first: a page waits for its fragment, a fragment
    /// for those before it.
    pub fn waits_for_its_turn(self) -> bool {
        self.live().connection().get(|connection| connection.data) != self.raw().cast()
    }

    /// Whether a filter may ask for another request in the middle of this response (`ngx_http_subrequest`):
    /// those of nginx's filters that do it keep the body for it, and those that read the bytes want them in
    /// memory.
    pub fn may_have_fragments(self) -> bool {
        self.get(|request| request.preserve_body() | request.filter_need_in_memory()) != 0
    }

    /// The request that this one is a fragment of.
    pub fn parent(self) -> Option<Self> {
        NonNull::new(self.get(|request| request.parent)).map(Self)
    }

    /// Whether the client's connection failed.
    pub fn is_broken(self) -> bool {
        self.live().connection().get(|connection| connection.error()) != 0
    }

    /// Whether the client took nothing for the time of `send_timeout`.
    pub fn write_timed_out(self) -> bool {
        self.live().connection().write().get(|event| event.timedout()) != 0
    }

    /// Notes that the client was too slow.
    pub fn set_timed_out(self) {
        self.live().connection().set(1, ngx_connection_t::set_timedout);
    }

    /// Whether writing waits for a rate limit or for a disk.
    pub fn write_is_delayed(self) -> bool {
        self.live().connection().write().get(|event| event.delayed()) != 0
            || self.get(|request| request.aio()) != 0
    }

    /// Whether the clock of `send_timeout` runs.
    pub fn has_write_timer(self) -> bool {
        self.live().connection().write().get(|write| write.timer_set()) != 0
    }

    /// Waits for the connection to take more, with `send_timeout`, as nginx's unbuffered upstream does.
    pub fn arm_write(self) -> Code {
        if self.waits_for_its_turn() {
            // nginx says when that has come.
            return super::OK;
        }
        let Some(location) = self.core_location() else { return ERROR };
        let event = self.live().connection().write();
        if !event.watch_write(location.send_lowat) {
            return ERROR;
        }
        if event.get(|event| event.delayed()) == 0 {
            if event.get(|event| event.active() != 0 && event.ready() == 0) {
                event.start_timer(location.send_timeout);
            } else {
                event.stop_timer();
            }
        }
        super::OK
    }

    /// Makes sure that a response without a length is not taken for a whole one when it is cut: where the
    /// framing does not show it (HTTP/1.0, no chunks) the connection is reset.
    pub fn reset_at_close(self) {
        let is_framed =
            self.get(|request| request.chunked() != 0 || request.headers_out.content_length_n >= 0);
        if is_framed || !self.get(|request| request.stream.is_null()) || !self.is_main() {
            return;
        }
        let connection = self.live().connection();
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // It fails only where there is nothing left to reset.
        let _ = setsockopt(&connection.socket(), Linger, &linger);
        #[cfg(ngx_feature = "http_ssl")]
        if let Some(ssl) = connection.ssl() {
            ssl.set(1, |ssl, yes| {
                ssl.set_no_send_shutdown(yes);
                ssl.set_no_wait_shutdown(yes);
            });
        }
    }

    /// Ends the request. It must not be used afterwards.
    pub fn finalize(self, code: Code) {
        // SAFETY: the request lives until here.
        unsafe { ngx_http_finalize_request(self.raw(), code) };
    }
}
