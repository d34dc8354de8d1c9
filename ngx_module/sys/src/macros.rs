//! Macros and inline functions of nginx's headers, and constructors for what C initialises with a macro.

use std::mem::offset_of;
use std::ptr;

use crate::bindings::{
    NGX_RS_MODULE_SIGNATURE, NGX_TIMER_LAZY_DELAY, nginx_version, ngx_array_t, ngx_cached_time,
    ngx_command_t, ngx_current_msec, ngx_event_t, ngx_event_timer_rbtree, ngx_http_conf_ctx_t, ngx_module_t,
    ngx_msec_t, ngx_queue_t, ngx_rbtree_delete, ngx_rbtree_insert, ngx_str_t, ngx_uint_t, time_t,
};

/// `NGX_HTTP_MAIN_CONF_OFFSET`.
pub const NGX_HTTP_MAIN_CONF_OFFSET: usize = offset_of!(ngx_http_conf_ctx_t, main_conf);
/// `NGX_HTTP_LOC_CONF_OFFSET`.
pub const NGX_HTTP_LOC_CONF_OFFSET: usize = offset_of!(ngx_http_conf_ctx_t, loc_conf);

impl ngx_str_t {
    /// `ngx_null_string`.
    pub const fn empty() -> Self {
        Self { len: 0, data: ptr::null_mut() }
    }
}

impl ngx_command_t {
    /// `ngx_null_command`.
    pub const fn empty() -> Self {
        Self { name: ngx_str_t::empty(), type_: 0, set: None, conf: 0, offset: 0, post: ptr::null_mut() }
    }
}

impl ngx_module_t {
    /// `NGX_MODULE_V1` and `NGX_MODULE_V1_PADDING`, with nothing between them.
    pub const fn default() -> Self {
        Self {
            ctx_index: ngx_uint_t::MAX,
            index: ngx_uint_t::MAX,
            name: ptr::null_mut(),
            spare0: 0,
            spare1: 0,
            version: nginx_version as ngx_uint_t,
            signature: NGX_RS_MODULE_SIGNATURE.as_ptr(),
            ctx: ptr::null_mut(),
            commands: ptr::null_mut(),
            type_: 0,
            init_master: None,
            init_module: None,
            init_process: None,
            init_thread: None,
            exit_thread: None,
            exit_process: None,
            exit_master: None,
            spare_hook0: 0,
            spare_hook1: 0,
            spare_hook2: 0,
            spare_hook3: 0,
            spare_hook4: 0,
            spare_hook5: 0,
            spare_hook6: 0,
            spare_hook7: 0,
        }
    }
}

impl ngx_array_t {
    /// What is in it.
    ///
    /// # Safety
    /// It was made for elements of type `T`, which live for as long as `self` is borrowed.
    pub unsafe fn as_slice<T>(&self) -> &[T] {
        if self.nelts == 0 {
            return &[];
        }
        // SAFETY: an array of nginx's has `nelts` elements at `elts`; the caller answers for their type.
        unsafe { std::slice::from_raw_parts(self.elts.cast(), self.nelts) }
    }
}

/// `ngx_time()`: the event loop's clock in seconds.
pub fn ngx_time() -> time_t {
    // SAFETY: nginx sets it before it calls any module.
    unsafe { (*ngx_cached_time).sec }
}

/// `ngx_add_timer`.
///
/// # Safety
/// `event` is a living event, and this is the event loop's thread.
pub unsafe fn ngx_add_timer(event: *mut ngx_event_t, after: ngx_msec_t) {
    // SAFETY: the caller's promise; the tree is nginx's own.
    unsafe {
        let key = ngx_current_msec.wrapping_add(after);
        if (*event).timer_set() != 0 {
            if key.abs_diff((*event).timer.key) < NGX_TIMER_LAZY_DELAY as ngx_msec_t {
                return;
            }
            ngx_del_timer(event);
        }
        (*event).timer.key = key;
        ngx_rbtree_insert(&raw mut ngx_event_timer_rbtree, &raw mut (*event).timer);
        (*event).set_timer_set(1);
    }
}

/// `ngx_del_timer`.
///
/// # Safety
/// `event` is a living event whose timer is set, and this is the event loop's thread.
pub unsafe fn ngx_del_timer(event: *mut ngx_event_t) {
    // SAFETY: the caller's promise.
    unsafe {
        ngx_rbtree_delete(&raw mut ngx_event_timer_rbtree, &raw mut (*event).timer);
        (*event).timer.left = ptr::null_mut();
        (*event).timer.right = ptr::null_mut();
        (*event).timer.parent = ptr::null_mut();
        (*event).set_timer_set(0);
    }
}

/// `ngx_post_event`.
///
/// # Safety
/// `event` is a living event, `queue` one of nginx's queues of events, and this is the event loop's thread.
pub unsafe fn ngx_post_event(event: *mut ngx_event_t, queue: *mut ngx_queue_t) {
    // SAFETY: the caller's promise; an event that is not posted is in no queue.
    unsafe {
        if (*event).posted() != 0 {
            return;
        }
        (*event).set_posted(1);
        let link = &raw mut (*event).queue;
        (*link).prev = (*queue).prev;
        (*(*link).prev).next = link;
        (*link).next = queue;
        (*queue).prev = link;
    }
}
