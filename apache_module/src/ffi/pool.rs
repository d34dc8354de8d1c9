//! APR's pools: memory, and what happens when it goes.

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;

use httpd_sys::{apr_pool_cleanup_null, apr_pool_cleanup_register, apr_pool_t, apr_pstrmemdup, apr_status_t};
use shared::ffi::guard::guard;

/// A pool that lives for `'p`.
#[derive(Clone, Copy)]
pub struct Pool<'p> {
    raw: *mut apr_pool_t,
    life: PhantomData<&'p ()>,
}

impl<'p> Pool<'p> {
    /// # Safety
    /// `raw` is a pool that lives for `'p`.
    pub unsafe fn new(raw: *mut apr_pool_t) -> Self {
        Self { raw, life: PhantomData }
    }

    pub(super) fn raw(self) -> *mut apr_pool_t {
        self.raw
    }

    /// A copy of the bytes as a C string that lives as long as the pool.
    pub fn text(self, bytes: &[u8]) -> *mut c_char {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        // SAFETY: the pool lives; `end` bytes are there.
        unsafe { apr_pstrmemdup(self.raw, bytes.as_ptr().cast(), end) }
    }

    /// Gives `value` to the pool, which drops it when it goes.
    pub fn own<T>(self, value: T) -> &'p mut T {
        let pointer = Box::into_raw(Box::new(value));
        // SAFETY: the pool lives, and calls `release` once with this pointer; until then the value is the
        // caller's alone.
        unsafe {
            apr_pool_cleanup_register(
                self.raw,
                pointer.cast(),
                Some(release::<T>),
                Some(apr_pool_cleanup_null),
            );
            &mut *pointer
        }
    }

    /// Runs `work` when the pool goes.
    pub fn at_end(self, work: impl FnOnce() + 'static) {
        struct Last<F: FnOnce()>(Option<F>);
        impl<F: FnOnce()> Drop for Last<F> {
            fn drop(&mut self) {
                if let Some(work) = self.0.take() {
                    work();
                }
            }
        }
        self.own(Last(Some(work)));
    }
}

unsafe extern "C" fn release<T>(value: *mut c_void) -> apr_status_t {
    guard("pool cleanup", 0, || {
        // SAFETY: made by `own` with the same type, and handed over once.
        drop(unsafe { Box::from_raw(value.cast::<T>()) });
        0
    })
}
