//! The pipe of a buffered response (`ngx_event_pipe_t`), while its filter looks at a buffer that came from
//! the upstream.

use nginx_sys::{ngx_buf_t, ngx_event_pipe_add_free_buf, ngx_event_pipe_t};

use super::live::Live;
use super::request::Request;
use super::zeroed::Zeroed;
use super::{Code, ERROR, OK};

/// A pipe and the buffer that its filter was called with.
pub struct Pipe<'r> {
    pipe: Live<'r, ngx_event_pipe_t>,
    request: Request,
    buffer: Live<'r, ngx_buf_t>,
    /// The last piece of the buffer that was handed on.
    last: Option<Live<'r, ngx_buf_t>>,
}

impl<'r> Pipe<'r> {
    /// A pipe of a request.
    pub(super) const fn new(
        request: Request,
        pipe: Live<'r, ngx_event_pipe_t>,
        buffer: Live<'r, ngx_buf_t>,
    ) -> Self {
        Self { pipe, request, buffer, last: None }
    }

    /// What came.
    pub fn received(&self) -> &'r [u8] {
        self.buffer.bytes()
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
        self.pipe.set(1, |pipe, length| pipe.length = length);
        let Some(last) = self.last else {
            // SAFETY: the pipe's own buffer, nothing of which is in use.
            return unsafe { ngx_event_pipe_add_free_buf(self.pipe.as_ptr(), self.buffer.as_ptr()) };
        };
        // What compresses has to let it go as well.
        let flush = self.pipe.get(|pipe| pipe.upstream_done()) == 0;
        last.set((self.buffer.as_ptr(), flush), |last, (shadow, flush)| {
            last.shadow = shadow;
            last.set_last_shadow(1);
            last.set_flush(flush.into());
        });
        OK
    }

    /// Sends bytes of the buffer to the client. `ERROR` when nginx has no memory.
    pub fn send(&mut self, data: &[u8]) -> Code {
        let whole = self.buffer.get(|buffer| (buffer.start, buffer.end, buffer.num));
        let sent = data.as_ptr_range();
        if sent.start.addr() < whole.0.addr() || sent.end.addr() > whole.1.addr() {
            return ERROR;
        }
        let Some(link) = self.pipe.free().take_free(self.request) else { return ERROR };
        let tag = self.pipe.get(|pipe| pipe.tag);
        let piece = link.buffer();
        piece.set((sent, whole, tag), |piece, (sent, (start, end, num), tag)| {
            let (pos, last) = (sent.start.cast_mut(), sent.end.cast_mut());
            *piece = ngx_buf_t { pos, last, start, end, num, tag, ..ngx_buf_t::zeroed() };
            piece.set_temporary(1);
            piece.set_recycled(1);
        });
        self.last.unwrap_or(self.buffer).set(piece.as_ptr(), |last, piece| last.shadow = piece);
        self.last = Some(piece);
        // Where the chain is empty `last_in` leads nowhere; otherwise to the end of its last link.
        let end = self.pipe.last_in().filter(|_| self.pipe.get(|pipe| !pipe.in_.is_null()));
        let end = end.unwrap_or_else(|| self.pipe.in_()).append(link);
        self.pipe.set(end.as_ptr(), |pipe, end| pipe.last_in = end);
        OK
    }

    /// The response is complete.
    pub fn set_done(&mut self) {
        self.pipe.set(1, ngx_event_pipe_t::set_upstream_done);
    }

    /// The response will not be complete.
    pub fn set_error(&mut self) {
        self.pipe.set(1, ngx_event_pipe_t::set_upstream_error);
    }
}
