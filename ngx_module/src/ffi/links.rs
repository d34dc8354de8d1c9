//! Links of chains and their buffers, as nginx's output takes them.

use std::ffi::c_void;
use std::io::IoSliceMut;
use std::os::fd::BorrowedFd;

use nginx_sys::{ngx_buf_t, ngx_chain_get_free_buf, ngx_chain_t, ngx_chain_update_chains, ngx_str_t, off_t};

use super::bytes_of;
use super::live::{Live, pointer};
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
#[derive(Clone, Copy)]
pub struct Chain<'c>(Option<Live<'c, ngx_chain_t>>);

impl<'c> Chain<'c> {
    pub(super) const fn new(first: Option<Live<'c, ngx_chain_t>>) -> Self {
        Self(first)
    }

    /// Its first link, for nginx.
    pub(super) fn as_ptr(self) -> *mut ngx_chain_t {
        pointer(self.0)
    }

    /// Its links, in their order; each may be freed when it comes.
    pub(super) fn links(self) -> impl Iterator<Item = Live<'c, ngx_chain_t>> {
        std::iter::successors(self.0, |link| link.next())
    }

    /// Its buffers, in their order.
    pub(super) fn buffers(self) -> impl Iterator<Item = Live<'c, ngx_buf_t>> {
        self.links().filter_map(Live::buf)
    }

    /// The room behind what its buffers hold, `limit` bytes of it where that is positive, for one call to the
    /// system.
    ///
    /// # Safety
    /// No other room of the same buffers is in use.
    pub(super) unsafe fn room(self, limit: off_t) -> Vec<IoSliceMut<'c>> {
        let mut left = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut parts = Vec::with_capacity(MAX_BUFFERS);
        for buffer in self.buffers() {
            let (last, end) = buffer.get(|buffer| (buffer.last, buffer.end));
            let room = end.addr().saturating_sub(last.addr()).min(left);
            if parts.len() == MAX_BUFFERS || left == 0 {
                break;
            }
            if room > 0 {
                left -= room;
                // SAFETY: `last` to `end` are the buffer's own memory, which nothing has been put into; the
                // caller's promise for the rest.
                parts.push(IoSliceMut::new(unsafe { std::slice::from_raw_parts_mut(last, room) }));
            }
        }
        parts
    }
}

impl<'a> Live<'a, ngx_buf_t> {
    /// Its bytes in memory that are to be read.
    pub(super) fn bytes(self) -> &'a [u8] {
        let data = self.get(|buffer| buffer.pos);
        // SAFETY: `pos` to `last` are the buffer's own bytes, which nginx fills only outside of callbacks and
        // not before they are read.
        unsafe { bytes_of(ngx_str_t { data, len: self.length() }) }
    }

    /// How many bytes in memory are to be read.
    pub(super) fn length(self) -> usize {
        self.get(length_of)
    }

    /// The part of a file that is to be read, where it is one: from where, and to where.
    pub(super) fn file_range(self) -> Option<(BorrowedFd<'a>, off_t, off_t)> {
        let (in_file, from, to) = self.get(|buffer| (buffer.in_file(), buffer.file_pos, buffer.file_last));
        let file = self.file().filter(|_| in_file != 0)?;
        // SAFETY: nginx keeps the file open as long as a buffer has it.
        Some((unsafe { BorrowedFd::borrow_raw(file.get(|file| file.fd)) }, from, to))
    }

    /// How much is to be read, wherever it is (`ngx_buf_size`).
    pub(super) fn size(self) -> u64 {
        match self.file_range() {
            Some((_, from, to)) => u64::try_from(to - from).unwrap_or(0),
            None => self.length() as u64,
        }
    }
}

/// How many bytes of a buffer in memory are to be read.
pub(super) fn length_of(buffer: &ngx_buf_t) -> usize {
    buffer.last.addr().saturating_sub(buffer.pos.addr())
}

/// A link with a buffer, both of a request's pool, before they are nginx's.
pub(super) struct Link<'r> {
    link: Live<'r, ngx_chain_t>,
    buffer: Live<'r, ngx_buf_t>,
}

impl<'r> Link<'r> {
    /// A link with an empty buffer; `None`, here and below, when nginx has no memory.
    pub(super) fn new(request: Request) -> Option<Self> {
        Self::to(request, request.pool().alloc(ngx_buf_t::zeroed())?)
    }

