//! An upstream's peer (`ngx_peer_connection_t`): where it is, and connections to it that are kept for the
//! next request (`ngx_http_upstream_keepalive_module`).

use std::io::{Error, ErrorKind, IoSliceMut, Result, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nginx_sys::{
    ngx_connection_t, ngx_connection_tcp_nodelay_e_NGX_TCP_NODELAY_DISABLED,
    ngx_connection_tcp_nopush_e_NGX_TCP_NOPUSH_DISABLED, ngx_destroy_pool, ngx_event_t, ngx_io,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use shared::ffi::guard::guard;
use shared::ffi::recv::recv;

use super::live::{Live, pointer};
use super::upstream::Upstream;
use super::zeroed::Zeroed;
use super::{Code, DONE, ERROR, cycle};

/// How long such a connection is kept, in milliseconds (`keepalive_timeout` of nginx's upstreams).
const IDLE_TIMEOUT: usize = 60_000;

/// A connection that no request has. It is closed when it is dropped.
#[derive(Debug)]
pub struct IdleConnection(Live<'static, ngx_connection_t>);

/// Which connection it is, among those that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(usize);

/// Who keeps connections.
pub trait IdleOwner: 'static {
    /// A connection that is kept ended, or something came over it.
    fn idle_ended(connection: ConnectionId);
}

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
        let pool = self.request().pool();
        let name = pool.copy(&[b"unix:", path].concat()).and_then(|name| pool.alloc(name));
        let (Some(address), Some(name)) = (pool.alloc(address), name) else { return false };
        self.peer().set((address.as_ptr().cast(), name.as_ptr()), |peer, (address, name)| {
            (peer.sockaddr, peer.name) = (address, name);
            peer.socklen = size_of::<libc::sockaddr_un>() as libc::socklen_t;
            peer.set_cached(0);
        });
        true
    }

    /// Connects to the peer; what to tell nginx. A socket of this machine takes a connection at once or not
    /// at all, so that this does not wait.
    ///
    /// # Errors
    /// Nobody listens there, or all that do are busy.
    pub fn connect_to_peer(&mut self) -> Result<Code> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        let (address, length) = self.peer().get(|peer| (peer.sockaddr, peer.socklen));
        // SAFETY: `set_peer_address` placed the address in the request's pool.
        if unsafe { libc::connect(socket.as_raw_fd(), address.cast(), length) } != 0 {
            return Err(Error::last_os_error());
        }
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
        let log = self.peer().log();
        let c = Live::open(socket, log)?;
        // SAFETY: nginx's functions, set before any worker begins.
        let io = unsafe { ngx_io };
        c.set(io, |c, io| {
            // `output_filter` of the callbacks changes how it is read.
            (c.send, c.send_chain, c.recv, c.recv_chain) = (io.send, io.send_chain, io.recv, io.recv_chain);
            c.type_ = libc::SOCK_STREAM;
            c.set_tcp_nodelay(ngx_connection_tcp_nodelay_e_NGX_TCP_NODELAY_DISABLED);
            c.set_tcp_nopush(ngx_connection_tcp_nopush_e_NGX_TCP_NOPUSH_DISABLED);
            c.set_sendfile(1);
        });
        c.set_log(log);
        c.write().set_ready(true);
        self.peer().set(c.as_ptr(), |peer, c| peer.connection = c);
        // The request ends with an error of its own, and its connection with it.
        Ok(if c.read().watch_read() { DONE } else { ERROR })
    }

    /// How many bytes of the request left over the peer's connection, if there is one.
    pub fn sent_to_peer(&mut self) -> Option<u64> {
        u64::try_from(self.connection()?.get(|c| c.sent)).ok()
    }

    /// Has the request sent over a connection of before (`ngx_http_upstream_get_keepalive_peer`); what to
    /// tell nginx.
    pub fn use_connection(&mut self, connection: IdleConnection) -> Code {
        let c = std::mem::ManuallyDrop::new(connection).0;
        c.set((), |c, ()| {
            c.set_idle(0);
            c.sent = 0;
            c.data = std::ptr::null_mut();
        });
        c.set_reusable(false);
        c.read().stop_timer();
        c.set_log(self.peer().log());
        self.peer().set(c.as_ptr(), |peer, c| peer.connection = c);
        DONE
    }

    /// Takes the connection for another request, if nothing is wrong with it
    /// (`ngx_http_upstream_free_keepalive_peer`).
    pub fn keep_connection<T: IdleOwner>(&mut self) -> Option<IdleConnection> {
        let log = cycle::log_while_staying()?;
        let c = self.connection()?;
        let failed = |event: Live<'_, ngx_event_t>| event.get(|event| event.error() | event.timedout()) != 0;
        if !self.request_body_sent() || c.read().get(|read| read.eof()) != 0 {
            return None;
        }
        if failed(c.read()) || failed(c.write()) || !c.read().watch_read() {
            return None;
        }
        // The timer may be that of wsgi_limit_rate, which holds back what comes until it fires.
        c.read().set(0, ngx_event_t::set_delayed);
        c.read().stop_timer();
        c.write().stop_timer();
        c.read().set((), |read, ()| read.handler = Some(on_read::<T>));
        c.write().set((), |write, ()| write.handler = Some(on_write));
        c.set((), |c, ()| {
            c.data = std::ptr::null_mut();
            c.set_idle(1);
        });
        c.set_reusable(true);
        c.read().start_timer(IDLE_TIMEOUT);
        c.set_log(Some(log));
        let is_quiet = c.read().get(|read| read.ready()) == 0;
        self.peer().set(std::ptr::null_mut(), |peer, none| peer.connection = none);
        // SAFETY: nginx's connections stay where they are until they are closed, and this one is ours now.
        let kept = IdleConnection(unsafe { Live::to(c.as_ptr()) });
        (is_quiet || kept.is_quiet()).then_some(kept)
    }
}

impl IdleConnection {
    /// Which one it is.
    pub fn id(&self) -> ConnectionId {
        ConnectionId(self.0.as_ptr().addr())
    }

    /// Whether nothing came over it: neither its end, nor the word that the other side takes no more.
    fn is_quiet(&self) -> bool {
        if self.0.get(|c| c.close()) != 0 || self.0.read().get(|read| read.timedout()) != 0 {
            return false;
        }
        let peeked =
            recv(self.0.socket(), &mut [IoSliceMut::new(&mut [0])], libc::MSG_PEEK | libc::MSG_DONTWAIT);
        if !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            return false;
        }
        self.0.read().set_ready(false);
        self.0.read().watch_read()
    }
}

impl Drop for IdleConnection {
    fn drop(&mut self) {
        let pool = pointer(self.0.pool());
        // SAFETY: a living connection that nobody refers to any more.
        unsafe { self.0.close() };
        if !pool.is_null() {
            // SAFETY: the connection's own, and nobody else's.
            unsafe { ngx_destroy_pool(pool) };
        }
    }
}

unsafe extern "C" fn on_write(_event: *mut ngx_event_t) {}

unsafe extern "C" fn on_read<T: IdleOwner>(event: *mut ngx_event_t) {
    guard("idle connection", (), || {
        // SAFETY: the event of a connection that `keep_connection` made idle.
        let Some(c) = (unsafe { Live::new((*event).data.cast()) }) else { return };
        // Not ours to close: whoever keeps it does, when it is told.
        let connection = std::mem::ManuallyDrop::new(IdleConnection(c));
        if !connection.is_quiet() {
            T::idle_ended(connection.id());
        }
    });
}
