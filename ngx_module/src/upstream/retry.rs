//! When a request is sent once more: `wsgi_next_upstream` and its companions, and what holds without them.
//!
//! The peers of a process group are the workers behind one socket, so that another try is a new connection to
//! it. A try that surely never began (nothing of the request left, or the worker said that it takes no more)
//! is repeated without being asked for. Where `uwsgi_pass` repeats after every error as well, a process group
//! does not: a worker that dies in the middle of a request was most likely killed by it, and the next one
//! would be too.

use nginx_sys::{
    NGX_HTTP_LOCK, NGX_HTTP_PATCH, NGX_HTTP_POST, NGX_HTTP_UPSTREAM_FT_ERROR, NGX_HTTP_UPSTREAM_FT_HTTP_403,
    NGX_HTTP_UPSTREAM_FT_HTTP_404, NGX_HTTP_UPSTREAM_FT_HTTP_429, NGX_HTTP_UPSTREAM_FT_HTTP_500,
    NGX_HTTP_UPSTREAM_FT_HTTP_502, NGX_HTTP_UPSTREAM_FT_HTTP_503, NGX_HTTP_UPSTREAM_FT_HTTP_504,
    NGX_HTTP_UPSTREAM_FT_INVALID_HEADER, NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT, NGX_HTTP_UPSTREAM_FT_OFF,
};

use shared::client::retry::{self, Attempt, Retry};
use shared::fault::Fault;
use shared::wire::{Conversation, Cut};

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

/// Whether nginx answers with an expired response where a worker answers this status.
pub(super) fn is_answered_from_cache(upstream: &mut Upstream<'_>, status: u16) -> bool {
    mask_of(status).is_some_and(|mask| upstream.has_stale(mask))
}

impl UpstreamRequest {
    /// Makes the upstream as it was before the response that is thrown away now (`reinit_request`).
    pub(super) fn forget_response(&mut self, upstream: &mut Upstream<'_>) {
        self.ended = false;
        upstream.set_switches(self.untouched);
    }

    /// Begins a try under the rules of the configuration, whatever was allowed for the one before. Whether it
    /// is not the first.
    pub(super) fn begin_try(&mut self, upstream: &mut Upstream<'_>) -> bool {
        upstream.restore_conf();
        self.tries += 1;
        self.tries > 1
    }

    /// Settles whether nginx may try again, now that a try is over (`peer.free`).
    pub(super) fn settle(&mut self, upstream: &mut Upstream<'_>, conversation: &Conversation) {
        if self.is_final {
            upstream.set_tries(0);
            return;
        }
        let cut = conversation.cut(upstream.sent_to_peer().is_some_and(|sent| sent > 0));
        self.given_back += u32::from(cut == Cut::NotBegun);
        match self.judge(upstream, cut) {
            Retry::Free => return Self::retry_always(upstream),
            Retry::Spend => Self::retry_always(upstream),
            Retry::Never if cut == Cut::Unsent => {
                return self.give_up(upstream, Fault::Unreachable, NGX_HTTP_UPSTREAM_FT_ERROR);
            }
            Retry::Never if cut == Cut::NotBegun => {
                return self.give_up(upstream, Fault::NotBegun, NGX_HTTP_UPSTREAM_FT_INVALID_HEADER);
            }
            // nginx knows its own rules: what is named, which methods are idempotent, and what has left for
            // the client.
            Retry::IfConfigured | Retry::Never => {}
        }
        upstream.set_tries(upstream.tries().saturating_sub(1));
    }

    /// What follows from a try that got so far.
    pub(super) fn judge(&self, upstream: &Upstream<'_>, cut: Cut) -> Retry {
        let rules = upstream.conf().retry_rules();
        let decided = retry::decide(&Attempt {
            cut,
            can_resend: !self.streamed || !upstream.request_sent(),
            has_waited: false,
            tries: self.tries.saturating_sub(self.given_back),
            max_tries: u32::try_from(rules.tries).unwrap_or(u32::MAX),
            given_back: self.given_back,
            is_off: rules.reasons & OFF != 0,
        });
        let is_late = rules.timeout != 0 && upstream.elapsed() >= rules.timeout;
        if decided == Retry::Spend && is_late { Retry::Never } else { decided }
    }

    /// Has nginx answer a fault, unless it has an expired response that is better than that where a try fails
    /// for `reason`.
    fn give_up(&mut self, upstream: &mut Upstream<'_>, fault: Fault, reason: u32) {
        upstream.set_tries(0);
        if !upstream.has_stale(reason as usize) {
            self.fault = Some(fault);
            upstream.drop_body();
            upstream.set_tries(1);
            Self::retry_always(upstream);
        }
    }

    /// Has nginx try again whatever the configuration says.
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
