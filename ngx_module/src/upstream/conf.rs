//! The directives that users of `uwsgi_pass` know, under nginx's own rules: buffers, timeouts, cache. They hold for process groups.

use std::ffi::{CStr, c_char, c_void};
use std::mem::{offset_of, zeroed};

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_2MORE, NGX_CONF_FLAG, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_CONF_TAKE1234,
    NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET,
    NGX_HTTP_SRV_CONF, ngx_command_t, ngx_conf_t, ngx_hash_init_t, ngx_http_complex_value_t,
    ngx_http_request_t, ngx_http_upstream_conf_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_path_init_t,
    ngx_str_t, ngx_uint_t,
};
use shared::ffi::guard::guard;

use super::directives::{cache, rate, store};
use super::slots::{inherit_bits, inherit_value};
use super::{merge, peer, retry};
use crate::conf::{LocConf, MainConf};
use crate::ffi::conf::Conf;

/// nginx's own configuration of an upstream, for one location.
#[repr(transparent)]
pub struct UpstreamConf(ngx_http_upstream_conf_t);

/// What nginx calls `NGX_CONF_UNSET`, in its types.
pub(crate) const UNSET: isize = -1;
pub(crate) const UNSET_SIZE: usize = usize::MAX;
/// The same in a field of two bits, which is read without its sign.
pub(crate) const UNSET_BITS: i32 = 3;
pub(crate) const UNSET_POINTER: usize = usize::MAX;

/// The one upstream that all process groups are: its peers are ours to find.
static mut ANY_GROUP: ngx_http_upstream_srv_conf_t =
    // SAFETY: all zeroes is an upstream without servers.
    unsafe { zeroed() };

impl Default for UpstreamConf {
    fn default() -> Self {
        // SAFETY: all zeroes is a valid value of every field.
        let mut conf: ngx_http_upstream_conf_t = unsafe { zeroed() };
        conf.connect_timeout = UNSET_SIZE;
        conf.send_timeout = UNSET_SIZE;
        conf.read_timeout = UNSET_SIZE;
        conf.buffer_size = UNSET_SIZE;
        conf.busy_buffers_size_conf = UNSET_SIZE;
        conf.max_temp_file_size_conf = UNSET_SIZE;
        conf.temp_file_write_size_conf = UNSET_SIZE;
        conf.buffering = UNSET;
        conf.ignore_client_abort = UNSET;
        conf.force_ranges = UNSET;
        conf.hide_headers = UNSET_POINTER as *mut _;
        conf.pass_headers = UNSET_POINTER as *mut _;
        conf.cache_zone = UNSET_POINTER as *mut _;
        conf.set_cache(UNSET_BITS);
        conf.cache_min_uses = UNSET_SIZE;
        conf.cache_bypass = UNSET_POINTER as *mut _;
        conf.no_cache = UNSET_POINTER as *mut _;
        conf.cache_valid = UNSET_POINTER as *mut _;
        conf.cache_lock = UNSET;
        conf.cache_lock_timeout = UNSET_SIZE;
        conf.cache_lock_age = UNSET_SIZE;
        conf.cache_revalidate = UNSET;
        conf.cache_background_update = UNSET;
        retry::unset(&mut conf);
        cache::unset(&mut conf);
        store::unset(&mut conf);
        rate::unset(&mut conf);
        Self(conf)
    }
}

pub(crate) const BITMASK_SET: ngx_uint_t = 1;

/// Timeouts of a process group, in milliseconds.
pub struct Timeouts {
    /// `connect-timeout`.
    pub connect: usize,
    /// `socket-timeout`.
    pub send: usize,
    /// `response-socket-timeout`.
    pub read: usize,
}

impl UpstreamConf {
    pub(crate) fn as_ptr(&self) -> *mut ngx_http_upstream_conf_t {
        (&raw const self.0).cast_mut()
    }

    #[cfg(test)]
    pub(crate) const fn get_mut(&mut self) -> &mut ngx_http_upstream_conf_t {
        &mut self.0
    }

    /// Takes over what was written around it.
    pub fn inherit(&mut self, outer: &Self) {
        merge::inherit(&mut self.0, &outer.0);
    }

