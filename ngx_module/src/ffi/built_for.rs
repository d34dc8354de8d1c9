//! Whether the nginx that runs is the one that this module was built for.
//!
//! nginx compares its version and a signature of its options with those of a module that it loads. It cannot
//! know of a build whose headers differ all the same: one with a distribution's or a vendor's patches, or a
//! module that was made from the headers of another. So the module asks the running nginx itself: it has
//! nginx's own functions allocate and fill what the module looks into, in a pool of its own, and compares the
//! sizes and a few values. What is allocated only for a request is looked at with the first one of a process.
//!
//! Not known at run time are the sizes of what this module allocates for nginx (`ngx_http_upstream_conf_t`,
//! `ngx_event_pipe_t`). The build holds them, as all others, to what nginx's C compiler makes of the headers
//! (`nginx-sys`).

use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering};

use nginx_sys::{
    NGX_HTTP_MAX_SUBREQUESTS, NGX_HTTP_MAX_URI_CHANGES, NGX_HTTP_MODULE, ngx_array_t, ngx_buf_t, ngx_chain_t,
    ngx_connection_log_error_e_NGX_ERROR_ERR, ngx_core_conf_t, ngx_core_module, ngx_event_t,
    ngx_http_core_loc_conf_t, ngx_http_core_main_conf_t, ngx_http_core_srv_conf_t, ngx_http_request_t,
    ngx_http_server_name_t, ngx_http_upstream_t, ngx_http_variable_t, ngx_listening_t, ngx_open_file_t,
    ngx_pool_cleanup_t, ngx_pool_t, ngx_shm_zone_t, ngx_table_elt_t,
};

use super::conf::Conf;
use super::cycle::Cycle;
use super::live::pointer;
use super::module::{HttpCore, Module};
use super::probe::{self, Probe};
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

/// In words: what is nothing like a size was read from another address.
fn found(theirs: usize) -> String {
    if theirs < 1 << 20 { theirs.to_string() } else { "at another address".to_owned() }
}

/// Compares what the module was built with and what is found.
const fn same(what: &'static str, ours: usize, theirs: usize) -> Result<(), AnotherNginx> {
    if ours == theirs { Ok(()) } else { Err(AnotherNginx { what, ours, theirs }) }
}

/// How far it is from one address to another; for what is not behind it some number that nothing has as a
/// size.
fn between<A, B>(from: *const A, to: *const B) -> usize {
    to.addr().wrapping_sub(from.addr())
}

/// While the configuration is read: compares what nginx allocates for anybody. Each step relies only on what
/// the steps before it found right.
///
/// # Errors
/// The first difference.
pub fn check<M: Module>(conf: Conf<'_>) -> Result<(), AnotherNginx> {
    check_identity()?;
    let Some(probe) = Probe::new(conf) else { return Ok(()) };
    check_pool(&probe, conf)?;
    check_cycle::<M>(conf.cycle())?;
    if !probe.allocates_in_order() {
        // Made for tools that look for memory errors: NGX_DEBUG_PALLOC, or OpenResty's patch "no pool".
        return Ok(());
    }
    check_memory(&probe)?;
    check_core_conf(&probe, conf.cycle())?;
    check_http(&probe, conf)
}

/// What nginx compares by itself where a module is loaded, and not where it is linked in.
fn check_identity() -> Result<(), AnotherNginx> {
    // SAFETY: nginx's own module, whose first members never moved; a signature is a constant string.
    let (version, theirs) = unsafe { (ngx_core_module.version, CStr::from_ptr(ngx_core_module.signature)) };
    same("nginx_version", nginx_sys::nginx_version as usize, version)?;
    let agrees = nginx_sys::NGX_RS_MODULE_SIGNATURE == theirs;
    same("the signature (1: as it was built for)", 1, usize::from(agrees))
}

fn check_pool(probe: &Probe, conf: Conf<'_>) -> Result<(), AnotherNginx> {
    let pool = probe.pool();
    same("ngx_pool_t.d.end", Probe::SIZE, between(pool, pool.d.end))?;
    same("the size of ngx_pool_t", size_of::<ngx_pool_t>(), between(pool, pool.d.last))?;
    same("ngx_pool_t.log (1: set)", 1, usize::from(std::ptr::eq(pool.log, pointer(conf.live().log()))))
}

fn check_memory(probe: &Probe) -> Result<(), AnotherNginx> {
    let Some(array) = probe.array(1, 8) else { return Ok(()) };
    same("the size of ngx_array_t", size_of::<ngx_array_t>(), between(array, array.elts))?;
    same("ngx_array_t.size", 8, array.size)?;
    let Some(buffer) = probe.buffer(8) else { return Ok(()) };
    same("the size of ngx_buf_t", size_of::<ngx_buf_t>(), between(buffer, buffer.start))?;
    same("ngx_buf_t.end", 8, between(buffer.pos, buffer.end))?;
    same("ngx_buf_t.temporary", 1, buffer.temporary() as usize)?;
    same("ngx_buf_t.in_file", 0, buffer.in_file() as usize)?;
    let chain = probe.link();
    same("the size of ngx_chain_t", size_of::<ngx_chain_t>(), between(chain, probe.next()))?;
    let cleanup = probe.cleanup();
    same("the size of ngx_pool_cleanup_t", size_of::<ngx_pool_cleanup_t>(), between(cleanup, probe.next()))
}

