//! nginx's upstream of a request (`ngx_http_upstream_t`), as a callback sees it.

use std::marker::PhantomData;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr::NonNull;

use nginx_sys::{
    NGX_HTTP_CACHE_EXPIRED, ngx_buf_t, ngx_chain_t, ngx_chain_writer, ngx_connection_t, ngx_file_t,
    ngx_http_cache_t, ngx_http_upstream_conf_t, ngx_http_upstream_header_t, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_http_upstream_t, ngx_list_push, ngx_peer_connection_t,
    ngx_pool_cleanup_add, ngx_pool_cleanup_file, ngx_pool_cleanup_file_t, ngx_str_t, ngx_table_elt_t, off_t,
};

use super::links::{Chain, Link, length_of, tag};
use super::request::Request;
use super::request_buffers::RequestBuffers;
use super::upstream_conf::UpstreamConf;
use super::zeroed::Zeroed;
use super::{Code, ERROR, OK, bytes_of};

/// nginx's upstream of a request, during a callback.
pub struct Upstream<'r> {
    raw: NonNull<ngx_http_upstream_t>,
    request: Request,
    conf: &'r UpstreamConf,
    buffers: &'r mut RequestBuffers,
    life: PhantomData<&'r mut ()>,
}

/// What a response may change of an upstream, and another try finds as it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches {
    /// nginx takes the response as fast as it comes.
    pub buffering: bool,
    /// The response is to be cached.
    pub cacheable: bool,
    /// The response is to be stored.
    pub store: bool,
}

/// What nginx's cache knows of a response that has expired.
#[derive(Clone, Debug, Default)]
pub struct Expired {
    /// `ETag`; empty where there is none.
    pub etag: Vec<u8>,
    /// `Last-Modified`; empty where there is none.
    pub last_modified: Vec<u8>,
}

impl<'r> Upstream<'r> {
    pub(super) fn new(
        raw: NonNull<ngx_http_upstream_t>,
        request: Request,
        conf: &'r UpstreamConf,
        buffers: &'r mut RequestBuffers,
    ) -> Self {
        Self { raw, request, conf, buffers, life: PhantomData }
    }

    fn get(&self) -> &ngx_http_upstream_t {
        // SAFETY: lives as long as the callback, and nobody writes to it while this is borrowed.
        unsafe { self.raw.as_ref() }
    }

    fn get_mut(&mut self) -> &mut ngx_http_upstream_t {
        // SAFETY: lives as long as the callback, and nobody else looks at it while this is borrowed.
        unsafe { self.raw.as_mut() }
    }

    pub(super) fn peer(&mut self) -> &mut ngx_peer_connection_t {
        &mut self.get_mut().peer
    }

    /// The connection to the peer, while there is one.
    pub(super) fn connection(&mut self) -> Option<&mut ngx_connection_t> {
        // SAFETY: null, or alive until the peer is freed.
        unsafe { self.get().peer.connection.as_mut() }
    }

    /// The request's cache, if it has one.
    fn cache(&mut self) -> Option<&mut ngx_http_cache_t> {
        // SAFETY: null, or alive as long as the request.
        unsafe { self.request.get().cache.as_mut() }
    }

    /// The request.
    pub const fn request(&self) -> Request {
        self.request
    }

    /// What the request is sent from.
    pub const fn buffers(&mut self) -> &mut RequestBuffers {
        self.buffers
    }

