//! Functions of ours, as nginx's pointers to functions.
//!
//! A function that nginx calls takes a type of this edge in the place of nginx's pointer: `Option<Request>`
//! is a pointer to a request that may be null, and so on. Both are passed alike (`#[repr(transparent)]` and
//! the niche of a pointer that is never null), and what the type promises of its pointer is what nginx
//! promises of the argument. So nobody else has to handle the pointer.

use std::ffi::{c_char, c_void};
use std::mem::transmute;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_event_handler_pt, ngx_http_handler_pt, ngx_int_t,
};

use super::conf::{Command, Conf};
use super::cycle::Cycle;
use super::request::Request;

/// A handler of a request's event, or of its body.
pub const fn event(handler: extern "C" fn(Option<Request>)) -> ngx_http_event_handler_pt {
    // SAFETY: the two types of the argument are passed alike, as the file says.
    Some(unsafe {
        transmute::<extern "C" fn(Option<Request>), Pointer<*mut nginx_sys::ngx_http_request_t>>(handler)
    })
}

/// A content handler.
pub const fn content(handler: extern "C" fn(Option<Request>) -> ngx_int_t) -> ngx_http_handler_pt {
    // SAFETY: as for `event`.
    Some(unsafe {
        transmute::<
            extern "C" fn(Option<Request>) -> ngx_int_t,
            Pointer<*mut nginx_sys::ngx_http_request_t, ngx_int_t>,
        >(handler)
    })
}

/// A step of reading the configuration.
pub const fn configuration<R>(
    step: extern "C" fn(Option<Conf<'_>>) -> R,
) -> Option<Pointer<*mut ngx_conf_t, R>> {
    // SAFETY: as for `event`; the configuration lives for the call, for which any lifetime is right.
    Some(unsafe { transmute::<extern "C" fn(Option<Conf<'_>>) -> R, Pointer<*mut ngx_conf_t, R>>(step) })
}

/// A step of a process's life.
pub const fn life<R>(step: extern "C" fn(Option<Cycle<'_>>) -> R) -> Option<Pointer<*mut ngx_cycle_t, R>> {
    // SAFETY: as for `configuration`.
    Some(unsafe { transmute::<extern "C" fn(Option<Cycle<'_>>) -> R, Pointer<*mut ngx_cycle_t, R>>(step) })
}

/// A pointer to a function of one argument, as nginx has it.
pub type Pointer<A, R = ()> = unsafe extern "C" fn(A) -> R;

/// How a directive is taken.
pub type TakeDirective = extern "C" fn(Option<Conf<'_>>, Option<Command<'_>>, *mut c_void) -> *mut c_char;

type DirectivePointer = unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// The handler of a directive.
pub const fn directive(take: TakeDirective) -> Option<DirectivePointer> {
    // SAFETY: as for `configuration`.
    Some(unsafe { transmute::<TakeDirective, DirectivePointer>(take) })
}

/// How the configurations of two locations are merged, the outer one first.
pub type MergeLoc<L> = extern "C" fn(Option<Conf<'_>>, Option<&L>, Option<&mut L>) -> *mut c_char;

type MergePointer = unsafe extern "C" fn(*mut ngx_conf_t, *mut c_void, *mut c_void) -> *mut c_char;

/// The handler that merges.
///
/// # Safety
/// `L` is what the module's `create_loc_conf` makes.
pub const unsafe fn merge_loc<L>(merge: MergeLoc<L>) -> Option<MergePointer> {
    // SAFETY: as for `configuration`; the two are different ones, and nothing else refers to them during the
    // call.
    Some(unsafe { transmute::<MergeLoc<L>, MergePointer>(merge) })
}
