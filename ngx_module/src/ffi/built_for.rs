//! Whether the nginx that runs is the one that this module was built for.
//!
//! nginx compares its version and a signature of its options with those of a module that it loads. It cannot know of a build whose
//! headers differ all the same: one with a distribution's or a vendor's patches, or a module that was made from the headers of
//! another. So the module asks the running nginx itself: it has nginx's own functions allocate and fill what the module looks into,
//! in a pool of its own, and compares the sizes and a few values. What is allocated only for a request is looked at with the first
//! one of a process.
//!
//! Not known at run time are the sizes of what this module allocates for nginx (`ngx_http_upstream_conf_t`, `ngx_event_pipe_t`). The
//! build holds them, as all others, to what nginx's C compiler makes of the headers (`nginx-sys`).

use std::ffi::{CStr, c_void};
use std::mem::{ManuallyDrop, size_of};
use std::sync::atomic::{AtomicU8, Ordering};

use nginx_sys::{
    NGX_HTTP_MAX_SUBREQUESTS, NGX_HTTP_MAX_URI_CHANGES, NGX_HTTP_MODULE, ngx_alloc_chain_link,
    ngx_array_create, ngx_array_t, ngx_buf_t, ngx_chain_t, ngx_conf_t,
    ngx_connection_log_error_e_NGX_ERROR_ERR, ngx_connection_t, ngx_core_conf_t, ngx_core_module,
    ngx_core_module_t, ngx_create_pool, ngx_create_temp_buf, ngx_cycle_t, ngx_destroy_pool, ngx_event_t,
    ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_core_srv_conf_t, ngx_http_module_t, ngx_http_request_t, ngx_http_server_name_t,
    ngx_http_upstream_t, ngx_http_variable_t, ngx_listening_t, ngx_open_file_t, ngx_pnalloc,
    ngx_pool_cleanup_add, ngx_pool_cleanup_t, ngx_pool_t, ngx_shm_zone_t, ngx_table_elt_t,
};

use super::conf::Conf;
use super::cycle::Cycle;
use super::module::Module;
use super::request::Request;

/// The running nginx is another one.
#[derive(Debug, thiserror::Error)]
#[error(
    "this module was built for {} ({}), where {what} is {ours}, and in the nginx that runs it is {}: that one was \
     built from other sources or with other options. Build the module anew with the headers of this nginx: those of \
     nginx-dev, or with NGINX_SOURCE_DIR and NGINX_BUILD_DIR",
    super::cycle::SOFTWARE,
    nginx_sys::FEATURES,
    found(*theirs)
)]
pub struct AnotherNginx {
    what: &'static str,
    ours: usize,
    theirs: usize,
}

/// In words: what is nothing like a size was read from another place.
fn found(theirs: usize) -> String {
    if theirs < 1 << 20 { theirs.to_string() } else { "in another place".to_owned() }
}

/// Compares what the module was built with and what is found.
const fn same(what: &'static str, ours: usize, theirs: usize) -> Result<(), AnotherNginx> {
    if ours == theirs { Ok(()) } else { Err(AnotherNginx { what, ours, theirs }) }
}

/// How far it is from one address to another; for what is not behind it some number that nothing has as a size.
fn between<A, B>(from: *const A, to: *const B) -> usize {
    to.addr().wrapping_sub(from.addr())
}

/// A pool of our own, into which nginx allocates.
struct Pool(*mut ngx_pool_t);

impl Pool {
    const SIZE: usize = 16 * 1024;

    fn new(log: *mut nginx_sys::ngx_log_t) -> Option<Self> {
        // SAFETY: the log is nginx's own and lives.
        let pool = unsafe { ngx_create_pool(Self::SIZE, log) };
        (!pool.is_null()).then_some(Self(pool))
    }

    /// Whether what is allocated lies in the pool's block, one behind the other.
    fn allocates_in_order(&self) -> bool {
        let before = self.next();
        // SAFETY: the pool lives.
        let allocated = unsafe { ngx_pnalloc(self.0, 8) };
        std::ptr::addr_eq(allocated, before) && between(before, self.next()) == 8
    }

