//! Chain links with their buffers: what nginx's output filters take.

use std::os::fd::OwnedFd;

use nginx_sys::{ngx_buf_t, ngx_chain_t, ngx_http_output_filter, off_t};

use shared::relay::loan::Lent;

use super::Code;
use super::live::{Live, pointer};
use super::request::Request;
use super::zeroed::Zeroed;

/// A chain link and its buffer, of a request's pool.
#[derive(Debug)]
pub struct Piece {
    link: Live<'static, ngx_chain_t>,
    buffer: Live<'static, ngx_buf_t>,
    /// What the buffer points to, where that is ours.
    bytes: Vec<u8>,
    /// Or a Python thread's, which goes on when this is dropped.
    lent: Option<Lent>,
}

impl Piece {
    /// An empty piece; `None` when nginx has no memory.
    pub fn new(request: Request) -> Option<Self> {
        let buffer = request.pool().alloc(ngx_buf_t::zeroed())?;
        let link = request.pool().link_to(buffer)?;
        Some(Self { link, buffer, bytes: Vec::new(), lent: None })
    }

    /// Empties the piece for its next use, when nginx is done with it ([`Piece::left`] is 0); how many bytes
    /// of ours it held.
    pub fn clear(&mut self) -> usize {
        self.buffer.set(ngx_buf_t::zeroed(), |buffer, empty| *buffer = empty);
        self.set_next(None);
        self.lent = None;
        std::mem::take(&mut self.bytes).len()
    }

    /// Returns what was lent. nginx must not look at the piece any more.
    pub fn return_loan(&mut self) {
        self.lent = None;
    }

    /// Points the buffer to bytes that `bytes` or the lender keeps in place. `memory` says that nobody may
    /// write into them, so that the `*mut` is for the type only.
    fn point(&mut self, bytes: &[u8]) {
        let range = bytes.as_ptr_range();
        self.buffer.set((range.start.cast_mut(), range.end.cast_mut()), |buffer, (start, end)| {
            (buffer.start, buffer.pos) = (start, start);
            (buffer.last, buffer.end) = (end, end);
            buffer.set_memory(1);
        });
    }

    /// Fills the piece with bytes that it owns from here on.
    pub fn fill(&mut self, bytes: Vec<u8>) {
        self.point(&bytes);
        self.bytes = bytes;
    }

    /// Fills the piece with bytes that a Python thread keeps in place.
    pub fn fill_lent(&mut self, lent: Lent) {
        self.point(lent.bytes());
        self.lent = Some(lent);
    }

    /// Fills the piece with a part of a file, which the request's pool closes; `false` when nginx has no
    /// memory.
    pub fn fill_file(&mut self, request: Request, file: OwnedFd, offset: u64, length: u64) -> bool {
        let (Ok(from), Ok(length)) = (off_t::try_from(offset), off_t::try_from(length)) else { return false };
        let Some(file) = request.pool().file(file, c"file of a WSGI response", request.log()) else {
            return false;
        };
        self.buffer.set((file.as_ptr(), from, from + length), |buffer, (file, from, to)| {
            buffer.file = file;
            (buffer.file_pos, buffer.file_last) = (from, to);
            buffer.set_in_file(1);
        });
        true
    }

    /// Asks the filters to put everything up to here on its way.
    pub fn set_flush(&mut self) {
        self.buffer.set(1, ngx_buf_t::set_flush);
    }

    /// Says that the response ends here, as `ngx_http_send_special` does: a subrequest's end is not that of
    /// the response.
    pub fn set_last(&mut self, request: Request) {
        if request.is_main() {
            self.buffer.set(1, ngx_buf_t::set_last_buf);
        } else if self.left() == 0 {
            self.buffer.set(1, ngx_buf_t::set_sync);
        }
        self.buffer.set(1, ngx_buf_t::set_last_in_chain);
    }

    /// Says which piece comes behind this one.
    pub fn set_next(&mut self, next: Option<&Self>) {
        self.link.set(pointer(next.map(|next| next.link)), |link, next| link.next = next);
    }

    /// The bytes that nginx has not sent yet (`ngx_buf_size`).
    pub fn left(&self) -> u64 {
        self.buffer.size()
    }

    /// Whether it was filled with nothing: it only says something of what comes before it.
    pub fn is_special(&self) -> bool {
        self.buffer.get(|buffer| buffer.in_file() | buffer.memory()) == 0
    }
}

impl Request {
    /// Gives nginx a chain, or asks it to go on with what it has.
    pub fn output(self, first: Option<&Piece>) -> Code {
        // SAFETY: the request lives; the chain's pieces stay until nginx has sent them (`output.rs`) or the
        // pool goes.
        unsafe { ngx_http_output_filter(self.raw(), pointer(first.map(|first| first.link))) }
    }
}
