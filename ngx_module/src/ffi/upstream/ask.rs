//! The request as frames: the head, and nginx's buffers of the body between headers of ours.

use std::ptr::NonNull;

use nginx_sys::{
    NGX_ERROR, ngx_alloc_chain_link, ngx_buf_t, ngx_chain_get_free_buf, ngx_chain_t, ngx_chain_update_chains,
    ngx_chain_writer, ngx_http_upstream_t, ngx_palloc, ngx_pool_t, off_t,
};
use shared::http::body::BodyLength;
use shared::wire::frame::LONGEST_DATA;
use shared::wire::{BodyMode, HEADER, Kind, encode};

use super::super::{Code, ERROR, OK};
use super::{Asking, cache, receive, tag};
use crate::request;

/// A body that is not longer is copied behind the head, so that the request leaves in one call to the system.
const COPIED: u64 = 16 * 1024;

/// The frames of a request, as far as their numbers are not known before there is a connection.
#[derive(Default)]
pub(super) struct Frames {
    number: u16,
    /// The first buffer, which begins with the hello.
    first: Option<NonNull<ngx_buf_t>>,
    memory: Option<NonNull<u8>>,
    hello: usize,
    /// Where the header of each frame lies.
    headers: Vec<NonNull<u8>>,
    /// Headers of a streamed body, to be used again.
    free: Chain,
    busy: Chain,
    /// The end of a streamed body was said.
    body_ended: bool,
}

struct Chain(*mut ngx_chain_t);

impl Default for Chain {
    fn default() -> Self {
        Self(std::ptr::null_mut())
    }
}

impl Frames {
    /// Gives the frames the number of their exchange, and says hello where the connection is new.
    pub(super) fn renumber(&mut self, number: u16, greet: bool) {
        self.number = number;
        self.body_ended = false;
        let [low, high] = number.to_le_bytes();
        for header in &self.headers {
            // SAFETY: each is the beginning of eight bytes in the request's memory.
            unsafe {
                header.as_ptr().add(6).write(low);
                header.as_ptr().add(7).write(high);
            }
        }
        if let (Some(mut first), Some(memory)) = (self.first, self.memory) {
            // SAFETY: the buffer and its memory are the request's, and begin with the hello.
            unsafe {
                let buffer = first.as_mut();
                buffer.start = memory.as_ptr().add(if greet { 0 } else { self.hello });
                buffer.pos = buffer.start;
            }
        }
    }
}

/// Puts buffers in a row.
struct Row {
    pool: *mut ngx_pool_t,
    first: *mut ngx_chain_t,
    last: *mut *mut ngx_chain_t,
}

impl Row {
    /// Adds a buffer; `None` when nginx has no memory.
    fn add(&mut self) -> Option<&mut ngx_buf_t> {
        // SAFETY: the pool lives as long as the request; `last` is null at first, and then the end of the last link.
        unsafe {
            let link = ngx_alloc_chain_link(self.pool);
            let buffer: *mut ngx_buf_t = nginx_sys::ngx_pcalloc(self.pool, size_of::<ngx_buf_t>()).cast();
            if link.is_null() || buffer.is_null() {
                return None;
            }
            (*link).buf = buffer;
            (*link).next = std::ptr::null_mut();
            if self.last.is_null() {
                self.first = link
            } else {
                *self.last = link
            }
            self.last = &raw mut (*link).next;
            // Without a tag it stays ours: nginx fills buffers of its own tag anew, and another try sends the same ones again.
            Some(&mut *buffer)
        }
    }

    /// Adds bytes of the request's memory.
    fn add_bytes(&mut self, bytes: &[u8]) -> Option<NonNull<u8>> {
        // SAFETY: the new memory has room for the bytes.
        let memory = unsafe {
            let memory: *mut u8 = ngx_palloc(self.pool, bytes.len()).cast();
            let memory = NonNull::new(memory)?;
            memory.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            memory
        };
        let buffer = self.add()?;
        // SAFETY: the end of what was just written.
        buffer.last = unsafe { memory.as_ptr().add(bytes.len()) };
        (buffer.start, buffer.pos, buffer.end) = (memory.as_ptr(), memory.as_ptr(), buffer.last);
        buffer.set_temporary(1);
        Some(memory)
    }
}