    /// Decides what nothing says ([`Self::inherit`] comes first; `ngx_http_uwsgi_merge_loc_conf`). nginx looks at `outer` for the headers
    /// to hide. `None` when nginx refuses it, which was logged.
    pub fn decide(
        &mut self,
        outer: &Self,
        conf: &Conf<'_>,
        timeouts: &Timeouts,
        intercept: bool,
    ) -> Option<()> {
        let page = nginx_sys_pagesize();
        let inner = &mut self.0;
        inherit_value(&mut inner.buffering, 1, UNSET);
        inherit_value(&mut inner.ignore_client_abort, 0, UNSET);
        inherit_value(&mut inner.force_ranges, 0, UNSET);
        inherit_value(&mut inner.connect_timeout, timeouts.connect, UNSET_SIZE);
        inherit_value(&mut inner.send_timeout, timeouts.send, UNSET_SIZE);
        inherit_value(&mut inner.read_timeout, timeouts.read, UNSET_SIZE);
        inherit_value(&mut inner.buffer_size, page.max(16 * 1024), UNSET_SIZE);
        if inner.bufs.num == 0 {
            (inner.bufs.num, inner.bufs.size) = (8, page);
        }
        if inner.bufs.num < 2 {
            conf.refuse("there must be at least 2 \"wsgi_buffers\"");
            return None;
        }
        let size = inner.buffer_size.max(inner.bufs.size);
        inherit_value(&mut inner.busy_buffers_size_conf, 2 * size, UNSET_SIZE);
        inner.busy_buffers_size = inner.busy_buffers_size_conf;
        if inner.busy_buffers_size < size {
            conf.refuse(
                "\"wsgi_busy_buffers_size\" must be equal to or greater than the maximum of the value of \"wsgi_buffer_size\" and one of \
                 the \"wsgi_buffers\"",
            );
            return None;
        }
        inherit_value(&mut inner.temp_file_write_size_conf, 2 * size, UNSET_SIZE);
        inner.temp_file_write_size = inner.temp_file_write_size_conf;
        inherit_value(&mut inner.max_temp_file_size_conf, 1 << 30, UNSET_SIZE);
        inner.max_temp_file_size = inner.max_temp_file_size_conf;
        inherit_bits(&mut inner.ignore_headers, BITMASK_SET);
        retry::decide(inner);
        store::decide(inner);
        rate::decide(inner);
        inner.pass_request_headers = 1;
        inner.pass_request_body = 1;
        inner.intercept_errors = isize::from(intercept);
        inner.module = text(c"wsgi");
        self.decide_cache();
        self.decide_paths(&outer.0, conf)
    }

    fn decide_cache(&mut self) {
        let inner = &mut self.0;
        if inner.cache() == UNSET_BITS {
            inner.set_cache(0);
        }
        let none = std::ptr::null_mut();
        inherit_value(&mut inner.cache_zone, none, UNSET_POINTER as *mut _);
        inherit_value(&mut inner.cache_min_uses, 1, UNSET_SIZE);
        cache::decide(inner);
        for conditions in [&mut inner.cache_bypass, &mut inner.no_cache, &mut inner.cache_valid] {
            inherit_value(conditions, std::ptr::null_mut(), UNSET_POINTER as *mut _);
        }
        inherit_value(&mut inner.cache_lock, 0, UNSET);
        inherit_value(&mut inner.cache_lock_timeout, 5000, UNSET_SIZE);
        inherit_value(&mut inner.cache_lock_age, 5000, UNSET_SIZE);
        inherit_value(&mut inner.cache_revalidate, 0, UNSET);
        inherit_value(&mut inner.cache_background_update, 0, UNSET);
        inner.cache_convert_head = 1;
    }

    fn decide_paths(&mut self, outer: &ngx_http_upstream_conf_t, conf: &Conf<'_>) -> Option<()> {
        const HIDDEN: [&CStr; 5] = [
            c"X-Accel-Expires",
            c"X-Accel-Redirect",
            c"X-Accel-Limit-Rate",
            c"X-Accel-Buffering",
            c"X-Accel-Charset",
        ];
        let mut hidden: Vec<ngx_str_t> = HIDDEN.iter().map(|name| text(name)).collect();
        hidden.push(ngx_str_t { len: 0, data: std::ptr::null_mut() });
        let mut default =
            ngx_path_init_t { name: text(nginx_sys::NGX_HTTP_UWSGI_TEMP_PATH), level: [1, 2, 0] };
        let mut outer = *outer;
        // SAFETY: nginx's own, during the callback; it writes to `outer` only to share what it makes, which a copy does without.
        unsafe {
            let cf = conf.raw();
            let path = &raw mut self.0.temp_path;
            let merged =
                nginx_sys::ngx_conf_merge_path_value(cf, path, std::ptr::null_mut(), &raw mut default);
            if !merged.is_null() {
                return None;
            }
            let mut hash: ngx_hash_init_t = zeroed();
            hash.max_size = 512;
            hash.bucket_size = 128;
            hash.name = c"wsgi_hide_headers_hash".as_ptr().cast_mut();
            let code = nginx_sys::ngx_http_upstream_hide_headers_hash(
                cf,
                &raw mut self.0,
                &raw mut outer,
                hidden.as_mut_ptr(),
                &raw mut hash,
            );
            let any = &raw mut ANY_GROUP;
            (*any).peer.init = Some(peer::init);
            self.0.upstream = any;
            (code == crate::ffi::OK).then_some(())
        }
    }
}