    /// The configuration for this request, whatever a try changed.
    pub const fn conf(&self) -> &'r UpstreamConf {
        self.conf
    }

    /// Has the configuration hold again.
    pub fn restore_conf(&mut self) {
        self.get_mut().conf = self.conf.as_ptr();
    }

    /// Has nginx try again after everything of `reasons`, until `timeout` milliseconds have passed since the
    /// first try (0: always).
    pub fn allow_retry(&mut self, reasons: usize, timeout: usize) {
        let copy = self.request.place(ngx_http_upstream_conf_t {
            next_upstream: reasons,
            next_upstream_timeout: timeout,
            ..*self.conf.get()
        });
        if let Some(copy) = copy {
            self.get_mut().conf = copy.as_ptr();
        }
    }

    /// Whether something of the request was sent.
    pub fn request_sent(&self) -> bool {
        self.get().request_sent() != 0
    }

    /// Whether the request has one of these methods (`NGX_HTTP_POST` and its like).
    pub fn has_method(&self, methods: u32) -> bool {
        self.request.get().method & methods as usize != 0
    }

    /// Has nothing more of a streamed body sent.
    pub fn drop_body(&mut self) {
        self.request.change(|request| request.set_request_body_no_buffering(0));
    }

    /// Whether all of the request was sent.
    pub fn request_body_sent(&self) -> bool {
        self.get().request_body_sent() != 0
    }

    /// How many tries are left, the one that runs included.
    pub fn tries(&self) -> usize {
        self.get().peer.tries
    }

    /// Sets how many are left.
    pub fn set_tries(&mut self, tries: usize) {
        self.get_mut().peer.tries = tries;
    }

    /// How many milliseconds ago the first try began.
    pub fn elapsed(&self) -> usize {
        // SAFETY: the loop's clock, which only this thread writes.
        let now = unsafe { nginx_sys::ngx_current_msec };
        now.wrapping_sub(self.get().peer.start_time)
    }

    /// What a response may change.
    pub fn switches(&self) -> Switches {
        let u = self.get();
        Switches { buffering: u.buffering() != 0, cacheable: u.cacheable() != 0, store: u.store() != 0 }
    }

    /// Sets it.
    pub fn set_switches(&mut self, switches: Switches) {
        let u = self.get_mut();
        u.set_buffering(switches.buffering.into());
        u.set_cacheable(switches.cacheable.into());
        u.set_store(switches.store.into());
    }

    /// Whether nginx asks with GET, whatever the method is, since the response is to be cached.
    pub fn asks_with_get(&self) -> bool {
        self.get().method.len != 0
    }

    /// What the cache knows of the response that has expired, where `wsgi_cache_revalidate` has the
    /// application asked whether it still holds.
    pub fn expired(&mut self) -> Option<Expired> {
        if self.conf().get().cache_revalidate == 0 || self.get().cache_status() != NGX_HTTP_CACHE_EXPIRED {
            return None;
        }
        let cache = self.cache()?;
        // SAFETY: a string of the cache's, which is copied.
        let etag = unsafe { bytes_of(cache.etag) }.to_vec();
        let last_modified =
            if cache.last_modified == -1 { Vec::new() } else { http_time(cache.last_modified) };
        Some(Expired { etag, last_modified })
    }

    /// Whether nginx has a response that has expired, and answers with it when a try fails for `reason`
    /// (`wsgi_cache_use_stale`).
    pub fn has_stale(&self, reason: u32) -> bool {
        let is_expired = self.get().cache_status() == NGX_HTTP_CACHE_EXPIRED;
        is_expired && self.conf().get().cache_use_stale & reason as usize != 0
    }

    /// Adds to what a response is cached under. `false`, here and below, when nginx has no memory.
    pub fn push_cache_key(&mut self, part: &[u8]) -> bool {
        let Some(part) = self.request.copy(part) else { return false };
        let Some(cache) = self.cache() else { return false };
        // SAFETY: the keys are an array of strings, to which one is added.
        unsafe {
            let key: *mut ngx_str_t = nginx_sys::ngx_array_push(&raw mut cache.keys).cast();
            if !key.is_null() {
                key.write(part);
            }
            !key.is_null()
        }
    }

    /// Adds nginx's buffers of the body to those that are sent ([`RequestBuffers::add_body`]).
    pub fn add_body(&mut self, portion: usize, header: impl FnMut(usize) -> Vec<u8>) -> Option<()> {
        // SAFETY: nginx's chain of the body, which lives as long as the request.
        let body = unsafe { Chain::new(self.get().request_bufs) };
        self.buffers.add_body(body, portion, header)
    }

    /// Has the request sent from [`Self::buffers`].
    pub fn use_buffers(&mut self) {
        self.get_mut().request_bufs = self.buffers.chain();
    }

    /// Sends a chain (`ngx_chain_writer`).
    pub fn write(&mut self, chain: Chain<'_>) -> Code {
        self.write_raw(chain.first)
    }

    fn write_raw(&mut self, chain: *mut ngx_chain_t) -> Code {
        let writer = (&raw mut self.get_mut().writer).cast();
        // SAFETY: the upstream's own writer, and a chain of its request that the callers have.
        unsafe { ngx_chain_writer(writer, chain) }
    }

    /// Sends a chain with what `header` says before each buffer that is not one of [`Self::buffers`], and
    /// `end` behind the last.
    pub fn write_framed<const N: usize>(
        &mut self,
        chain: Chain<'_>,
        header: impl Fn(usize) -> [u8; N],
        end: Option<[u8; N]>,
    ) -> Code {
        let Some(framed) = self.buffers.frame(chain, header, end) else { return ERROR };
        let code = self.write_raw(framed);
        self.buffers.unframe(framed);
        code
    }

    /// What has come and was not read.
    pub fn unread(&self) -> &'r [u8] {
        let buffer = &self.get().buffer;
        // SAFETY: `pos` to `last` are bytes of the request's memory, which nginx fills only outside of
        // callbacks.
        unsafe { bytes_of(ngx_str_t { data: buffer.pos, len: length_of(buffer) }) }
    }

    /// Notes that so many bytes of it were read.
    pub fn consume(&mut self, count: usize) {
        let buffer = &mut self.get_mut().buffer;
        buffer.pos = buffer.pos.wrapping_add(count.min(length_of(buffer)));
    }

    /// Makes room in the buffer, of which nothing is needed any more: behind what a cache puts before a
    /// response.
    pub fn empty_buffer(&mut self) {
        let offset = self.cache().map_or(0, |cache| cache.header_start);
        let buffer = &mut self.get_mut().buffer;
        let size = buffer.end.addr().saturating_sub(buffer.start.addr());
        let start = buffer.start.wrapping_add(offset.min(size));
        (buffer.pos, buffer.last) = (start, start);
    }

    /// Takes so many bytes that nginx has put behind the buffer's end (`input_filter`).
    pub fn take_received(&mut self, count: usize) -> &'r [u8] {
        let buffer = &mut self.get_mut().buffer;
        let room = buffer.end.addr().saturating_sub(buffer.last.addr());
        buffer.pos = buffer.last;
        buffer.last = buffer.last.wrapping_add(count.min(room));
        self.unread()
    }

    /// Whether the head comes out of nginx's cache.
    pub fn is_cached(&self) -> bool {
        self.request.get().cached() != 0
    }

    /// Sets the response's status, and its line where that says more.
    pub fn set_status(&mut self, status: u16, line: Option<&[u8]>) -> bool {
        let line = match line.map(|line| self.request.copy(line)) {
            Some(None) => return false,
            Some(line) => line,
            None => None,
        };
        let headers = &mut self.get_mut().headers_in;
        headers.status_n = status.into();
        if let Some(line) = line {
            headers.status_line = line;
        }
        true
    }

    /// Sets `$upstream_status`, unless it was said; what comes out of the cache has none.
    pub fn set_state_status(&mut self, status: u16) {
        // SAFETY: null, or of the request's memory.
        if let Some(state) = unsafe { self.get_mut().state.as_mut() } {
            if state.status == 0 {
                state.status = status.into();
            }
        }
    }

    /// Adds a header to nginx's list and has nginx act upon it (`ngx_http_uwsgi_process_header`).
    pub fn add_header(&mut self, name: &[u8], value: &[u8]) -> Code {
        let lowered = name.to_ascii_lowercase();
        let request = self.request;
        let (Some(key), Some(value), Some(low)) =
            (request.copy(name), request.copy(value), request.copy(&lowered))
        else {
            return ERROR;
        };
        // ngx_hash: the key of nginx's own tables.
        let hash =
            lowered.iter().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let headers = &raw mut self.get_mut().headers_in.headers;
        // SAFETY: the list is the upstream's; the new element is written before anyone reads it, and zeroes
        // are a valid one. The table of known headers is made with the configuration.
        unsafe {
            let Some(field) = NonNull::<ngx_table_elt_t>::new(ngx_list_push(headers).cast()) else {
                return ERROR;
            };
            let mut header = ngx_table_elt_t::zeroed();
            (header.hash, header.key, header.value, header.lowcase_key) = (hash, key, value, low.data);
            field.write(header);
            let main: *mut ngx_http_upstream_main_conf_t =
                (*request.get().main_conf.add(ngx_http_upstream_module.ctx_index)).cast();
            let known = nginx_sys::ngx_hash_find(&raw mut (*main).headers_in_hash, hash, low.data, low.len)
                .cast::<ngx_http_upstream_header_t>();
            match known.as_ref().and_then(|known| Some((known.handler?, known.offset))) {
                Some((handler, offset)) => handler(request.raw(), field.as_ptr(), offset),
                None => OK,
            }
        }
    }

    /// Says whether more of an unbuffered response comes, or of a buffered one that has not begun: a number
    /// that is neither "none" nor "until the connection ends", since only an end is an end.
    pub fn set_more(&mut self, more: bool) {
        let length = off_t::from(more);
        let u = self.get_mut();
        u.length = length;
        // SAFETY: null, or of the request's memory.
        if let Some(pipe) = unsafe { u.pipe.as_mut() } {
            pipe.length = length;
        }
    }

    /// Ends an unbuffered response before it is complete.
    pub fn set_error(&mut self) {
        self.get_mut().set_error(1);
    }

    /// Sends bytes of the upstream's buffer to the client.
    pub fn send_received(&mut self, data: &[u8]) -> bool {
        let (start, buffer) = (data.as_ptr().cast_mut(), &self.get().buffer);
        let (from, to) = (buffer.start.addr(), buffer.last.addr());
        if start.addr() < from || start.addr() + data.len() > to {
            return false;
        }
        let Some(mut link) = Link::reused(self.request, &mut self.get_mut().free_bufs) else { return false };
        *link.buffer() = ngx_buf_t::zeroed();
        let piece = link.buffer();
        piece.set_flush(1);
        piece.set_memory(1);
        (piece.pos, piece.last) = (start, start.wrapping_add(data.len()));
        piece.tag = tag();
        link.append_to(&mut self.get_mut().out_bufs);
        true
    }

    /// Sends a range of a file to the client; the request's pool closes the file.
    pub fn send_file(&mut self, file: OwnedFd, from: off_t, to: off_t) -> bool {
        let (request, name) = (self.request, super::upstream_conf::text(c"wsgi"));
        let Some(mut link) = Link::new(request) else { return false };
        // SAFETY: the request lives, and with it its pool; the descriptor goes to the pool's cleanup when
        // nothing can fail any more.
        let described = unsafe {
            let pool = request.pool();
            let described: *mut ngx_file_t = nginx_sys::ngx_pcalloc(pool, size_of::<ngx_file_t>()).cast();
            let cleanup = ngx_pool_cleanup_add(pool, size_of::<ngx_pool_cleanup_file_t>());
            let (Some(described), Some(cleanup)) = (described.as_mut(), cleanup.as_mut()) else {
                return false;
            };
            (described.fd, described.name, described.log) = (file.into_raw_fd(), name, request.log());
            let closing: *mut ngx_pool_cleanup_file_t = cleanup.data.cast();
            closing.write(ngx_pool_cleanup_file_t { fd: described.fd, name: name.data, log: described.log });
            cleanup.handler = Some(ngx_pool_cleanup_file);
            described
        };
        let piece = link.buffer();
        piece.set_in_file(1);
        piece.set_flush(1);
        piece.file = described;
        (piece.file_pos, piece.file_last) = (from, to);
        link.append_to(&mut self.get_mut().out_bufs);
        true
    }
}

/// A time in HTTP's form.
fn http_time(time: nginx_sys::time_t) -> Vec<u8> {
    let mut text = b"Mon, 28 Sep 1970 06:00:00 GMT".to_vec();
    // SAFETY: nginx writes as many bytes as the example has.
    unsafe { nginx_sys::ngx_http_time(text.as_mut_ptr(), time) };
    text
}
