//! How another thread wakes the loop: an eventfd among nginx's connections. And the timer that keeps a
//! leaving worker alive.

use std::os::fd::{AsFd, OwnedFd};

use nginx_sys::{NGX_USE_CLEAR_EVENT, ngx_connection_t, ngx_event_handler_pt, ngx_event_t, ngx_uint_t};
use nix::sys::eventfd::{EfdFlags, EventFd};
use shared::relay::queue::Wake;

use super::cycle;
use super::live::{Live, pointer};
use super::zeroed::Zeroed;

/// The writing end: any thread may use it, for as long as the process lives.
#[derive(Debug)]
pub struct Waker(EventFd);

/// nginx's end.
#[derive(Debug)]
pub struct WakeConnection(Live<'static, ngx_connection_t>);

impl Wake for Waker {
    fn wake(&self) {
        // It fails only when the eventfd is full, and then the loop is awake.
        let _ = self.0.write(1);
    }
}

impl Waker {
    /// Makes a waker that has nginx call `handler` on the loop's thread.
    ///
    /// # Errors
    /// What the system said.
    pub fn connect(handler: ngx_event_handler_pt) -> std::io::Result<(Self, WakeConnection)> {
        let waker = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        // nginx closes its end; ours stays open, so that a late thread never writes to what the number stands
        // for next.
        let end = waker.as_fd().try_clone_to_owned()?;
        let connection = WakeConnection::open(end, handler)?;
        Ok((Self(waker), connection))
    }

    /// Takes back what was written, where the event method would otherwise report it again and again.
    pub fn clear(&self) {
        if cycle::event_flags() & NGX_USE_CLEAR_EVENT as ngx_uint_t == 0 {
            let _ = self.0.read();
        }
    }
}

impl WakeConnection {
    fn open(end: OwnedFd, handler: ngx_event_handler_pt) -> std::io::Result<Self> {
        let log = cycle::process_log();
        let connection = Self(Live::open(end, log)?);
        connection.0.set_log(log);
        connection.0.read().set(handler, |read, handler| {
            read.handler = handler;
            // A leaving worker does not take this one for a client's.
            read.set_channel(1);
        });
        if connection.0.read().watch_read() {
            Ok(connection)
        } else {
            connection.close();
            Err(std::io::Error::other("the event method does not take an eventfd"))
        }
    }

    /// Gives the connection back to nginx.
    pub fn close(self) {
        // SAFETY: it is open, since closing consumes, and nobody else's.
        unsafe { self.0.close() };
    }
}

/// A timer of nginx's. One that is armed keeps a leaving worker alive.
#[derive(Debug)]
pub struct Timer(Box<ngx_event_t>);

impl Timer {
    /// A timer that calls `handler`; its `data` is never read.
    pub fn new(handler: ngx_event_handler_pt) -> Self {
        let log = pointer(cycle::process_log());
        let mut event = Box::new(ngx_event_t { handler, log, ..ngx_event_t::zeroed() });
        event.data = (&raw mut *event).cast();
        Self(event)
    }

    /// Whether it is armed.
    pub fn is_armed(&self) -> bool {
        self.0.timer_set() != 0
    }

    /// Arms it.
    pub fn arm(&mut self, milliseconds: usize) {
        // SAFETY: the event lives in its box, at one place, and is disarmed before that goes.
        unsafe { nginx_sys::ngx_add_timer(&raw mut *self.0, milliseconds) };
    }

    /// Disarms it.
    pub fn disarm(&mut self) {
        if self.is_armed() {
            // SAFETY: it is armed.
            unsafe { nginx_sys::ngx_del_timer(&raw mut *self.0) };
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
    }
}