impl Asking {
    pub(super) fn create_request(&mut self, upstream: &mut ngx_http_upstream_t) -> Code {
        self.note_untouched(upstream);
        self.try_create(upstream).map_or(ERROR, |()| OK)
    }

    fn try_create(&mut self, upstream: &mut ngx_http_upstream_t) -> Option<()> {
        let request = self.request;
        let conf = request.location()?;
        // nginx takes it back where the whole body came with the head.
        self.streamed &= request.is_unbuffered();
        // A subrequest has nothing of the main request's body.
        let stored = !self.streamed && request.is_main() && !request.is_reading_body();
        let length: u64 = if stored { request.body_parts().map(|part| part.len()).sum() } else { 0 };
        let known = if self.streamed {
            BodyLength::AsAnnounced
        } else {
            request::announced(&request).when_read(stored.then_some(length))
        };
        let mode = match (self.streamed, known) {
            (true, _) => BodyMode::Pushed,
            (false, BodyLength::Known(length)) if length > 0 => BodyMode::Pushed,
            _ => BodyMode::None,
        };
        let for_cache = cache::asks_for(&request, upstream);
        self.head_only &= !for_cache.as_ref().is_some_and(|asked| asked.as_get);
        let head = request::pack(&request, conf, known, for_cache.as_ref())?;
        let mut bytes = Vec::with_capacity(1024);
        encode::hello(&mut bytes);
        let mut frames = vec![bytes.len()];
        self.frames.hello = bytes.len();
        if !encode::request(&mut bytes, 0, self.mount.as_bytes(), head.as_bytes(), mode) {
            return None;
        }
        let is_copied = stored && mode == BodyMode::Pushed && length <= COPIED && request.body_is_in_memory();
        if is_copied {
            frames.push(bytes.len());
            bytes.extend_from_slice(&encode::header(Kind::Body, 0, usize::try_from(length).ok()?));
            for part in request.body_parts() {
                if let super::super::request_body::Part::Memory(part) = part {
                    bytes.extend_from_slice(part);
                }
            }
            frames.push(bytes.len());
            encode::body_end(&mut bytes, 0);
        }
        let mut row = Row { pool: request.pool(), first: std::ptr::null_mut(), last: std::ptr::null_mut() };
        let memory = row.add_bytes(&bytes)?;
        // SAFETY: the row has one link, and the frames begin within the memory.
        unsafe {
            self.frames.first = NonNull::new((*row.first).buf);
            self.frames.headers = frames.iter().map(|at| memory.add(*at)).collect();
        }
        self.frames.memory = Some(memory);
        if stored && mode == BodyMode::Pushed && !is_copied {
            self.add_body(&mut row, upstream.request_bufs)?;
        }
        upstream.request_bufs = row.first;
        Some(())
    }

    /// Adds nginx's buffers of the body, in portions of a frame each.
    fn add_body(&mut self, row: &mut Row, mut link: *mut ngx_chain_t) -> Option<()> {
        while !link.is_null() {
            // SAFETY: the links of a body's chain, and their buffers, live as long as the request.
            let original = unsafe { &*(*link).buf };
            // SAFETY: as above.
            link = unsafe { (*link).next };
            let is_file = original.in_file() != 0;
            let length = if is_file {
                usize::try_from(original.file_last - original.file_pos).ok()?
            } else {
                // SAFETY: a buffer in memory is one run of bytes.
                usize::try_from(unsafe { original.last.offset_from(original.pos) }).ok()?
            };
            let mut done = 0;
            while done < length {
                let portion = (length - done).min(LONGEST_DATA);
                let header = row.add_bytes(&encode::header(Kind::Body, 0, portion))?;
                self.frames.headers.push(header);
                let buffer = row.add()?;
                if is_file {
                    buffer.set_in_file(1);
                    buffer.file = original.file;
                    buffer.file_pos = original.file_pos + off_t::try_from(done).ok()?;
                    buffer.file_last = buffer.file_pos + off_t::try_from(portion).ok()?;
                } else {
                    // SAFETY: within the original's bytes.
                    unsafe {
                        buffer.pos = original.pos.add(done);
                        buffer.last = buffer.pos.add(portion);
                    }
                    (buffer.start, buffer.end) = (buffer.pos, buffer.last);
                    buffer.set_temporary(1);
                }
                done += portion;
            }
        }
        let header = row.add_bytes(&encode::header(Kind::BodyEnd, 0, 0))?;
        self.frames.headers.push(header);
        Some(())
    }