    /// Where the next allocation goes.
    fn next(&self) -> *const u8 {
        // SAFETY: the pool lives; it has one block, since little is allocated in it.
        unsafe { (*self.0).d.last }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by `new`; nothing that was allocated here is kept.
        unsafe { ngx_destroy_pool(self.0) };
    }
}

/// While the configuration is read: compares what nginx allocates for anybody.
///
/// # Errors
/// The first difference.
pub fn check<M: Module>(conf: Conf<'_>) -> Result<(), AnotherNginx> {
    // SAFETY: nginx's own, during a callback. Each step relies only on what the steps before it found right.
    unsafe {
        let cf = conf.raw();
        check_identity()?;
        let Some(pool) = Pool::new((*cf).log) else { return Ok(()) };
        check_pool(&pool, (*cf).log)?;
        check_cycle::<M>((*cf).cycle)?;
        if !pool.allocates_in_order() {
            // Made for tools that look for memory errors: NGX_DEBUG_PALLOC, or OpenResty's patch "no pool".
            return Ok(());
        }
        check_memory(&pool)?;
        check_core_conf(&pool, (*cf).cycle)?;
        check_http(&pool, cf)
    }
}

/// What nginx compares by itself where a module is loaded, and not where it is linked in.
fn check_identity() -> Result<(), AnotherNginx> {
    // SAFETY: nginx's own module, whose first members never moved; a signature is a constant string.
    let (version, signature) =
        unsafe { (ngx_core_module.version, CStr::from_ptr(ngx_core_module.signature)) };
    same("nginx_version", nginx_sys::nginx_version as usize, version)?;
    let ours = nginx_sys::ngx_module_t::default().signature;
    // SAFETY: as above.
    let agrees = unsafe { CStr::from_ptr(ours) } == signature;
    same("the signature (1: as it was built for)", 1, usize::from(agrees))
}

/// # Safety
/// `log` lives.
unsafe fn check_pool(pool: &Pool, log: *mut nginx_sys::ngx_log_t) -> Result<(), AnotherNginx> {
    // SAFETY: of a living pool.
    unsafe {
        let raw = pool.0;
        same("ngx_pool_t.d.end", Pool::SIZE, between(raw, (*raw).d.end))?;
        same("the size of ngx_pool_t", size_of::<ngx_pool_t>(), between(raw, (*raw).d.last))?;
        same("ngx_pool_t.log (1: set)", 1, usize::from(std::ptr::eq((*raw).log, log)))
    }
}

fn check_memory(pool: &Pool) -> Result<(), AnotherNginx> {
    // SAFETY: of a living pool.
    unsafe {
        let raw = pool.0;
        let array = ngx_array_create(raw, 1, 8);
        let Some(made) = array.as_ref() else { return Ok(()) };
        same("the size of ngx_array_t", size_of::<ngx_array_t>(), between(array, made.elts))?;
        same("ngx_array_t.size", 8, made.size)?;
        let buffer = ngx_create_temp_buf(raw, 8);
        let Some(made) = buffer.as_ref() else { return Ok(()) };
        same("the size of ngx_buf_t", size_of::<ngx_buf_t>(), between(buffer, made.start))?;
        same("ngx_buf_t.end", 8, between(made.pos, made.end))?;
        same("ngx_buf_t.temporary", 1, made.temporary() as usize)?;
        same("ngx_buf_t.in_file", 0, made.in_file() as usize)?;
        let chain = ngx_alloc_chain_link(raw);
        same("the size of ngx_chain_t", size_of::<ngx_chain_t>(), between(chain, pool.next()))?;
        let cleanup = ngx_pool_cleanup_add(raw, 0);
        same("the size of ngx_pool_cleanup_t", size_of::<ngx_pool_cleanup_t>(), between(cleanup, pool.next()))
    }
}

