//! Memory of nginx's pools, and what a pool owns for us.

use std::ffi::{CStr, c_void};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;

use nginx_sys::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_file_t, ngx_log_t, ngx_palloc, ngx_pnalloc,
    ngx_pool_cleanup_add, ngx_pool_cleanup_file, ngx_pool_cleanup_file_t, ngx_pool_cleanup_t, ngx_pool_t,
    ngx_str_t,
};
use shared::ffi::guard::guard;

use super::live::{Live, pointer};
use super::text;
use super::zeroed::Zeroed;

/// `None` everywhere: nginx has no memory.
impl<'a> Live<'a, ngx_pool_t> {
    /// Copies bytes, with a NUL behind them, which some of nginx's functions look for.
    pub(super) fn copy(self, bytes: &[u8]) -> Option<ngx_str_t> {
        let length = bytes.len();
        // SAFETY: the new memory has room for the bytes and the NUL.
        let data = unsafe {
            let data = NonNull::<u8>::new(ngx_pnalloc(self.as_ptr(), length + 1).cast())?;
            data.copy_from_nonoverlapping(NonNull::from(bytes).cast(), length);
            data.add(length).write(0);
            data
        };
        Some(ngx_str_t { len: length, data: data.as_ptr() })
    }

    /// Moves `value` into the pool, which drops nothing.
    pub(super) fn alloc<T: Copy>(self, value: T) -> Option<Live<'a, T>> {
        const { assert!(align_of::<T>() <= align_of::<usize>(), "the alignment of nginx's pools") };
        // SAFETY: the new memory has the size and the alignment, and is written before anybody reads it; it
        // lives as long as the pool.
        unsafe {
            let new = NonNull::<T>::new(ngx_palloc(self.as_ptr(), size_of::<T>()).cast())?;
            new.write(value);
            Some(Live::to(new.as_ptr()))
        }
    }

    /// A cleanup without a handler.
    pub(super) fn cleanup(self) -> Option<Live<'a, ngx_pool_cleanup_t>> {
        // SAFETY: of the pool's memory, or null.
        unsafe { Live::new(ngx_pool_cleanup_add(self.as_ptr(), 0)) }
    }

    /// Has `handler` called with `data` when the pool goes.
    pub(super) fn at_end(self, handler: extern "C" fn(*mut c_void), data: *mut c_void) -> Option<()> {
        self.cleanup()?.set((handler, data), |cleanup, (handler, data)| {
            cleanup.handler = Some(handler);
            cleanup.data = data;
        });
        Some(())
    }

    /// Gives `value` to the pool, which drops it when it goes.
    pub(super) fn own<T: 'static>(self, value: T) -> Option<NonNull<T>> {
        let cleanup = self.cleanup()?;
        let value = NonNull::from(Box::leak(Box::new(value)));
        cleanup.set(value, |cleanup, value| {
            cleanup.handler = Some(release::<T>);
            cleanup.data = value.as_ptr().cast();
        });
        Some(value)
    }

    /// Gives a file to the pool, which closes it when it goes; what nginx's buffers need of it.
    pub(super) fn file(
        self,
        file: OwnedFd,
        name: &'static CStr,
        log: Option<Live<'_, ngx_log_t>>,
    ) -> Option<Live<'a, ngx_file_t>> {
        let (fd, name, log) = (file.as_raw_fd(), text(name), pointer(log));
        let described = self.alloc(ngx_file_t { fd, name, log, ..ngx_file_t::zeroed() })?;
        let closing = self.alloc(ngx_pool_cleanup_file_t { fd, name: name.data, log })?;
        let cleanup = self.cleanup()?;
        // Nothing fails from here on.
        let _ = file.into_raw_fd();
        cleanup.set(closing.as_ptr(), |cleanup, closing| {
            cleanup.handler = Some(ngx_pool_cleanup_file);
            cleanup.data = closing.cast();
        });
        Some(described)
    }

    /// The pool's next block.
    pub(super) fn following(self) -> Option<Self> {
        // SAFETY: null, or another block of the pool, which begins like the first.
        unsafe { Live::new(self.get(|pool| pool.d.next)) }
    }

    /// A link to a buffer, with nothing behind it.
    pub(super) fn link_to(self, buffer: Live<'_, ngx_buf_t>) -> Option<Live<'a, ngx_chain_t>> {
        // SAFETY: of the pool's memory, or null.
        let link = unsafe { Live::new(ngx_alloc_chain_link(self.as_ptr())) }?;
        link.set(buffer.as_ptr(), |link, buf| *link = ngx_chain_t { buf, next: std::ptr::null_mut() });
        Some(link)
    }

    /// Takes a link back for its next use (`ngx_free_chain`).
    pub(super) fn free_link(self, link: Live<'_, ngx_chain_t>) {
        link.set(self.get(|pool| pool.chain), |link, next| link.next = next);
        self.set(link.as_ptr(), |pool, link| pool.chain = link);
    }
}

unsafe extern "C" fn release<T>(value: *mut c_void) {
    // SAFETY: `own` leaked it with the same type, and the pool calls this once.
    guard("pool cleanup", (), || drop(unsafe { Box::from_raw(value.cast::<T>()) }));
}
