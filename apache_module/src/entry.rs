//! Every entry point from httpd: raw pointers in, safe types out, one call. Each is guarded.

use std::ffi::{c_char, c_int, c_void};

use httpd_sys::macros::{no_command, standard_module};
use httpd_sys::{
    ACCESS_CONF, APR_HOOK_MIDDLE, DECLINED, HTTP_INTERNAL_SERVER_ERROR, NOT_IN_VIRTUALHOST, OK, OR_FILEINFO,
    RSRC_CONF, ap_check_cmd_context, ap_hook_check_config, ap_hook_child_init, ap_hook_handler,
    ap_hook_post_config, ap_hook_pre_config, ap_hook_translate_name, apr_pool_t, cmd_func, cmd_how_TAKE_ARGV,
    cmd_parms, command_rec, module, request_rec, server_rec,
};
use shared::ffi::guard::{guard, set_panic_sink};
use shared::log::Level;
use shared::vocabulary::{Contexts, DIRECTIVES, Spelling};

use crate::conf::{DirectoryConf, ServerConf};
use crate::ffi::{Pool, Request, Server, borrowed, is_first_pass, main_server_line, slot, startup_line};
use crate::handler::{Handled, handle};
use crate::{child, directives, groups, translate};

/// A command table, which httpd only reads.
struct Commands([command_rec; DIRECTIVES.len() + 1]);

// SAFETY: the pointers in it are to statics.
unsafe impl Sync for Commands {}

static COMMANDS: Commands = Commands(commands());

/// Names of modules, ended by a null. APR sorts the hooks after they were registered, so that the lists have
/// to stay.
struct Modules<const N: usize>([*const c_char; N]);

// SAFETY: the pointers are to literals.
unsafe impl<const N: usize> Sync for Modules<N> {}

/// Whose translations come first, as with mod_wsgi: an `Alias` for static files wins over `WSGIScriptAlias
/// /`.
static BEFORE: Modules<2> = Modules([c"mod_alias.c".as_ptr(), std::ptr::null()]);
/// Whose come later.
static BEHIND: Modules<3> =
    Modules([c"mod_userdir.c".as_ptr(), c"mod_vhost_alias.c".as_ptr(), std::ptr::null()]);

/// The module's record, the one symbol that httpd looks up.
#[unsafe(no_mangle)]
pub static mut wsgi_module: module = module {
    create_dir_config: Some(create_directory),
    merge_dir_config: Some(merge_directory),
    create_server_config: Some(create_server),
    merge_server_config: Some(merge_server),
    cmds: COMMANDS.0.as_ptr(),
    register_hooks: Some(register_hooks),
    ..standard_module(c"mod_neat.c")
};

const fn commands() -> [command_rec; DIRECTIVES.len() + 1] {
    let mut table = [no_command(); DIRECTIVES.len() + 1];
    let (mut from, mut to) = (0, 0);
    while from < DIRECTIVES.len() {
        if let Some(Spelling { name, contexts }) = DIRECTIVES[from].apache {
            table[to] = command_rec {
                name: name.as_ptr(),
                func: cmd_func { take_argv: Some(take_directive) },
                cmd_data: (&raw const DIRECTIVES[from]).cast_mut().cast(),
                req_override: overrides(contexts),
                args_how: cmd_how_TAKE_ARGV,
                errmsg: DIRECTIVES[from].doc.as_ptr(),
            };
            to += 1;
        }
        from += 1;
    }
    table
}

const fn overrides(contexts: Contexts) -> c_int {
    let server = if contexts.main || contexts.server { RSRC_CONF } else { 0 };
    let location = if contexts.location { ACCESS_CONF } else { 0 };
    let htaccess = if contexts.htaccess { OR_FILEINFO } else { 0 };
    server | location | htaccess
}

