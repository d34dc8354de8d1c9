//! The connection that a request came over.

use std::os::fd::BorrowedFd;

use httpd_sys::{ap_conn_keepalive_e_AP_CONN_CLOSE, ap_get_conn_socket, apr_os_sock_get, conn_rec};
use shared::ffi::hang_up::has_hung_up;

use super::Request;
use super::request::port;
use super::text::borrowed;

impl<'r> Request<'r> {
    fn connection(self) -> &'r conn_rec {
        // SAFETY: the connection outlives its requests, and nothing of httpd's runs while one of us looks at
        // it.
        unsafe { &*(*self.raw()).connection }
    }

    /// The address and the port that the client connected to.
    pub fn local(self) -> (Option<&'r [u8]>, u16) {
        let connection = self.connection();
        // SAFETY: text and address live as long as the connection.
        unsafe { (borrowed(connection.local_ip), port(connection.local_addr)) }
    }

    /// The connection's number.
    pub fn connection_id(self) -> i64 {
        self.connection().id
    }

    /// Has the connection closed behind this response.
    pub fn close_connection(self) {
        // SAFETY: as for `connection`.
        unsafe { (*(*self.raw()).connection).keepalive = ap_conn_keepalive_e_AP_CONN_CLOSE };
    }

    /// The client's socket; in HTTP/2 that of all its streams.
    pub fn client_socket(self) -> Option<BorrowedFd<'r>> {
        let connection = self.connection();
        // A stream of HTTP/2 has a socket of its own that is connected to nobody.
        let master =
            if connection.master.is_null() { std::ptr::from_ref(connection) } else { connection.master };
        // SAFETY: both connections live; httpd only looks at the one that it is given.
        let socket = unsafe { ap_get_conn_socket(master.cast_mut()) };
        let mut descriptor = -1;
        // SAFETY: the socket lives as long as its connection.
        if socket.is_null() || unsafe { apr_os_sock_get(&raw mut descriptor, socket) } != 0 || descriptor < 0
        {
            return None;
        }
        // SAFETY: it is open as long as the connection.
        Some(unsafe { BorrowedFd::borrow_raw(descriptor) })
    }

    /// Whether the connection, or the stream of HTTP/2, has failed.
    pub fn is_aborted(self) -> bool {
        self.connection().aborted != 0
    }

    /// Whether the client is known to be gone: the connection failed, an HTTP/2 stream was reset, or the
    /// client has closed.
    pub fn is_client_gone(self) -> bool {
        self.is_aborted() || self.client_socket().is_some_and(has_hung_up)
    }
}
