//! Servers (virtual hosts), and what the MPM says of itself.

use std::ffi::c_int;
use std::marker::PhantomData;

use httpd_sys::{
    AP_MPMQ_IS_FORKED, AP_MPMQ_IS_THREADED, AP_MPMQ_MAX_DAEMONS, AP_MPMQ_MAX_THREADS, APLOG_STARTUP,
    ap_get_server_banner, ap_get_server_revision, ap_log_error_, ap_mpm_query, ap_server_conf, ap_version_t,
    server_rec,
};
use shared::log::Level;

use super::conf_vector::{module_index, place};
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
        // SAFETY: the vector has a place for every loaded module; ours holds what `create_server_config` made.
        unsafe { (*place::<T>((*self.raw).module_config)?).as_ref() }
    }

    /// This module's configuration of everything below the server that no section changes.
    pub fn directory_conf<T>(self) -> Option<&'s T> {
        // SAFETY: as for `conf`.
        unsafe { (*place::<T>((*self.raw).lookup_defaults)?).as_ref() }
    }

    /// `ServerAdmin`.
    pub fn admin(self) -> Option<&'s [u8]> {
        // SAFETY: the server lives, and its strings with it.
        unsafe { borrowed((*self.raw).server_admin) }
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
