//! When a request is asked again: `wsgi_next_upstream` and its companions, and what holds without them.
//!
//! The peers of a process group are the workers behind one socket, so that to ask again is to make a new connection to it. A try that
//! surely never began (nothing of the request left, or the worker said that it takes no more) is repeated without being told
//! to. Where `uwsgi_pass` repeats after every error as well, a process group does not: a worker that dies in the middle of a
//! request was most likely killed by it, and the next one would be too.

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_TAKE1, NGX_HTTP_LOCK, NGX_HTTP_PATCH, NGX_HTTP_POST, NGX_HTTP_UPSTREAM_FT_ERROR,
    NGX_HTTP_UPSTREAM_FT_HTTP_403, NGX_HTTP_UPSTREAM_FT_HTTP_404, NGX_HTTP_UPSTREAM_FT_HTTP_429,
    NGX_HTTP_UPSTREAM_FT_HTTP_500, NGX_HTTP_UPSTREAM_FT_HTTP_502, NGX_HTTP_UPSTREAM_FT_HTTP_503,
    NGX_HTTP_UPSTREAM_FT_HTTP_504, NGX_HTTP_UPSTREAM_FT_INVALID_HEADER, NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT,
    NGX_HTTP_UPSTREAM_FT_OFF, NGX_HTTP_UPSTREAM_FT_TIMEOUT, NGX_HTTP_UPSTREAM_FT_UPDATING, ngx_command_t,
    ngx_conf_bitmask_t, ngx_http_upstream_conf_t, ngx_http_upstream_t, ngx_palloc, ngx_peer_connection_t,
    ngx_uint_t,
};

use super::Asking;
use super::conf::{BITMASK_SET, UNSET_SIZE, at, command, text, with_post};
use super::slots::{inherit_bits, inherit_value};

/// How often a request is asked at most, the first time included, where `wsgi_next_upstream_tries` says nothing. Every try meets the
/// same group: with more of them one request that kills its worker could kill all workers.
const TRIES: ngx_uint_t = 2;
/// Every reason to ask again, whatever the method.
const ANYTHING: ngx_uint_t = usize::MAX >> 1;
const OFF: ngx_uint_t = NGX_HTTP_UPSTREAM_FT_OFF as ngx_uint_t;

/// nginx's list of masks, with the empty one that ends it.
#[repr(transparent)]
pub(crate) struct Masks<const N: usize>([ngx_conf_bitmask_t; N]);

// SAFETY: names that live for ever, which nobody writes to.
unsafe impl<const N: usize> Sync for Masks<N> {}

const fn mask(name: &'static std::ffi::CStr, mask: u32) -> ngx_conf_bitmask_t {
    ngx_conf_bitmask_t { name: text(name), mask: mask as ngx_uint_t }
}

/// What `wsgi_next_upstream` and `wsgi_cache_use_stale` understand: the values of `uwsgi_pass`, and the two statuses that only `proxy_pass`
/// knows, with which neatd answers too.
pub(crate) static MASKS: Masks<14> = Masks([
    mask(c"error", NGX_HTTP_UPSTREAM_FT_ERROR),
    mask(c"timeout", NGX_HTTP_UPSTREAM_FT_TIMEOUT),
    mask(c"invalid_header", NGX_HTTP_UPSTREAM_FT_INVALID_HEADER),
    mask(c"non_idempotent", NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT),
    mask(c"http_500", NGX_HTTP_UPSTREAM_FT_HTTP_500),
    mask(c"http_502", NGX_HTTP_UPSTREAM_FT_HTTP_502),
    mask(c"http_503", NGX_HTTP_UPSTREAM_FT_HTTP_503),
    mask(c"http_504", NGX_HTTP_UPSTREAM_FT_HTTP_504),
    mask(c"http_403", NGX_HTTP_UPSTREAM_FT_HTTP_403),
    mask(c"http_404", NGX_HTTP_UPSTREAM_FT_HTTP_404),
    mask(c"http_429", NGX_HTTP_UPSTREAM_FT_HTTP_429),
    mask(c"updating", NGX_HTTP_UPSTREAM_FT_UPDATING),
    mask(c"off", NGX_HTTP_UPSTREAM_FT_OFF),
    ngx_conf_bitmask_t { name: nginx_sys::ngx_str_t::empty(), mask: 0 },
]);

