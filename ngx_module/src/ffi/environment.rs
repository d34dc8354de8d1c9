//! What a request says about itself, its connection and its server.

use nginx_sys::{ngx_connection_local_sockaddr, ngx_inet_get_port, ngx_listening_t, ngx_str_t};

use super::OK;
use super::live::Live;
use super::request::Request;

impl Request {
    /// `GET`.
    pub fn method(&self) -> &[u8] {
        self.live().method_name()
    }

    /// The path, decoded and normalised.
    pub fn uri(&self) -> &[u8] {
        self.live().uri()
    }

    /// What stands behind the question mark.
    pub fn arguments(&self) -> &[u8] {
        self.live().args()
    }

    /// The target as the client sent it.
    pub fn unparsed_uri(&self) -> &[u8] {
        self.live().unparsed_uri()
    }

    /// `HTTP/1.1`; empty for HTTP/0.9, which does not say.
    pub fn protocol(&self) -> &[u8] {
        self.live().http_protocol()
    }

    /// The host that the client asked for, without a port.
    pub fn host(&self) -> &[u8] {
        self.live().headers_in().server()
    }

    /// Who logged in with HTTP's basic authentication.
    pub fn user(&self) -> &[u8] {
        self.live().headers_in().user()
    }

    /// When it came, in milliseconds since the epoch.
    pub fn started_at(&self) -> u64 {
        let seconds = u64::try_from(self.get(|request| request.start_sec)).unwrap_or(0);
        seconds * 1000 + self.get(|request| request.start_msec) as u64
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        #[cfg(ngx_feature = "http_ssl")]
        let encrypted = self.live().connection().ssl().is_some();
        #[cfg(not(ngx_feature = "http_ssl"))]
        let encrypted = false;
        encrypted
    }

    /// The number of the connection in this worker.
    pub fn connection_number(&self) -> u64 {
        self.live().connection().get(|connection| connection.number)
    }

    /// The client's address, as the realip module may have changed it.
    pub fn client_address(&self) -> &[u8] {
        self.live().connection().addr_text()
    }

    /// The client's port; 0 for a Unix socket.
    pub fn client_port(&self) -> u16 {
        // SAFETY: the connection's own address.
        unsafe { ngx_inet_get_port(self.live().connection().get(|connection| connection.sockaddr)) }
    }

    /// The address that the client connected to, written into `buffer`, and its port.
    pub fn server_address<'b>(&self, buffer: &'b mut [u8; 128]) -> (&'b [u8], u16) {
        let mut text = ngx_str_t { len: buffer.len(), data: buffer.as_mut_ptr() };
        let connection = self.live().connection();
        // SAFETY: the connection lives; the text has room for what nginx writes, and says how much that is.
        let code = unsafe { ngx_connection_local_sockaddr(connection.as_ptr(), &raw mut text, 0) };
        let address = connection.get(|connection| connection.local_sockaddr);
        // SAFETY: the connection's own address, which nginx has just asked the system for.
        let port = if code == OK { unsafe { ngx_inet_get_port(address) } } else { 0 };
        let length = if code == OK { text.len } else { 0 };
        (buffer.get(..length).unwrap_or_default(), port)
    }

    /// The address that is listened on, as `*:80` would be `0.0.0.0:80`.
    pub fn listener(&self) -> &[u8] {
        self.live().connection().listening().map_or(&[], Live::<ngx_listening_t>::addr_text)
    }
}
