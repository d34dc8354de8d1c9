//! The connection that a request came over.

use std::os::fd::BorrowedFd;

use httpd_sys::{ap_get_conn_socket, apr_os_sock_get};
use shared::ffi::hang_up::has_hung_up;

use super::Request;

impl<'r> Request<'r> {
    /// The client's socket; in HTTP/2 that of all its streams.
    pub fn client_socket(self) -> Option<BorrowedFd<'r>> {
        let mut descriptor = -1;
        // SAFETY: the connection outlives its requests, its master lives as long, and so does the socket.
        unsafe {
            let connection = (*self.raw()).connection;
            // A stream of HTTP/2 has a socket of its own that is connected to nobody.
            let master = (*connection).master;
            let socket = ap_get_conn_socket(if master.is_null() { connection } else { master });
            if socket.is_null() || apr_os_sock_get(&raw mut descriptor, socket) != 0 || descriptor < 0 {
                return None;
            }
            Some(BorrowedFd::borrow_raw(descriptor))
        }
    }

    /// Whether the connection, or the stream of HTTP/2, has failed.
    pub fn is_aborted(self) -> bool {
        // SAFETY: the connection outlives its requests.
        unsafe { (*(*self.raw()).connection).aborted != 0 }
    }

    /// Whether the client is known to be gone: the connection failed, an HTTP/2 stream was reset, or the
    /// client has closed.
    pub fn is_client_gone(self) -> bool {
        self.is_aborted() || self.client_socket().is_some_and(has_hung_up)
    }
}
