//! Links of chains and their buffers, as nginx's output takes them.

use std::ffi::c_void;
use std::io::IoSliceMut;
use std::marker::PhantomData;
use std::ptr::NonNull;

use nginx_sys::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_get_free_buf, ngx_chain_t, ngx_chain_update_chains, off_t,
};

use super::request::Request;
use super::zeroed::Zeroed;

/// The most buffers that are filled at a time.
const MAX_BUFFERS: usize = 16;

/// Lies in this module's file, and nothing else has its address.
static TAG: u8 = 0;

/// What marks buffers and zones of shared memory as this module's (`ngx_buf_tag_t`): an address that is only
/// compared.
pub(super) fn tag() -> *mut c_void {
    (&raw const TAG).cast_mut().cast()
}

/// A chain that nginx lends for a callback.
pub struct Chain<'c> {
    pub(super) first: *mut ngx_chain_t,
    life: PhantomData<&'c ()>,
}

impl<'c> Chain<'c> {
    /// # Safety
    /// `first` is null or the first link of a chain that lives as long as the value.
    pub(super) const unsafe fn new(first: *mut ngx_chain_t) -> Self {
        Self { first, life: PhantomData }
    }

    /// Its buffers, in their order.
    pub(super) fn buffers(self) -> impl Iterator<Item = &'c mut ngx_buf_t> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            // SAFETY: the links and their buffers live as long as the value (`new`), and each is handed out
            // once.
            unsafe {
                let link = next.as_ref()?;
                next = link.next;
                link.buf.as_mut()
            }
        })
    }

    /// The room behind what its buffers hold, `limit` bytes of it where that is positive, for one call to the
    /// system.
    pub(super) fn room(self, limit: off_t) -> Vec<IoSliceMut<'c>> {
        let mut left = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut parts = Vec::with_capacity(MAX_BUFFERS);
        for buffer in self.buffers() {
            let room = buffer.end.addr().saturating_sub(buffer.last.addr()).min(left);
            if parts.len() == MAX_BUFFERS || left == 0 {
                break;
            }
            if room > 0 {
                left -= room;
                // SAFETY: `last` to `end` are the buffer's own memory, which nothing has been put into.
                parts.push(IoSliceMut::new(unsafe { std::slice::from_raw_parts_mut(buffer.last, room) }));
            }
        }
        parts
    }
}

/// How many bytes of a buffer in memory are to be read.
pub(super) fn length_of(buffer: &ngx_buf_t) -> usize {
    buffer.last.addr().saturating_sub(buffer.pos.addr())
}

/// A link with a buffer, both of a request's pool, before they are nginx's.
pub(super) struct Link(NonNull<ngx_chain_t>);

impl Link {
    /// A link with an empty buffer; `None`, here and below, when nginx has no memory.
    pub(super) fn new(request: Request) -> Option<Self> {
        Self::to(request, request.place(ngx_buf_t::zeroed())?)
    }

    /// Another link to a buffer.
    pub(super) fn to(request: Request, buffer: NonNull<ngx_buf_t>) -> Option<Self> {
        // SAFETY: the pool of a living request; the new link is written before anybody reads it.
        unsafe {
            let link = NonNull::new(ngx_alloc_chain_link(request.pool()))?;
            link.write(ngx_chain_t { buf: buffer.as_ptr(), next: std::ptr::null_mut() });
            Some(Self(link))
        }
    }

    /// A link out of a list of those that are done with, or a new one; its buffer is as it was left. The list
    /// is nginx's, or one of [`Recycled`], and of the request's pool.
    pub(super) fn reused(request: Request, free: &mut *mut ngx_chain_t) -> Option<Self> {
        // SAFETY: the pool of a living request; nginx gives a link with a buffer.
        NonNull::new(unsafe { ngx_chain_get_free_buf(request.pool(), free) }).map(Self)
    }

    /// Its buffer.
    pub(super) fn buffer(&mut self) -> &mut ngx_buf_t {
        // SAFETY: each of the constructors gives the link a buffer, and until `append_to` it is this value's
        // alone.
        unsafe { &mut *(*self.0.as_ptr()).buf }
    }

    /// Puts it at the end of a chain, and says where the next one goes.
    pub(super) fn append_to(self, chain: &mut *mut ngx_chain_t) -> *mut *mut ngx_chain_t {
        let mut end = chain;
        // SAFETY: the links of a chain live as long as the request, and only this callback looks at them.
        unsafe {
            while let Some(link) = end.as_mut() {
                end = &mut link.next;
            }
            *end = self.0.as_ptr();
            &raw mut (*self.0.as_ptr()).next
        }
    }
}

/// Lists of links that are used again and again (`ngx_chain_update_chains`).
#[derive(Debug)]
pub(super) struct Recycled {
    free: *mut ngx_chain_t,
    busy: *mut ngx_chain_t,
}

impl Default for Recycled {
    fn default() -> Self {
        Self { free: std::ptr::null_mut(), busy: std::ptr::null_mut() }
    }
}

impl Recycled {
    /// A link for `bytes`, which are copied. All calls have to give as many of them.
    pub(super) fn link(&mut self, request: Request, bytes: &[u8]) -> Option<Link> {
        let mut link = Link::reused(request, &mut self.free)?;
        let buffer = link.buffer();
        if buffer.start.is_null() {
            let memory = request.copy(bytes)?;
            (buffer.start, buffer.end) = (memory.data, memory.data.wrapping_add(bytes.len()));
            buffer.tag = tag();
            buffer.set_temporary(1);
        }
        if buffer.end.addr() - buffer.start.addr() != bytes.len() {
            return None;
        }
        // SAFETY: the buffer has room for so many bytes, and is nobody else's.
        unsafe { buffer.start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        (buffer.pos, buffer.last) = (buffer.start, buffer.end);
        Some(link)
    }

    /// Takes back what of a chain has been sent.
    pub(super) fn update(&mut self, request: Request, mut sent: *mut ngx_chain_t) {
        let (free, busy) = (&raw mut self.free, &raw mut self.busy);
        // SAFETY: all three are chains of the request's pool; links with another tag go back to the pool,
        // their buffers stay.
        unsafe { ngx_chain_update_chains(request.pool(), free, busy, &raw mut sent, tag()) };
    }
}