unsafe extern "C" fn create_directory(pool: *mut apr_pool_t, _: *mut c_char) -> *mut c_void {
    guard("create_dir_config", std::ptr::null_mut(), || {
        // SAFETY: the configuration's pool.
        let conf: *mut DirectoryConf = unsafe { Pool::new(pool) }.own(DirectoryConf::default());
        conf.cast()
    })
}

unsafe extern "C" fn merge_directory(
    pool: *mut apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    guard("merge_dir_config", inner, || {
        // SAFETY: both were made by `create_directory` or here, and live as long as the pool.
        let conf: *mut DirectoryConf = unsafe {
            Pool::new(pool)
                .own(DirectoryConf::merge(&*outer.cast::<DirectoryConf>(), &*inner.cast::<DirectoryConf>()))
        };
        conf.cast()
    })
}

unsafe extern "C" fn create_server(pool: *mut apr_pool_t, _: *mut server_rec) -> *mut c_void {
    guard("create_server_config", std::ptr::null_mut(), || {
        // SAFETY: the configuration's pool.
        let conf: *mut ServerConf = unsafe { Pool::new(pool) }.own(ServerConf::default());
        conf.cast()
    })
}

unsafe extern "C" fn merge_server(
    pool: *mut apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    guard("merge_server_config", inner, || {
        // SAFETY: as for `merge_directory`.
        let conf: *mut ServerConf = unsafe {
            Pool::new(pool).own(ServerConf::merge(&*outer.cast::<ServerConf>(), &*inner.cast::<ServerConf>()))
        };
        conf.cast()
    })
}

unsafe extern "C" fn take_directive(
    command: *mut cmd_parms,
    conf: *mut c_void,
    count: c_int,
    words: *const *mut c_char,
) -> *const c_char {
    guard("directive", c"a fault of Neat while it read this".as_ptr(), || {
        // SAFETY: httpd lends the command and `count` words for this call; `cmd_data` is one of `DIRECTIVES`.
        let (command, directive, words) = unsafe {
            let words = std::slice::from_raw_parts(words, usize::try_from(count).unwrap_or(0));
            let directive = (*(*command).cmd).cmd_data.cast::<shared::vocabulary::Directive>();
            let words: Vec<&[u8]> = words.iter().filter_map(|word| borrowed(*word)).collect();
            (&mut *command, &*directive, words)
        };
        let name = directive.apache.map_or(c"", |spelling| spelling.name).to_string_lossy();
        let contexts = directive.apache.map(|spelling| spelling.contexts).unwrap_or_default();
        if contexts.main && !contexts.server {
            // SAFETY: the command lives.
            let wrong = unsafe { ap_check_cmd_context(command, NOT_IN_VIRTUALHOST as u32) };
            if !wrong.is_null() {
                return wrong;
            }
        }
        // SAFETY: the configurations were made by `create_server` and `create_directory`. While httpd reads
        // its own configuration, in one thread, nothing else refers to them. A `.htaccess`, which is read
        // beside other requests, has a directory's configuration of its own and does not come near the
        // server's.
        let (pool, server, directory) = unsafe {
            let is_server = command.override_ & RSRC_CONF != 0;
            let server = if is_server { slot::<ServerConf>((*command.server).module_config) } else { None };
            let server = server.and_then(|slot| (*slot).as_mut());
            (Pool::new(command.pool), server, &mut *conf.cast::<DirectoryConf>())
        };
        // SAFETY: httpd keeps the line that it reads for the call.
        let line = unsafe { written_at(command) };
        match directives::take(directive, &words, pool, &line, server, directory) {
            Ok(()) => std::ptr::null(),
            Err(error) => pool.text(format!("{name} {error}").as_bytes()).cast_const(),
        }
    })
}

/// File and line of a directive.
///
/// # Safety
/// `command` is what httpd lends for a directive.
unsafe fn written_at(command: &cmd_parms) -> String {
    // SAFETY: the caller's promise; a `.htaccess` has its line as well.
    let (file, number) = unsafe {
        let Some(line) = command.directive.as_ref() else { return String::new() };
        (borrowed(line.filename).unwrap_or_default(), line.line_num)
    };
    format!("{}:{number}", String::from_utf8_lossy(file))
}

