//! What may be cached, and when a stale answer will do: the directives of nginx's cache that are about the group's answers, and what
//! the group is asked for where the answer is to be everybody's.

use std::ffi::{c_char, c_void};

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_TAKE1, NGX_HTTP_CACHE_EXPIRED, NGX_HTTP_GET, NGX_HTTP_HEAD,
    NGX_HTTP_UPSTREAM_FT_ERROR, NGX_HTTP_UPSTREAM_FT_HTTP_504, NGX_HTTP_UPSTREAM_FT_NOLIVE,
    NGX_HTTP_UPSTREAM_FT_OFF, NGX_HTTP_UPSTREAM_FT_TIMEOUT, ngx_command_t, ngx_conf_t,
    ngx_http_upstream_conf_t, ngx_http_upstream_t, ngx_uint_t, off_t,
};
use shared::ffi::guard::guard;

use crate::ffi::bytes_of;
use crate::ffi::conf::CONF_ERROR;
use crate::ffi::request::Request;
use crate::request::ForCache;
use crate::upstream::conf::{BITMASK_SET, at, command, with_post};
use crate::upstream::retry;
use crate::upstream::slots::{inherit_bits, inherit_value};

const UNSET: off_t = -1;
/// As long as a time in HTTP's form is.
const TIME: usize = b"Mon, 28 Sep 1970 06:00:00 GMT".len();

/// nginx's table of these directives.
pub(crate) const COMMANDS: [ngx_command_t; 3] = [
    with_post(
        command(
            c"wsgi_cache_use_stale",
            NGX_CONF_1MORE,
            nginx_sys::ngx_conf_set_bitmask_slot,
            at!(cache_use_stale),
        ),
        (&raw const retry::MASKS).cast_mut().cast(),
    ),
    command(c"wsgi_cache_methods", NGX_CONF_1MORE, set_methods, at!(cache_methods)),
    command(
        c"wsgi_cache_max_range_offset",
        NGX_CONF_TAKE1,
        nginx_sys::ngx_conf_set_off_slot,
        at!(cache_max_range_offset),
    ),
];

unsafe extern "C" fn set_methods(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    place: *mut c_void,
) -> *mut c_char {
    guard("wsgi_cache_methods", CONF_ERROR, || {
        // SAFETY: nginx's own, during the callback; the table of masks is nginx's static one.
        unsafe {
            let mut command = *command;
            command.post = (&raw mut nginx_sys::ngx_http_upstream_cache_method_mask).cast();
            nginx_sys::ngx_conf_set_bitmask_slot(cf, &raw mut command, place)
        }
    })
}

/// Nothing written.
pub(crate) fn unset(conf: &mut ngx_http_upstream_conf_t) {
    conf.cache_use_stale = 0;
    conf.cache_methods = 0;
    conf.cache_max_range_offset = UNSET;
}

/// Takes over what only `outer` says.
pub(crate) fn inherit(inner: &mut ngx_http_upstream_conf_t, outer: &ngx_http_upstream_conf_t) {
    inherit_bits(&mut inner.cache_use_stale, outer.cache_use_stale);
    inherit_bits(&mut inner.cache_methods, outer.cache_methods);
    inherit_value(&mut inner.cache_max_range_offset, outer.cache_max_range_offset, UNSET);
}

/// Decides what nothing says (`ngx_http_uwsgi_merge_loc_conf`).
pub(crate) fn decide(conf: &mut ngx_http_upstream_conf_t) {
    const OFF: ngx_uint_t = NGX_HTTP_UPSTREAM_FT_OFF as ngx_uint_t;
    let stale = &mut conf.cache_use_stale;
    if *stale == 0 || *stale & OFF != 0 {
        *stale = OFF;
    }
    *stale |= BITMASK_SET;
    if *stale & NGX_HTTP_UPSTREAM_FT_ERROR as ngx_uint_t != 0 {
        *stale |= NGX_HTTP_UPSTREAM_FT_NOLIVE as ngx_uint_t;
    }
    if *stale & NGX_HTTP_UPSTREAM_FT_TIMEOUT as ngx_uint_t != 0 {
        // A request that takes too long is ended by its group, which then answers 504, mostly before nginx loses patience.
        *stale |= NGX_HTTP_UPSTREAM_FT_HTTP_504 as ngx_uint_t;
    }
    conf.cache_methods |= (NGX_HTTP_GET | NGX_HTTP_HEAD) as ngx_uint_t;
    inherit_value(&mut conf.cache_max_range_offset, off_t::MAX, UNSET);
}

/// What is asked where the answer is to be cached, which nginx has decided by now.
pub(crate) fn asks_for(request: &Request, upstream: &ngx_http_upstream_t) -> Option<ForCache> {
    if upstream.cacheable() == 0 {
        return None;
    }
    let mut asked =
        ForCache { as_get: upstream.method.len != 0, last_modified: Vec::new(), etag: Vec::new() };
    // SAFETY: the request lives, and with it its upstream's configuration and its cache, which what is cacheable has; the time is
    // written into as many bytes as nginx needs.
    unsafe {
        let (cache, conf) = (&*(*request.raw()).cache, &*upstream.conf);
        if conf.cache_revalidate != 0 && upstream.cache_status() == NGX_HTTP_CACHE_EXPIRED {
            asked.etag = bytes_of(cache.etag).to_vec();
            if cache.last_modified != -1 {
                let mut time = [0_u8; TIME];
                nginx_sys::ngx_http_time(time.as_mut_ptr(), cache.last_modified);
                asked.last_modified = time.to_vec();
            }
        }
    }
    Some(asked)
}
