//! An upstream's peer (`ngx_peer_connection_t`): where it is, and connections to it that are kept for the next request
//! (`ngx_http_upstream_keepalive_module`).

use std::ffi::c_void;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_cycle, ngx_destroy_pool, ngx_event_t, ngx_handle_read_event,
    ngx_int_t, ngx_log_t, ngx_peer_connection_t, ngx_uint_t,
};
use shared::ffi::guard::guard;

use super::upstream::Upstream;
use super::upstream_callbacks::{Callbacks, with};
use super::{Code, DONE, ERROR, OK};

/// A connection that no request has. It is closed when it is dropped.
#[derive(Debug)]
pub struct IdleConnection(NonNull<ngx_connection_t>);

/// Which connection it is, among those that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(usize);

/// `peer.get` for the state `T`.
pub(super) unsafe extern "C" fn get<T: Callbacks>(
    _: *mut ngx_peer_connection_t,
    held: *mut c_void,
) -> ngx_int_t {
    guard("peer get", ERROR, || {
        // SAFETY: `peer_init` gave nginx this function with this state; the peer is the upstream's own.
        unsafe { with::<T, _>(held, ERROR, |state, upstream| state.get_peer(upstream)) }
    })
}

/// `peer.free` for the state `T`.
pub(super) unsafe extern "C" fn free<T: Callbacks>(
    _: *mut ngx_peer_connection_t,
    held: *mut c_void,
    _: ngx_uint_t,
) {
    guard("peer free", (), || {
        // SAFETY: as for `get`.
        unsafe { with::<T, _>(held, (), |state, upstream| state.free_peer(upstream)) }
    });
}

/// Has a connection and its events log to `log`.
///
/// # Safety
/// `c` is a living connection, which has two events and a pool.
unsafe fn set_log(c: &mut ngx_connection_t, log: *mut ngx_log_t) {
    c.log = log;
    // SAFETY: the caller's promise.
    unsafe { ((*c.read).log, (*c.write).log, (*c.pool).log) = (log, log, log) };
}

impl Upstream<'_> {
    /// Says where the peer is: a socket of this machine. `false` when its path is too long, or nginx has no memory.
    pub fn set_peer_address(&mut self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        // SAFETY: all zeroes is an empty address.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        if path.len() >= address.sun_path.len() {
            return false;
        }
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in address.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        let request = self.request();
        let name = request.copy(&[b"unix:", path].concat());
        let (Some(address), Some(name)) = (request.place(address), name.and_then(|name| request.place(name)))
        else {
            return false;
        };
        let peer = self.peer();
        peer.sockaddr = address.as_ptr().cast();
        peer.socklen = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        peer.name = name.as_ptr();
        peer.set_cached(0);
        true
    }

    /// How many bytes of the request left over the peer's connection, if there is one.
    pub fn sent_to_peer(&self) -> Option<u64> {
        // SAFETY: null, or alive until the peer is freed.
        let connection = unsafe { self.connection().as_ref() }?;
        u64::try_from(connection.sent).ok()
    }

    /// Has the request sent over a connection of before (`ngx_http_upstream_get_keepalive_peer`); what to tell nginx.
    pub fn use_connection(&mut self, connection: IdleConnection) -> Code {
        let c = std::mem::ManuallyDrop::new(connection).0.as_ptr();
        let peer = self.peer();
        peer.connection = c;
        let log = peer.log;
        // SAFETY: a living connection of this process, which was kept with its events and its pool.
        unsafe {
            (*c).set_idle(0);
            (*c).sent = 0;
            (*c).data = std::ptr::null_mut();
            set_log(&mut *c, log);
        }
        DONE
    }

    /// Takes the connection for another request, if nothing is wrong with it (`ngx_http_upstream_free_keepalive_peer`).
    pub fn keep_connection<T: Callbacks>(&mut self) -> Option<IdleConnection> {
        if !self.request_body_sent() {
            return None;
        }
        // SAFETY: the peer's connection is null or alive, with its events and its pool; the rest is this process's own.
        let (c, read, write, log) = unsafe {
            let c = self.connection().as_mut()?;
            if nginx_sys::ngx_terminate != 0 || nginx_sys::ngx_exiting != 0 {
                return None;
            }
            (NonNull::from(&mut *c), &mut *c.read, &mut *c.write, (*ngx_cycle).log)
        };
        let failed = |event: &ngx_event_t| event.error() != 0 || event.timedout() != 0;
        // SAFETY: the connection's own event.
        let is_watched = || unsafe { ngx_handle_read_event((*c.as_ptr()).read, 0) } == OK;
        if read.eof() != 0 || failed(read) || failed(write) || !is_watched() {
            return None;
        }
        // The timer may be that of wsgi_limit_rate, which holds back what comes until it fires.
        read.set_delayed(0);
        for event in [&mut *read, &mut *write] {
            if event.timer_set() != 0 {
                // SAFETY: it is armed.
                unsafe { nginx_sys::ngx_del_timer(event) };
            }
        }
        read.handler = Some(on_read::<T>);
        write.handler = Some(on_write);
        self.peer().connection = std::ptr::null_mut();
        let kept = IdleConnection(c);
        // SAFETY: as above; no request has it any more.
        unsafe {
            let c = &mut *c.as_ptr();
            c.data = std::ptr::null_mut();
            c.set_idle(1);
            set_log(c, log);
        }
        (read.ready() == 0 || kept.is_quiet()).then_some(kept)
    }
}

impl IdleConnection {
    /// Which one it is.
    pub fn id(&self) -> ConnectionId {
        ConnectionId(self.0.addr().get())
    }

    /// Whether nothing came over it: neither its end, nor the word that the other side takes no more.
    fn is_quiet(&self) -> bool {
        let c = self.0.as_ptr();
        let mut byte = 0u8;
        // SAFETY: a living connection with its events; peeking changes nothing.
        unsafe {
            if (*c).close() != 0 {
                return false;
            }
            let peeked = libc::recv((*c).fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT);
            if peeked >= 0 || std::io::Error::last_os_error().kind() != std::io::ErrorKind::WouldBlock {
                return false;
            }
            (*(*c).read).set_ready(0);
            ngx_handle_read_event((*c).read, 0) == OK
        }
    }
}

impl Drop for IdleConnection {
    fn drop(&mut self) {
        // SAFETY: a living connection that nobody refers to any more, with a pool of its own.
        unsafe {
            let pool = (*self.0.as_ptr()).pool;
            ngx_close_connection(self.0.as_ptr());
            if !pool.is_null() {
                ngx_destroy_pool(pool);
            }
        }
    }
}

unsafe extern "C" fn on_write(_event: *mut ngx_event_t) {}

unsafe extern "C" fn on_read<T: Callbacks>(event: *mut ngx_event_t) {
    guard("idle connection", (), || {
        // SAFETY: the event of a connection that `keep_connection` made idle.
        let Some(c) = (unsafe { NonNull::new((*event).data.cast::<ngx_connection_t>()) }) else { return };
        // Not ours to close: whoever keeps it does, when it is told.
        let connection = std::mem::ManuallyDrop::new(IdleConnection(c));
        if !connection.is_quiet() {
            T::idle_ended(connection.id());
        }
    });
}
