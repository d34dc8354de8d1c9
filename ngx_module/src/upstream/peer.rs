//! Connections to a group's workers: those of before, the most recent first, and new ones.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_destroy_pool, ngx_event_t, ngx_http_request_t,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_pcalloc, ngx_peer_connection_t, ngx_pool_t, ngx_str_t,
    ngx_uint_t, sockaddr, socklen_t,
};
use shared::ffi::guard::guard;
use shared::wire::Reader;
use shared::wire::decode::Side;
use shared::wire::session::ServerSide;

use super::{Asking, Link, Upstream, parts};
use crate::ffi::request::Request;
use crate::ffi::{Code, DONE, ERROR, OK};

/// The most connections to one group that a worker of nginx keeps while nothing is asked over them.
const MOST_IDLE: usize = 256;

/// A connection that waits for the next request.
struct Idle {
    connection: *mut ngx_connection_t,
    link: Box<Link>,
}

thread_local! {
    /// Those of this process: one thread has an event loop.
    static IDLE: RefCell<HashMap<String, Vec<Idle>>> = RefCell::new(HashMap::new());
}

/// A group's address, in the request's memory.
pub(crate) struct Peer {
    address: *mut libc::sockaddr_un,
    name: *mut ngx_str_t,
}

impl Peer {
    pub(crate) fn new(request: Request, group: &Arc<Upstream>) -> Option<Self> {
        let path = group.path.as_os_str().as_bytes();
        // SAFETY: the pool lives; zeroed memory is an empty address and an empty text.
        unsafe {
            let pool: *mut ngx_pool_t = request.pool();
            let address: *mut libc::sockaddr_un = ngx_pcalloc(pool, size_of::<libc::sockaddr_un>()).cast();
            let name: *mut ngx_str_t = ngx_pcalloc(pool, size_of::<ngx_str_t>()).cast();
            if address.is_null() || name.is_null() || path.len() >= (*address).sun_path.len() {
                return None;
            }
            (*address).sun_family = libc::AF_UNIX as libc::sa_family_t;
            (*address).sun_path.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(path.as_ptr(), path.len());
            name.write(request.copy(&[b"unix:", path].concat())?);
            Some(Self { address, name })
        }
    }
}

/// Prepares a request's peer (`peer.init` of nginx's upstreams).
pub(crate) unsafe extern "C" fn init(
    r: *mut ngx_http_request_t,
    _: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard("peer init", ERROR, || {
        // SAFETY: nginx's own, and alive.
        let Some((upstream, asking)) = (unsafe { parts(r) }) else { return ERROR };
        upstream.peer.get = Some(get);
        upstream.peer.free = Some(free);
        upstream.peer.data = std::ptr::from_mut(asking).cast();
        upstream.peer.tries = Asking::tries(upstream);
        OK
    })
}

unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, asking: *mut c_void) -> ngx_int_t {
    guard("peer get", ERROR, || {
        // SAFETY: nginx's own, and what `init` said.
        let Some((peer, asking)) = (unsafe { pc.as_mut().zip(asking.cast::<Asking>().as_mut()) }) else {
            return ERROR;
        };
        asking.connect(peer)
    })
}

unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, asking: *mut c_void, _state: ngx_uint_t) {
    guard("peer free", (), || {
        // SAFETY: nginx's own, and what `init` said.
        if let Some((peer, asking)) = unsafe { pc.as_mut().zip(asking.cast::<Asking>().as_mut()) } {
            asking.let_go(peer);
        }
    });
}

impl Asking {
    fn connect(&mut self, peer: &mut ngx_peer_connection_t) -> Code {
        peer.sockaddr = self.peer.address.cast::<sockaddr>();
        peer.socklen = size_of::<libc::sockaddr_un>() as socklen_t;
        peer.name = self.peer.name;
        peer.set_cached(0);
        // A streamed body cannot be sent twice, so that its connection is to be one that surely takes it; so is that of another try.
        let is_again = self.begin_try();
        let kept = if self.streamed || is_again { None } else { take(&self.group.name) };
        let (mut link, connection) = match kept {
            Some(idle) => (idle.link, Some(idle.connection)),
            None => {
                let link = Link {
                    reader: Reader::new(Side::Worker),
                    answers: ServerSide::new(),
                    files: std::collections::VecDeque::new(),
                    is_new: true,
                };
                (Box::new(link), None)
            }
        };
        let Some(number) = link.answers.begin(self.head_only) else { return ERROR };
        self.frames.renumber(number, std::mem::take(&mut link.is_new));
        self.link = Some(link);
        let Some(c) = connection else { return OK };
        // SAFETY: an idle connection of this process, which was kept with its pool (`ngx_http_upstream_get_keepalive_peer`).
        unsafe {
            (*c).set_idle(0);
            (*c).sent = 0;
            (*c).data = std::ptr::null_mut();
            (*c).log = peer.log;
            (*(*c).read).log = peer.log;
            (*(*c).write).log = peer.log;
            (*(*c).pool).log = peer.log;
        }
        peer.connection = c;
        DONE
    }

