//! What a location inherits from the one around it, and the defaults of what is written nowhere.
//!
//! Two steps: every location inherits, whether or not applications are served there, since `http` and
//! `server` only hand on; defaults are for the location that asks an upstream.

use std::ffi::CStr;

use nginx_sys::{
    NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_UPSTREAM_FT_ERROR, NGX_HTTP_UPSTREAM_FT_HTTP_504,
    NGX_HTTP_UPSTREAM_FT_NOLIVE, NGX_HTTP_UPSTREAM_FT_OFF, NGX_HTTP_UPSTREAM_FT_TIMEOUT,
};

use super::directives::{buffers, retry};
use crate::ffi::conf::Conf;
use crate::ffi::upstream_callbacks::PEERS;
use crate::ffi::upstream_conf::{Timeouts, UpstreamConf};
use crate::ffi::upstream_directives::BITMASK_SET;

/// Headers that the client does not get unless `wsgi_pass_header` says so.
const HIDDEN: [&CStr; 5] = [
    c"X-Accel-Expires",
    c"X-Accel-Redirect",
    c"X-Accel-Limit-Rate",
    c"X-Accel-Buffering",
    c"X-Accel-Charset",
];

/// Inherits what is not written here (`ngx_conf_merge_value` and its kin).
pub fn merge(inner: &mut UpstreamConf, outer: &UpstreamConf) {
    // What is written here of `wsgi_store` and `wsgi_cache` excludes the other, so that this comes before
    // either is inherited.
    if inner.store() == Some(true) {
        inner.set_cache_off();
    }
    if inner.cache() == Some(true) {
        inner.set_store(false);
    }
    if inner.store().is_none() {
        inner.take_store(outer);
    }
    if inner.cache().is_none() {
        inner.take_cache(outer);
    }
    inner.merge_fields(outer);
}

/// Gives what is not written its default (`ngx_http_uwsgi_merge_loc_conf`), behind [`merge`]. nginx looks at
/// `outer` for the headers to hide. `None` when nginx refuses it, which was logged.
pub fn set_defaults(
    inner: &mut UpstreamConf,
    outer: &UpstreamConf,
    conf: &Conf<'_>,
    timeouts: Timeouts,
    intercept_errors: bool,
) -> Option<()> {
    inner.set_field_defaults();
    inner.set_timeouts(inner.written_timeouts().or(timeouts));
    if let Err(why) = buffers::set_defaults(inner) {
        conf.refuse(why);
        return None;
    }
    retry::set_defaults(inner);
    set_cache_defaults(inner);
    inner.finish(outer, conf, intercept_errors, &HIDDEN, PEERS)
}

/// The defaults of what a cache answers with and for.
fn set_cache_defaults(conf: &mut UpstreamConf) {
    const OFF: usize = NGX_HTTP_UPSTREAM_FT_OFF as usize;
    let stale = conf.cache_use_stale();
    if *stale == 0 || *stale & OFF != 0 {
        *stale = OFF;
    }
    *stale |= BITMASK_SET;
    if *stale & NGX_HTTP_UPSTREAM_FT_ERROR as usize != 0 {
        *stale |= NGX_HTTP_UPSTREAM_FT_NOLIVE as usize;
    }
    if *stale & NGX_HTTP_UPSTREAM_FT_TIMEOUT as usize != 0 {
        // A request that takes too long is ended by its group, which then answers 504, mostly before nginx
        // loses patience.
        *stale |= NGX_HTTP_UPSTREAM_FT_HTTP_504 as usize;
    }
    *conf.cache_methods() |= (NGX_HTTP_GET | NGX_HTTP_HEAD) as usize;
}
