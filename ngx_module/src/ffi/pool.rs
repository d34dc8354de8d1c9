//! What a request's pool owns for us.

use std::ffi::c_void;
use std::ptr::NonNull;

use nginx_sys::{ngx_palloc, ngx_pool_cleanup_add, ngx_pool_t};
use shared::ffi::guard::guard;

use super::request::Request;

impl Request {
    /// Gives `value` to the request's pool, which drops it when it goes. `None` when nginx has no memory.
    pub(super) fn own<T: 'static>(self, value: T) -> Option<*mut T> {
        // SAFETY: the request lives, and with it its pool, which calls `release` once with this pointer.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(self.pool(), 0).as_mut()?;
            let value = Box::into_raw(Box::new(value));
            cleanup.handler = Some(release::<T>);
            cleanup.data = value.cast();
            Some(value)
        }
    }

    /// Moves `value` into the request's memory, which drops nothing.
    pub(super) fn place<T: Copy>(self, value: T) -> Option<NonNull<T>> {
        // SAFETY: the request lives, and with it its pool.
        unsafe { place(self.pool(), value) }
    }
}

/// Moves `value` into a pool.
///
/// # Safety
/// The pool lives.
pub(super) unsafe fn place<T: Copy>(pool: *mut ngx_pool_t, value: T) -> Option<NonNull<T>> {
    // SAFETY: the caller's promise; new memory is aligned for any type, and written before anybody reads it.
    unsafe {
        let place = NonNull::<T>::new(ngx_palloc(pool, size_of::<T>()).cast())?;
        place.write(value);
        Some(place)
    }
}

unsafe extern "C" fn release<T>(value: *mut c_void) {
    // SAFETY: made by `own` with the same type, and handed over once.
    guard("pool cleanup", (), || drop(unsafe { Box::from_raw(value.cast::<T>()) }));
}
