//! `wsgi_limit_rate`: how fast a buffered answer is read from its worker. nginx before 1.27 knows a size there, and later a value that may
//! have variables.

use nginx_sys::{NGX_CONF_TAKE1, ngx_command_t, ngx_http_complex_value_t, ngx_http_upstream_conf_t};

use crate::upstream::conf::{Slot, at, command};
use crate::upstream::slots::inherit_value;

/// The type of nginx's field.
trait Rate: Copy + PartialEq {
    const SLOT: Slot;
    const UNSET: Self;
    const UNLIMITED: Self;
}

impl Rate for usize {
    const SLOT: Slot = nginx_sys::ngx_conf_set_size_slot;
    const UNSET: Self = Self::MAX;
    const UNLIMITED: Self = 0;
}

impl Rate for *mut ngx_http_complex_value_t {
    const SLOT: Slot = nginx_sys::ngx_http_set_complex_value_size_slot;
    const UNSET: Self = std::ptr::without_provenance_mut(usize::MAX);
    const UNLIMITED: Self = std::ptr::null_mut();
}

const fn slot<T: Rate>(_: fn(&mut ngx_http_upstream_conf_t) -> &mut T) -> Slot {
    T::SLOT
}

/// nginx's table of these directives.
pub(crate) const COMMANDS: [ngx_command_t; 1] =
    [command(c"wsgi_limit_rate", NGX_CONF_TAKE1, slot(|conf| &mut conf.limit_rate), at!(limit_rate))];

fn settle<T: Rate>(inner: &mut T, outer: T) {
    inherit_value(inner, outer, T::UNSET);
}

const fn unset_of<T: Rate>(_: &T) -> T {
    T::UNSET
}

const fn unlimited_of<T: Rate>(_: &T) -> T {
    T::UNLIMITED
}

/// Nothing written.
pub(crate) fn unset(conf: &mut ngx_http_upstream_conf_t) {
    conf.limit_rate = unset_of(&conf.limit_rate);
}

/// Takes over what only `outer` says.
pub(crate) fn inherit(inner: &mut ngx_http_upstream_conf_t, outer: &ngx_http_upstream_conf_t) {
    settle(&mut inner.limit_rate, outer.limit_rate);
}

/// Decides what nothing says.
pub(crate) fn decide(conf: &mut ngx_http_upstream_conf_t) {
    let unlimited = unlimited_of(&conf.limit_rate);
    settle(&mut conf.limit_rate, unlimited);
}
