//! Chain links with their buffers: what nginx's output filters take.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;

use nginx_sys::{
    ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_file_t, ngx_http_output_filter, ngx_pcalloc,
    ngx_pool_cleanup_add, ngx_pool_cleanup_file, ngx_pool_cleanup_file_t, ngx_pool_t, off_t,
};

use shared::relay::loan::Lent;

use super::Code;
use super::request::Request;

/// A chain link and its buffer, of a request's pool.
#[derive(Debug)]
pub struct Piece {
    link: NonNull<ngx_chain_t>,
    /// What the buffer points to, where that is ours.
    bytes: Vec<u8>,
    /// Or a Python thread's, which goes on when this is dropped.
    lent: Option<Lent>,
}

impl Piece {
    /// An empty piece; `None` when nginx has no memory.
    pub fn new(request: Request) -> Option<Self> {
        let pool = request.pool();
        // SAFETY: the pool of a living request; nginx gives zeroed, aligned memory or null.
        unsafe {
            let buffer: *mut ngx_buf_t = ngx_pcalloc(pool, size_of::<ngx_buf_t>()).cast();
            let link = NonNull::new(ngx_alloc_chain_link(pool))?;
            NonNull::new(buffer)?;
            (*link.as_ptr()).buf = buffer;
            (*link.as_ptr()).next = std::ptr::null_mut();
            Some(Self { link, bytes: Vec::new(), lent: None })
        }
    }

    fn buffer(&self) -> NonNull<ngx_buf_t> {
        // SAFETY: `new` put a buffer into the link, and nobody takes it out.
        unsafe { NonNull::new_unchecked((*self.link.as_ptr()).buf) }
    }

    /// Empties the piece for its next use; how many bytes of ours it held.
    pub fn clear(&mut self) -> usize {
        // SAFETY: nginx is done with the buffer ([`Piece::left`] is 0); zeroes are an empty buffer.
        unsafe {
            self.buffer().write(std::mem::zeroed());
            (*self.link.as_ptr()).next = std::ptr::null_mut();
        }
        self.lent = None;
        std::mem::take(&mut self.bytes).len()
    }

    /// Returns what was lent. nginx must not look at the piece any more.
    pub fn return_loan(&mut self) {
        self.lent = None;
    }

    fn point(&mut self, start: *const u8, length: usize) {
        // SAFETY: the buffer is ours until it is given to nginx. `memory` says that nobody may write into the
        // bytes, so that the `*mut` is for the type only; `bytes` or the lender keeps them in place.
        unsafe {
            let buffer = self.buffer().as_mut();
            buffer.start = start.cast_mut();
            buffer.pos = buffer.start;
            buffer.last = buffer.start.add(length);
            buffer.end = buffer.last;
            buffer.set_memory(1);
        }
    }

    /// Fills the piece with bytes that it owns from here on.
    pub fn fill(&mut self, bytes: Vec<u8>) {
        self.point(bytes.as_ptr(), bytes.len());
        self.bytes = bytes;
    }

    /// Fills the piece with bytes that a Python thread keeps in place.
    pub fn fill_lent(&mut self, lent: Lent) {
        self.point(lent.bytes().as_ptr(), lent.len());
        self.lent = Some(lent);
    }

    /// Fills the piece with a part of a file, which the request's pool closes; `false` when nginx has no
    /// memory.
    pub fn fill_file(&mut self, request: Request, file: OwnedFd, offset: u64, length: u64) -> bool {
        let (Ok(from), Ok(length)) = (off_t::try_from(offset), off_t::try_from(length)) else { return false };
        let pool = request.pool();
        // SAFETY: the request lives, and with it its pool; the descriptor goes to the pool's cleanup only
        // when everything that could fail has succeeded.
        unsafe {
            let Some(nginx_file) = file_of(pool, &file, request) else { return false };
            let cleanup = ngx_pool_cleanup_add(pool, size_of::<ngx_pool_cleanup_file_t>());
            if cleanup.is_null() {
                return false;
            }
            let closed: *mut ngx_pool_cleanup_file_t = (*cleanup).data.cast();
            (*closed).name = (*nginx_file).name.data;
            (*closed).log = (*nginx_file).log;
            (*closed).fd = file.into_raw_fd();
            (*cleanup).handler = Some(ngx_pool_cleanup_file);
            let buffer = self.buffer().as_mut();
            buffer.file = nginx_file;
            buffer.file_pos = from;
            buffer.file_last = from + length;
            buffer.set_in_file(1);
        }
        true
    }

