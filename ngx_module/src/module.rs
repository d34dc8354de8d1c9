//! What the C edge knows of this module, under short names: its configurations, and the number under which a
//! request is served.
#![deny(unsafe_code)]

use std::ffi::c_void;

use shared::relay::registry::Id;

use crate::conf::{LocConf, MainConf};
use crate::entry::Wsgi;
use crate::ffi::conf::Conf;
use crate::ffi::cycle::Cycle;
use crate::ffi::request::{Cleanup, Request};

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
        gone: extern "C" fn(*mut c_void),
        freed: extern "C" fn(*mut c_void),
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
    pub fn loc_conf(&self) -> Option<&'a mut LocConf> {
        self.loc_of::<Wsgi>()
    }
}

impl<'a> Cycle<'a> {
    /// Our configuration of the process; `None` where there is no `http` block.
    pub fn main_conf(self) -> Option<&'a MainConf> {
        self.main_conf_of::<Wsgi>()
    }
}