/// nginx's table of these directives.
pub(crate) const COMMANDS: [ngx_command_t; 3] = [
    with_post(
        command(
            c"wsgi_next_upstream",
            NGX_CONF_1MORE,
            nginx_sys::ngx_conf_set_bitmask_slot,
            at!(next_upstream),
        ),
        (&raw const MASKS).cast_mut().cast(),
    ),
    command(
        c"wsgi_next_upstream_tries",
        NGX_CONF_TAKE1,
        nginx_sys::ngx_conf_set_num_slot,
        at!(next_upstream_tries),
    ),
    command(
        c"wsgi_next_upstream_timeout",
        NGX_CONF_TAKE1,
        nginx_sys::ngx_conf_set_msec_slot,
        at!(next_upstream_timeout),
    ),
];

/// Nothing written.
pub(crate) fn unset(conf: &mut ngx_http_upstream_conf_t) {
    conf.next_upstream = 0;
    conf.next_upstream_tries = UNSET_SIZE;
    conf.next_upstream_timeout = UNSET_SIZE;
}

/// Takes over what only `outer` says.
pub(crate) fn inherit(inner: &mut ngx_http_upstream_conf_t, outer: &ngx_http_upstream_conf_t) {
    inherit_bits(&mut inner.next_upstream, outer.next_upstream);
    inherit_value(&mut inner.next_upstream_tries, outer.next_upstream_tries, UNSET_SIZE);
    inherit_value(&mut inner.next_upstream_timeout, outer.next_upstream_timeout, UNSET_SIZE);
}

/// Decides what nothing says.
pub(crate) fn decide(conf: &mut ngx_http_upstream_conf_t) {
    if conf.next_upstream & OFF != 0 {
        conf.next_upstream = OFF;
    }
    conf.next_upstream |= BITMASK_SET;
    if matches!(conf.next_upstream_tries, 0 | UNSET_SIZE) {
        // Nothing is unlimited where the same socket is asked over and over.
        conf.next_upstream_tries = TRIES;
    }
    inherit_value(&mut conf.next_upstream_timeout, 0, UNSET_SIZE);
}

/// The mask of a status (`ngx_http_upstream_next_errors`); `None` when nginx's upstreams do not know it.
fn mask_of(status: u16) -> Option<ngx_uint_t> {
    let mask = match status {
        500 => NGX_HTTP_UPSTREAM_FT_HTTP_500,
        502 => NGX_HTTP_UPSTREAM_FT_HTTP_502,
        503 => NGX_HTTP_UPSTREAM_FT_HTTP_503,
        504 => NGX_HTTP_UPSTREAM_FT_HTTP_504,
        403 => NGX_HTTP_UPSTREAM_FT_HTTP_403,
        404 => NGX_HTTP_UPSTREAM_FT_HTTP_404,
        429 => NGX_HTTP_UPSTREAM_FT_HTTP_429,
        _ => return None,
    };
    Some(mask as ngx_uint_t)
}

/// Whether nginx's upstreams have a page for a status.
pub(crate) fn is_known(status: u16) -> bool {
    mask_of(status).is_some()
}

/// What an answer may change of nginx's upstream, as it was before one came.
#[derive(Clone, Copy, Default)]
pub(crate) struct Untouched {
    buffering: u32,
    cacheable: u32,
    store: u32,
}

impl Asking {
    /// Notes how the upstream is before the first answer.
    pub(crate) fn note_untouched(&mut self, upstream: &ngx_http_upstream_t) {
        self.untouched = Untouched {
            buffering: upstream.buffering(),
            cacheable: upstream.cacheable(),
            store: upstream.store(),
        };
    }

