//! `wsgi_store`: answers that are kept as files, for nginx to serve by itself afterwards.

use std::ffi::{c_char, c_void};
use std::mem::zeroed;

use nginx_sys::{
    NGX_CONF_TAKE1, NGX_CONF_TAKE123, ngx_command_t, ngx_conf_t, ngx_http_script_compile,
    ngx_http_script_compile_t, ngx_http_script_variables_count, ngx_http_upstream_conf_t, ngx_uint_t,
};
use shared::ffi::guard::guard;

use crate::conf::LocConf;
use crate::ffi::OK;
use crate::ffi::conf::{CONF_ERROR, CONF_OK, Conf};
use crate::upstream::conf::{UNSET_BITS, at, command};
use crate::upstream::slots::inherit_value;

/// `NGX_CONF_UNSET_UINT`.
const UNSET: ngx_uint_t = ngx_uint_t::MAX;

/// nginx's table of these directives.
pub(crate) const COMMANDS: [ngx_command_t; 2] = [
    command(c"wsgi_store", NGX_CONF_TAKE1, set, 0),
    command(c"wsgi_store_access", NGX_CONF_TAKE123, nginx_sys::ngx_conf_set_access_slot, at!(store_access)),
];

unsafe extern "C" fn set(cf: *mut ngx_conf_t, _: *mut ngx_command_t, place: *mut c_void) -> *mut c_char {
    guard("wsgi_store", CONF_ERROR, || {
        // SAFETY: nginx's own, during the callback; `place` is of `create_loc_conf`.
        unsafe {
            let Some(conf) = Conf::from_raw(cf) else { return CONF_ERROR };
            let upstream = &mut *(*place.cast::<LocConf>()).upstream.as_ptr();
            take(&conf, upstream)
        }
    })
}

/// Takes the directive (`ngx_http_uwsgi_store`).
fn take(conf: &Conf<'_>, upstream: &mut ngx_http_upstream_conf_t) -> *mut c_char {
    if upstream.store() != UNSET_BITS {
        return c"is duplicate".as_ptr().cast_mut();
    }
    let words = conf.words();
    let path = words.first().copied().unwrap_or_default();
    if path == b"off" {
        upstream.set_store(0);
        return CONF_OK;
    }
    if upstream.cache() == 1 {
        return c"is incompatible with \"wsgi_cache\"".as_ptr().cast_mut();
    }
    upstream.set_store(1);
    if path == b"on" {
        return CONF_OK;
    }
    // nginx wants the end of the path to be part of it.
    let Some(mut path) = conf.copy(&[path, b"\0"].concat()) else { return CONF_ERROR };
    // SAFETY: zeroes are an empty request to compile; the path and what is compiled are of the configuration's pool.
    unsafe {
        let mut compile: ngx_http_script_compile_t = zeroed();
        compile.cf = conf.raw();
        compile.source = &raw mut path;
        compile.lengths = &raw mut upstream.store_lengths;
        compile.values = &raw mut upstream.store_values;
        compile.variables = ngx_http_script_variables_count(&raw mut path);
        compile.set_complete_lengths(1);
        compile.set_complete_values(1);
        if ngx_http_script_compile(&raw mut compile) == OK { CONF_OK } else { CONF_ERROR }
    }
}

/// Nothing written.
pub(crate) fn unset(conf: &mut ngx_http_upstream_conf_t) {
    conf.set_store(UNSET_BITS);
    conf.store_access = UNSET;
}

/// Takes over what only `outer` says. What is written here excludes the other of `wsgi_store` and `wsgi_cache`, so that this comes before
/// the cache is inherited.
pub(crate) fn inherit(inner: &mut ngx_http_upstream_conf_t, outer: &ngx_http_upstream_conf_t) {
    if inner.store() == 1 {
        inner.set_cache(0);
    }
    if inner.cache() == 1 {
        inner.set_store(0);
    }
    if inner.store() == UNSET_BITS {
        inner.set_store(outer.store());
        (inner.store_lengths, inner.store_values) = (outer.store_lengths, outer.store_values);
    }
    inherit_value(&mut inner.store_access, outer.store_access, UNSET);
}

/// Decides what nothing says.
pub(crate) fn decide(conf: &mut ngx_http_upstream_conf_t) {
    if conf.store() == UNSET_BITS {
        conf.set_store(0);
    }
    inherit_value(&mut conf.store_access, 0o600, UNSET);
}
