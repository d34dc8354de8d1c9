//! nginx's upstream of a request (`ngx_http_upstream_t`), as a callback sees it.

use std::marker::PhantomData;
use std::ptr::NonNull;

use nginx_sys::{
    NGX_HTTP_CACHE_EXPIRED, ngx_chain_t, ngx_chain_writer, ngx_connection_t, ngx_http_cache_t,
    ngx_http_upstream_conf_t, ngx_http_upstream_t, ngx_peer_connection_t, ngx_str_t,
};

use super::links::Chain;
use super::request::Request;
use super::request_buffers::RequestBuffers;
use super::upstream_conf::UpstreamConf;
use super::{Code, ERROR, bytes_of};

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

    pub(super) fn get(&self) -> &ngx_http_upstream_t {
        // SAFETY: lives as long as the callback, and nobody writes to it while this is borrowed.
        unsafe { self.raw.as_ref() }
    }

    pub(super) fn get_mut(&mut self) -> &mut ngx_http_upstream_t {
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
    pub(super) fn cache(&mut self) -> Option<&mut ngx_http_cache_t> {
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

    /// Has nothing more of a streamed body sent, nor anything of the request sent again: nginx has given the
    /// links of a streamed request's chain back already (`ngx_http_upstream_send_request_body`).
    pub fn drop_body(&mut self) {
        if self.request_sent() && self.request.is_unbuffered() {
            self.get_mut().request_bufs = std::ptr::null_mut();
        }
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
    /// (`wsgi_cache_use_stale`, or `stale-if-error` of the response).
    pub fn has_stale(&mut self, reason: usize) -> bool {
        let is_expired = self.get().cache_status() == NGX_HTTP_CACHE_EXPIRED;
        let is_used = self.conf().get().cache_use_stale & reason != 0;
        is_expired && (is_used || self.cache().is_some_and(|cache| cache.stale_error() != 0))
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
}

/// A time in HTTP's form.
fn http_time(time: nginx_sys::time_t) -> Vec<u8> {
    let mut text = b"Mon, 28 Sep 1970 06:00:00 GMT".to_vec();
    // SAFETY: nginx writes as many bytes as the example has.
    unsafe { nginx_sys::ngx_http_time(text.as_mut_ptr(), time) };
    text
}
