//! Where nginx, the kernel and the C library call in. Each function takes a type of the C edge
//! (`ffi/callback.rs`) and calls one function, behind the guard.

use std::ffi::{c_char, c_int, c_void};

use nginx_sys::{
    NGX_HTTP_MODULE, ngx_command_t, ngx_event_t, ngx_http_module_t, ngx_int_t, ngx_module_t, ngx_uint_t,
};
use shared::ffi::guard::guard;

use crate::conf::{self, LocConf, MainConf};
use crate::directives;
use crate::embedded::{loop_side, worker};
use crate::ffi::conf::{CONF_ERROR, CONF_OK, Command, Conf, Refusal};
use crate::ffi::cycle::Cycle;
use crate::ffi::module::Module;
use crate::ffi::request::{Request, id_from_pointer};
use crate::ffi::{ERROR, OK, built_for, callback, signal};
use crate::groups;
use crate::{handler, upstream};

static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: callback::configuration(before_configuration),
    postconfiguration: callback::configuration(on_configured),
    create_main_conf: callback::configuration(create_main_conf),
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: callback::configuration(create_loc_conf),
    // SAFETY: `create_loc_conf` makes these.
    merge_loc_conf: unsafe { callback::merge_loc(merge_loc_conf) },
};

static mut COMMANDS: [ngx_command_t; directives::LENGTH] = directives::TABLE;

/// The module. nginx writes the index that it gives it into it.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static mut ngx_http_wsgi_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const CONTEXT).cast_mut().cast(),
    commands: (&raw mut COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: callback::life(init_module),
    init_process: callback::life(init_process),
    exit_process: callback::life(exit_process),
    ..ngx_module_t::default()
};

/// This module, for the C edge.
pub struct Wsgi;

// SAFETY: the record above, whose `create_main_conf` and `create_loc_conf` make these types.
unsafe impl Module for Wsgi {
    type Main = MainConf;
    type Srv = ();
    type Loc = LocConf;

    fn record() -> *const ngx_module_t {
        &raw const ngx_http_wsgi_module
    }
}

/// A table of pointers that C only reads.
#[repr(transparent)]
pub struct Pointers<T, const N: usize>([*const T; N]);

// SAFETY: constant pointers to statics.
unsafe impl<T, const N: usize> Sync for Pointers<T, N> {}

/// The modules of this file, for `load_module`.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static ngx_modules: Pointers<ngx_module_t, 2> =
    Pointers([&raw const ngx_http_wsgi_module, std::ptr::null()]);

/// Their names.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static ngx_module_names: Pointers<c_char, 2> =
    Pointers([c"ngx_http_wsgi_module".as_ptr(), std::ptr::null()]);

/// Where they stand among the others: a content handler may stand anywhere.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static ngx_module_order: Pointers<c_char, 1> = Pointers([std::ptr::null()]);

/// Something that lies in this module's file. Not one of the exported tables: nginx has some of the same
/// name, and the dynamic linker prefers those.
pub(crate) fn lies_here() -> &'static ngx_http_module_t {
    &CONTEXT
}

extern "C" fn before_configuration(conf: Option<Conf<'_>>) -> ngx_int_t {
    guard("before_configuration", ERROR, || {
        let Some(conf) = conf else { return ERROR };
        match built_for::check::<Wsgi>(conf) {
            Ok(()) => OK,
            Err(why) => {
                conf.refuse(&why.to_string());
                ERROR
            }
        }
    })
}

extern "C" fn create_main_conf(conf: Option<Conf<'_>>) -> *mut c_void {
    guard("create_main_conf", std::ptr::null_mut(), || {
        worker::log_panics();
        conf.map_or(std::ptr::null_mut(), |conf| conf.keep(MainConf::new(conf.pid_path(), conf.caches())))
    })
}

extern "C" fn create_loc_conf(conf: Option<Conf<'_>>) -> *mut c_void {
    guard("create_loc_conf", std::ptr::null_mut(), || {
        conf.map_or(std::ptr::null_mut(), |conf| conf.keep(LocConf::default()))
    })
}

extern "C" fn merge_loc_conf(
    conf: Option<Conf<'_>>,
    outer: Option<&LocConf>,
    inner: Option<&mut LocConf>,
) -> *mut c_char {
    guard("merge_loc_conf", CONF_ERROR, || {
        let (Some(conf), Some(outer), Some(inner)) = (conf, outer, inner) else { return CONF_ERROR };
        let Some(main) = conf.main() else { return CONF_ERROR };
        inner.merge(outer, &conf, main).map_or(CONF_ERROR, |()| CONF_OK)
    })
}

