//! The response in nginx's upstream: the buffer that it comes into, its head, and what of it goes to the
//! client.

use std::os::fd::OwnedFd;

use nginx_sys::{
    ngx_buf_t, ngx_hash_find, ngx_http_request_t, ngx_http_upstream_header_t, ngx_http_upstream_t, ngx_int_t,
    ngx_str_t, ngx_table_elt_t, off_t,
};

use super::links::{Link, length_of, tag};
use super::module::HttpUpstream;
use super::request::Request;
use super::response_headers::push_header;
use super::upstream::Upstream;
use super::zeroed::Zeroed;
use super::{Code, ERROR, OK};

type Handler = unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_table_elt_t, usize) -> ngx_int_t;

/// How nginx acts upon a header of an upstream, if it does, and what else the function takes.
fn known_header(request: Request, hash: usize, low: ngx_str_t) -> Option<(Handler, usize)> {
    let hashes = request.live().confs().main_live::<HttpUpstream>()?.headers_in_hash().as_ptr();
    // SAFETY: the table is made with the configuration, of entries of this type; the name lives for the call.
    let known = unsafe {
        ngx_hash_find(hashes, hash, low.data, low.len).cast::<ngx_http_upstream_header_t>().as_ref()
    };
    known.and_then(|known| Some((known.handler?, known.offset)))
}

impl<'r> Upstream<'r> {
    /// What has come and was not read.
    pub fn unread(&self) -> &'r [u8] {
        self.live().buffer().bytes()
    }

    /// Notes that so many bytes of it were read.
    pub fn consume(&mut self, count: usize) {
        self.live().buffer().set(count, |buffer, count| {
            buffer.pos = buffer.pos.wrapping_add(count.min(length_of(buffer)));
        });
    }

    /// Moves what was not read to where a response begins in the buffer: behind what a cache puts before it.
    /// What was read before is not a part of what is cached, and its room can be used again.
    pub fn compact_buffer(&mut self) {
        let offset = self.cache().map_or(0, |cache| cache.get(|cache| cache.header_start));
        self.live().buffer().set(offset, |buffer, offset| {
            let size = buffer.end.addr().saturating_sub(buffer.start.addr());
            let (start, length) = (buffer.start.wrapping_add(offset.min(size)), length_of(buffer));
            if buffer.pos.addr() > start.addr() {
                // SAFETY: `pos` to `last` lie within the buffer, and `start` before them; slices of `unread`
                // are not looked at any more.
                unsafe { start.copy_from(buffer.pos, length) };
                (buffer.pos, buffer.last) = (start, start.wrapping_add(length));
            }
        });
    }

    /// Takes so many bytes that nginx has put behind the buffer's end (`input_filter`).
    pub fn take_received(&mut self, count: usize) -> &'r [u8] {
        self.live().buffer().set(count, |buffer, count| {
            let room = buffer.end.addr().saturating_sub(buffer.last.addr());
            buffer.pos = buffer.last;
            buffer.last = buffer.last.wrapping_add(count.min(room));
        });
        self.unread()
    }

    /// Whether the head comes out of nginx's cache.
    pub fn is_cached(&self) -> bool {
        self.request().get(|request| request.cached()) != 0
    }

    /// Sets the response's status, and its line where that says more.
    pub fn set_status(&mut self, status: u16, line: Option<&[u8]>) -> bool {
        let line = match line.map(|line| self.request().copy(line)) {
            Some(None) => return false,
            Some(line) => line,
            None => None,
        };
        self.live().set((status, line), |u, (status, line)| {
            u.headers_in.status_n = status.into();
            u.headers_in.status_line = line.unwrap_or(u.headers_in.status_line);
        });
        true
    }

    /// Sets `$upstream_status`, unless it was said; what comes out of the cache has none.
    pub fn set_state_status(&mut self, status: u16) {
        if let Some(state) = self.live().state().filter(|state| state.get(|state| state.status) == 0) {
            state.set(status, |state, status| state.status = status.into());
        }
    }

    /// Adds a header to nginx's list and has nginx act upon it (`ngx_http_uwsgi_process_header`).
    pub fn add_header(&mut self, name: &[u8], value: &[u8]) -> Code {
        let lowered = name.to_ascii_lowercase();
        let request = self.request();
        let (Some(key), Some(value), Some(low)) =
            (request.copy(name), request.copy(value), request.copy(&lowered))
        else {
            return ERROR;
        };
        // ngx_hash: the key of nginx's own tables.
        let hash =
            lowered.iter().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let mut header = ngx_table_elt_t { hash, key, value, ..ngx_table_elt_t::zeroed() };
        header.lowcase_key = low.data;
        // SAFETY: the upstream's list of headers.
        let Some(field) = (unsafe { push_header(self.live().headers_in().headers(), header) }) else {
            return ERROR;
        };
        match known_header(request, hash, low) {
            // SAFETY: the handler takes a request with an upstream, and a header of its list.
            Some((handler, offset)) => unsafe { handler(request.raw(), field.as_ptr(), offset) },
            None => OK,
        }
    }

    /// Says whether more of an unbuffered response comes, or of a buffered one that has not begun: a number
    /// that is neither "none" nor "until the connection ends", since only an end is an end.
    pub fn set_more(&mut self, more: bool) {
        let length = off_t::from(more);
        self.live().set(length, |u, length| u.length = length);
        if let Some(pipe) = self.live().pipe() {
            pipe.set(length, |pipe, length| pipe.length = length);
        }
    }

    /// Ends an unbuffered response before it is complete.
    pub fn set_error(&mut self) {
        self.live().set(1, ngx_http_upstream_t::set_error);
    }

    /// Sends bytes of the upstream's buffer to the client.
    pub fn send_received(&mut self, data: &[u8]) -> bool {
        let (from, to) = self.live().buffer().get(|buffer| (buffer.start, buffer.last));
        let sent = data.as_ptr_range();
        if sent.start.addr() < from.addr() || sent.end.addr() > to.addr() {
            return false;
        }
        let Some(link) = self.live().free_bufs().take_free(self.request()) else { return false };
        link.buffer().set(sent, |piece, sent| {
            let (pos, last) = (sent.start.cast_mut(), sent.end.cast_mut());
            *piece = ngx_buf_t { pos, last, tag: tag(), ..ngx_buf_t::zeroed() };
            piece.set_flush(1);
            piece.set_memory(1);
        });
        self.live().out_bufs().append(link);
        true
    }

    /// Sends a range of a file to the client; the request's pool closes the file.
    pub fn send_file(&mut self, file: OwnedFd, from: off_t, to: off_t) -> bool {
        let request = self.request();
        let Some(link) = Link::new(request) else { return false };
        let Some(file) = request.pool().file(file, c"wsgi", request.log()) else { return false };
        link.buffer().set((file.as_ptr(), from, to), |piece, (file, from, to)| {
            piece.set_in_file(1);
            piece.set_flush(1);
            piece.file = file;
            (piece.file_pos, piece.file_last) = (from, to);
        });
        self.live().out_bufs().append(link);
        true
    }
}