/// # Safety
/// `cycle` is one that nginx initialises.
unsafe fn check_cycle<M: Module>(cycle: *const ngx_cycle_t) -> Result<(), AnotherNginx> {
    // SAFETY: the caller's promise; what is compared are numbers and addresses.
    unsafe {
        let cycle = &*cycle;
        same("the size of ngx_listening_t", size_of::<ngx_listening_t>(), cycle.listening.size)?;
        same("the size of ngx_open_file_t", size_of::<ngx_open_file_t>(), cycle.open_files.size)?;
        same("the size of ngx_shm_zone_t", size_of::<ngx_shm_zone_t>(), cycle.shared_memory.size)?;
        let ours = M::record();
        let index = (*ours).index;
        same("ngx_cycle_t.modules_n (1: enough)", 1, usize::from(index < cycle.modules_n))?;
        same(
            "ngx_cycle_t.modules (1: has this module)",
            1,
            usize::from(std::ptr::eq(*cycle.modules.add(index), ours)),
        )
    }
}

/// # Safety
/// `cycle` is one that nginx initialises.
unsafe fn check_core_conf(pool: &Pool, cycle: *const ngx_cycle_t) -> Result<(), AnotherNginx> {
    // SAFETY: the function only allocates, from the pool of what it is handed: a copy of the cycle with our pool.
    unsafe {
        let mut copy = ManuallyDrop::new(cycle.read());
        copy.pool = pool.0;
        let context: *const ngx_core_module_t = ngx_core_module.ctx.cast();
        let Some(create) = (*context).create_conf else { return Ok(()) };
        let made: *const ngx_core_conf_t = create(&raw mut *copy).cast();
        let Some(conf) = made.as_ref() else { return Ok(()) };
        same("the size of ngx_core_conf_t", size_of::<ngx_core_conf_t>(), between(made, conf.env.elts))
    }
}

/// # Safety
/// `cf` is of a callback of an HTTP module.
unsafe fn check_http(pool: &Pool, cf: *mut ngx_conf_t) -> Result<(), AnotherNginx> {
    // SAFETY: the functions only allocate, from the pools of what they are handed: a copy with ours. The contexts have an entry for
    // each module, at its index.
    unsafe {
        let mut copy = ManuallyDrop::new(cf.read());
        copy.pool = pool.0;
        copy.temp_pool = pool.0;
        let cf = &raw mut *copy;
        let module: *const ngx_http_module_t = ngx_http_core_module.ctx.cast();
        let make = |create: Option<unsafe extern "C" fn(*mut ngx_conf_t) -> *mut c_void>| {
            create.map_or(std::ptr::null_mut(), |create| create(cf))
        };
        let made: *const ngx_http_core_main_conf_t = make((*module).create_main_conf).cast();
        if let Some(main) = made.as_ref() {
            let size = size_of::<ngx_http_core_main_conf_t>();
            same("the size of ngx_http_core_main_conf_t", size, between(made, main.servers.elts))?;
        }
        let made: *const ngx_http_core_srv_conf_t = make((*module).create_srv_conf).cast();
        if let Some(server) = made.as_ref() {
            let size = size_of::<ngx_http_core_srv_conf_t>();
            same("the size of ngx_http_core_srv_conf_t", size, between(made, server.server_names.elts))?;
            let size = size_of::<ngx_http_server_name_t>();
            same("the size of ngx_http_server_name_t", size, server.server_names.size)?;
        }
        let made: *const ngx_http_core_loc_conf_t = make((*module).create_loc_conf).cast();
        if !made.is_null() {
            let size = size_of::<ngx_http_core_loc_conf_t>();
            same("the size of ngx_http_core_loc_conf_t", size, between(made, pool.next()))?;
        }
        let context: *const ngx_http_conf_ctx_t = copy.ctx.cast();
        let main: *const ngx_http_core_main_conf_t =
            (*(*context).main_conf.add(ngx_http_core_module.ctx_index)).cast();
        let size = size_of::<ngx_http_variable_t>();
        same("the size of ngx_http_variable_t", size, (*main).prefix_variables.size)
    }
}

/// When a process begins: compares connections and their events, which lie in arrays.
///
/// # Errors
/// The first difference.
pub fn check_connections(cycle: Cycle<'_>) -> Result<(), AnotherNginx> {
    let cycle = cycle.get();
    if cycle.connection_n < 2 || cycle.connections.is_null() || cycle.read_events.is_null() {
        return Ok(());
    }
    // SAFETY: there are two at least.
    unsafe {
        let second: *const ngx_connection_t = cycle.connections.add(1);
        let of_second = between(cycle.read_events, (*second).read);
        same("the place of a second ngx_event_t", size_of::<ngx_event_t>(), of_second)?;
        let of_second = between(cycle.write_events, (*second).write);
        same("the place of a second ngx_event_t", size_of::<ngx_event_t>(), of_second)
    }
}

