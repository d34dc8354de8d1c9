//! Servers (virtual hosts), and what the MPM says of itself.

use std::ffi::{OsStr, c_int};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use httpd_sys::{
    AP_MPMQ_IS_FORKED, AP_MPMQ_IS_THREADED, AP_MPMQ_MAX_DAEMONS, AP_MPMQ_MAX_THREADS, AP_SQ_MAIN_STATE,
    AP_SQ_MS_CREATE_PRE_CONFIG, APLOG_STARTUP, ap_get_server_banner, ap_get_server_revision, ap_log_error_,
    ap_mpm_query, ap_pglobal, ap_runtime_dir_relative, ap_server_conf, ap_server_root, ap_state_query,
    ap_unixd_config, ap_version_t, server_rec,
};
use shared::log::Level;

use super::conf_vector::{module_index, slot};
use super::text::{borrowed, terminated};

/// A server of the configuration, which lives for `'s`.
#[derive(Clone, Copy)]
pub struct Server<'s> {
    raw: *mut server_rec,
    life: PhantomData<&'s ()>,
}

impl<'s> Server<'s> {
    /// # Safety
    /// `raw` is a server that lives for `'s`.
    pub unsafe fn new(raw: *mut server_rec) -> Self {
        Self { raw, life: PhantomData }
    }

    /// This module's configuration of the server.
    pub fn conf<T>(self) -> Option<&'s T> {
        // SAFETY: the vector has a slot for every loaded module; ours holds what `create_server_config`
        // made.
        unsafe { (*slot::<T>((*self.raw).module_config)?).as_ref() }
    }

    /// This module's configuration of everything below the server that no section changes.
    pub fn directory_conf<T>(self) -> Option<&'s T> {
        // SAFETY: as for `conf`.
        unsafe { (*slot::<T>((*self.raw).lookup_defaults)?).as_ref() }
    }

    /// `ServerAdmin`.
    pub fn admin(self) -> Option<&'s [u8]> {
        // SAFETY: the server lives, and its strings with it.
        unsafe { borrowed((*self.raw).server_admin) }
    }

    /// The error log's file; `None` where it is something else.
    pub fn error_log(self) -> Option<PathBuf> {
        // SAFETY: the server lives, and its strings with it.
        let written = unsafe { borrowed((*self.raw).error_fname) }?;
        if written.starts_with(b"|") || written.starts_with(b"syslog") {
            return None;
        }
        // SAFETY: httpd's own string, which lives with the configuration.
        let root = unsafe { borrowed(ap_server_root) }.unwrap_or(b"/");
        Some(Path::new(OsStr::from_bytes(root)).join(OsStr::from_bytes(written)))
    }

    /// The `LogLevel` of this module.
    pub fn log_level(self) -> u32 {
        // SAFETY: the server lives; an array of levels has one for each module.
        let level = unsafe {
            let log = &(*self.raw).log;
            let number = usize::try_from(module_index()).unwrap_or(0);
            let own = (!log.module_levels.is_null()).then(|| *log.module_levels.add(number));
            own.map(c_int::from).filter(|level| *level >= 0).unwrap_or(log.level)
        };
        u32::try_from(level).unwrap_or(4)
    }

    /// Every virtual host, from this one on.
    pub fn all(self) -> impl Iterator<Item = Self> {
        let mut next = self.raw;
        std::iter::from_fn(move || {
            if next.is_null() {
                return None;
            }
            let current = next;
            // SAFETY: the chain of servers lives with the configuration.
            next = unsafe { (*current).next };
            Some(Self { raw: current, life: PhantomData })
        })
    }
}

fn write(server: *mut server_rec, level: c_int, line: &[u8]) {
    let line = terminated(line);
    // SAFETY: `server` is null or alive; the format takes one C string.
    unsafe {
        ap_log_error_(
            c"mod_neat".as_ptr(),
            0,
            module_index(),
            level,
            0,
            server,
            c"%s".as_ptr(),
            line.as_ptr().cast::<std::ffi::c_char>(),
        );
    }
}

/// Writes a line to the main server's error log, from any thread.
pub fn main_server_line(level: Level, line: &[u8]) {
    // SAFETY: httpd sets it before any child begins and never while one runs.
    write(unsafe { ap_server_conf }, level as c_int, line);
}

/// Writes a line to where the administrator who starts the server looks.
pub fn startup_line(level: Level, line: &[u8]) {
    write(std::ptr::null_mut(), level as c_int | APLOG_STARTUP, line);
}

/// Whether httpd reads its configuration only to see whether it can: it starts with the second reading.
pub fn is_first_pass() -> bool {
    // SAFETY: asks for a number.
    unsafe { ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG }
}

/// Where files of the running server lie.
pub fn run_directory() -> PathBuf {
    // SAFETY: the pool of the whole process; the text is copied before anything else is done with it.
    let run = unsafe { borrowed(ap_runtime_dir_relative(ap_pglobal, c"".as_ptr())) };
    run.map_or_else(|| PathBuf::from("/run"), |run| PathBuf::from(OsStr::from_bytes(run)))
}

/// The user and the group of httpd's children, where httpd is root.
pub fn server_user() -> Option<(u32, u32)> {
    // SAFETY: asks for a number; httpd's own record, which its configuration filled.
    unsafe { (libc::geteuid() == 0).then_some((ap_unixd_config.user_id, ap_unixd_config.group_id)) }
}

/// `SERVER_SOFTWARE`.
pub fn banner() -> &'static [u8] {
    // SAFETY: httpd's own string, which lives with the configuration; children do not change it.
    unsafe { borrowed(ap_get_server_banner()) }.unwrap_or(b"Apache")
}

/// The server's version.
pub fn version() -> [u32; 3] {
    let mut version = ap_version_t { major: 0, minor: 0, patch: 0, add_string: std::ptr::null() };
    // SAFETY: `version` lives for the call.
    unsafe { ap_get_server_revision(&raw mut version) };
    [version.major, version.minor, version.patch].map(|number| u32::try_from(number).unwrap_or(0))
}

/// What the MPM says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Mpm {
    /// Threads that serve requests in a child.
    pub threads: u32,
    /// The most children.
    pub processes: u32,
}

impl Mpm {
    /// Asks the MPM; once a child or post_config runs.
    pub fn query() -> Self {
        let ask = |what: i32| {
            let mut answer: c_int = 0;
            // SAFETY: `answer` lives for the call.
            let status = unsafe { ap_mpm_query(what, &raw mut answer) };
            if status == 0 { u32::try_from(answer).unwrap_or(0) } else { 0 }
        };
        let threads = if ask(AP_MPMQ_IS_THREADED) == 0 { 1 } else { ask(AP_MPMQ_MAX_THREADS).max(1) };
        let processes = if ask(AP_MPMQ_IS_FORKED) == 0 { 1 } else { ask(AP_MPMQ_MAX_DAEMONS).max(1) };
        Self { threads, processes }
    }
}
