//! What this edge has to know of modules: nginx's record of each, and the types of its configurations. For
//! the module that uses this edge it is said in one place, outside of this folder, so that nothing in here
//! names what lies above.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

use nginx_sys::{
    ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_core_srv_conf_t, ngx_http_request_t, ngx_http_upstream_main_conf_t, ngx_http_upstream_module,
    ngx_http_upstream_srv_conf_t, ngx_module_t,
};

use super::live::Live;

/// A module of nginx's `http`.
///
/// # Safety
/// `record` is the record that nginx loaded, and under its index lie configurations of these types: made by
/// its `create_main_conf`, `create_srv_conf` and `create_loc_conf`, or null where it has none or that failed.
pub unsafe trait Module {
    /// What its `create_main_conf` makes.
    type Main;
    /// What its `create_srv_conf` makes.
    type Srv;
    /// What its `create_loc_conf` makes.
    type Loc;

    /// Its record.
    fn record() -> *const ngx_module_t;
}

/// nginx's own `ngx_http_core_module`.
pub(super) struct HttpCore;

// SAFETY: as nginx's source has it.
unsafe impl Module for HttpCore {
    type Main = ngx_http_core_main_conf_t;
    type Srv = ngx_http_core_srv_conf_t;
    type Loc = ngx_http_core_loc_conf_t;

    fn record() -> *const ngx_module_t {
        &raw const ngx_http_core_module
    }
}

/// nginx's own `ngx_http_upstream_module`.
pub(super) struct HttpUpstream;

// SAFETY: as nginx's source has it.
unsafe impl Module for HttpUpstream {
    type Main = ngx_http_upstream_main_conf_t;
    type Srv = ngx_http_upstream_srv_conf_t;
    type Loc = ();

    fn record() -> *const ngx_module_t {
        &raw const ngx_http_upstream_module
    }
}

/// One of nginx's arrays with an entry for each module of `http`, at its index: a context of a request, or
/// the configurations of a kind. It lives for `'a`.
#[derive(Clone, Copy)]
pub(super) struct Entries<'a>(NonNull<*mut c_void>, PhantomData<&'a ()>);

impl Entries<'_> {
    fn at<M: Module>(self) -> NonNull<*mut c_void> {
        // SAFETY: nginx writes a module's index once, before it calls anything of the module; the array has
        // an entry there.
        unsafe { self.0.add((*M::record()).ctx_index) }
    }

    /// A module's.
    pub(super) fn get<M: Module>(self) -> *mut c_void {
        // SAFETY: an entry of the array.
        unsafe { self.at::<M>().read() }
    }

    /// Sets a module's.
    pub(super) fn set<M: Module>(self, entry: *mut c_void) {
        // SAFETY: an entry of the array, which only the loop's thread looks at.
        unsafe { self.at::<M>().write(entry) };
    }
}

impl<'a> Live<'a, ngx_http_request_t> {
    /// What the modules keep with a request.
    pub(super) fn contexts(self) -> Entries<'a> {
        // SAFETY: nginx makes the array with the request.
        unsafe { Entries(NonNull::new_unchecked(self.get(|request| request.ctx)), PhantomData) }
    }

    /// The configurations that hold for it.
    pub(super) fn confs(self) -> Confs<'a> {
        let (main, srv, loc) = self.get(|request| (request.main_conf, request.srv_conf, request.loc_conf));
        // SAFETY: those of its server and location, which live longer than the request.
        unsafe { Confs::new(main, srv, loc) }
    }
}

/// The configurations of the modules of `http`.
#[derive(Clone, Copy)]
pub(super) struct Confs<'a> {
    main: Option<Entries<'a>>,
    srv: Option<Entries<'a>>,
    loc: Option<Entries<'a>>,
}

impl<'a> Confs<'a> {
    /// # Safety
    /// Each is null, or nginx's array of the configurations of that kind, all of which live for `'a`.
    unsafe fn new(main: *mut *mut c_void, srv: *mut *mut c_void, loc: *mut *mut c_void) -> Self {
        let entries = |array| NonNull::new(array).map(|array| Entries(array, PhantomData));
        Self { main: entries(main), srv: entries(srv), loc: entries(loc) }
    }

    /// Those of a context of `http`; there are none without one.
    ///
    /// # Safety
    /// `context` is null, or `http`'s, and lives for `'a`.
    pub(super) unsafe fn of(context: *mut c_void) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let context = context.cast::<ngx_http_conf_ctx_t>().as_ref();
            context.map_or(Self::new(null_mut(), null_mut(), null_mut()), |context| {
                Self::new(context.main_conf, context.srv_conf, context.loc_conf)
            })
        }
    }

    /// A module's configuration of the process; `None`, here and below, where it has none.
    pub(super) fn main_live<M: Module>(self) -> Option<Live<'a, M::Main>> {
        // SAFETY: null, or of that type, as [`Module`] says; it lives as long as the others.
        unsafe { Live::new(self.main?.get::<M>().cast()) }
    }

    /// A module's configuration of the server.
    pub(super) fn srv_live<M: Module>(self) -> Option<Live<'a, M::Srv>> {
        // SAFETY: as for `main_live`.
        unsafe { Live::new(self.srv?.get::<M>().cast()) }
    }

    /// A module's configuration of the location.
    pub(super) fn loc_live<M: Module>(self) -> Option<Live<'a, M::Loc>> {
        // SAFETY: as for `main_live`.
        unsafe { Live::new(self.loc?.get::<M>().cast()) }
    }

    /// A module's configuration of the process.
    pub(super) fn main<M: Module>(self) -> Option<&'a M::Main> {
        // SAFETY: nothing changes it behind the reading of the configuration.
        self.main_live::<M>().map(|main| unsafe { &*main.as_ptr() })
    }

    /// A module's configuration of the location.
    pub(super) fn loc<M: Module>(self) -> Option<&'a M::Loc> {
        // SAFETY: as for `main`.
        self.loc_live::<M>().map(|loc| unsafe { &*loc.as_ptr() })
    }
}
