//! Receiving from an upstream's connection: as nginx does, and the descriptors that come along.

use std::io::{ErrorKind, IoSliceMut};

use nginx_sys::ngx_connection_t;
use shared::ffi::recv::{Received, recv};

use super::connection::ConnectionExt;
use super::upstream_callbacks::{self, Callbacks};
use super::{AGAIN, ERROR};

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
    match recv(c.socket(), into, 0) {
        Ok(Received { length: 0, .. }) => {
            c.read_event().set_ready(0);
            c.read_event().set_eof(1);
            0
        }
        Ok(Received { length, descriptors, is_truncated, .. }) => {
            if is_truncated || !descriptors.is_empty() {
                state.receive_descriptors(descriptors, is_truncated);
            }
            isize::try_from(length).unwrap_or(ERROR)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
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
