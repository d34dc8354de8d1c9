//! Receiving from a worker: as nginx does, and the descriptors that come along.

use std::io::IoSliceMut;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nginx_sys::{ngx_chain_t, ngx_connection_t, ngx_http_request_t, off_t};
use shared::ffi::guard::guard;

use super::parts;
use crate::ffi::{AGAIN, ERROR};

/// The most buffers that are filled at a time.
const MOST: usize = 16;
/// The most descriptors that come with one part.
const MOST_FILES: usize = 8;

/// Has a connection received as this file does.
///
/// # Safety
/// `c` is a living connection whose data is a request of ours.
pub(crate) unsafe fn take_over(c: *mut ngx_connection_t) {
    // SAFETY: the caller's promise.
    unsafe {
        (*c).recv = Some(receive);
        (*c).recv_chain = Some(receive_chain);
    }
}

unsafe extern "C" fn receive(c: *mut ngx_connection_t, into: *mut u8, size: usize) -> isize {
    guard("receive", ERROR, || {
        // SAFETY: nginx lends `size` bytes at `into` and a living connection.
        unsafe { take(c, &mut [IoSliceMut::new(std::slice::from_raw_parts_mut(into, size))]) }
    })
}

unsafe extern "C" fn receive_chain(c: *mut ngx_connection_t, chain: *mut ngx_chain_t, limit: off_t) -> isize {
    guard("receive_chain", ERROR, || {
        let mut parts = Vec::with_capacity(MOST);
        let mut left = if limit > 0 { usize::try_from(limit).unwrap_or(usize::MAX) } else { usize::MAX };
        let mut link = chain;
        // SAFETY: nginx lends a chain of buffers with room behind `last`, and a living connection.
        unsafe {
            while !link.is_null() && parts.len() < MOST && left > 0 {
                let buffer = &*(*link).buf;
                let room = usize::try_from(buffer.end.offset_from(buffer.last)).unwrap_or(0).min(left);
                if room > 0 {
                    left -= room;
                    parts.push(IoSliceMut::new(std::slice::from_raw_parts_mut(buffer.last, room)));
                }
                link = (*link).next;
            }
            take(c, &mut parts)
        }
    })
}

/// # Safety
/// `c` is a living connection; while a request of ours is its data, that lives too.
unsafe fn take(c: *mut ngx_connection_t, into: &mut [IoSliceMut<'_>]) -> isize {
    let mut control = [0usize; 8 + MOST_FILES];
    loop {
        // SAFETY: all zeroes is an empty message; the parts and the control memory live for the call, and the kernel fills in what
        // is read afterwards.
        let (received, message) = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = into.as_mut_ptr().cast();
            message.msg_iovlen = into.len();
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            (libc::recvmsg((*c).fd, &raw mut message, libc::MSG_CMSG_CLOEXEC), message)
        };
        // SAFETY: a connection has its read event; nobody else refers to it now.
        let event = unsafe { &mut *(*c).read };
        match received {
            0 => {
                event.set_ready(0);
                event.set_eof(1);
                return 0;
            }
            length if length > 0 => {
                if message.msg_controllen > 0 {
                    // SAFETY: the kernel filled the message in just now.
                    unsafe { keep_files(c, &message) };
                }
                return length;
            }
            _ => match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN) => {
                    event.set_ready(0);
                    return AGAIN;
                }
                Some(libc::EINTR) => {}
                _ => {
                    event.set_ready(0);
                    event.set_error(1);
                    return ERROR;
                }
            },
        }
    }
}

/// # Safety
/// As for `take`; `message` was filled in by the kernel just now.
unsafe fn keep_files(c: *mut ngx_connection_t, message: &libc::msghdr) {
    // SAFETY: the macros of cmsg(3) walk what the kernel wrote; each descriptor is new and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
                let numbers = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    let file = OwnedFd::from_raw_fd(numbers.add(index).read_unaligned());
                    // Where nobody asked for it, it is closed here.
                    let link = parts((*c).data.cast::<ngx_http_request_t>())
                        .and_then(|(_, asking)| asking.link.as_mut());
                    if let Some(link) = link {
                        link.files.push_back(file);
                    }
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}