    /// Sends what nginx's output chain hands over (`u->output.output_filter`); of a streamed body each part gets its header.
    pub(super) fn send(&mut self, chain: *mut ngx_chain_t) -> Code {
        // SAFETY: the upstream and its connection live while nginx sends over it.
        unsafe {
            let upstream = &mut *(*self.request.raw()).upstream;
            if !upstream.peer.connection.is_null() {
                receive::take_over(upstream.peer.connection);
            }
            if !self.streamed {
                return ngx_chain_writer((&raw mut upstream.writer).cast(), chain);
            }
            let Some(mut out) = self.frame_stream(chain) else { return NGX_ERROR as Code };
            let code = ngx_chain_writer((&raw mut upstream.writer).cast(), out);
            ngx_chain_update_chains(
                (*self.request.raw()).pool,
                &raw mut self.frames.free.0,
                &raw mut self.frames.busy.0,
                &raw mut out,
                tag(),
            );
            code
        }
    }

    /// # Safety
    /// nginx lends the chain, and the request lives.
    unsafe fn frame_stream(&mut self, chain: *mut ngx_chain_t) -> Option<*mut ngx_chain_t> {
        // SAFETY: the caller's promise; new links and buffers are the request's.
        unsafe {
            let pool = (*self.request.raw()).pool;
            let mut first: *mut ngx_chain_t = std::ptr::null_mut();
            let mut last: *mut *mut ngx_chain_t = &raw mut first;
            let mut append = |link: *mut ngx_chain_t| {
                *last = link;
                last = &raw mut (*link).next;
                (*link).next = std::ptr::null_mut();
            };
            let mut link = chain;
            while !link.is_null() {
                let buffer = (*link).buf;
                link = (*link).next;
                let length = usize::try_from((*buffer).last.offset_from((*buffer).pos)).unwrap_or(0);
                let is_head = Some(buffer) == self.frames.first.map(NonNull::as_ptr);
                if !is_head && length > 0 {
                    let header = encode::header(Kind::Body, self.frames.number, length);
                    append(self.header_link(pool, &header)?);
                }
                if length > 0 {
                    let copied = ngx_alloc_chain_link(pool);
                    if copied.is_null() {
                        return None;
                    }
                    (*copied).buf = buffer;
                    append(copied);
                }
            }
            if !self.request.is_reading_body() && !self.frames.body_ended {
                self.frames.body_ended = true;
                let header = encode::header(Kind::BodyEnd, self.frames.number, 0);
                append(self.header_link(pool, &header)?);
            }
            Some(first)
        }
    }

    /// # Safety
    /// `pool` is the request's.
    unsafe fn header_link(
        &mut self,
        pool: *mut ngx_pool_t,
        header: &[u8; HEADER],
    ) -> Option<*mut ngx_chain_t> {
        // SAFETY: the caller's promise; a buffer that is free is ours, with or without its eight bytes.
        unsafe {
            let link = ngx_chain_get_free_buf(pool, &raw mut self.frames.free.0);
            if link.is_null() {
                return None;
            }
            let buffer = &mut *(*link).buf;
            if buffer.start.is_null() {
                let memory: *mut u8 = ngx_palloc(pool, HEADER).cast();
                if memory.is_null() {
                    return None;
                }
                (buffer.start, buffer.end) = (memory, memory.add(HEADER));
                buffer.tag = tag();
                buffer.set_temporary(1);
            }
            buffer.start.copy_from_nonoverlapping(header.as_ptr(), HEADER);
            (buffer.pos, buffer.last) = (buffer.start, buffer.start.add(HEADER));
            Some(link)
        }
    }
}
