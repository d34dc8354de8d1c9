//! Receiving from an upstream's connection: as nginx does, and the descriptors that come along.

use std::cell::Cell;
use std::io::{ErrorKind, IoSliceMut};

use nginx_sys::{ngx_connection_t, ngx_post_event, ngx_posted_next_events};
use shared::ffi::recv::{Received, recv};

use super::connection::ConnectionExt;
use super::upstream_callbacks::{self, Callbacks};
use super::{AGAIN, ERROR};

/// So many bytes are received from a connection before the event loop looks after its others: what comes may
/// be nothing that nginx would have to wait with.
const MAX_IN_TURN: usize = 256 * 1024;

thread_local! {
    /// The connection that was received from last, as a number, and how much came without another one's
    /// turn.
    static LAST: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Notes that so many bytes came, and how many they are by now.
fn count(c: &ngx_connection_t, bytes: usize) -> usize {
    let number = std::ptr::from_ref(c).addr();
    let before = match LAST.get() {
        (last, before) if last == number => before,
        _ => 0,
    };
    let count = before.saturating_add(bytes);
    LAST.set((number, count));
    count
}

/// Has a connection, whose data is a request with a `T`, received as this file does.
pub(super) fn take_over<T: Callbacks>(c: &mut ngx_connection_t) {
    c.recv = Some(upstream_callbacks::receive::<T>);
    c.recv_chain = Some(upstream_callbacks::receive_chain::<T>);
}

/// Receives, and hands descriptors to the state of the request.
pub(super) fn receive(
    c: &mut ngx_connection_t,
    into: &mut [IoSliceMut<'_>],
    state: &mut impl Callbacks,
) -> isize {
    if count(c, 0) >= MAX_IN_TURN {
        LAST.set((0, 0));
        c.read_event().set_ready(0);
        // SAFETY: the event of an open connection, which is taken out of the queue when that is closed.
        // nginx makes it ready in its next turn.
        unsafe { ngx_post_event(c.read_event(), &raw mut ngx_posted_next_events) };
        return AGAIN;
    }
    match recv(c.socket(), into, 0) {
        Ok(Received { length: 0, .. }) => {
            c.read_event().set_ready(0);
            c.read_event().set_eof(1);
            0
        }
        Ok(Received { length, descriptors, is_truncated, .. }) => {
            count(c, length);
            if is_truncated || !descriptors.is_empty() {
                state.receive_descriptors(descriptors, is_truncated);
            }
            isize::try_from(length).unwrap_or(ERROR)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            LAST.set((0, 0));
            c.read_event().set_ready(0);
            AGAIN
        }
        Err(_) => {
            c.read_event().set_ready(0);
            c.read_event().set_error(1);
            ERROR
        }
    }
}