unsafe extern "C" fn pre_config(_: *mut apr_pool_t, _: *mut apr_pool_t, _: *mut apr_pool_t) -> c_int {
    guard("pre_config", HTTP_INTERNAL_SERVER_ERROR, || {
        groups::forget();
        OK
    })
}

unsafe extern "C" fn post_config(
    _: *mut apr_pool_t,
    _: *mut apr_pool_t,
    _: *mut apr_pool_t,
    server: *mut server_rec,
) -> c_int {
    guard("post_config", HTTP_INTERNAL_SERVER_ERROR, || {
        if is_first_pass() {
            return OK;
        }
        // SAFETY: the main server lives with the configuration.
        match groups::launch(unsafe { Server::new(server) }) {
            Ok(()) => OK,
            Err(error) => {
                startup_line(Level::Critical, format!("mod_neat: {error}").as_bytes());
                HTTP_INTERNAL_SERVER_ERROR
            }
        }
    })
}

unsafe extern "C" fn register_hooks(_: *mut apr_pool_t) {
    guard("register_hooks", (), || {
        set_panic_sink(|message| main_server_line(Level::Critical, message.as_bytes()));
        // SAFETY: functions and lists live as long as the process, which never unloads this module (-z
        // nodelete).
        unsafe {
            let none = std::ptr::null();
            ap_hook_pre_config(Some(pre_config), none, none, APR_HOOK_MIDDLE);
            ap_hook_post_config(Some(post_config), none, none, APR_HOOK_MIDDLE);
            ap_hook_check_config(Some(check_config), none, none, APR_HOOK_MIDDLE);
            ap_hook_child_init(Some(child_init), none, none, APR_HOOK_MIDDLE);
            ap_hook_translate_name(
                Some(translate_name),
                BEFORE.0.as_ptr(),
                BEHIND.0.as_ptr(),
                APR_HOOK_MIDDLE,
            );
            ap_hook_handler(Some(handler), none, none, APR_HOOK_MIDDLE);
        }
    });
}

unsafe extern "C" fn check_config(
    _: *mut apr_pool_t,
    _: *mut apr_pool_t,
    _: *mut apr_pool_t,
    server: *mut server_rec,
) -> c_int {
    guard("check_config", HTTP_INTERNAL_SERVER_ERROR, || {
        // SAFETY: the main server lives with the configuration.
        match child::check(unsafe { Server::new(server) }) {
            Ok(()) => OK,
            Err(error) => {
                startup_line(Level::Critical, format!("mod_neat: {error}").as_bytes());
                HTTP_INTERNAL_SERVER_ERROR
            }
        }
    })
}

unsafe extern "C" fn child_init(pool: *mut apr_pool_t, server: *mut server_rec) {
    guard("child_init", (), || {
        // SAFETY: the pool ends with the child; the configuration outlives it.
        unsafe { child::begin(Pool::new(pool), Server::new(server)) };
    });
}

unsafe extern "C" fn translate_name(request: *mut request_rec) -> c_int {
    guard("translate_name", HTTP_INTERNAL_SERVER_ERROR, || {
        // SAFETY: the request lives for the call, in this thread.
        if translate::translate(unsafe { Request::new(request) }) { OK } else { DECLINED }
    })
}

unsafe extern "C" fn handler(request: *mut request_rec) -> c_int {
    guard("handler", HTTP_INTERNAL_SERVER_ERROR, || {
        // SAFETY: the request lives for the call, in this thread.
        match handle(unsafe { Request::new(request) }) {
            Handled::Declined => DECLINED,
            Handled::Done => OK,
            Handled::Status(status) => c_int::from(status),
        }
    })
}
