//! This module, as the C edge sees it: its record and the types of its configurations, and short names for what those give.

use std::ffi::c_void;

use nginx_sys::ngx_module_t;
use shared::relay::registry::Id;

use crate::conf::{LocConf, MainConf};
use crate::entry;
use crate::ffi::conf::Conf;
use crate::ffi::cycle::Cycle;
use crate::ffi::module::Module;
use crate::ffi::request::{Cleanup, Request};

/// `ngx_http_wsgi_module`.
pub struct Wsgi;

// SAFETY: `entry.rs` makes these types in `create_main_conf` and `create_loc_conf` of this record.
#[allow(unsafe_code)]
unsafe impl Module for Wsgi {
    type Main = MainConf;
    type Loc = LocConf;

    fn record() -> *const ngx_module_t {
        &raw const entry::ngx_http_wsgi_module
    }
}

impl Request {
    /// Our configuration of the request's location.
    pub fn location(&self) -> Option<&LocConf> {
        self.loc_conf_of::<Wsgi>()
    }

    /// Our configuration of the process.
    pub fn main_conf(&self) -> Option<&MainConf> {
        self.main_conf_of::<Wsgi>()
    }

    /// The number under which the request is served.
    pub fn id(self) -> Option<Id> {
        self.id_of::<Wsgi>()
    }

    /// Has the request served under a number (see [`Request::attach_to`]).
    pub fn attach(
        self,
        id: Id,
        gone: unsafe extern "C" fn(*mut c_void),
        freed: unsafe extern "C" fn(*mut c_void),
    ) -> Option<Cleanup> {
        self.attach_to::<Wsgi>(id, gone, freed)
    }
}

impl<'a> Conf<'a> {
    /// Our configuration of the process.
    pub fn main(&self) -> Option<&'a mut MainConf> {
        self.main_of::<Wsgi>()
    }

    /// Our configuration of this location.
    pub fn place(&self) -> Option<&'a mut LocConf> {
        self.loc_of::<Wsgi>()
    }
}

impl<'a> Cycle<'a> {
    /// Our configuration of the process; `None` where there is no `http` block.
    pub fn main_conf(self) -> Option<&'a MainConf> {
        self.main_conf_of::<Wsgi>()
    }
}