    fn let_go(&mut self, peer: &mut ngx_peer_connection_t) {
        self.settle(peer);
        let Some(link) = self.link.take() else { return };
        let c = peer.connection;
        if !c.is_null() && self.may_be_kept(&link, c) {
            keep(&self.group.name, Idle { connection: c, link });
            peer.connection = std::ptr::null_mut();
        }
    }

    fn may_be_kept(&self, link: &Link, c: *mut ngx_connection_t) -> bool {
        // SAFETY: the peer's connection, with its two events, and the request's upstream, which lives as long as it.
        unsafe {
            let (read, write) = (&*(*c).read, &*(*c).write);
            let failed = read.eof() != 0
                || read.error() != 0
                || read.timedout() != 0
                || write.error() != 0
                || write.timedout() != 0;
            let upstream = &*(*self.request.raw()).upstream;
            let unread = upstream.buffer.pos < upstream.buffer.last && !self.ended;
            self.ended
                && link.answers.is_idle()
                && !link.reader.is_in_frame()
                && link.files.is_empty()
                && !failed
                && !unread
                && upstream.request_body_sent() != 0
                && nginx_sys::ngx_terminate == 0
                && nginx_sys::ngx_exiting == 0
                && nginx_sys::ngx_handle_read_event((*c).read, 0) == OK
        }
    }
}

fn take(group: &str) -> Option<Idle> {
    IDLE.with_borrow_mut(|idle| idle.get_mut(group)?.pop())
}

fn keep(group: &str, idle: Idle) {
    let c = idle.connection;
    // SAFETY: a living connection that no request has any more (`ngx_http_upstream_free_keepalive_peer`).
    unsafe {
        let (read, write) = ((*c).read, (*c).write);
        if (*read).timer_set() != 0 {
            // The timer may be that of wsgi_limit_rate, which holds back what comes until it fires.
            (*read).set_delayed(0);
            nginx_sys::ngx_del_timer(read);
        }
        if (*write).timer_set() != 0 {
            nginx_sys::ngx_del_timer(write);
        }
        let log = (*nginx_sys::ngx_cycle).log;
        (*write).handler = Some(on_write);
        (*read).handler = Some(on_read);
        (*c).data = std::ptr::null_mut();
        (*c).set_idle(1);
        (*c).log = log;
        (*read).log = log;
        (*write).log = log;
        (*(*c).pool).log = log;
    }
    let surplus = IDLE.with_borrow_mut(|all| {
        let of_group = all.entry(group.to_owned()).or_default();
        of_group.push(idle);
        (of_group.len() > MOST_IDLE).then(|| of_group.remove(0))
    });
    if let Some(surplus) = surplus {
        close(surplus.connection);
    }
    // SAFETY: as above.
    unsafe {
        if (*(*c).read).ready() != 0 {
            look(c);
        }
    }
}

unsafe extern "C" fn on_write(_event: *mut ngx_event_t) {}

unsafe extern "C" fn on_read(event: *mut ngx_event_t) {
    // SAFETY: the event of an idle connection.
    guard("idle connection", (), || unsafe { look((*event).data.cast()) });
}

/// Something came over an idle connection: its end, or the word that the worker takes no more. Either way it is of no use.
///
/// # Safety
/// `c` is a living connection that is idle.
unsafe fn look(c: *mut ngx_connection_t) {
    // SAFETY: the caller's promise; peeking changes nothing.
    unsafe {
        if (*c).close() == 0 {
            let mut byte = 0u8;
            let peeked = libc::recv((*c).fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT);
            if peeked < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN) {
                (*(*c).read).set_ready(0);
                if nginx_sys::ngx_handle_read_event((*c).read, 0) == OK {
                    return;
                }
            }
        }
    }
    let known = IDLE.with_borrow_mut(|all| {
        all.values_mut().any(|of_group| {
            let found = of_group.iter().position(|idle| idle.connection == c);
            found.map(|index| of_group.remove(index)).is_some()
        })
    });
    if known {
        close(c);
    }
}

fn close(c: *mut ngx_connection_t) {
    // SAFETY: a living connection that nobody refers to any more, with a pool of its own.
    unsafe {
        let pool = (*c).pool;
        ngx_close_connection(c);
        if !pool.is_null() {
            ngx_destroy_pool(pool);
        }
    }
}
