//! An upstream's peer (`ngx_peer_connection_t`): where it is, and connections to it that are kept for the
//! next request (`ngx_http_upstream_keepalive_module`).

use std::io::{Error, ErrorKind, IoSliceMut, Result, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr::NonNull;

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_connection_tcp_nodelay_e_NGX_TCP_NODELAY_DISABLED,
    ngx_connection_tcp_nopush_e_NGX_TCP_NOPUSH_DISABLED, ngx_destroy_pool, ngx_event_t, ngx_get_connection,
    ngx_handle_read_event, ngx_io, ngx_reusable_connection,
};
use shared::ffi::guard::guard;
use shared::ffi::recv::recv;

use super::connection::ConnectionExt;
use super::upstream::Upstream;
use super::upstream_callbacks::Callbacks;
use super::zeroed::Zeroed;
use super::{Code, DONE, OK, cycle};

/// How long such a connection is kept, in milliseconds (`keepalive_timeout` of nginx's upstreams).
const IDLE_TIMEOUT: usize = 60_000;

/// A connection that no request has. It is closed when it is dropped.
#[derive(Debug)]
pub struct IdleConnection(NonNull<ngx_connection_t>);

/// Which connection it is, among those that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(usize);

impl Upstream<'_> {
    /// Says where the peer is: a socket of this machine. `false` when its path is too long, or nginx has no
    /// memory.
    pub fn set_peer_address(&mut self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        let mut address = libc::sockaddr_un::zeroed();
        if path.len() >= address.sun_path.len() {
            return false;
        }
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in address.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        let request = self.request();
        let name = request.copy(&[b"unix:", path].concat());
        let (Some(address), Some(name)) = (request.place(address), name.and_then(|name| request.place(name)))
        else {
            return false;
        };
        let peer = self.peer();
        peer.sockaddr = address.as_ptr().cast();
        peer.socklen = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        peer.name = name.as_ptr();
        peer.set_cached(0);
        true
    }

    /// Connects to the peer; what to tell nginx. A socket of this machine takes a connection at once or not
    /// at all, so that this does not wait.
    ///
    /// # Errors
    /// Nobody listens there, or all that do are busy.
    pub fn connect_to_peer(&mut self) -> Result<Code> {
        let (address, length) = (self.peer().sockaddr, self.peer().socklen);
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the new descriptor is ours; `set_peer_address` placed the address in the request's pool.
        let socket = unsafe {
            let raw = libc::socket(libc::AF_UNIX, kind, 0);
            if raw < 0 {
                return Err(Error::last_os_error());
            }
            let socket = OwnedFd::from_raw_fd(raw);
            if libc::connect(raw, address.cast(), length) != 0 {
                return Err(Error::last_os_error());
            }
            socket
        };
        self.adopt(socket)
    }

    /// Has nginx read `answer` as if the peer had sent it; what to tell nginx, and the other end of the
    /// connection, which has to stay open until the answer is read. nginx knows no other way from a peer that
    /// there is not to a status of ours.
    ///
    /// # Errors
    /// The process has no descriptors or connections left.
    pub fn use_answer(&mut self, answer: &[u8]) -> Result<(Code, UnixStream)> {
        let (mut ours, theirs) = UnixStream::pair()?;
        theirs.set_nonblocking(true)?;
        // Such a connection holds far more than that without a reader.
        ours.write_all(answer)?;
        Ok((self.adopt(theirs.into())?, ours))
    }

    /// Makes a socket nginx's connection to the peer, as `ngx_event_connect_peer` does.
    fn adopt(&mut self, socket: OwnedFd) -> Result<Code> {
        let log = self.peer().log;
        // SAFETY: called in a worker, whose cycle has connections, and a log; with the number nginx becomes
        // the descriptor's owner.
        let c = unsafe {
            let c = ngx_get_connection(socket.as_raw_fd(), log).as_mut();
            let c = c.ok_or_else(|| Error::other("worker_connections are not enough"))?;
            let _ = socket.into_raw_fd();
            // `receive::take_over` changes how it is read.
            (c.send, c.send_chain) = (ngx_io.send, ngx_io.send_chain);
            (c.recv, c.recv_chain) = (ngx_io.recv, ngx_io.recv_chain);
            c
        };
        c.type_ = libc::SOCK_STREAM;
        c.set_tcp_nodelay(ngx_connection_tcp_nodelay_e_NGX_TCP_NODELAY_DISABLED);
        c.set_tcp_nopush(ngx_connection_tcp_nopush_e_NGX_TCP_NOPUSH_DISABLED);
        c.set_log(log);
        c.set_sendfile(1);
        c.write_event().set_ready(1);
        if !watch(c.read_event()) {
            // SAFETY: open, and nobody else's.
            unsafe { ngx_close_connection(c) };
            return Err(Error::other("the event method refuses the connection"));
        }
        self.peer().connection = c;
        Ok(DONE)
    }

    /// How many bytes of the request left over the peer's connection, if there is one.
    pub fn sent_to_peer(&mut self) -> Option<u64> {
        u64::try_from(self.connection()?.sent).ok()
    }

    /// Has the request sent over a connection of before (`ngx_http_upstream_get_keepalive_peer`); what to
    /// tell nginx.
    pub fn use_connection(&mut self, connection: IdleConnection) -> Code {
        let mut connection = std::mem::ManuallyDrop::new(connection);
        let peer = self.peer();
        peer.connection = connection.0.as_ptr();
        let c = connection.get();
        c.set_idle(0);
        set_reusable(c, false);
        stop_timer(c.read_event());
        c.sent = 0;
        c.data = std::ptr::null_mut();
        c.set_log(peer.log);
        DONE
    }

    /// Takes the connection for another request, if nothing is wrong with it
    /// (`ngx_http_upstream_free_keepalive_peer`).
    pub fn keep_connection<T: Callbacks>(&mut self) -> Option<IdleConnection> {
        let log = cycle::log_while_staying()?;
        let all_sent = self.request_body_sent();
        let c = self.connection()?;
        let failed = |event: &ngx_event_t| event.error() != 0 || event.timedout() != 0;
        if !all_sent || c.read_event().eof() != 0 || failed(c.read_event()) || failed(c.write_event()) {
            return None;
        }
        if !watch(c.read_event()) {
            return None;
        }
        // The timer may be that of wsgi_limit_rate, which holds back what comes until it fires.
        c.read_event().set_delayed(0);
        stop_timer(c.read_event());
        stop_timer(c.write_event());
        c.read_event().handler = Some(on_read::<T>);
        c.write_event().handler = Some(on_write);
        c.data = std::ptr::null_mut();
        c.set_idle(1);
        set_reusable(c, true);
        // SAFETY: the event of an open connection.
        unsafe { nginx_sys::ngx_add_timer(c.read_event(), IDLE_TIMEOUT) };
        c.set_log(log);
        let is_quiet = c.read_event().ready() == 0;
        let mut kept = IdleConnection(NonNull::from(c));
        self.peer().connection = std::ptr::null_mut();
        (is_quiet || kept.is_quiet()).then_some(kept)
    }
}

