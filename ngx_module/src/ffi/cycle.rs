//! The process and its log.

use std::ffi::{OsStr, c_void};
use std::os::unix::ffi::OsStrExt;

use nginx_sys::{
    NGX_PROCESS_MASTER, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_core_conf_t, ngx_core_module, ngx_cycle,
    ngx_cycle_t, ngx_http_module, ngx_log_error_core, ngx_log_t, ngx_open_file_t, ngx_uint_t,
};

use super::live::Live;
use super::module::{Confs, Module};
use super::request::Request;

/// How much of a line nginx surely does not cut off: it has this for the message and what stands before it.
pub const MAX_LINE: usize = nginx_sys::NGX_MAX_ERROR_STR as usize - 256;

/// nginx's `NGX_LOG_EMERG`.
pub const EMERGENCY: u32 = nginx_sys::NGX_LOG_EMERG;

impl Live<'_, ngx_log_t> {
    /// Writes one line.
    pub(super) fn line(self, level: u32, line: &[u8]) {
        if self.get(|log| log.log_level) < level as ngx_uint_t {
            return;
        }
        // SAFETY: the format takes a length and a pointer to so many bytes.
        unsafe {
            let format = c"%*s".as_ptr();
            ngx_log_error_core(level as ngx_uint_t, self.as_ptr(), 0, format, line.len(), line.as_ptr());
        }
    }
}

/// The log of the process.
pub(super) fn process_log() -> Option<Live<'static, ngx_log_t>> {
    // SAFETY: the cycle is set before any callback of a module, and replaced only between two of them; it has
    // a log for as long as it lives.
    unsafe { Live::new(ngx_cycle.as_ref()?.log) }
}

/// Writes one line to the log of the process. Only the main thread may.
pub fn log(level: u32, line: &[u8]) {
    if let Some(log) = process_log() {
        log.line(level, line);
    }
}

impl Request {
    /// Writes one line to the request's log; the first of a message says which request it is about.
    pub fn write_log(self, level: u32, line: &[u8], first: bool) {
        let Some(log) = self.live().connection().log() else { return };
        let handler = log.get(|log| log.handler);
        if !first {
            log.set(None, |log, none| log.handler = none);
        }
        log.line(level, line);
        log.set(handler, |log, handler| log.handler = handler);
    }
}

/// nginx's variables that are a number.
macro_rules! globals {
    ($($visibility:vis $name:ident -> $type:ty = $global:ident;)*) => {$(
        $visibility fn $name() -> $type {
            // SAFETY: a number, which is written before any callback of a module, or by the loop's thread.
            unsafe { nginx_sys::$global }
        }
    )*};
}

globals! {
    test_config -> ngx_uint_t = ngx_test_config;
    process -> ngx_uint_t = ngx_process;
    exiting -> ngx_uint_t = ngx_exiting;
    terminate -> libc::c_int = ngx_terminate;
    pub(super) event_flags -> ngx_uint_t = ngx_event_flags;
    pub(super) current_msec -> nginx_sys::ngx_msec_t = ngx_current_msec;
    pub(super) pagesize -> ngx_uint_t = ngx_pagesize;
}

/// Whether nginx only tests its configuration.
pub fn is_testing() -> bool {
    test_config() != 0
}

/// Whether this is a process that a master forked, whatever for. With `master_process off` there is one
/// process, which is its own master.
pub fn is_child() -> bool {
    ![NGX_PROCESS_SINGLE, NGX_PROCESS_MASTER].map(|kind| kind as ngx_uint_t).contains(&process())
}

/// Whether this process answers requests: a worker, or the only process.
pub fn answers_requests() -> bool {
    [NGX_PROCESS_WORKER, NGX_PROCESS_SINGLE].map(|kind| kind as ngx_uint_t).contains(&process())
}

/// Whether the worker takes no new connections and leaves when the old ones have ended.
pub fn is_leaving() -> bool {
    exiting() != 0
}

/// The log of the process, unless it is about to end.
pub(super) fn log_while_staying() -> Option<Live<'static, ngx_log_t>> {
    process_log().filter(|_| terminate() == 0 && exiting() == 0)
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
#[repr(transparent)]
pub struct Cycle<'a>(Live<'a, ngx_cycle_t>);

impl<'a> Cycle<'a> {
    pub(super) const fn of(cycle: Live<'a, ngx_cycle_t>) -> Self {
        Self(cycle)
    }

    pub(super) const fn live(self) -> Live<'a, ngx_cycle_t> {
        self.0
    }

    /// A module's configuration of this cycle, by the module's index; null where there is none.
    fn conf(self, index: usize) -> *mut c_void {
        let (first, count) = self.0.get(|cycle| (cycle.conf_ctx, cycle.modules_n));
        if index >= count {
            return std::ptr::null_mut();
        }
        // SAFETY: the array has an entry for each module. Its type says that an entry points to an array too,
        // which is right for some modules only.
        unsafe { (*first.add(index)).cast() }
    }

    /// The configurations of `http`; there are none without such a block.
    fn confs(self) -> Confs<'a> {
        // SAFETY: the entry of ngx_http_module is the context of `http`, or null.
        unsafe { Confs::of(self.conf(ngx_http_module.index)) }
    }

    /// A module's configuration of the process; `None` where there is no `http` block.
    pub fn main_conf_of<M: Module>(self) -> Option<&'a M::Main> {
        self.confs().main::<M>()
    }

    /// The core module's configuration.
    pub(super) fn core_conf(self) -> Option<&'a ngx_core_conf_t> {
        // SAFETY: the entry of ngx_core_module is this, and made before any other.
        unsafe { self.conf(ngx_core_module.index).cast::<ngx_core_conf_t>().as_ref() }
    }

    /// What paths of the configuration begin with: where nginx was built to look, or what `-p` said.
    pub fn prefix(self) -> &'a [u8] {
        self.0.prefix()
    }

    /// nginx's pid file, as far as the configuration was read: what `pid` said, or where nginx was built to
    /// put it.
    pub fn pid_path(self) -> std::path::PathBuf {
        // SAFETY: lives as long as the cycle.
        let written = self.core_conf().map(|core| unsafe { super::bytes_of(core.pid) });
        let pid = written.filter(|pid| !pid.is_empty()).unwrap_or(nginx_sys::NGX_PID_PATH.to_bytes());
        // An absolute path stays what it is.
        std::path::Path::new(OsStr::from_bytes(self.prefix())).join(OsStr::from_bytes(pid))
    }

    /// The error log of the process: its file, if it is one, and the level up to which lines are written.
    pub fn error_log(self) -> (Option<std::path::PathBuf>, u32) {
        let log = self.0.log();
        // The name is empty for standard error.
        let name =
            log.and_then(Live::<ngx_log_t>::file).map(Live::<ngx_open_file_t>::name).unwrap_or_default();
        let path = std::path::PathBuf::from(std::ffi::OsStr::from_bytes(name));
        let level = log.and_then(|log| u32::try_from(log.get(|log| log.log_level)).ok());
        (path.is_absolute().then_some(path), level.unwrap_or(8).clamp(1, 8) - 1)
    }

    /// How many workers there are; 1 for a server without a master.
    pub fn workers(self) -> u32 {
        let single = process() == NGX_PROCESS_SINGLE as ngx_uint_t;
        let core = self.core_conf().filter(|_| !single);
        core.map_or(1, |core| u32::try_from(core.worker_processes).unwrap_or(1).max(1))
    }
}