/// Takes a directive.
pub(crate) extern "C" fn on_directive(
    conf: Option<Conf<'_>>,
    command: Option<Command<'_>>,
    _target: *mut c_void,
) -> *mut c_char {
    guard("on_directive", CONF_ERROR, || {
        let (Some(conf), Some(command)) = (conf, command) else { return CONF_ERROR };
        match directives::apply(command.name(), &conf) {
            Ok(()) => CONF_OK,
            Err(why) => conf.refuse(&why),
        }
    })
}

/// Takes a directive of nginx's upstreams.
pub(crate) extern "C" fn on_upstream_directive(
    conf: Option<Conf<'_>>,
    command: Option<Command<'_>>,
    _target: *mut c_void,
) -> *mut c_char {
    guard("on_upstream_directive", CONF_ERROR, || {
        let (Some(conf), Some(command)) = (conf, command) else { return CONF_ERROR };
        upstream::directives::apply(command.name(), &conf).map_or_else(Refusal::as_ptr, |()| CONF_OK)
    })
}

extern "C" fn on_configured(conf: Option<Conf<'_>>) -> ngx_int_t {
    guard("on_configured", ERROR, || {
        let Some(conf) = conf else { return ERROR };
        let Some(main) = conf.main() else { return ERROR };
        main.server_user = conf.server_user();
        match groups::check(main).and_then(|()| conf::init_main(main)) {
            Ok(()) => OK,
            Err(why) => {
                conf.refuse_all(&why);
                ERROR
            }
        }
    })
}

extern "C" fn init_module(cycle: Option<Cycle<'_>>) -> ngx_int_t {
    // An error here would end a master that only reloads.
    guard("init_module", OK, || {
        if let Some(cycle) = cycle {
            groups::launch(cycle);
        }
        OK
    })
}

extern "C" fn init_process(cycle: Option<Cycle<'_>>) -> ngx_int_t {
    guard("init_process", OK, || {
        if let Some(cycle) = cycle {
            groups::let_go();
            worker::start(cycle);
        }
        OK
    })
}

extern "C" fn exit_process(_cycle: Option<Cycle<'_>>) {
    guard("exit_process", (), worker::stop);
}

/// Answers a request: the content handler.
pub(crate) extern "C" fn on_request(request: Option<Request>) -> ngx_int_t {
    guard("on_request", 500, || request.map_or(ERROR, handler::handle))
}

/// The body was read.
pub(crate) extern "C" fn on_body_read(request: Option<Request>) {
    guard("on_body_read", (), || request.into_iter().for_each(handler::on_body_read));
}

/// Reading a streamed body has begun, where whoever began it goes on, or nginx has all of it.
pub(crate) extern "C" fn on_body_complete(request: Option<Request>) {
    guard("on_body_complete", (), || request.into_iter().for_each(loop_side::on_body_complete));
}

/// The connection can be written to.
pub(crate) extern "C" fn on_write(request: Option<Request>) {
    guard("on_write", (), || request.into_iter().for_each(loop_side::on_write));
}

/// The connection can be read from.
pub(crate) extern "C" fn on_read(request: Option<Request>) {
    guard("on_read", (), || request.into_iter().for_each(loop_side::on_read));
}

/// A request cannot be answered any more.
pub(crate) extern "C" fn on_gone(id: *mut c_void) {
    guard("on_gone", (), || {
        if let Some(id) = id_from_pointer(id) {
            loop_side::on_gone(id);
        }
    });
}

/// A request's memory goes.
pub(crate) extern "C" fn on_freed(id: *mut c_void) {
    guard("on_freed", (), || {
        if let Some(id) = id_from_pointer(id) {
            loop_side::on_freed(id);
        }
    });
}

/// A thread woke the loop.
pub(crate) extern "C" fn on_wake(_event: *mut ngx_event_t) {
    guard("on_wake", (), worker::on_wake);
}

/// The timer that keeps a leaving worker alive ran out.
pub(crate) extern "C" fn on_stay(_event: *mut ngx_event_t) {
    guard("on_stay", (), loop_side::stay_while_serving);
}

/// A signal came.
pub(crate) unsafe extern "C" fn on_signal(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    guard("on_signal", (), || {
        // SAFETY: the kernel's own.
        unsafe { signal::handle(number, info, context) };
    });
}

/// `exit` was called, with threads of Python still about.
pub(crate) extern "C" fn on_exit() {
    guard("on_exit", (), || signal::leave());
}