fn nginx_sys_pagesize() -> usize {
    // SAFETY: set before any configuration is read.
    unsafe { nginx_sys::ngx_pagesize }
}

pub(crate) const fn text(text: &'static CStr) -> ngx_str_t {
    ngx_str_t { len: text.to_bytes().len(), data: text.as_ptr().cast_mut().cast() }
}

pub(crate) type Slot = unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

pub(crate) const fn command(name: &'static CStr, takes: u32, slot: Slot, field: usize) -> ngx_command_t {
    ngx_command_t {
        name: text(name),
        type_: (NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | takes) as ngx_uint_t,
        set: Some(slot),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: offset_of!(LocConf, upstream) + field,
        post: std::ptr::null_mut(),
    }
}

macro_rules! at {
    ($field:ident) => {
        std::mem::offset_of!(nginx_sys::ngx_http_upstream_conf_t, $field)
    };
}
pub(crate) use at;

pub(crate) const fn with_post(mut command: ngx_command_t, post: *mut c_void) -> ngx_command_t {
    command.post = post;
    command
}

/// nginx's table of these directives.
pub const COMMANDS: [ngx_command_t; 27] = [
    command(c"wsgi_buffering", NGX_CONF_FLAG, nginx_sys::ngx_conf_set_flag_slot, at!(buffering)),
    command(c"wsgi_buffer_size", NGX_CONF_TAKE1, nginx_sys::ngx_conf_set_size_slot, at!(buffer_size)),
    command(c"wsgi_buffers", NGX_CONF_TAKE2, nginx_sys::ngx_conf_set_bufs_slot, at!(bufs)),
    command(
        c"wsgi_busy_buffers_size",
        NGX_CONF_TAKE1,
        nginx_sys::ngx_conf_set_size_slot,
        at!(busy_buffers_size_conf),
    ),
    command(
        c"wsgi_max_temp_file_size",
        NGX_CONF_TAKE1,
        nginx_sys::ngx_conf_set_size_slot,
        at!(max_temp_file_size_conf),
    ),
    command(
        c"wsgi_temp_file_write_size",
        NGX_CONF_TAKE1,
        nginx_sys::ngx_conf_set_size_slot,
        at!(temp_file_write_size_conf),
    ),
    command(c"wsgi_temp_path", NGX_CONF_TAKE1234, nginx_sys::ngx_conf_set_path_slot, at!(temp_path)),
    command(c"wsgi_connect_timeout", NGX_CONF_TAKE1, nginx_sys::ngx_conf_set_msec_slot, at!(connect_timeout)),
    command(c"wsgi_send_timeout", NGX_CONF_TAKE1, nginx_sys::ngx_conf_set_msec_slot, at!(send_timeout)),
    command(c"wsgi_read_timeout", NGX_CONF_TAKE1, nginx_sys::ngx_conf_set_msec_slot, at!(read_timeout)),
    command(
        c"wsgi_ignore_client_abort",
        NGX_CONF_FLAG,
        nginx_sys::ngx_conf_set_flag_slot,
        at!(ignore_client_abort),
    ),
    command(c"wsgi_force_ranges", NGX_CONF_FLAG, nginx_sys::ngx_conf_set_flag_slot, at!(force_ranges)),
    command(c"wsgi_hide_header", NGX_CONF_TAKE1, nginx_sys::ngx_conf_set_str_array_slot, at!(hide_headers)),
    command(c"wsgi_pass_header", NGX_CONF_TAKE1, nginx_sys::ngx_conf_set_str_array_slot, at!(pass_headers)),
    command(c"wsgi_ignore_headers", NGX_CONF_1MORE, set_ignore_headers, at!(ignore_headers)),
    command(c"wsgi_cache", NGX_CONF_TAKE1, set_cache, 0),
    command(c"wsgi_cache_key", NGX_CONF_TAKE1, set_cache_key, 0),
    cache_path(),
    command(
        c"wsgi_cache_valid",
        NGX_CONF_1MORE,
        nginx_sys::ngx_http_file_cache_valid_set_slot,
        at!(cache_valid),
    ),
    command(c"wsgi_cache_min_uses", NGX_CONF_TAKE1, nginx_sys::ngx_conf_set_num_slot, at!(cache_min_uses)),
    command(c"wsgi_cache_bypass", NGX_CONF_1MORE, nginx_sys::ngx_http_set_predicate_slot, at!(cache_bypass)),
    command(c"wsgi_no_cache", NGX_CONF_1MORE, nginx_sys::ngx_http_set_predicate_slot, at!(no_cache)),
    command(c"wsgi_cache_lock", NGX_CONF_FLAG, nginx_sys::ngx_conf_set_flag_slot, at!(cache_lock)),
    command(
        c"wsgi_cache_lock_timeout",
        NGX_CONF_TAKE1,
        nginx_sys::ngx_conf_set_msec_slot,
        at!(cache_lock_timeout),
    ),
    command(c"wsgi_cache_lock_age", NGX_CONF_TAKE1, nginx_sys::ngx_conf_set_msec_slot, at!(cache_lock_age)),
    command(
        c"wsgi_cache_revalidate",
        NGX_CONF_FLAG,
        nginx_sys::ngx_conf_set_flag_slot,
        at!(cache_revalidate),
    ),
    command(
        c"wsgi_cache_background_update",
        NGX_CONF_FLAG,
        nginx_sys::ngx_conf_set_flag_slot,
        at!(cache_background_update),
    ),
];

