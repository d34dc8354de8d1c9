//! The configuration while nginx reads it.

use std::ffi::{CStr, c_char, c_void};

use nginx_sys::{
    NGX_LOG_EMERG, NGX_LOG_WARN, ngx_command_t, ngx_conf_log_error, ngx_conf_t, ngx_pool_t, ngx_str_t,
    ngx_uint_t,
};
use nix::unistd::{Uid, User};

use super::bytes_of;
use super::cycle::Cycle;
use super::live::Live;
use super::location::Location;
use super::module::{Confs, HttpCore, Module};

/// The directive handlers' success.
pub const CONF_OK: *mut c_char = std::ptr::null_mut();
/// The directive handlers' failure (`NGX_CONF_ERROR`); the reason was logged.
pub const CONF_ERROR: *mut c_char = usize::MAX as *mut c_char;

/// One of nginx's functions that read a directive's words into a field.
pub(super) type Setter =
    unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// Why a directive is refused.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// nginx has logged it.
    Logged,
    /// What nginx logs behind the directive's name.
    Because(&'static CStr),
}

impl Refusal {
    /// What a directive's handler returns.
    pub fn as_ptr(self) -> *mut c_char {
        match self {
            Self::Logged => CONF_ERROR,
            Self::Because(why) => why.as_ptr().cast_mut(),
        }
    }
}

/// nginx's `ngx_conf_t`, during a callback.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Conf<'a>(Live<'a, ngx_conf_t>);

impl<'a> Conf<'a> {
    pub(super) const fn raw(self) -> *mut ngx_conf_t {
        self.0.as_ptr()
    }

    pub(super) const fn live(self) -> Live<'a, ngx_conf_t> {
        self.0
    }

    /// The directive's name and the words behind it.
    fn args(&self) -> &'a [ngx_str_t] {
        // SAFETY: the arguments are an array of strings for as long as the callback.
        unsafe { (*self.0.args().as_ptr()).as_slice() }
    }

    /// The words behind the directive's name.
    pub fn words(&self) -> Vec<&'a [u8]> {
        // SAFETY: live as long as the arguments.
        self.args().iter().skip(1).map(|word| unsafe { bytes_of(*word) }).collect()
    }

    /// Has one of nginx's setters read the directive's words.
    ///
    /// # Errors
    /// nginx refuses them.
    ///
    /// # Safety
    /// `field` and `post` are what this setter takes.
    pub(super) unsafe fn set(
        self,
        setter: Setter,
        field: *mut c_void,
        post: *mut c_void,
    ) -> Result<(), Refusal> {
        let name = self.args().first().copied().unwrap_or(ngx_str_t::empty());
        let mut command = ngx_command_t { name, post, ..ngx_command_t::empty() };
        // SAFETY: the caller's promise; a setter looks at the command only while it runs.
        match unsafe { setter(self.raw(), &raw mut command, field) } {
            CONF_OK => Ok(()),
            CONF_ERROR => Err(Refusal::Logged),
            // SAFETY: a text of nginx's own.
            why => Err(Refusal::Because(unsafe { CStr::from_ptr(why) })),
        }
    }

    /// The configuration's memory.
    pub(super) fn pool(self) -> Live<'a, ngx_pool_t> {
        self.0.pool()
    }

    /// Moves `value` into memory that lives as long as the configuration; null when nginx has no memory.
    pub fn keep<T: 'static>(&self, value: T) -> *mut c_void {
        self.pool().own(value).map_or(std::ptr::null_mut(), |kept| kept.as_ptr().cast())
    }

    fn say(&self, level: u32, message: &str) {
        let (format, text) = (c"%*s".as_ptr(), message.as_ptr());
        // SAFETY: the format takes a length and a pointer to so many bytes.
        unsafe {
            ngx_conf_log_error(level as ngx_uint_t, self.raw(), 0, format, message.len(), text);
        }
    }

    /// Logs why the configuration is refused, with its file and line.
    pub fn refuse(&self, message: &str) -> *mut c_char {
        self.say(NGX_LOG_EMERG, message);
        CONF_ERROR
    }

    /// Logs a warning, with file and line.
    pub fn warn(&self, message: &str) {
        self.say(NGX_LOG_WARN, message);
    }

    /// Logs why the configuration is refused, where no line is to blame.
    pub fn refuse_all(&self, message: &str) {
        if let Some(log) = self.0.log() {
            log.line(NGX_LOG_EMERG, message.as_bytes());
        }
    }

    /// The cycle that this configuration is of.
    /// nginx's pid file, as far as the configuration was read.
    pub fn pid_path(self) -> std::path::PathBuf {
        self.cycle().pid_path()
    }

    pub(super) fn cycle(self) -> Cycle<'a> {
        Cycle::of(self.0.cycle())
    }

    pub(super) fn confs(&self) -> Confs<'a> {
        // SAFETY: inside of `http` the context is an ngx_http_conf_ctx_t.
        unsafe { Confs::of(self.0.get(|conf| conf.ctx)) }
    }

    /// A module's configuration of the process.
    pub fn main_of<M: Module>(&self) -> Option<&'a mut M::Main> {
        // SAFETY: of that type, as [`Module`] says; the configuration is read by one thread, and callbacks do
        // not nest.
        self.confs().main_live::<M>().map(|main| unsafe { &mut *main.as_ptr() })
    }

    /// A module's configuration of this location.
    pub fn loc_of<M: Module>(&self) -> Option<&'a mut M::Loc> {
        // SAFETY: as for `main_of`.
        self.confs().loc_live::<M>().map(|loc| unsafe { &mut *loc.as_ptr() })
    }

    /// The core module's configuration of this location; `None` where nginx was short of memory.
    pub fn location(&self) -> Option<Location<'a>> {
        let confs = self.confs();
        Some(Location::new(confs.loc_live::<HttpCore>()?, confs.srv_live::<HttpCore>()?))
    }

    /// The user and the group of nginx's workers, where nginx is root.
    pub fn server_user(&self) -> Option<(u32, u32)> {
        // The core module's configuration is read before `http`, and a user is named before it is needed.
        let core = self.cycle().core_conf().filter(|_| Uid::effective().is_root())?;
        // NGX_CONF_UNSET_UINT: nginx takes its own default later.
        if core.user == u32::MAX {
            let account = User::from_name(nginx_sys::NGX_USER.to_str().ok()?).ok()??;
            return Some((account.uid.as_raw(), account.gid.as_raw()));
        }
        Some((core.user, core.group))
    }
}

/// A directive of a module's table, during a callback.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Command<'a>(&'a ngx_command_t);

impl<'a> Command<'a> {
    /// Its name.
    pub fn name(self) -> &'a [u8] {
        // SAFETY: the tables are static, and so are the names in them.
        unsafe { bytes_of(self.0.name) }
    }
}