    /// Makes the upstream as it was before the answer that is thrown away now (`reinit_request`).
    pub(crate) fn forget_answer(&mut self, upstream: &mut ngx_http_upstream_t) {
        self.ended = false;
        upstream.set_buffering(self.untouched.buffering);
        upstream.set_cacheable(self.untouched.cacheable);
        upstream.set_store(self.untouched.store);
    }

    /// How often a request may be asked (`peer.init`).
    pub(crate) fn tries(upstream: &ngx_http_upstream_t) -> ngx_uint_t {
        // SAFETY: nginx's upstream has its configuration, which was decided.
        unsafe { (*upstream.conf).next_upstream_tries }
    }

    /// Begins a try under the rules as they were decided, whatever was allowed for the one before. Whether it is not the first.
    pub(crate) fn begin_try(&mut self) -> bool {
        // SAFETY: the request lives, and with it its upstream; the configuration lives longer.
        unsafe { (*(*self.request.raw()).upstream).conf = self.conf };
        std::mem::replace(&mut self.is_again, true)
    }

    /// Settles how often nginx may ask again, now that a try is over (`peer.free`).
    pub(crate) fn settle(&mut self, peer: &mut ngx_peer_connection_t) {
        if self.is_final {
            peer.tries = 0;
            return;
        }
        if std::mem::take(&mut self.was_never_started) {
            // A worker that leaves costs no try: it was allowed when its word came.
            return;
        }
        peer.tries = peer.tries.saturating_sub(1);
        // SAFETY: the peer's connection is null or alive; the configuration was decided, and the request lives with its upstream.
        unsafe {
            let unsent = peer.connection.as_ref().is_none_or(|connection| connection.sent == 0);
            if unsent && (*self.conf).next_upstream & OFF == 0 {
                let timeout = (*self.conf).next_upstream_timeout;
                self.allow_another(&mut *(*self.request.raw()).upstream, timeout);
            }
        }
    }

    /// Has nginx ask again whatever the configuration says: the worker did not begin, or nothing may be asked at all.
    pub(crate) fn ask_anybody(&self, upstream: &mut ngx_http_upstream_t) {
        self.allow_another(upstream, 0);
    }

    fn allow_another(&self, upstream: &mut ngx_http_upstream_t, timeout: usize) {
        // SAFETY: the pool lives; the copy is as good as the original, which other requests use.
        unsafe {
            let copy: *mut ngx_http_upstream_conf_t =
                ngx_palloc((*self.request.raw()).pool, size_of::<ngx_http_upstream_conf_t>()).cast();
            if !copy.is_null() {
                copy.copy_from_nonoverlapping(self.conf, 1);
                (*copy).next_upstream = ANYTHING;
                (*copy).next_upstream_timeout = timeout;
                upstream.conf = copy;
            }
        }
    }

    /// Whether nginx will ask again after this status (`ngx_http_upstream_test_next`).
    pub(crate) fn is_asked_again(&self, upstream: &ngx_http_upstream_t, status: u16) -> bool {
        let Some(mut mask) = mask_of(status) else { return false };
        // SAFETY: the request lives; the configuration was decided; the time is written by this thread only.
        unsafe {
            let (r, conf) = (&*self.request.raw(), &*self.conf);
            let sent = upstream.request_sent() != 0;
            if sent && r.method & (NGX_HTTP_POST | NGX_HTTP_LOCK | NGX_HTTP_PATCH) as usize != 0 {
                mask |= NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT as ngx_uint_t;
            }
            let timeout = conf.next_upstream_timeout;
            let spent = nginx_sys::ngx_current_msec.wrapping_sub(upstream.peer.start_time);
            upstream.peer.tries > 1
                && conf.next_upstream & mask == mask
                && !(sent && r.request_body_no_buffering() != 0)
                && !(timeout != 0 && spent >= timeout)
        }
    }
}
