//! When a request is sent once more: `wsgi_next_upstream` and its companions, and what holds without them.
//!
//! The peers of a process group are the workers behind one socket, so that another try is a new connection to it. A try that
//! surely never began (nothing of the request left, or the worker said that it takes no more) is repeated without being asked
//! for. Where `uwsgi_pass` repeats after every error as well, a process group does not: a worker that dies in the middle of a
//! request was most likely killed by it, and the next one would be too.

use nginx_sys::{
    NGX_HTTP_LOCK, NGX_HTTP_PATCH, NGX_HTTP_POST, NGX_HTTP_UPSTREAM_FT_HTTP_403,
    NGX_HTTP_UPSTREAM_FT_HTTP_404, NGX_HTTP_UPSTREAM_FT_HTTP_429, NGX_HTTP_UPSTREAM_FT_HTTP_500,
    NGX_HTTP_UPSTREAM_FT_HTTP_502, NGX_HTTP_UPSTREAM_FT_HTTP_503, NGX_HTTP_UPSTREAM_FT_HTTP_504,
    NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT, NGX_HTTP_UPSTREAM_FT_OFF,
};

use super::UpstreamRequest;
use crate::ffi::upstream::Upstream;

/// Every reason for another try, whatever the method.
const ANY_REASON: usize = usize::MAX >> 1;
const OFF: usize = NGX_HTTP_UPSTREAM_FT_OFF as usize;

/// The mask of a status (`ngx_http_upstream_next_errors`); `None` when nginx's upstreams do not know it.
fn mask_of(status: u16) -> Option<usize> {
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
    Some(mask as usize)
}

/// Whether nginx's upstreams have a page for a status.
pub(super) fn is_known(status: u16) -> bool {
    mask_of(status).is_some()
}

impl UpstreamRequest {
    /// Makes the upstream as it was before the response that is thrown away now (`reinit_request`).
    pub(super) fn forget_response(&mut self, upstream: &mut Upstream<'_>) {
        self.ended = false;
        upstream.set_switches(self.untouched);
    }

    /// Begins a try under the rules of the configuration, whatever was allowed for the one before. Whether it is not the first.
    pub(super) fn begin_try(&mut self, upstream: &mut Upstream<'_>) -> bool {
        upstream.restore_conf();
        std::mem::replace(&mut self.is_retry, true)
    }

    /// Settles how often nginx may try again, now that a try is over (`peer.free`).
    pub(super) fn settle(&mut self, upstream: &mut Upstream<'_>) {
        if self.is_final {
            upstream.set_tries(0);
            return;
        }
        if std::mem::take(&mut self.was_never_started) {
            // A worker that leaves costs no try: another was allowed when its word came.
            return;
        }
        upstream.set_tries(upstream.tries().saturating_sub(1));
        let unsent = upstream.sent_to_peer().is_none_or(|sent| sent == 0);
        let rules = upstream.conf().retry_rules();
        if unsent && rules.reasons & OFF == 0 {
            upstream.allow_retry(ANY_REASON, rules.timeout);
        }
    }

    /// Has nginx try again whatever the configuration says: the worker did not begin, or nothing may be asked at all.
    pub(super) fn retry_always(upstream: &mut Upstream<'_>) {
        upstream.allow_retry(ANY_REASON, 0);
    }

    /// Whether nginx will try again after this status (`ngx_http_upstream_test_next`).
    pub(super) fn is_retried(&self, upstream: &Upstream<'_>, status: u16) -> bool {
        let Some(mut mask) = mask_of(status) else { return false };
        let sent = upstream.request_sent();
        if sent && upstream.has_method(NGX_HTTP_POST | NGX_HTTP_LOCK | NGX_HTTP_PATCH) {
            mask |= NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT as usize;
        }
        let rules = upstream.conf().retry_rules();
        upstream.tries() > 1
            && rules.reasons & mask == mask
            && !(sent && self.request.is_unbuffered())
            && !(rules.timeout != 0 && upstream.elapsed() >= rules.timeout)
    }
}
