//! The response in nginx's upstream: the buffer that it comes into, its head, and what of it goes to the
//! client.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr::NonNull;

use nginx_sys::{
    ngx_buf_t, ngx_file_t, ngx_http_upstream_header_t, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_list_push, ngx_pool_cleanup_add, ngx_pool_cleanup_file,
    ngx_pool_cleanup_file_t, ngx_str_t, ngx_table_elt_t, off_t,
};

use super::links::{Link, length_of, tag};
use super::upstream::Upstream;
use super::upstream_conf::text;
use super::zeroed::Zeroed;
use super::{Code, ERROR, OK, bytes_of};

impl<'r> Upstream<'r> {
    /// What has come and was not read.
    pub fn unread(&self) -> &'r [u8] {
        let buffer = &self.get().buffer;
        // SAFETY: `pos` to `last` are bytes of the request's memory, which nginx fills only outside of
        // callbacks.
        unsafe { bytes_of(ngx_str_t { data: buffer.pos, len: length_of(buffer) }) }
    }

    /// Notes that so many bytes of it were read.
    pub fn consume(&mut self, count: usize) {
        let buffer = &mut self.get_mut().buffer;
        buffer.pos = buffer.pos.wrapping_add(count.min(length_of(buffer)));
    }

    /// Moves what was not read to where a response begins in the buffer: behind what a cache puts before it.
    /// What was read before is not a part of what is cached, and its room can be used again.
    pub fn compact_buffer(&mut self) {
        let offset = self.cache().map_or(0, |cache| cache.header_start);
        let buffer = &mut self.get_mut().buffer;
        let size = buffer.end.addr().saturating_sub(buffer.start.addr());
        let (start, length) = (buffer.start.wrapping_add(offset.min(size)), length_of(buffer));
        if buffer.pos.addr() <= start.addr() {
            return;
        }
        // SAFETY: `pos` to `last` lie within the buffer, and `start` before them; `unread` of before is not
        // looked at any more.
        unsafe { start.copy_from(buffer.pos, length) };
        (buffer.pos, buffer.last) = (start, start.wrapping_add(length));
    }

    /// Takes so many bytes that nginx has put behind the buffer's end (`input_filter`).
    pub fn take_received(&mut self, count: usize) -> &'r [u8] {
        let buffer = &mut self.get_mut().buffer;
        let room = buffer.end.addr().saturating_sub(buffer.last.addr());
        buffer.pos = buffer.last;
        buffer.last = buffer.last.wrapping_add(count.min(room));
        self.unread()
    }

    /// Whether the head comes out of nginx's cache.
    pub fn is_cached(&self) -> bool {
        self.request().get().cached() != 0
    }

    /// Sets the response's status, and its line where that says more.
    pub fn set_status(&mut self, status: u16, line: Option<&[u8]>) -> bool {
        let line = match line.map(|line| self.request().copy(line)) {
            Some(None) => return false,
            Some(line) => line,
            None => None,
        };
        let headers = &mut self.get_mut().headers_in;
        headers.status_n = status.into();
        if let Some(line) = line {
            headers.status_line = line;
        }
        true
    }

    /// Sets `$upstream_status`, unless it was said; what comes out of the cache has none.
    pub fn set_state_status(&mut self, status: u16) {
        // SAFETY: null, or of the request's memory.
        if let Some(state) = unsafe { self.get_mut().state.as_mut() } {
            if state.status == 0 {
                state.status = status.into();
            }
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
        let headers = &raw mut self.get_mut().headers_in.headers;
        // SAFETY: the list is the upstream's; the new element is written before anyone reads it, and zeroes
        // are a valid one. The table of known headers is made with the configuration.
        unsafe {
            let Some(field) = NonNull::<ngx_table_elt_t>::new(ngx_list_push(headers).cast()) else {
                return ERROR;
            };
            let mut header = ngx_table_elt_t::zeroed();
            (header.hash, header.key, header.value, header.lowcase_key) = (hash, key, value, low.data);
            field.write(header);
            let main: *mut ngx_http_upstream_main_conf_t =
                (*request.get().main_conf.add(ngx_http_upstream_module.ctx_index)).cast();
            let known = nginx_sys::ngx_hash_find(&raw mut (*main).headers_in_hash, hash, low.data, low.len)
                .cast::<ngx_http_upstream_header_t>();
            match known.as_ref().and_then(|known| Some((known.handler?, known.offset))) {
                Some((handler, offset)) => handler(request.raw(), field.as_ptr(), offset),
                None => OK,
            }
        }
    }

    /// Says whether more of an unbuffered response comes, or of a buffered one that has not begun: a number
    /// that is neither "none" nor "until the connection ends", since only an end is an end.
    pub fn set_more(&mut self, more: bool) {
        let length = off_t::from(more);
        let u = self.get_mut();
        u.length = length;
        // SAFETY: null, or of the request's memory.
        if let Some(pipe) = unsafe { u.pipe.as_mut() } {
            pipe.length = length;
        }
    }

    /// Ends an unbuffered response before it is complete.
    pub fn set_error(&mut self) {
        self.get_mut().set_error(1);
    }

    /// Sends bytes of the upstream's buffer to the client.
    pub fn send_received(&mut self, data: &[u8]) -> bool {
        let (start, buffer) = (data.as_ptr().cast_mut(), &self.get().buffer);
        let (from, to) = (buffer.start.addr(), buffer.last.addr());
        if start.addr() < from || start.addr() + data.len() > to {
            return false;
        }
        let Some(mut link) = Link::reused(self.request(), &mut self.get_mut().free_bufs) else {
            return false;
        };
        *link.buffer() = ngx_buf_t::zeroed();
        let piece = link.buffer();
        piece.set_flush(1);
        piece.set_memory(1);
        (piece.pos, piece.last) = (start, start.wrapping_add(data.len()));
        piece.tag = tag();
        link.append_to(&mut self.get_mut().out_bufs);
        true
    }

    /// Sends a range of a file to the client; the request's pool closes the file.
    pub fn send_file(&mut self, file: OwnedFd, from: off_t, to: off_t) -> bool {
        let (request, name) = (self.request(), text(c"wsgi"));
        let Some(mut link) = Link::new(request) else { return false };
        // SAFETY: the request lives, and with it its pool; the descriptor goes to the pool's cleanup when
        // nothing can fail any more.
        let described = unsafe {
            let pool = request.pool();
            let described: *mut ngx_file_t = nginx_sys::ngx_pcalloc(pool, size_of::<ngx_file_t>()).cast();
            let cleanup = ngx_pool_cleanup_add(pool, size_of::<ngx_pool_cleanup_file_t>());
            let (Some(described), Some(cleanup)) = (described.as_mut(), cleanup.as_mut()) else {
                return false;
            };
            (described.fd, described.name, described.log) = (file.into_raw_fd(), name, request.log());
            let closing: *mut ngx_pool_cleanup_file_t = cleanup.data.cast();
            closing.write(ngx_pool_cleanup_file_t { fd: described.fd, name: name.data, log: described.log });
            cleanup.handler = Some(ngx_pool_cleanup_file);
            described
        };
        let piece = link.buffer();
        piece.set_in_file(1);
        piece.set_flush(1);
        piece.file = described;
        (piece.file_pos, piece.file_last) = (from, to);
        link.append_to(&mut self.get_mut().out_bufs);
        true
    }
}
