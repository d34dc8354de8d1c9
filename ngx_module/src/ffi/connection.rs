//! A connection of nginx's (`ngx_connection_t`).

use std::os::fd::BorrowedFd;

use nginx_sys::{ngx_connection_t, ngx_event_t, ngx_log_t};

/// What every open connection has.
pub(super) trait ConnectionExt {
    /// Its socket.
    fn socket(&self) -> BorrowedFd<'_>;
    /// The event of its being readable.
    fn read_event(&mut self) -> &mut ngx_event_t;
    /// The event of its being writable.
    fn write_event(&mut self) -> &mut ngx_event_t;
    /// Has it, its events and its pool log to `log`.
    fn set_log(&mut self, log: *mut ngx_log_t);
}

impl ConnectionExt for ngx_connection_t {
    fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket of an open connection is open.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    fn read_event(&mut self) -> &mut ngx_event_t {
        // SAFETY: nginx gives a connection its two events with its place in the table.
        unsafe { &mut *self.read }
    }

    fn write_event(&mut self) -> &mut ngx_event_t {
        // SAFETY: as above.
        unsafe { &mut *self.write }
    }

    fn set_log(&mut self, log: *mut ngx_log_t) {
        self.log = log;
        self.read_event().log = log;
        self.write_event().log = log;
        // SAFETY: null, or the connection's own.
        if let Some(pool) = unsafe { self.pool.as_mut() } {
            pool.log = log;
        }
    }
}