/// What is known of the requests of this process.
static REQUESTS: AtomicU8 = AtomicU8::new(UNSEEN);
const UNSEEN: u8 = 0;
const RIGHT: u8 = 1;
const WRONG: u8 = 2;

/// Compares requests and their parts, with the first one of this process; `false` after a difference was found.
///
/// # Errors
/// The first difference.
pub fn check_request(request: &Request) -> Result<bool, AnotherNginx> {
    match REQUESTS.load(Ordering::Relaxed) {
        RIGHT => return Ok(true),
        WRONG => return Ok(false),
        // Those within another request are made by other ways.
        _ if !request.is_main() => return Ok(true),
        _ => {}
    }
    let found = look_at(request.get());
    REQUESTS.store(if found.is_ok() { RIGHT } else { WRONG }, Ordering::Relaxed);
    found.map(|()| true)
}

fn look_at(r: &ngx_http_request_t) -> Result<(), AnotherNginx> {
    let within = |what, first: usize, last: usize, found: usize| {
        same(what, 1, usize::from((first..=last).contains(&found)))
    };
    same("ngx_http_request_t.signature", NGX_HTTP_MODULE as usize, r.signature as usize)?;
    same("the size of ngx_table_elt_t", size_of::<ngx_table_elt_t>(), r.headers_in.headers.size)?;
    same("the size of ngx_table_elt_t", size_of::<ngx_table_elt_t>(), r.headers_out.headers.size)?;
    // The first two things in a request's pool; a pool that is made too small for the first has it elsewhere.
    let size = between(r, r.headers_out.headers.part.elts);
    // SAFETY: a request has a pool.
    let pool = unsafe { &*r.pool };
    let first = pool.d.end.addr().wrapping_sub(std::ptr::from_ref(r).addr());
    if between(r.pool, r) == size_of::<ngx_pool_t>() && size < first {
        same("the size of ngx_http_request_t", size_of::<ngx_http_request_t>(), size)?;
    }
    within("ngx_http_request_t.count (1: set)", 1, usize::from(u16::MAX), r.count() as usize)?;
    let most = NGX_HTTP_MAX_SUBREQUESTS as usize + 1;
    within("ngx_http_request_t.subrequests (1: as nginx sets it)", 1, most, r.subrequests() as usize)?;
    let most = NGX_HTTP_MAX_URI_CHANGES as usize + 1;
    within("ngx_http_request_t.uri_changes (1: as nginx sets it)", 1, most, r.uri_changes() as usize)?;
    within("ngx_http_request_t.http_state (1: as nginx sets it)", 1, 4, r.http_state() as usize)
}

/// Compares what `ngx_http_upstream_create` made.
///
/// # Errors
/// The first difference.
pub fn check_upstream(request: &Request) -> Result<(), AnotherNginx> {
    let r = request.get();
    // SAFETY: a request has a pool, and an upstream since it was made, which is the newest thing in the pool if it lies in its first
    // block or in the one that is allocated from.
    unsafe {
        let Some(u) = r.upstream.as_ref() else { return Ok(()) };
        let mut block = r.pool;
        while let Some(one) = block.as_ref() {
            if (block.addr()..one.d.end.addr()).contains(&r.upstream.addr()) {
                let size = between(r.upstream, one.d.last);
                same("the size of ngx_http_upstream_t", size_of::<ngx_http_upstream_t>(), size)?;
            }
            block = one.d.next;
        }
        same(
            "ngx_peer_connection_t.log_error",
            ngx_connection_log_error_e_NGX_ERROR_ERR as usize,
            u.peer.log_error() as usize,
        )?;
        same(
            "ngx_http_upstream_t.headers_in.content_length_n",
            usize::MAX,
            u.headers_in.content_length_n as usize,
        )
    }
}
