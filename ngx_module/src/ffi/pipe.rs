//! The pipe of a buffered response (`ngx_event_pipe_t`), while its filter looks at a buffer that came from
//! the upstream.

use std::marker::PhantomData;
use std::ptr::NonNull;

use nginx_sys::{ngx_buf_t, ngx_event_pipe_add_free_buf, ngx_event_pipe_t, ngx_str_t};

use super::links::{Link, length_of};
use super::request::Request;
use super::zeroed::Zeroed;
use super::{Code, ERROR, OK, bytes_of};

/// A pipe and the buffer that its filter was called with.
pub struct Pipe<'r> {
    raw: NonNull<ngx_event_pipe_t>,
    request: Request,
    buffer: NonNull<ngx_buf_t>,
    /// The last piece of the buffer that was handed on.
    last: Option<NonNull<ngx_buf_t>>,
    life: PhantomData<&'r mut ()>,
}

impl<'r> Pipe<'r> {
    /// # Safety
    /// nginx lends both to a callback that lasts for `'r`; the pipe is the request's.
    pub(super) unsafe fn new(
        request: Request,
        raw: *mut ngx_event_pipe_t,
        buffer: *mut ngx_buf_t,
    ) -> Option<Self> {
        let (raw, buffer) = (NonNull::new(raw)?, NonNull::new(buffer)?);
        Some(Self { raw, request, buffer, last: None, life: PhantomData })
    }

    fn get(&mut self) -> &mut ngx_event_pipe_t {
        // SAFETY: lives as long as the callback, and nobody else looks at it while this is borrowed.
        unsafe { self.raw.as_mut() }
    }

    /// The last piece that was handed on, or nginx's buffer where there is none.
    fn last(&mut self) -> &mut ngx_buf_t {
        // SAFETY: as for `get`; a piece is of the pipe's pool.
        unsafe { self.last.unwrap_or(self.buffer).as_mut() }
    }

    fn buffer(&self) -> &ngx_buf_t {
        // SAFETY: as for `get`.
        unsafe { self.buffer.as_ref() }
    }

    /// What came.
    pub fn received(&self) -> &'r [u8] {
        // SAFETY: `pos` to `last` are the buffer's own bytes, which nginx fills only outside of callbacks.
        unsafe { bytes_of(ngx_str_t { data: self.buffer().pos, len: length_of(self.buffer()) }) }
    }

    /// Has `read` look at the buffer, and gives it back to nginx: now, or when the last piece of it is sent
    /// (`ngx_http_fastcgi_input_filter`).
    pub(super) fn filter(&mut self, read: impl FnOnce(&mut Self) -> Code) -> Code {
        if self.received().is_empty() {
            return OK;
        }
        let code = read(self);
        if code != OK {
            return code;
        }
        // Whatever comes is handed on at once.
        self.get().length = 1;
        let (shadow, flush) = (self.buffer.as_ptr(), self.get().upstream_done() == 0);
        if self.last.is_none() {
            // SAFETY: the pipe's own buffer, nothing of which is in use.
            return unsafe { ngx_event_pipe_add_free_buf(self.get(), shadow) };
        }
        let last = self.last();
        last.shadow = shadow;
        last.set_last_shadow(1);
        // What compresses has to let it go as well.
        last.set_flush(flush.into());
        OK
    }

    /// Sends bytes of the buffer to the client. `ERROR` when nginx has no memory.
    pub fn send(&mut self, data: &[u8]) -> Code {
        let (start, buffer) = (data.as_ptr().cast_mut(), self.buffer());
        let (from, to, number) = (buffer.start, buffer.end, buffer.num);
        if start.addr() < from.addr() || start.addr() + data.len() > to.addr() {
            return ERROR;
        }
        let request = self.request;
        let pipe = self.get();
        let Some(mut link) = Link::reused(request, &mut pipe.free) else { return ERROR };
        let tag = pipe.tag;
        let piece = link.buffer();
        *piece = ngx_buf_t::zeroed();
        (piece.pos, piece.last) = (start, start.wrapping_add(data.len()));
        (piece.start, piece.end, piece.num, piece.tag) = (from, to, number, tag);
        piece.set_temporary(1);
        piece.set_recycled(1);
        let piece = NonNull::from(piece);
        self.last().shadow = piece.as_ptr();
        self.last = Some(piece);
        let pipe = self.get();
        // SAFETY: where the chain is empty `last_in` is not looked at, and otherwise it is the end of its
        // last link.
        let end = if pipe.in_.is_null() { &mut pipe.in_ } else { unsafe { &mut *pipe.last_in } };
        pipe.last_in = link.append_to(end);
        OK
    }

    /// The response is complete.
    pub fn set_done(&mut self) {
        self.get().set_upstream_done(1);
    }

    /// The response will not be complete.
    pub fn set_error(&mut self) {
        self.get().set_upstream_error(1);
    }
}
