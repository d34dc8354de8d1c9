//! The process and its log.

use std::os::unix::ffi::OsStrExt;

use nginx_sys::{
    NGX_PROCESS_MASTER, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_core_conf_t, ngx_core_module, ngx_cycle,
    ngx_cycle_t, ngx_exiting, ngx_http_conf_ctx_t, ngx_http_module, ngx_log_error_core, ngx_log_t,
    ngx_process, ngx_uint_t,
};

use super::module::{Module, context_index};
use super::request::Request;

/// How much of a line nginx surely does not cut off: it has this for the message and what stands before it.
pub const MAX_LINE: usize = nginx_sys::NGX_MAX_ERROR_STR as usize - 256;

/// nginx's `NGX_LOG_EMERG`.
pub const EMERGENCY: u32 = nginx_sys::NGX_LOG_EMERG;

/// Writes one line.
pub(super) fn write(log: *mut ngx_log_t, level: u32, line: &[u8]) {
    // SAFETY: a log lives as long as its cycle or connection; the format takes a length and a pointer to so many bytes.
    unsafe {
        if log.is_null() || (*log).log_level < level as ngx_uint_t {
            return;
        }
        ngx_log_error_core(level as ngx_uint_t, log, 0, c"%*s".as_ptr(), line.len(), line.as_ptr());
    }
}

/// Writes one line to the log of the process. Only the main thread may.
pub fn log(level: u32, line: &[u8]) {
    // SAFETY: the cycle is set before any callback of a module.
    let log = unsafe { ngx_cycle.as_ref().map_or(std::ptr::null_mut(), |cycle| cycle.log) };
    write(log, level, line);
}

impl Request {
    /// Writes one line to the request's log; the first of a message says which request it is about.
    pub fn write_log(self, level: u32, line: &[u8], first: bool) {
        let log = self.log();
        if first {
            write(log, level, line);
            return;
        }
        // SAFETY: the connection's log, and nobody else writes to it meanwhile.
        unsafe {
            let handler = std::mem::take(&mut (*log).handler);
            write(log, level, line);
            (*log).handler = handler;
        }
    }
}

/// Whether nginx only tests its configuration.
pub fn is_testing() -> bool {
    // SAFETY: set before any configuration is read.
    unsafe { nginx_sys::ngx_test_config != 0 }
}

/// Whether this is a process that a master forked, whatever for. With `master_process off` there is one process, which is its
/// own master.
pub fn is_child() -> bool {
    // SAFETY: a plain number, set before any module runs in a process.
    let process = unsafe { ngx_process };
    process != NGX_PROCESS_SINGLE as ngx_uint_t && process != NGX_PROCESS_MASTER as ngx_uint_t
}

/// Whether this process answers requests: a worker, or the only process.
pub fn answers_requests() -> bool {
    // SAFETY: set before modules are asked.
    let process = unsafe { ngx_process };
    process == NGX_PROCESS_WORKER as ngx_uint_t || process == NGX_PROCESS_SINGLE as ngx_uint_t
}

/// Whether the worker takes no new connections and leaves when the old ones have ended.
pub fn is_leaving() -> bool {
    // SAFETY: set by the worker's own loop.
    unsafe { ngx_exiting != 0 }
}

/// The log of the process, unless it is about to end.
pub(super) fn log_while_staying() -> Option<*mut ngx_log_t> {
    // SAFETY: set by the worker's own loop, and the cycle before any callback of a module.
    unsafe { (nginx_sys::ngx_terminate == 0 && ngx_exiting == 0).then_some((*ngx_cycle).log) }
}

/// The loop's clock, in seconds since the epoch.
pub fn seconds() -> i64 {
    nginx_sys::ngx_time()
}

/// nginx's version, as in `SERVER_SOFTWARE`.
pub const SOFTWARE: &str = match nginx_sys::NGINX_VER.to_str() {
    Ok(text) => text,
    Err(_) => "nginx",
};

/// nginx's version in numbers.
pub const VERSION: [u32; 3] = {
    let number = nginx_sys::nginx_version;
    [number / 1_000_000, number / 1000 % 1000, number % 1000]
};

/// A cycle, during a callback.
#[derive(Clone, Copy)]
pub struct Cycle<'a>(&'a ngx_cycle_t);

impl<'a> Cycle<'a> {
    /// # Safety
    /// nginx handed `raw` to a callback that lasts for `'a`.
    pub unsafe fn from_raw(raw: *const ngx_cycle_t) -> Option<Self> {
        // SAFETY: the caller's promise.
        unsafe { raw.as_ref() }.map(Self)
    }

    pub(super) const fn get(self) -> &'a ngx_cycle_t {
        self.0
    }

    /// A module's configuration of the process; `None` where there is no `http` block.
    pub fn main_conf_of<M: Module>(self) -> Option<&'a M::Main> {
        // SAFETY: `http`'s context, at its module's index, is an ngx_http_conf_ctx_t, and has an entry for each module.
        unsafe {
            let index = ngx_http_module.index;
            let context: *const ngx_http_conf_ctx_t = (*self.0.conf_ctx.add(index)).cast();
            (*context.as_ref()?.main_conf.add(context_index::<M>())).cast::<M::Main>().as_ref()
        }
    }

    /// The error log of the process: its file, if it is one, and the level up to which lines are written.
    pub fn error_log(self) -> (Option<std::path::PathBuf>, u32) {
        // SAFETY: a cycle has a log for as long as it lives; its file has a name, which is empty for standard error.
        unsafe {
            let log = &*self.0.log;
            let name = log.file.as_ref().map(|file| super::bytes_of(file.name)).unwrap_or_default();
            let path = std::path::PathBuf::from(std::ffi::OsStr::from_bytes(name));
            let level = u32::try_from(log.log_level).unwrap_or(8).clamp(1, 8) - 1;
            (path.is_absolute().then_some(path), level)
        }
    }

    /// How many workers there are; 1 for a server without a master.
    pub fn workers(self) -> u32 {
        // SAFETY: the core module's configuration, at its index.
        unsafe {
            let index = ngx_core_module.index;
            let core: *const ngx_core_conf_t = (*self.0.conf_ctx.add(index)).cast();
            let single = ngx_process == NGX_PROCESS_SINGLE as ngx_uint_t;
            core.as_ref()
                .filter(|_| !single)
                .map_or(1, |core| u32::try_from(core.worker_processes).unwrap_or(1).max(1))
        }
    }
}