fn check_cycle<M: Module>(cycle: Cycle<'_>) -> Result<(), AnotherNginx> {
    cycle.live().get(|cycle| {
        same("the size of ngx_listening_t", size_of::<ngx_listening_t>(), cycle.listening.size)?;
        same("the size of ngx_open_file_t", size_of::<ngx_open_file_t>(), cycle.open_files.size)?;
        same("the size of ngx_shm_zone_t", size_of::<ngx_shm_zone_t>(), cycle.shared_memory.size)
    })?;
    let index = probe::index_of::<M>();
    let is_enough = index < cycle.live().get(|cycle| cycle.modules_n);
    same("ngx_cycle_t.modules_n (1: enough)", 1, usize::from(is_enough))?;
    let found = probe::module_at(cycle, index);
    same("ngx_cycle_t.modules (1: has this module)", 1, usize::from(std::ptr::eq(found, M::record())))
}

fn check_core_conf(probe: &Probe, cycle: Cycle<'_>) -> Result<(), AnotherNginx> {
    let Some(conf) = probe.core_conf(cycle) else { return Ok(()) };
    same("the size of ngx_core_conf_t", size_of::<ngx_core_conf_t>(), between(conf, conf.env.elts))
}

fn check_http(probe: &Probe, conf: Conf<'_>) -> Result<(), AnotherNginx> {
    if let Some(main) = probe.http_main_conf(conf) {
        let size = size_of::<ngx_http_core_main_conf_t>();
        same("the size of ngx_http_core_main_conf_t", size, between(main, main.servers.elts))?;
    }
    if let Some(server) = probe.http_srv_conf(conf) {
        let size = size_of::<ngx_http_core_srv_conf_t>();
        same("the size of ngx_http_core_srv_conf_t", size, between(server, server.server_names.elts))?;
        let size = size_of::<ngx_http_server_name_t>();
        same("the size of ngx_http_server_name_t", size, server.server_names.size)?;
    }
    if let Some(location) = probe.http_loc_conf(conf) {
        let size = size_of::<ngx_http_core_loc_conf_t>();
        same("the size of ngx_http_core_loc_conf_t", size, between(location, probe.next()))?;
    }
    let Some(main) = conf.confs().main_live::<HttpCore>() else { return Ok(()) };
    let size = main.get(|main| main.prefix_variables.size);
    same("the size of ngx_http_variable_t", size_of::<ngx_http_variable_t>(), size)
}

/// When a process begins: compares connections and their events, which lie in arrays.
///
/// # Errors
/// The first difference.
pub fn check_connections(cycle: Cycle<'_>) -> Result<(), AnotherNginx> {
    let Some((read, write)) = probe::events_of_second(cycle) else { return Ok(()) };
    let (reading, writing) = cycle.live().get(|cycle| (cycle.read_events, cycle.write_events));
    let size = size_of::<ngx_event_t>();
    same("the address of a second ngx_event_t", size, between(reading, read))?;
    same("the address of a second ngx_event_t", size, between(writing, write))
}

/// What is known of the requests of this process.
static REQUESTS: AtomicU8 = AtomicU8::new(UNSEEN);
const UNSEEN: u8 = 0;
const RIGHT: u8 = 1;
const WRONG: u8 = 2;

/// Compares requests and their parts, with the first one of this process; `false` after a difference was
/// found.
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
    let found = look_at(*request);
    REQUESTS.store(if found.is_ok() { RIGHT } else { WRONG }, Ordering::Relaxed);
    found.map(|()| true)
}

fn look_at(request: Request) -> Result<(), AnotherNginx> {
    request.get(check_lists)?;
    // The first two things in a request's pool; a pool that is made too small for the first has it elsewhere.
    let (pool, second) = request.get(|r| (r.pool, r.headers_out.headers.part.elts));
    let end = request.pool().get(|pool| pool.d.end);
    let (size, room) = (between(request.raw(), second), between(request.raw(), end));
    if between(pool, request.raw()) == size_of::<ngx_pool_t>() && size < room {
        same("the size of ngx_http_request_t", size_of::<ngx_http_request_t>(), size)?;
    }
    request.get(check_numbers)
}

fn check_lists(r: &ngx_http_request_t) -> Result<(), AnotherNginx> {
    same("ngx_http_request_t.signature", NGX_HTTP_MODULE as usize, r.signature as usize)?;
    same("the size of ngx_table_elt_t", size_of::<ngx_table_elt_t>(), r.headers_in.headers.size)?;
    same("the size of ngx_table_elt_t", size_of::<ngx_table_elt_t>(), r.headers_out.headers.size)
}

fn check_numbers(r: &ngx_http_request_t) -> Result<(), AnotherNginx> {
    let within = |what, first: usize, last: usize, found: usize| {
        same(what, 1, usize::from((first..=last).contains(&found)))
    };
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
    let Some(upstream) = request.live().upstream() else { return Ok(()) };
    // It is the newest thing in the pool if it lies in its first block or in the one that is allocated from.
    let address = upstream.as_ptr();
    for block in std::iter::successors(Some(request.pool()), |block| block.following()) {
        let (last, end) = block.get(|block| (block.d.last, block.d.end));
        if (block.as_ptr().addr()..end.addr()).contains(&address.addr()) {
            let size = between(address, last);
            same("the size of ngx_http_upstream_t", size_of::<ngx_http_upstream_t>(), size)?;
        }
    }
    let (log_error, length) =
        upstream.get(|u| (u.peer.log_error() as usize, u.headers_in.content_length_n as usize));
    same("ngx_peer_connection_t.log_error", ngx_connection_log_error_e_NGX_ERROR_ERR as usize, log_error)?;
    same("ngx_http_upstream_t.headers_in.content_length_n", usize::MAX, length)
}