    /// Another link to a buffer.
    pub(super) fn to(request: Request, buffer: Live<'r, ngx_buf_t>) -> Option<Self> {
        Some(Self { link: request.pool().link_to(buffer)?, buffer })
    }

    /// Its buffer, to be filled.
    pub(super) const fn buffer(&self) -> Live<'r, ngx_buf_t> {
        self.buffer
    }
}

/// The head of a list of nginx's, or the `next` that ends one.
impl<'a> Live<'a, *mut ngx_chain_t> {
    /// What is in it.
    pub(super) fn chain(self) -> Chain<'a> {
        // SAFETY: null, or a link of nginx's; the list is of the request's pool, as its head is.
        Chain(unsafe { Live::new(self.get(|first| *first)) })
    }

    /// Puts a link at its end; where the next one goes.
    pub(super) fn append(self, link: Link<'_>) -> Self {
        let mut end = self;
        while let Some(link) = end.chain().0 {
            end = link.end();
        }
        end.set(link.link.as_ptr(), |end, link| *end = link);
        end.chain().0.map_or(end, Live::end)
    }

    /// Takes a link out of this list of those that are done with, or makes one; its buffer is as it was left.
    pub(super) fn take_free(self, request: Request) -> Option<Link<'a>> {
        // SAFETY: a list of nginx's, of the request's pool.
        unsafe { take_free(request, self.as_ptr()) }
    }
}

impl<'a> Live<'a, ngx_chain_t> {
    /// Where the link behind it goes.
    fn end(self) -> Live<'a, *mut ngx_chain_t> {
        // SAFETY: a part of the link.
        unsafe { Live::to(&raw mut (*self.as_ptr()).next) }
    }
}

/// # Safety
/// `free` is the head of a list of links with buffers, of the request's pool.
unsafe fn take_free<'r>(request: Request, free: *mut *mut ngx_chain_t) -> Option<Link<'r>> {
    // SAFETY: the caller's promise.
    let link = unsafe { Live::new(ngx_chain_get_free_buf(request.pool().as_ptr(), free)) }?;
    Some(Link { link, buffer: link.buf()? })
}

/// A chain of ours while it grows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growing<'r> {
    ends: Option<(Live<'r, ngx_chain_t>, Live<'r, ngx_chain_t>)>,
}

impl<'r> Growing<'r> {
    /// Puts a link at its end.
    pub(super) fn push(&mut self, new: Link<'r>) {
        if let Some((_, last)) = self.ends {
            last.set(new.link.as_ptr(), |last, new| last.next = new);
        }
        self.ends = Some((self.ends.map_or(new.link, |(first, _)| first), new.link));
    }

    /// For nginx.
    pub(super) fn chain(self) -> Chain<'r> {
        Chain(self.ends.map(|(first, _)| first))
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
    pub(super) fn link(&mut self, request: Request, bytes: &[u8]) -> Option<Link<'static>> {
        // SAFETY: the list is ours, and all of its links are of the request's pool.
        let link = unsafe { take_free(request, &raw mut self.free) }?;
        if link.buffer.get(|buffer| buffer.start.is_null()) {
            let memory = request.copy(bytes)?;
            let end = memory.data.wrapping_add(memory.len);
            link.buffer.set((memory.data, end), |buffer, range| {
                (buffer.start, buffer.end) = range;
                buffer.tag = tag();
                buffer.set_temporary(1);
            });
        }
        let (start, end) = link.buffer.get(|buffer| (buffer.start, buffer.end));
        if end.addr() - start.addr() != bytes.len() {
            return None;
        }
        // SAFETY: the buffer has room for so many bytes, and is nobody else's.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        link.buffer.set((), |buffer, ()| (buffer.pos, buffer.last) = (buffer.start, buffer.end));
        Some(link)
    }

    /// Takes back what of a chain has been sent.
    pub(super) fn update(&mut self, request: Request, sent: Chain<'_>) {
        let (free, busy, mut sent) = (&raw mut self.free, &raw mut self.busy, sent.as_ptr());
        // SAFETY: all three are chains of the request's pool; links with another tag go back to the pool,
        // their buffers stay.
        unsafe { ngx_chain_update_chains(request.pool().as_ptr(), free, busy, &raw mut sent, tag()) };
    }
}
