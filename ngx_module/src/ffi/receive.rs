//! Receiving from an upstream's connection: as nginx does, and the descriptors that come along.

use std::io::{ErrorKind, IoSliceMut};
use std::os::fd::OwnedFd;

use nginx_sys::{ngx_connection_t, ngx_event_t};
use shared::ffi::recv::{Received, recv};

use super::live::Live;
use super::{AGAIN, ERROR};

/// Receives, and hands over descriptors that came, and whether the system dropped some.
pub(super) fn receive(
    c: Live<'_, ngx_connection_t>,
    into: &mut [IoSliceMut<'_>],
    take_descriptors: impl FnOnce(Vec<OwnedFd>, bool),
) -> isize {
    match recv(c.socket(), into, 0) {
        Ok(Received { length: 0, .. }) => {
            c.read().set_ready(false);
            c.read().set(1, ngx_event_t::set_eof);
            0
        }
        Ok(Received { length, descriptors, is_truncated, .. }) => {
            if is_truncated || !descriptors.is_empty() {
                take_descriptors(descriptors, is_truncated);
            }
            isize::try_from(length).unwrap_or(ERROR)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
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
