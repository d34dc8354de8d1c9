//! nginx's own configuration of an upstream (`ngx_http_upstream_conf_t`), for one location.

use std::ffi::CStr;
use std::ptr::null_mut;

use nginx_sys::{
    ngx_array_t, ngx_bufs_t, ngx_hash_init_t, ngx_http_request_t, ngx_http_script_compile_t,
    ngx_http_upstream_conf_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_path_init_t, ngx_str_t,
};

use super::conf::{Conf, Refusal};
use super::cycle;
use super::links::tag;
use super::live::pointer;
use super::upstream_directives::{DIRECTIVES, Field, unset_pointer};
use super::zeroed::Zeroed;
use super::{OK, text};

/// nginx's own configuration of an upstream.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct UpstreamConf(ngx_http_upstream_conf_t);

/// The function that prepares a request's peer (`peer.init`).
#[derive(Clone, Copy)]
pub struct PeerInit(
    pub(super) unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t,
);

/// What a location's process group says, where the location does not.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `connect-timeout`, in milliseconds; so are the others.
    pub connect: usize,
    /// `socket-timeout`.
    pub send: usize,
    /// `response-socket-timeout`.
    pub read: usize,
}

/// What is written of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct WrittenTimeouts {
    connect: Option<usize>,
    send: Option<usize>,
    read: Option<usize>,
}

impl WrittenTimeouts {
    /// With those of `group` for what is not written.
    pub fn or(self, group: Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.unwrap_or(group.connect),
            send: self.send.unwrap_or(group.send),
            read: self.read.unwrap_or(group.read),
        }
    }
}

/// When a request is sent once more.
#[derive(Clone, Copy, Debug)]
pub struct RetryRules {
    /// `wsgi_next_upstream`.
    pub reasons: usize,
    /// `wsgi_next_upstream_tries`.
    pub tries: usize,
    /// `wsgi_next_upstream_timeout`, in milliseconds.
    pub timeout: usize,
}

/// `NGX_CONF_UNSET_SIZE` and its like.
pub const UNSET: usize = usize::MAX;

/// `NGX_CONF_UNSET` in a field of two bits, which is read without its sign.
const UNSET_BITS: i32 = 3;

impl Default for UpstreamConf {
    /// Nothing is written.
    fn default() -> Self {
        let mut conf = ngx_http_upstream_conf_t::zeroed();
        DIRECTIVES.iter().filter_map(|row| row.field.as_ref()).for_each(|field| (field.unset)(&mut conf));
        conf.cache_zone = unset_pointer();
        conf.set_cache(UNSET_BITS);
        conf.set_store(UNSET_BITS);
        Self(conf)
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        impl UpstreamConf {
            $($(#[$doc])*
            pub const fn $name(&mut self) -> &mut $type {
                &mut self.0.$name
            })*
        }
    };
}

numbers! {
    /// `wsgi_buffer_size`, in bytes; so are the sizes below.
    buffer_size: usize;
    /// `wsgi_buffers`.
    bufs: ngx_bufs_t;
    /// `wsgi_busy_buffers_size`, as written.
    busy_buffers_size_conf: usize;
    /// `wsgi_busy_buffers_size`, as nginx uses it.
    busy_buffers_size: usize;
    /// `wsgi_max_temp_file_size`, as written.
    max_temp_file_size_conf: usize;
    /// `wsgi_max_temp_file_size`, as nginx uses it.
    max_temp_file_size: usize;
    /// `wsgi_temp_file_write_size`, as written.
    temp_file_write_size_conf: usize;
    /// `wsgi_temp_file_write_size`, as nginx uses it.
    temp_file_write_size: usize;
    /// `wsgi_next_upstream`.
    next_upstream: usize;
    /// `wsgi_next_upstream_tries`.
    next_upstream_tries: usize;
    /// `wsgi_cache_use_stale`.
    cache_use_stale: usize;
    /// `wsgi_cache_methods`.
    cache_methods: usize;
}

/// A field of two bits: off, on, or not written.
fn switch(bits: i32) -> Option<bool> {
    (bits != UNSET_BITS).then_some(bits != 0)
}

impl UpstreamConf {
    pub(super) const fn as_ptr(&self) -> *mut ngx_http_upstream_conf_t {
        // nginx only reads what a request's upstream is configured with.
        (&raw const self.0).cast_mut()
    }

    pub(super) const fn get(&self) -> &ngx_http_upstream_conf_t {
        &self.0
    }

    /// The same with other timeouts.
    pub(super) const fn with_timeouts(&self, timeouts: Timeouts) -> Self {
        let Timeouts { connect, send, read } = timeouts;
        Self(ngx_http_upstream_conf_t {
            connect_timeout: connect,
            send_timeout: send,
            read_timeout: read,
            ..self.0
        })
    }

