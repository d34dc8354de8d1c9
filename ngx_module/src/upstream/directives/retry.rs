//! `wsgi_next_upstream` and its companions, as the configuration has them. What they do is in
//! `upstream/retry.rs`.

use nginx_sys::NGX_HTTP_UPSTREAM_FT_OFF;

use crate::ffi::upstream_conf::{UNSET, UpstreamConf};
use crate::ffi::upstream_directives::BITMASK_SET;

/// How often a request is sent at most, the first time included, where `wsgi_next_upstream_tries` says
/// nothing. Every try meets the same group: with more of them one request that kills its worker could kill
/// all workers.
const TRIES: usize = 2;
const OFF: usize = NGX_HTTP_UPSTREAM_FT_OFF as usize;

/// Gives what is not written its default.
pub(crate) fn set_defaults(conf: &mut UpstreamConf) {
    let reasons = conf.next_upstream();
    if *reasons & OFF != 0 {
        *reasons = OFF;
    }
    *reasons |= BITMASK_SET;
    let tries = conf.next_upstream_tries();
    if matches!(*tries, 0 | UNSET) {
        // Nothing is unlimited where the same socket is asked over and over.
        *tries = TRIES;
    }
}
