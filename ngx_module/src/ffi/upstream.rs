//! nginx's upstream of a request (`ngx_http_upstream_t`), as a callback sees it.

use nginx_sys::{
    NGX_HTTP_CACHE_EXPIRED, ngx_array_push, ngx_chain_writer, ngx_connection_t, ngx_http_cache_t,
    ngx_http_request_t, ngx_http_upstream_conf_t, ngx_http_upstream_t, ngx_peer_connection_t, ngx_str_t,
};

use super::links::Chain;
use super::live::Live;
use super::request::Request;
use super::request_buffers::RequestBuffers;
use super::upstream_conf::UpstreamConf;
use super::{Code, ERROR, cycle};

/// nginx's upstream of a request, during a callback.
pub struct Upstream<'r> {
    upstream: Live<'r, ngx_http_upstream_t>,
    request: Request,
    conf: &'r UpstreamConf,
    buffers: &'r mut RequestBuffers,
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
        upstream: Live<'r, ngx_http_upstream_t>,
        request: Request,
        conf: &'r UpstreamConf,
        buffers: &'r mut RequestBuffers,
    ) -> Self {
        Self { upstream, request, conf, buffers }
    }

    pub(super) const fn live(&self) -> Live<'r, ngx_http_upstream_t> {
        self.upstream
    }

    pub(super) fn peer(&self) -> Live<'r, ngx_peer_connection_t> {
        self.upstream.peer()
    }

    /// The connection to the peer, while there is one.
    pub(super) fn connection(&self) -> Option<Live<'r, ngx_connection_t>> {
        self.peer().connection()
    }

    /// The request's cache, if it has one.
    pub(super) fn cache(&self) -> Option<Live<'r, ngx_http_cache_t>> {
        self.request.live().cache()
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
        self.upstream.set(self.conf.as_ptr(), |u, conf| u.conf = conf);
    }

    /// Has nginx try again after everything of `reasons`, until `timeout` milliseconds have passed since the
    /// first try (0: always).
    pub fn allow_retry(&mut self, reasons: usize, timeout: usize) {
        let copy = self.request.pool().alloc(ngx_http_upstream_conf_t {
            next_upstream: reasons,
            next_upstream_timeout: timeout,
            ..*self.conf.get()
        });
        if let Some(copy) = copy {
            self.upstream.set(copy.as_ptr(), |u, conf| u.conf = conf);
        }
    }

    /// Whether something of the request was sent.
    pub fn request_sent(&self) -> bool {
        self.upstream.get(|u| u.request_sent()) != 0
    }

    /// Whether the request has one of these methods (`NGX_HTTP_POST` and its like).
    pub fn has_method(&self, methods: u32) -> bool {
        self.request.get(|request| request.method) & methods as usize != 0
    }

    /// Has nothing more of a streamed body sent, nor anything of the request sent again: nginx has given the
    /// links of a streamed request's chain back already (`ngx_http_upstream_send_request_body`).
    pub fn drop_body(&mut self) {
        if self.request_sent() && self.request.is_unbuffered() {
            self.upstream.set(std::ptr::null_mut(), |u, none| u.request_bufs = none);
        }
        self.request.set(0, ngx_http_request_t::set_request_body_no_buffering);
    }

    /// Whether all of the request was sent.
    pub fn request_body_sent(&self) -> bool {
        self.upstream.get(|u| u.request_body_sent()) != 0
    }

    /// How many tries are left, the one that runs included.
    pub fn tries(&self) -> usize {
        self.peer().get(|peer| peer.tries)
    }

    /// Sets how many are left.
    pub fn set_tries(&mut self, tries: usize) {
        self.peer().set(tries, |peer, tries| peer.tries = tries);
    }

    /// How many milliseconds ago the first try began.
    pub fn elapsed(&self) -> usize {
        cycle::current_msec().wrapping_sub(self.peer().get(|peer| peer.start_time))
    }

    /// What a response may change.
    pub fn switches(&self) -> Switches {
        self.upstream.get(|u| Switches {
            buffering: u.buffering() != 0,
            cacheable: u.cacheable() != 0,
            store: u.store() != 0,
        })
    }

    /// Sets it.
    pub fn set_switches(&mut self, switches: Switches) {
        self.upstream.set(switches, |u, switches| {
            u.set_buffering(switches.buffering.into());
            u.set_cacheable(switches.cacheable.into());
            u.set_store(switches.store.into());
        });
    }

    /// Whether nginx asks with GET, whatever the method is, since the response is to be cached.
    pub fn asks_with_get(&self) -> bool {
        self.upstream.get(|u| u.method.len) != 0
    }

    /// What the cache knows of the response that has expired, where `wsgi_cache_revalidate` has the
    /// application asked whether it still holds.
    pub fn expired(&mut self) -> Option<Expired> {
        if self.conf().get().cache_revalidate == 0 || !self.has_expired() {
            return None;
        }
        let cache = self.cache()?;
        let (etag, last_modified) = (cache.etag().to_vec(), cache.get(|cache| cache.last_modified));
        let last_modified = if last_modified == -1 { Vec::new() } else { http_time(last_modified) };
        Some(Expired { etag, last_modified })
    }

    /// Whether nginx has a response that has expired.
    fn has_expired(&self) -> bool {
        self.upstream.get(|u| u.cache_status()) == NGX_HTTP_CACHE_EXPIRED
    }

    /// Whether nginx has a response that has expired, and answers with it when a try fails for `reason`
    /// (`wsgi_cache_use_stale`, or `stale-if-error` of the response).
    pub fn has_stale(&self, reason: usize) -> bool {
        let is_used = self.conf().get().cache_use_stale & reason != 0;
        let is_allowed = || self.cache().is_some_and(|cache| cache.get(|cache| cache.stale_error()) != 0);
        self.has_expired() && (is_used || is_allowed())
    }

    /// Adds to what a response is cached under. `false`, here and below, when nginx has no memory.
    pub fn push_cache_key(&mut self, part: &[u8]) -> bool {
        let (Some(part), Some(cache)) = (self.request.copy(part), self.cache()) else { return false };
        // SAFETY: the keys are an array of strings, to which one is added.
        let key: Option<Live<'_, ngx_str_t>> =
            unsafe { Live::new(ngx_array_push(cache.keys().as_ptr()).cast()) };
        key.map(|key| key.set(part, |key, part| *key = part)).is_some()
    }

    /// Adds nginx's buffers of the body to those that are sent ([`RequestBuffers::add_body`]).
    pub fn add_body(&mut self, portion: usize, header: impl FnMut(usize) -> Vec<u8>) -> Option<()> {
        let body = Chain::new(self.upstream.request_bufs());
        self.buffers.add_body(body, portion, header)
    }

    /// Has the request sent from [`Self::buffers`].
    pub fn use_buffers(&mut self) {
        self.upstream.set(self.buffers.chain().as_ptr(), |u, chain| u.request_bufs = chain);
    }

    /// Sends a chain (`ngx_chain_writer`).
    pub fn write(&mut self, chain: Chain<'_>) -> Code {
        // SAFETY: the upstream's own writer, and a chain of its request.
        unsafe { ngx_chain_writer(self.upstream.writer().as_ptr().cast(), chain.as_ptr()) }
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
        let code = self.write(framed);
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