    /// The timeouts as written.
    pub fn written_timeouts(&self) -> WrittenTimeouts {
        let written = |value: usize| (value != UNSET).then_some(value);
        WrittenTimeouts {
            connect: written(self.0.connect_timeout),
            send: written(self.0.send_timeout),
            read: written(self.0.read_timeout),
        }
    }

    /// Sets the timeouts.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.0.connect_timeout = timeouts.connect;
        (self.0.send_timeout, self.0.read_timeout) = (timeouts.send, timeouts.read);
    }

    /// When a request is sent once more.
    pub const fn retry_rules(&self) -> RetryRules {
        let ngx_http_upstream_conf_t { next_upstream, next_upstream_tries, next_upstream_timeout, .. } =
            self.0;
        RetryRules { reasons: next_upstream, tries: next_upstream_tries, timeout: next_upstream_timeout }
    }

    /// Has nginx read the words of a directive into its field.
    ///
    /// # Errors
    /// nginx refuses them.
    pub fn set(&mut self, field: &Field, conf: &Conf<'_>) -> Result<(), Refusal> {
        (field.set)(&mut self.0, conf)
    }

    /// Inherits the fields that are not written here.
    pub fn merge_fields(&mut self, outer: &Self) {
        for field in DIRECTIVES.iter().filter_map(|row| row.field.as_ref()) {
            (field.merge)(&mut self.0, &outer.0);
        }
    }

    /// Gives those fields their defaults that are written nowhere.
    pub fn set_field_defaults(&mut self) {
        for field in DIRECTIVES.iter().filter_map(|row| row.field.as_ref()) {
            (field.set_default)(&mut self.0);
        }
    }

    /// `wsgi_cache`: on, off, or not written.
    pub fn cache(&self) -> Option<bool> {
        switch(self.0.cache())
    }

    /// Turns `wsgi_cache` off.
    pub fn set_cache_off(&mut self) {
        self.0.set_cache(0);
    }

    /// Takes `wsgi_cache` from another place.
    pub fn take_cache(&mut self, outer: &Self) {
        self.0.set_cache(outer.0.cache());
        (self.0.cache_zone, self.0.cache_value) = (outer.0.cache_zone, outer.0.cache_value);
    }

    /// Turns `wsgi_cache` on, with the zone of a name (`ngx_shared_memory_add`). `None` when nginx refuses
    /// it, which was logged.
    pub fn set_cache_zone(&mut self, conf: &Conf<'_>, name: &[u8]) -> Option<()> {
        let mut name = conf.pool().copy(name)?;
        // SAFETY: nginx's own, during the callback; the name lives as long as the configuration.
        let zone = unsafe { nginx_sys::ngx_shared_memory_add(conf.raw(), &raw mut name, 0, tag()) };
        self.0.set_cache(1);
        self.0.cache_zone = zone;
        (!zone.is_null()).then_some(())
    }

    /// `wsgi_store`: on, off, or not written.
    pub fn store(&self) -> Option<bool> {
        switch(self.0.store())
    }

    /// Turns `wsgi_store` on or off.
    pub fn set_store(&mut self, on: bool) {
        self.0.set_store(on.into());
    }

    /// Takes `wsgi_store` from another place.
    pub fn take_store(&mut self, outer: &Self) {
        self.0.set_store(outer.0.store());
        (self.0.store_lengths, self.0.store_values) = (outer.0.store_lengths, outer.0.store_values);
    }

    /// Says where stored responses lie, with variables (`ngx_http_uwsgi_store`). `None` when nginx refuses
    /// it, which was logged.
    pub fn set_store_path(&mut self, conf: &Conf<'_>, path: &[u8]) -> Option<()> {
        // nginx wants the end of the path to be part of it.
        let mut path = conf.pool().copy(&[path, b"\0"].concat())?;
        let mut compile = ngx_http_script_compile_t {
            cf: conf.raw(),
            source: &raw mut path,
            lengths: &raw mut self.0.store_lengths,
            values: &raw mut self.0.store_values,
            ..ngx_http_script_compile_t::zeroed()
        };
        compile.set_complete_lengths(1);
        compile.set_complete_values(1);
        // SAFETY: the path is of the configuration's pool, where nginx puts what is compiled as well; what is
        // left is looked at for the call only.
        let code = unsafe {
            compile.variables = nginx_sys::ngx_http_script_variables_count(&raw mut path);
            nginx_sys::ngx_http_script_compile(&raw mut compile)
        };
        (code == OK).then_some(())
    }