    /// Asks the filters to put everything up to here on its way.
    pub fn set_flush(&mut self) {
        // SAFETY: the buffer is ours until it is given to nginx.
        unsafe { self.buffer().as_mut().set_flush(1) };
    }

    /// Says that the response ends here, as `ngx_http_send_special` does: a subrequest's end is not that of
    /// the response.
    pub fn set_last(&mut self, request: Request) {
        let empty = self.left() == 0;
        // SAFETY: the buffer is ours until it is given to nginx.
        let buffer = unsafe { self.buffer().as_mut() };
        if request.is_main() {
            buffer.set_last_buf(1);
        } else if empty {
            buffer.set_sync(1);
        }
        buffer.set_last_in_chain(1);
    }

    /// Says which piece comes behind this one.
    pub fn set_next(&mut self, next: Option<&Self>) {
        let next = next.map_or(std::ptr::null_mut(), |next| next.link.as_ptr());
        // SAFETY: the link is ours.
        unsafe { (*self.link.as_ptr()).next = next };
    }

    /// The bytes that nginx has not sent yet (`ngx_buf_size`).
    pub fn left(&self) -> u64 {
        // SAFETY: buffer and bytes live for as long as the piece.
        unsafe {
            let buffer = self.buffer().as_ref();
            let left = if buffer.in_file() != 0 {
                buffer.file_last - buffer.file_pos
            } else {
                buffer.last.offset_from(buffer.pos) as off_t
            };
            u64::try_from(left).unwrap_or(0)
        }
    }

    /// Whether it was filled with nothing: it only says something of what comes before it.
    pub fn is_special(&self) -> bool {
        // SAFETY: the buffer lives for as long as the piece.
        let buffer = unsafe { self.buffer().as_ref() };
        buffer.in_file() == 0 && buffer.memory() == 0
    }

    /// The first link of a chain, for nginx.
    const fn as_chain(&self) -> *mut ngx_chain_t {
        self.link.as_ptr()
    }
}

impl Request {
    /// Gives nginx a chain, or asks it to go on with what it has.
    pub fn output(self, first: Option<&Piece>) -> Code {
        let chain: *mut ngx_chain_t = first.map_or(std::ptr::null_mut(), Piece::as_chain);
        // SAFETY: the request lives; the chain's pieces stay until nginx has sent them (`output.rs`) or the
        // pool goes.
        unsafe { ngx_http_output_filter(self.raw(), chain) }
    }
}

/// An `ngx_file_t` for the descriptor.
///
/// # Safety
/// `pool` is the request's.
unsafe fn file_of(pool: *mut ngx_pool_t, file: &OwnedFd, request: Request) -> Option<*mut ngx_file_t> {
    const NAME: &std::ffi::CStr = c"file of a WSGI response";
    // SAFETY: the caller's promise; zeroed memory is an empty ngx_file_t.
    unsafe {
        let nginx_file: *mut ngx_file_t = ngx_pcalloc(pool, size_of::<ngx_file_t>()).cast();
        NonNull::new(nginx_file)?;
        (*nginx_file).fd = file.as_raw_fd();
        (*nginx_file).name.data = NAME.as_ptr().cast_mut().cast();
        (*nginx_file).name.len = NAME.count_bytes();
        (*nginx_file).log = request.log();
        Some(nginx_file)
    }
}
