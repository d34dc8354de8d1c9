//! What the running nginx allocates, for [`super::built_for`] to look at: by its own functions, in a pool of
//! ours, which goes when nobody looks any more.

use std::ffi::c_void;
use std::mem::ManuallyDrop;

use nginx_sys::{
    ngx_alloc_chain_link, ngx_array_create, ngx_array_t, ngx_buf_t, ngx_chain_t, ngx_conf_t, ngx_core_conf_t,
    ngx_core_module, ngx_core_module_t, ngx_create_pool, ngx_create_temp_buf, ngx_cycle_t, ngx_destroy_pool,
    ngx_event_t, ngx_http_core_loc_conf_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_core_srv_conf_t, ngx_http_module_t, ngx_module_t, ngx_pnalloc, ngx_pool_cleanup_add,
    ngx_pool_cleanup_t, ngx_pool_t,
};

use super::conf::Conf;
use super::cycle::Cycle;
use super::live::{Live, pointer};
use super::module::Module;

/// A pool of our own, into which nginx allocates.
pub(super) struct Probe(*mut ngx_pool_t);

/// A function that makes a module's configuration of `http`.
type Create = Option<unsafe extern "C" fn(*mut ngx_conf_t) -> *mut c_void>;

impl Probe {
    /// How much the pool is to have.
    pub(super) const SIZE: usize = 16 * 1024;

    /// A new one; `None`, here and below, when nginx has no memory.
    pub(super) fn new(conf: Conf<'_>) -> Option<Self> {
        // SAFETY: the log is nginx's own and lives.
        let pool = unsafe { ngx_create_pool(Self::SIZE, pointer(conf.live().log())) };
        (!pool.is_null()).then_some(Self(pool))
    }

    pub(super) fn pool(&self) -> &ngx_pool_t {
        // SAFETY: lives as long as this value, and changes only while nginx allocates.
        unsafe { &*self.0 }
    }

    /// Where the next allocation goes: the pool has one block, since little is allocated in it.
    pub(super) fn next(&self) -> *const u8 {
        self.pool().d.last
    }

    /// Whether what is allocated lies in the pool's block, one behind the other.
    pub(super) fn allocates_in_order(&self) -> bool {
        let before = self.next();
        // SAFETY: the pool lives.
        let allocated = unsafe { ngx_pnalloc(self.0, 8) };
        std::ptr::addr_eq(allocated, before) && self.next().addr().wrapping_sub(before.addr()) == 8
    }

    /// # Safety
    /// `made` is null or was allocated in this pool, as a `T` of the headers that this was built with, or
    /// with less: no more than that lies in the pool's block.
    unsafe fn made<T>(&self, made: *const T) -> Option<&T> {
        // SAFETY: the caller's promise; nobody writes to it any more.
        unsafe { made.as_ref() }
    }

    /// `ngx_array_create`.
    pub(super) fn array(&self, count: usize, size: usize) -> Option<&ngx_array_t> {
        // SAFETY: of this pool.
        unsafe { self.made(ngx_array_create(self.0, count, size)) }
    }

    /// `ngx_create_temp_buf`.
    pub(super) fn buffer(&self, size: usize) -> Option<&ngx_buf_t> {
        // SAFETY: of this pool.
        unsafe { self.made(ngx_create_temp_buf(self.0, size)) }
    }

    /// `ngx_alloc_chain_link`.
    pub(super) fn link(&self) -> *const ngx_chain_t {
        // SAFETY: the pool lives.
        unsafe { ngx_alloc_chain_link(self.0) }
    }

    /// `ngx_pool_cleanup_add`.
    pub(super) fn cleanup(&self) -> *const ngx_pool_cleanup_t {
        // SAFETY: the pool lives.
        unsafe { ngx_pool_cleanup_add(self.0, 0) }
    }

    /// What the core module makes for a cycle.
    pub(super) fn core_conf(&self, cycle: Cycle<'_>) -> Option<&ngx_core_conf_t> {
        let mut copy = ManuallyDrop::new(ngx_cycle_t { pool: self.0, ..cycle.live().get(|cycle| *cycle) });
        // SAFETY: the function only allocates, from the pool of what it is handed: a copy with ours.
        unsafe {
            let context = ngx_core_module.ctx.cast::<ngx_core_module_t>();
            self.made((*context).create_conf?(&raw mut *copy).cast())
        }
    }

    fn http_conf<T>(&self, conf: Conf<'_>, pick: fn(&ngx_http_module_t) -> Create) -> Option<&T> {
        let mut copy = ManuallyDrop::new(ngx_conf_t {
            pool: self.0,
            temp_pool: self.0,
            ..conf.live().get(|conf| *conf)
        });
        // SAFETY: the function only allocates, from the pools of what it is handed: a copy with ours. The
        // three callers name the type of what it makes.
        unsafe {
            let context = ngx_http_core_module.ctx.cast::<ngx_http_module_t>();
            self.made(pick(&*context)?(&raw mut *copy).cast())
        }
    }

    /// What `ngx_http_core_module` makes for the process.
    pub(super) fn http_main_conf(&self, conf: Conf<'_>) -> Option<&ngx_http_core_main_conf_t> {
        self.http_conf(conf, |module| module.create_main_conf)
    }

    /// What it makes for a server.
    pub(super) fn http_srv_conf(&self, conf: Conf<'_>) -> Option<&ngx_http_core_srv_conf_t> {
        self.http_conf(conf, |module| module.create_srv_conf)
    }

    /// What it makes for a location.
    pub(super) fn http_loc_conf(&self, conf: Conf<'_>) -> Option<&ngx_http_core_loc_conf_t> {
        self.http_conf(conf, |module| module.create_loc_conf)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // SAFETY: made by `new`; whatever was allocated here is borrowed from this value.
        unsafe { ngx_destroy_pool(self.0) };
    }
}

/// The index that nginx has given the module `M`.
pub(super) fn index_of<M: Module>() -> usize {
    // SAFETY: nginx writes it once, before it calls anything of the module.
    unsafe { (*M::record()).index }
}

/// The module under an index that the cycle has (`modules_n`).
pub(super) fn module_at(cycle: Cycle<'_>, index: usize) -> *const ngx_module_t {
    let (modules, count) = cycle.live().get(|cycle| (cycle.modules, cycle.modules_n));
    if index >= count {
        return std::ptr::null();
    }
    // SAFETY: the array has so many entries.
    unsafe { *modules.add(index) }
}

/// The events of a worker's second connection, if it has one.
pub(super) fn events_of_second(cycle: Cycle<'_>) -> Option<(*const ngx_event_t, *const ngx_event_t)> {
    let connections = cycle.live().get(|cycle| cycle.connections);
    if cycle.live().get(|cycle| cycle.connection_n < 2 || cycle.read_events.is_null())
        || connections.is_null()
    {
        return None;
    }
    // SAFETY: there are two at least.
    let second = unsafe { Live::to(connections.add(1)) };
    Some(second.get(|second| (second.read.cast_const(), second.write.cast_const())))
}
