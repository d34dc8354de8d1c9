//! A connection of nginx's (`ngx_connection_t`) and its events.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use nginx_sys::{
    ngx_add_timer, ngx_close_connection, ngx_connection_t, ngx_del_timer, ngx_event_t, ngx_get_connection,
    ngx_handle_read_event, ngx_handle_write_event, ngx_log_t, ngx_msec_t, ngx_post_event, ngx_queue_t,
    ngx_reusable_connection,
};

use super::OK;
use super::live::{Live, pointer};

impl Live<'_, ngx_event_t> {
    /// Has the event method tell when something can be read (`ngx_handle_read_event`); `false` when it
    /// refuses.
    pub(super) fn watch_read(self) -> bool {
        // SAFETY: the event of an open connection.
        unsafe { ngx_handle_read_event(self.as_ptr(), 0) == OK }
    }

    /// Has the event method tell when `lowat` bytes can be written (`ngx_handle_write_event`).
    pub(super) fn watch_write(self, lowat: usize) -> bool {
        // SAFETY: the event of an open connection.
        unsafe { ngx_handle_write_event(self.as_ptr(), lowat) == OK }
    }

    /// Starts its timer.
    pub(super) fn start_timer(self, milliseconds: ngx_msec_t) {
        // SAFETY: the event stays where it is while its timer runs, as all of nginx's do.
        unsafe { ngx_add_timer(self.as_ptr(), milliseconds) };
    }

    /// Stops its timer, if that runs.
    pub(super) fn stop_timer(self) {
        if self.get(|event| event.timer_set()) != 0 {
            // SAFETY: it runs.
            unsafe { ngx_del_timer(self.as_ptr()) };
        }
    }

    /// Has nginx call its handler: in this turn of the loop, or as ready in the next (`posted` and
    /// `posted_next`).
    pub(super) fn post(self, queue: *mut ngx_queue_t) {
        // SAFETY: one of nginx's queues of events; nginx takes the event out when its connection is closed.
        unsafe { ngx_post_event(self.as_ptr(), queue) };
    }

    /// Notes whether there is something to read, or room to write.
    pub(super) fn set_ready(self, ready: bool) {
        self.set(ready, |event, ready| event.set_ready(ready.into()));
    }
}

impl<'a> Live<'a, ngx_connection_t> {
    /// Makes a socket one of nginx's connections.
    ///
    /// # Errors
    /// There are not enough of them.
    pub(super) fn open(socket: OwnedFd, log: Option<Live<'_, ngx_log_t>>) -> Result<Self> {
        // SAFETY: in a worker, whose cycle has connections, and an event method; a connection stays where it
        // is in the cycle's table.
        let connection = unsafe { Live::new(ngx_get_connection(socket.as_raw_fd(), pointer(log))) };
        let connection = connection.ok_or_else(|| Error::other("worker_connections are not enough"))?;
        // With the number nginx becomes the descriptor's owner.
        let _ = socket.into_raw_fd();
        Ok(connection)
    }

    /// Gives it back to nginx.
    ///
    /// # Safety
    /// It is open, and nobody uses it any more.
    pub(super) unsafe fn close(self) {
        // SAFETY: the caller's promise.
        unsafe { ngx_close_connection(self.as_ptr()) };
    }

    /// Says whether nginx may close it when it has none left for a client (`ngx_drain_connections`).
    pub(super) fn set_reusable(self, is_reusable: bool) {
        // SAFETY: an open connection of this process's.
        unsafe { ngx_reusable_connection(self.as_ptr(), is_reusable.into()) };
    }

    /// Its socket.
    pub(super) fn socket(self) -> BorrowedFd<'a> {
        // SAFETY: the socket of an open connection is open.
        unsafe { BorrowedFd::borrow_raw(self.get(|connection| connection.fd)) }
    }

    /// Has it, its events and its pool log to `log`.
    pub(super) fn set_log(self, log: Option<Live<'_, ngx_log_t>>) {
        let log = pointer(log);
        self.set(log, |connection, log| connection.log = log);
        self.read().set(log, |event, log| event.log = log);
        self.write().set(log, |event, log| event.log = log);
        if let Some(pool) = self.pool() {
            pool.set(log, |pool, log| pool.log = log);
        }
    }
}