const fn cache_path() -> ngx_command_t {
    let mut path = with_post(
        command(c"wsgi_cache_path", NGX_CONF_2MORE, nginx_sys::ngx_http_file_cache_set_slot, 0),
        (&raw const crate::entry::ngx_http_wsgi_module).cast_mut().cast(),
    );
    path.type_ = (NGX_HTTP_MAIN_CONF | NGX_CONF_2MORE) as ngx_uint_t;
    path.conf = NGX_HTTP_MAIN_CONF_OFFSET;
    path.offset = offset_of!(MainConf, caches);
    path
}

unsafe extern "C" fn set_ignore_headers(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    place: *mut c_void,
) -> *mut c_char {
    guard("wsgi_ignore_headers", crate::ffi::conf::CONF_ERROR, || {
        // SAFETY: nginx's own, during the callback; the table of masks is nginx's static one.
        unsafe {
            let mut command = *command;
            command.post = (&raw mut nginx_sys::ngx_http_upstream_ignore_headers_masks).cast();
            nginx_sys::ngx_conf_set_bitmask_slot(cf, &raw mut command, place)
        }
    })
}

unsafe extern "C" fn set_cache(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    place: *mut c_void,
) -> *mut c_char {
    guard("wsgi_cache", crate::ffi::conf::CONF_ERROR, || {
        // SAFETY: nginx's own, during the callback; `place` is of `create_loc_conf`.
        unsafe {
            let Some(conf) = Conf::from_raw(cf) else { return crate::ffi::conf::CONF_ERROR };
            let upstream = &mut (*place.cast::<LocConf>()).upstream.0;
            if upstream.cache() != UNSET_BITS {
                return c"is duplicate".as_ptr().cast_mut();
            }
            let words = conf.words();
            let name = words.first().copied().unwrap_or_default();
            if name == b"off" {
                upstream.set_cache(0);
                return crate::ffi::conf::CONF_OK;
            }
            let Some(mut name) = conf.copy(name) else { return crate::ffi::conf::CONF_ERROR };
            upstream.set_cache(1);
            upstream.cache_zone = nginx_sys::ngx_shared_memory_add(
                cf,
                &raw mut name,
                0,
                (&raw const crate::entry::ngx_http_wsgi_module).cast_mut().cast(),
            );
            if upstream.cache_zone.is_null() {
                crate::ffi::conf::CONF_ERROR
            } else {
                crate::ffi::conf::CONF_OK
            }
        }
    })
}

unsafe extern "C" fn set_cache_key(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    place: *mut c_void,
) -> *mut c_char {
    guard("wsgi_cache_key", crate::ffi::conf::CONF_ERROR, || {
        // SAFETY: nginx's own, during the callback; `place` is of `create_loc_conf`, and the slot writes one pointer there.
        unsafe {
            let mut command = *command;
            command.offset = offset_of!(LocConf, cache_key);
            nginx_sys::ngx_http_set_complex_value_slot(cf, &raw mut command, place)
        }
    })
}

/// The key under which a response is cached: what was configured, or what the client asked for.
pub(crate) unsafe extern "C" fn create_key(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard("create_key", crate::ffi::ERROR, || {
        // SAFETY: nginx's own, and alive; the cache was made by nginx before this.
        unsafe {
            let Some(request) = crate::ffi::request::Request::from_raw(r) else { return crate::ffi::ERROR };
            let configured: *mut ngx_http_complex_value_t =
                request.location().map_or(std::ptr::null_mut(), |conf| conf.cache_key);
            let key: *mut ngx_str_t = nginx_sys::ngx_array_push(&raw mut (*(*r).cache).keys).cast();
            if key.is_null() {
                return crate::ffi::ERROR;
            }
            if !configured.is_null() {
                return nginx_sys::ngx_http_complex_value(r, configured, key);
            }
            let host = (*r).headers_in.server;
            let parts = [crate::ffi::bytes_of(host), crate::ffi::bytes_of((*r).unparsed_uri)].concat();
            match request.copy(&parts) {
                Some(copied) => {
                    key.write(copied);
                    crate::ffi::OK
                }
                None => crate::ffi::ERROR,
            }
        }
    })
}
