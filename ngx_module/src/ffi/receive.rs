//! Receiving from an upstream's connection: as nginx does, and the descriptors that come along.

use std::io::IoSliceMut;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nginx_sys::{ngx_chain_t, ngx_connection_t, off_t};
use shared::ffi::guard::guard;

use super::upstream_callbacks::{Callbacks, held_of, with};
use super::{AGAIN, ERROR};

/// The most buffers that are filled at a time.
const MAX_BUFFERS: usize = 16;
/// The most descriptors that come with one part.
const MAX_FILES: usize = 8;

/// Has a connection received as this file does.
///
/// # Safety
/// `c` is null or a living connection whose data is a request with a `T`, or null.
pub(super) unsafe fn take_over<T: Callbacks>(c: *mut ngx_connection_t) {
    // SAFETY: the caller's promise.
    if let Some(c) = unsafe { c.as_mut() } {
        c.recv = Some(receive::<T>);
        c.recv_chain = Some(receive_chain::<T>);
    }
}

unsafe extern "C" fn receive<T: Callbacks>(c: *mut ngx_connection_t, into: *mut u8, size: usize) -> isize {
    guard("receive", ERROR, || {
        // SAFETY: nginx lends `size` bytes at `into` and a living connection.
        unsafe { take::<T>(&mut *c, &mut [IoSliceMut::new(std::slice::from_raw_parts_mut(into, size))]) }
    })
}

unsafe extern "C" fn receive_chain<T: Callbacks>(
    c: *mut ngx_connection_t,
    chain: *mut ngx_chain_t,
    limit: off_t,
) -> isize {
    guard("receive_chain", ERROR, || {
        let mut parts = Vec::with_capacity(MAX_BUFFERS);
        let mut left = if limit > 0 { usize::try_from(limit).unwrap_or(usize::MAX) } else { usize::MAX };
        let mut link = chain;
        // SAFETY: nginx lends a chain of buffers with room behind `last`, and a living connection.
        unsafe {
            while !link.is_null() && parts.len() < MAX_BUFFERS && left > 0 {
                let buffer = &*(*link).buf;
                let room = buffer.end.addr().saturating_sub(buffer.last.addr()).min(left);
                if room > 0 {
                    left -= room;
                    parts.push(IoSliceMut::new(std::slice::from_raw_parts_mut(buffer.last, room)));
                }
                link = (*link).next;
            }
            take::<T>(&mut *c, &mut parts)
        }
    })
}

/// # Safety
/// As for [`take_over`].
unsafe fn take<T: Callbacks>(c: &mut ngx_connection_t, into: &mut [IoSliceMut<'_>]) -> isize {
    // SAFETY: a connection has its read event; nobody else refers to it now.
    let event = unsafe { &mut *c.read };
    let received = loop {
        match receive_message(c.fd, into) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => break received,
        }
    };
    match received {
        Ok((0, _)) => {
            event.set_ready(0);
            event.set_eof(1);
            0
        }
        Ok((length, files)) => {
            if !files.is_empty() {
                // SAFETY: the caller's promise. Where nobody asks for them they are closed here.
                unsafe {
                    with::<T, ()>(held_of(c.data.cast()), (), |state, _| {
                        files.into_iter().for_each(|file| state.receive_descriptor(file));
                    });
                }
            }
            length
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            event.set_ready(0);
            AGAIN
        }
        Err(_) => {
            event.set_ready(0);
            event.set_error(1);
            ERROR
        }
    }
}

/// recvmsg(2): how many bytes came, and which descriptors with them.
fn receive_message(socket: RawFd, into: &mut [IoSliceMut<'_>]) -> std::io::Result<(isize, Vec<OwnedFd>)> {
    let mut control = [0usize; 8 + MAX_FILES];
    // SAFETY: all zeroes is an empty message; the parts, which are laid out as iovecs, and the control memory live for the call.
    let (received, message) = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = into.as_mut_ptr().cast();
        message.msg_iovlen = into.len() as _;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        (libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC), message)
    };
    if received < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let mut files = Vec::new();
    // SAFETY: the macros of cmsg(3) walk what the kernel wrote just now; each descriptor is new and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(about) = header.as_ref() {
            if about.cmsg_level == libc::SOL_SOCKET && about.cmsg_type == libc::SCM_RIGHTS {
                let bytes = about.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let numbers = libc::CMSG_DATA(header).cast::<RawFd>();
                files.extend(
                    (0..bytes / size_of::<RawFd>())
                        .map(|index| OwnedFd::from_raw_fd(numbers.add(index).read_unaligned())),
                );
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok((received, files))
}
