//! A request of nginx: how it is answered and how it ends. What it says is in [`super::environment`] and
//! [`super::request_headers`], its body in [`super::request_body`].

use std::ptr::NonNull;

use nginx_sys::{
    ngx_connection_t, ngx_handle_write_event, ngx_http_cleanup_add, ngx_http_cleanup_t,
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_event_handler_pt, ngx_http_finalize_request,
    ngx_http_log_ctx_t, ngx_http_request_t, ngx_http_run_posted_requests, ngx_http_send_header, ngx_log_t,
    ngx_pool_cleanup_add, ngx_pool_t,
};

use shared::relay::registry::Id;

use super::module::{Module, context_index};
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
pub struct Connection(NonNull<ngx_connection_t>);

/// A handler of a request's end, which can be taken back.
#[derive(Clone, Copy, Debug)]
pub struct Cleanup(NonNull<ngx_http_cleanup_t>);

impl Cleanup {
    /// Takes the handler back.
    pub fn disarm(self) {
        // SAFETY: of the request's pool, and asked for only while the request lives.
        unsafe { (*self.0.as_ptr()).handler = None };
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

    pub(super) fn get(&self) -> &ngx_http_request_t {
        // SAFETY: valid, as the type says; the borrow ends before nginx is called again, which only
        // `Request`'s methods do.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn change<R>(self, change: impl FnOnce(&mut ngx_http_request_t) -> R) -> R {
        // SAFETY: as for `get`; the loop's thread is the only one that looks.
        change(unsafe { &mut *self.0.as_ptr() })
    }

    pub(super) fn connection_ref(&self) -> &ngx_connection_t {
        // SAFETY: a request has a connection for as long as it lives.
        unsafe { &*self.get().connection }
    }

    pub(super) fn pool(self) -> *mut ngx_pool_t {
        self.get().pool
    }

    pub(super) fn log(self) -> *mut ngx_log_t {
        self.connection_ref().log
    }

    /// Its connection.
    pub fn connection(self) -> Connection {
        // SAFETY: a request has a connection for as long as it lives.
        Connection(unsafe { NonNull::new_unchecked(self.get().connection) })
    }

    /// The core module's configuration of the request's location.
    pub(super) fn core_location(&self) -> &ngx_http_core_loc_conf_t {
        // SAFETY: every location has a configuration of every module, at the module's index.
        unsafe {
            let index = ngx_http_core_module.ctx_index;
            &*(*self.get().loc_conf.add(index)).cast()
        }
    }

    /// A module's configuration of the request's location; `None` where nginx was short of memory.
    pub fn loc_conf_of<M: Module>(&self) -> Option<&M::Loc> {
        // SAFETY: as for `core_location`; of that type, as [`Module`] says.
        unsafe { (*self.get().loc_conf.add(context_index::<M>())).cast::<M::Loc>().as_ref() }
    }

    /// A module's configuration of the process; as above.
    pub fn main_conf_of<M: Module>(&self) -> Option<&M::Main> {
        // SAFETY: `main_conf` has an entry for each module; of that type, as [`Module`] says.
        unsafe { (*self.get().main_conf.add(context_index::<M>())).cast::<M::Main>().as_ref() }
    }

    /// Whether the method is HEAD.
    pub fn is_head(self) -> bool {
        self.get().method == nginx_sys::NGX_HTTP_HEAD as usize
    }

    /// Whether the client asked for it, and not another request.
    pub fn is_main(self) -> bool {
        self.get().main == self.raw()
    }

    /// Makes log lines of the connection speak of this request, as nginx's own event handlers do.
    pub fn set_log_request(self) {
        // SAFETY: the data of a connection's log is an ngx_http_log_ctx_t while it serves HTTP.
        unsafe {
            let context: *mut ngx_http_log_ctx_t = (*self.log()).data.cast();
            if !context.is_null() {
                (*context).current_request = self.raw();
            }
        }
    }

    /// The number that [`Request::attach_to`] noted.
    pub fn id_of<M: Module>(self) -> Option<Id> {
        // SAFETY: `ctx` has an entry for each module.
        let entry = unsafe { *self.get().ctx.add(context_index::<M>()) };
        id_from_pointer(entry)
    }

    /// Notes the number under which this request is served, and arranges that both ends of the request are
    /// told: the first when it cannot be answered any more, the second when its memory goes. `None` when
    /// nginx has no memory.
    pub fn attach_to<M: Module>(
        self,
        id: Id,
        gone: unsafe extern "C" fn(*mut std::ffi::c_void),
        freed: unsafe extern "C" fn(*mut std::ffi::c_void),
    ) -> Option<Cleanup> {
        // Where nginx has a pointer for a handler there is a number, which leads nowhere once the request is
        // gone.
        let data = std::ptr::without_provenance_mut(usize::try_from(id.to_bits()).ok()?);
        // SAFETY: the request lives, and with it its pool; nobody follows the pointer.
        unsafe {
            let cleanup = NonNull::new(ngx_http_cleanup_add(self.raw(), 0))?;
            let pool_cleanup = NonNull::new(ngx_pool_cleanup_add(self.pool(), 0))?;
            (*cleanup.as_ptr()).handler = Some(gone);
            (*cleanup.as_ptr()).data = data;
            (*pool_cleanup.as_ptr()).handler = Some(freed);
            (*pool_cleanup.as_ptr()).data = data;
            *self.get().ctx.add(context_index::<M>()) = data;
            Some(Cleanup(cleanup))
        }
    }

    /// Keeps the request alive until it is finalized once more.
    pub fn hold(self) {
        // SAFETY: a request has a main request.
        unsafe {
            let main = &mut *self.get().main;
            main.set_count(main.count() + 1);
        }
    }

    /// Takes one [`Request::hold`] back.
    pub fn release(self) {
        // SAFETY: a request has a main request.
        unsafe {
            let main = &mut *self.get().main;
            main.set_count(main.count() - 1);
        }
    }

    /// Says what happens when the connection can be read from and written to.
    pub fn set_handlers(self, read: ngx_http_event_handler_pt, write: ngx_http_event_handler_pt) {
        self.change(|request| {
            request.read_event_handler = read;
            request.write_event_handler = write;
        });
    }

    /// Says what happens when the connection can be written to.
    pub fn set_write_handler(self, write: ngx_http_event_handler_pt) {
        self.change(|request| request.write_event_handler = write);
    }

    /// Says what happens when the connection can be read from.
    pub fn set_read_handler(self, read: ngx_http_event_handler_pt) {
        self.change(|request| request.read_event_handler = read);
    }

    /// Sends the head that [`super::response_headers`] filled in.
    pub fn send_header(self) -> Code {
        // SAFETY: the request lives.
        unsafe { ngx_http_send_header(self.raw()) }
    }

    /// Whether only the head is sent: HEAD, 204, 304.
    pub fn is_header_only(self) -> bool {
        self.get().header_only() != 0
    }

    /// Whether nginx itself holds bytes back.
    pub fn is_buffered(self) -> bool {
        self.get().buffered() != 0 || self.connection_ref().buffered() != 0
    }

    /// Whether other requests of the same connection send first: a page waits for its fragment, a fragment
    /// for those before it.
    pub fn waits_for_its_turn(self) -> bool {
        self.connection_ref().data != self.raw().cast()
    }

    /// Whether a filter may ask for another request in the middle of this response (`ngx_http_subrequest`):
    /// those of nginx's filters that do it keep the body for it, and those that read the bytes want them in
    /// memory.
    pub fn may_have_fragments(self) -> bool {
        self.get().preserve_body() != 0 || self.get().filter_need_in_memory() != 0
    }

    /// The request that this one is a fragment of.
    pub fn parent(self) -> Option<Self> {
        NonNull::new(self.get().parent).map(Self)
    }

    /// Whether the client's connection failed.
    pub fn is_broken(self) -> bool {
        self.connection_ref().error() != 0
    }

    /// Whether the client took nothing for the time of `send_timeout`.
    pub fn write_timed_out(self) -> bool {
        // SAFETY: a connection has its two events.
        unsafe { (*self.connection_ref().write).timedout() != 0 }
    }

    /// Notes that the client was too slow.
    pub fn set_timed_out(self) {
        // SAFETY: the request's connection.
        unsafe { (*self.get().connection).set_timedout(1) };
    }

    /// Whether writing waits for a rate limit or for a disk.
    pub fn write_is_delayed(self) -> bool {
        // SAFETY: a connection has its two events.
        unsafe { (*self.connection_ref().write).delayed() != 0 || self.get().aio() != 0 }
    }

    /// Whether the clock of `send_timeout` runs.
    pub fn has_write_timer(self) -> bool {
        // SAFETY: a connection has its two events.
        unsafe { (*self.connection_ref().write).timer_set() != 0 }
    }

    /// Waits for the connection to take more, with `send_timeout`, as nginx's unbuffered upstream does.
    pub fn arm_write(self) -> Code {
        let location = self.core_location();
        let (lowat, timeout) = (location.send_lowat, location.send_timeout);
        if self.waits_for_its_turn() {
            // nginx says when that has come.
            return super::OK;
        }
        let connection = self.connection_ref();
        // SAFETY: the connection's own event.
        unsafe {
            let event = connection.write;
            if ngx_handle_write_event(event, lowat) != super::OK {
                return ERROR;
            }
            if (*event).delayed() == 0 {
                if (*event).active() != 0 && (*event).ready() == 0 {
                    nginx_sys::ngx_add_timer(event, timeout);
                } else if (*event).timer_set() != 0 {
                    nginx_sys::ngx_del_timer(event);
                }
            }
        }
        super::OK
    }

    /// Makes sure that a response without a length is not taken for a whole one when it is cut: where the
    /// framing does not show it (HTTP/1.0, no chunks) the connection is reset.
    pub fn reset_at_close(self) {
        let request = self.get();
        let framed = request.chunked() != 0 || request.headers_out.content_length_n >= 0;
        if framed || !request.stream.is_null() || !self.is_main() {
            return;
        }
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the descriptor is the connection's; `linger` lives for the call.
        unsafe {
            libc::setsockopt(
                self.connection_ref().fd,
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            );
            #[cfg(ngx_feature = "http_ssl")]
            if let Some(ssl) = self.connection_ref().ssl.as_mut() {
                ssl.set_no_send_shutdown(1);
                ssl.set_no_wait_shutdown(1);
            }
        }
    }

    /// Ends the request. It must not be used afterwards.
    pub fn finalize(self, code: Code) {
        // SAFETY: the request lives until here.
        unsafe { ngx_http_finalize_request(self.raw(), code) };
    }
}