/// Has the event method tell about an event (`ngx_handle_read_event`).
fn watch(event: &mut ngx_event_t) -> bool {
    // SAFETY: the event of an open connection.
    unsafe { ngx_handle_read_event(event, 0) == OK }
}

/// Says whether nginx may close the connection when it has none left for a client (`ngx_drain_connections`).
fn set_reusable(c: &mut ngx_connection_t, is_reusable: bool) {
    // SAFETY: an open connection of this process's.
    unsafe { ngx_reusable_connection(c, is_reusable.into()) };
}

fn stop_timer(event: &mut ngx_event_t) {
    if event.timer_set() != 0 {
        // SAFETY: it is armed.
        unsafe { nginx_sys::ngx_del_timer(event) };
    }
}

impl IdleConnection {
    /// Which one it is.
    pub fn id(&self) -> ConnectionId {
        ConnectionId(self.0.addr().get())
    }

    fn get(&mut self) -> &mut ngx_connection_t {
        // SAFETY: open until this is dropped, and nobody else's.
        unsafe { self.0.as_mut() }
    }

    /// Whether nothing came over it: neither its end, nor the word that the other side takes no more.
    fn is_quiet(&mut self) -> bool {
        let c = self.get();
        if c.close() != 0 || c.read_event().timedout() != 0 {
            return false;
        }
        let peeked = recv(c.socket(), &mut [IoSliceMut::new(&mut [0])], libc::MSG_PEEK | libc::MSG_DONTWAIT);
        if !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            return false;
        }
        c.read_event().set_ready(0);
        watch(c.read_event())
    }
}

impl Drop for IdleConnection {
    fn drop(&mut self) {
        // SAFETY: a living connection that nobody refers to any more, with a pool of its own.
        unsafe {
            let pool = (*self.0.as_ptr()).pool;
            ngx_close_connection(self.0.as_ptr());
            if !pool.is_null() {
                ngx_destroy_pool(pool);
            }
        }
    }
}

unsafe extern "C" fn on_write(_event: *mut ngx_event_t) {}

unsafe extern "C" fn on_read<T: Callbacks>(event: *mut ngx_event_t) {
    guard("idle connection", (), || {
        // SAFETY: the event of a connection that `keep_connection` made idle.
        let Some(c) = (unsafe { NonNull::new((*event).data.cast::<ngx_connection_t>()) }) else { return };
        // Not ours to close: whoever keeps it does, when it is told.
        let mut connection = std::mem::ManuallyDrop::new(IdleConnection(c));
        if !connection.is_quiet() {
            T::idle_ended(connection.id());
        }
    });
}
