//! The configuration while nginx reads it.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;

use nginx_sys::{
    NGX_LOG_EMERG, NGX_LOG_WARN, ngx_command_t, ngx_conf_log_error, ngx_conf_t, ngx_http_conf_ctx_t,
    ngx_http_core_module, ngx_pnalloc, ngx_pool_cleanup_add, ngx_str_t, ngx_uint_t,
};

use super::bytes_of;
use super::location::Location;
use super::module::{Module, context_index};

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
pub struct Conf<'a> {
    raw: NonNull<ngx_conf_t>,
    callback: std::marker::PhantomData<&'a ()>,
}

impl<'a> Conf<'a> {
    /// # Safety
    /// nginx handed `raw` to a callback that lasts for `'a`.
    pub unsafe fn from_raw(raw: *mut ngx_conf_t) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, callback: std::marker::PhantomData })
    }

    pub(crate) const fn raw(self) -> *mut ngx_conf_t {
        self.raw.as_ptr()
    }

    fn get(&self) -> &'a ngx_conf_t {
        // SAFETY: valid for the callback.
        unsafe { self.raw.as_ref() }
    }

    /// The words behind the directive's name.
    pub fn words(&self) -> Vec<&'a [u8]> {
        // SAFETY: the arguments are an array of strings for as long as the callback.
        unsafe {
            let words: &'a [ngx_str_t] = (*self.get().args).as_slice();
            words.iter().skip(1).map(|word| bytes_of(*word)).collect()
        }
    }

    /// The directive's name.
    fn name(&self) -> ngx_str_t {
        // SAFETY: as for `words`.
        unsafe { (*self.get().args).as_slice().first().copied().unwrap_or(ngx_str_t::empty()) }
    }

    /// Has one of nginx's setters read the directive's words.
    ///
    /// # Errors
    /// nginx refuses them.
    ///
    /// # Safety
    /// `place` and `post` are what this setter takes.
    pub(super) unsafe fn set(
        self,
        setter: Setter,
        place: *mut c_void,
        post: *mut c_void,
    ) -> Result<(), Refusal> {
        let mut command = ngx_command_t { name: self.name(), post, ..ngx_command_t::empty() };
        // SAFETY: the caller's promise; a setter looks at the command only while it runs, and what it returns is `NGX_CONF_OK`,
        // `NGX_CONF_ERROR` or a text of nginx's own.
        unsafe {
            let said = setter(self.raw(), &raw mut command, place);
            if said == CONF_OK {
                return Ok(());
            }
            Err(if said == CONF_ERROR { Refusal::Logged } else { Refusal::Because(CStr::from_ptr(said)) })
        }
    }

    /// Copies into the configuration's pool, with a NUL behind it.
    pub(crate) fn copy(&self, text: &[u8]) -> Option<ngx_str_t> {
        // SAFETY: the pool lives; the new memory has room for the text and the NUL.
        unsafe {
            let data: *mut u8 = ngx_pnalloc(self.get().pool, text.len() + 1).cast();
            NonNull::new(data)?;
            data.copy_from_nonoverlapping(text.as_ptr(), text.len());
            data.add(text.len()).write(0);
            Some(ngx_str_t { len: text.len(), data })
        }
    }

    /// Moves `value` into the configuration's memory, which drops nothing. `None` when nginx has no memory.
    pub(super) fn place_in_pool<T: Copy>(&self, value: T) -> Option<NonNull<T>> {
        // SAFETY: the configuration's pool lives during the callback.
        unsafe { super::pool::place(self.get().pool, value) }
    }

    /// Moves `value` into memory that lives as long as the configuration; null when nginx has no memory.
    pub fn keep<T>(&self, value: T, drop: unsafe extern "C" fn(*mut c_void)) -> *mut c_void {
        // SAFETY: the pool lives; its cleanup, which `drop` is, takes back what was boxed here.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(self.get().pool, 0);
            if cleanup.is_null() {
                return std::ptr::null_mut();
            }
            let kept = Box::into_raw(Box::new(value)).cast::<c_void>();
            (*cleanup).handler = Some(drop);
            (*cleanup).data = kept;
            kept
        }
    }

    fn say(&self, level: u32, message: &str) {
        // SAFETY: the format takes a length and a pointer to so many bytes.
        unsafe {
            ngx_conf_log_error(
                level as ngx_uint_t,
                self.raw(),
                0,
                c"%*s".as_ptr(),
                message.len(),
                message.as_ptr(),
            );
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
        super::cycle::write(self.get().log, NGX_LOG_EMERG, message.as_bytes());
    }

    fn context(&self) -> &'a ngx_http_conf_ctx_t {
        // SAFETY: inside of `http` the context is an ngx_http_conf_ctx_t.
        unsafe { &*self.get().ctx.cast() }
    }

    /// A module's configuration of the process.
    pub fn main_of<M: Module>(&self) -> Option<&'a mut M::Main> {
        // SAFETY: of that type, as [`Module`] says; the configuration is read by one thread, and callbacks do not nest.
        unsafe { (*self.context().main_conf.add(context_index::<M>())).cast::<M::Main>().as_mut() }
    }

    /// The user and the group of nginx's workers, where nginx is root.
    pub fn server_user(&self) -> Option<(u32, u32)> {
        // SAFETY: asks for a number; the core module's configuration is read before `http`, and a user is named before it is needed.
        unsafe {
            if libc::geteuid() != 0 {
                return None;
            }
            let cycle = &*self.get().cycle;
            let core: *const nginx_sys::ngx_core_conf_t =
                (*cycle.conf_ctx.add(nginx_sys::ngx_core_module.index)).cast();
            let (user, group) = ((*core).user, (*core).group);
            // NGX_CONF_UNSET_UINT: nginx takes its own default later.
            if user == u32::MAX {
                let account = libc::getpwnam(nginx_sys::NGX_USER.as_ptr());
                return account.as_ref().map(|account| (account.pw_uid, account.pw_gid));
            }
            Some((user, group))
        }
    }

    /// A module's configuration of this location.
    pub fn loc_of<M: Module>(&self) -> Option<&'a mut M::Loc> {
        // SAFETY: as for `main_of`.
        unsafe { (*self.context().loc_conf.add(context_index::<M>())).cast::<M::Loc>().as_mut() }
    }

    /// The core module's configuration of this place.
    pub fn location(&self) -> Location<'a> {
        // SAFETY: the core module has a configuration in every location and server; as for `main_of`.
        unsafe {
            let index = ngx_http_core_module.ctx_index;
            let server = (*self.context().srv_conf.add(index)).cast();
            Location::new(&mut *(*self.context().loc_conf.add(index)).cast(), &*server)
        }
    }
}

/// The name of a directive.
///
/// # Safety
/// nginx handed `command` to a callback that runs now.
pub unsafe fn name_of<'a>(command: *const ngx_command_t) -> &'a [u8] {
    // SAFETY: a directive of our own static table.
    unsafe { bytes_of((*command).name) }
}