    /// Sets what no directive is about, behind all merging and defaulting. nginx looks at `outer` for the
    /// headers to hide, and has `peers` find whom a request is sent to. `None` when nginx refuses something,
    /// which was logged.
    pub fn finish(
        &mut self,
        outer: &Self,
        conf: &Conf<'_>,
        intercept_errors: bool,
        hidden_headers: &[&'static CStr],
        peers: PeerInit,
    ) -> Option<()> {
        let inner = &mut self.0;
        if switch(inner.cache()).is_none() {
            inner.set_cache(0);
        }
        if inner.cache_zone == unset_pointer() {
            inner.cache_zone = null_mut();
        }
        if switch(inner.store()).is_none() {
            inner.set_store(0);
        }
        inner.cache_convert_head = 1;
        inner.pass_request_headers = 1;
        inner.pass_request_body = 1;
        inner.intercept_errors = intercept_errors.into();
        inner.module = text(c"wsgi");
        // The upstream has no servers: its peers are ours to find.
        let mut upstream = ngx_http_upstream_srv_conf_t::zeroed();
        upstream.peer.init = Some(peers.0);
        inner.upstream = conf.pool().alloc(upstream)?.as_ptr();
        self.finish_paths(conf)?;
        self.hide_headers(outer, conf, hidden_headers)
    }

    /// Gives temporary files the place of `uwsgi_temp_path`, since nginx was built without one of this
    /// module's own, or one in the prefix that nginx was told.
    fn finish_paths(&mut self, conf: &Conf<'_>) -> Option<()> {
        let is_told = conf.cycle().prefix() != nginx_sys::NGX_PREFIX.to_bytes();
        let name = text(if is_told { c"wsgi_temp" } else { nginx_sys::NGX_HTTP_UWSGI_TEMP_PATH });
        let mut default = ngx_path_init_t { name, level: [1, 2, 0] };
        let path = &raw mut self.0.temp_path;
        // SAFETY: nginx's own, during the callback; it copies the default.
        let refused =
            unsafe { nginx_sys::ngx_conf_merge_path_value(conf.raw(), path, null_mut(), &raw mut default) };
        refused.is_null().then_some(())
    }

    fn hide_headers(&mut self, outer: &Self, conf: &Conf<'_>, hidden: &[&'static CStr]) -> Option<()> {
        let mut hidden: Vec<ngx_str_t> = hidden.iter().map(|name| text(name)).collect();
        hidden.push(ngx_str_t::empty());
        // nginx writes to it only to share what it makes, which a copy does without.
        let mut outer = outer.0;
        let mut hash = ngx_hash_init_t {
            max_size: 512,
            bucket_size: 128,
            name: c"wsgi_hide_headers_hash".as_ptr().cast_mut(),
            ..ngx_hash_init_t::zeroed()
        };
        let (inner, outer) = (&raw mut self.0, &raw mut outer);
        let hidden = hidden.as_mut_ptr();
        // SAFETY: nginx's own, during the callback; the names live for ever.
        let code = unsafe {
            nginx_sys::ngx_http_upstream_hide_headers_hash(conf.raw(), inner, outer, hidden, &raw mut hash)
        };
        (code == OK).then_some(())
    }
}

/// How much memory a page has.
pub fn page_size() -> usize {
    cycle::pagesize()
}

/// What `wsgi_cache_path` declares: nginx's array of a module's caches.
pub struct Caches(std::cell::UnsafeCell<ngx_array_t>);

impl Conf<'_> {
    /// An array for nginx's caches (`ngx_array_init`).
    pub fn caches(&self) -> Caches {
        let none = [std::ptr::null_mut::<std::ffi::c_void>(); 4];
        let (pool, size) = (self.pool(), size_of_val(&none[0]));
        let elts = pool.alloc(none);
        // nginx looks at `nelts` before any element.
        let nalloc = elts.map_or(0, |_| none.len());
        let elts = pointer(elts).cast();
        Caches::new(ngx_array_t { elts, nelts: 0, size, nalloc, pool: pool.as_ptr() })
    }
}

impl Caches {
    pub(super) const fn new(array: ngx_array_t) -> Self {
        Self(std::cell::UnsafeCell::new(array))
    }

    pub(super) const fn as_ptr(&self) -> *mut ngx_array_t {
        self.0.get()
    }

    /// Has nginx declare a cache with the words of `wsgi_cache_path`.
    ///
    /// # Errors
    /// nginx refuses them.
    pub fn declare(&mut self, conf: &Conf<'_>) -> Result<(), Refusal> {
        let array = std::ptr::from_mut(self.0.get_mut()).cast();
        // SAFETY: the setter adds a pointer to the array that it is given, which `Conf::caches` made for
        // such.
        unsafe { conf.set(nginx_sys::ngx_http_file_cache_set_slot, array, tag()) }
    }
}
