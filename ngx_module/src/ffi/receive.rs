//! Receiving from an upstream's connection: as nginx does, and the descriptors that come along.

use std::cell::Cell;
use std::io::{ErrorKind, IoSliceMut};
use std::os::fd::OwnedFd;

use nginx_sys::{ngx_connection_t, ngx_event_t, ngx_posted_next_events};
use shared::ffi::recv::{Received, recv};

use super::live::Live;
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
fn count(c: Live<'_, ngx_connection_t>, bytes: usize) -> usize {
    let number = c.as_ptr().addr();
    let before = match LAST.get() {
        (last, before) if last == number => before,
        _ => 0,
    };
    let count = before.saturating_add(bytes);
    LAST.set((number, count));
    count
}

/// Receives, and hands over descriptors that came, and whether the system dropped some.
pub(super) fn receive(
    c: Live<'_, ngx_connection_t>,
    into: &mut [IoSliceMut<'_>],
    take_descriptors: impl FnOnce(Vec<OwnedFd>, bool),
) -> isize {
    if count(c, 0) >= MAX_IN_TURN {
        LAST.set((0, 0));
        c.read().set_ready(false);
        c.read().post(&raw mut ngx_posted_next_events);
        return AGAIN;
    }
    match recv(c.socket(), into, 0) {
        Ok(Received { length: 0, .. }) => {
            c.read().set_ready(false);
            c.read().set(1, ngx_event_t::set_eof);
            0
        }
        Ok(Received { length, descriptors, is_truncated, .. }) => {
            count(c, length);
            if is_truncated || !descriptors.is_empty() {
                take_descriptors(descriptors, is_truncated);
            }
            isize::try_from(length).unwrap_or(ERROR)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            LAST.set((0, 0));
            c.read().set_ready(false);
            AGAIN
        }
        Err(_) => {
            c.read().set_ready(false);
            c.read().set(1, ngx_event_t::set_error);
            ERROR
        }
    }
}
