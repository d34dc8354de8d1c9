//! The worker's frames as nginx's response.

use std::os::fd::IntoRawFd;

use nginx_sys::{
    NGX_HTTP_UPSTREAM_INVALID_HEADER, ngx_buf_t, ngx_chain_get_free_buf, ngx_chain_t,
    ngx_event_pipe_add_free_buf, ngx_event_pipe_t, ngx_file_t, ngx_hash_find, ngx_http_upstream_header_t,
    ngx_http_upstream_main_conf_t, ngx_http_upstream_module, ngx_http_upstream_t, ngx_list_push, ngx_pcalloc,
    ngx_pool_cleanup_add, ngx_pool_cleanup_file, ngx_pool_cleanup_file_t, ngx_str_t, ngx_table_elt_t, off_t,
};
use shared::log::Level;
use shared::wire::decode::{Side, header};
use shared::wire::{Frame, HEADER, Kind, Reader, WireError};
use shared::wsgi::response::OwnedResponseHead;

use super::{Asking, retry, tag};
use crate::ffi::response_headers::Slot;
use crate::ffi::{AGAIN, Code, ERROR, OK};
use crate::log;

const INVALID_HEADER: Code = NGX_HTTP_UPSTREAM_INVALID_HEADER as Code;

/// What a frame before the body asks for.
enum Step {
    More,
    Head(OwnedResponseHead, bool),
    Failed(u16, u16),
    Unbegun,
}

/// What a frame of the body is.
enum Piece {
    Data(*mut u8, usize),
    File(u64, u64),
    End,
    Cut,
    Nothing,
}

impl Asking {
    fn log(&self, level: Level, message: &[u8]) {
        log::request(self.request, level, message);
    }

    fn complain(&self, error: WireError) {
        let text = format!("process group {}: its process sent {error}", self.group.name);
        self.log(Level::Error, text.as_bytes());
    }

    pub(crate) fn process_header(&mut self, upstream: &mut ngx_http_upstream_t) -> Code {
        // SAFETY: the request lives.
        if unsafe { (*self.request.raw()).cached() } != 0 {
            return self.process_cached(upstream);
        }
        loop {
            let bytes = unread(upstream);
            let (step, used) = match self.step(upstream, bytes) {
                Ok(Some(step)) => step,
                Ok(None) => return AGAIN,
                Err(error) => {
                    self.complain(error);
                    return INVALID_HEADER;
                }
            };
            // SAFETY: so much of the buffer was read.
            upstream.buffer.pos = unsafe { upstream.buffer.pos.add(used) };
            match step {
                Step::More if used < bytes.len() => {}
                Step::More => {
                    // Nothing of the head is in the buffer, which has room again.
                    let start = self.header_start(upstream);
                    (upstream.buffer.pos, upstream.buffer.last) = (start, start);
                    return AGAIN;
                }
                Step::Head(head, is_file) => return self.take_head(upstream, &head, is_file),
                Step::Failed(status, retry_after) => return self.fail(upstream, status, retry_after),
                Step::Unbegun => {
                    self.was_never_started = true;
                    self.ask_anybody(upstream);
                    return INVALID_HEADER;
                }
            }
        }
    }

    /// Where the head begins in the buffer: behind what a cache puts before it.
    fn header_start(&self, upstream: &ngx_http_upstream_t) -> *mut u8 {
        // SAFETY: the request lives, and with it its cache, if it has one.
        unsafe {
            let cache = (*self.request.raw()).cache;
            let offset = if cache.is_null() { 0 } else { (*cache).header_start };
            upstream.buffer.start.add(offset)
        }
    }

    /// Reads one frame before the body; `None` when more has to come first.
    fn step(
        &mut self,
        upstream: &ngx_http_upstream_t,
        bytes: &[u8],
    ) -> Result<Option<(Step, usize)>, WireError> {
        let Some(link) = &mut self.link else { return Err(WireError::NotNeat) };
        // A head that is to be cached has to lie in the buffer as a whole.
        if upstream.cacheable() != 0 && !link.reader.is_in_frame() {
            match header(bytes, Side::Worker)? {
                Some(header) if header.kind == Kind::Head && bytes.len() < HEADER + header.length => {
                    return Ok(None);
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
        let mut input = bytes;
        let received = link.reader.next(&mut input)?;
        let used = bytes.len() - input.len();
        let Some(received) = received else { return Ok(Some((Step::More, used))) };
        link.answers.take(&received)?;
        let step = match received.frame {
            Frame::Head { head, is_file } => Step::Head(head, is_file),
            Frame::Failed { status, retry_after, cause } => {
                if !cause.is_empty() {
                    let text =
                        format!("process group {}: {}", self.group.name, String::from_utf8_lossy(cause));
                    log::request(self.request, Level::Error, text.as_bytes());
                }
                Step::Failed(status, retry_after)
            }
            Frame::GoAway => Step::Unbegun,
            Frame::Log(level, message) => {
                log::request(self.request, level, message);
                Step::More
            }
            _ => Step::More,
        };
        Ok(Some((step, used)))
    }

    /// A head out of the cache: the same bytes, without a worker behind them.
    fn process_cached(&mut self, upstream: &mut ngx_http_upstream_t) -> Code {
        let bytes = unread(upstream);
        let mut reader = Reader::new(Side::Worker);
        let mut input = bytes;
        loop {
            let head = match reader.next(&mut input) {
                Ok(Some(received)) => match received.frame {
                    Frame::Head { head, .. } => head,
                    _ => continue,
                },
                Ok(None) | Err(_) => return INVALID_HEADER,
            };
            let used = bytes.len() - input.len();
            // SAFETY: so much of the buffer was read.
            upstream.buffer.pos = unsafe { upstream.buffer.pos.add(used) };
            return self.fill(upstream, &head, false);
        }
    }

    fn take_head(
        &mut self,
        upstream: &mut ngx_http_upstream_t,
        head: &OwnedResponseHead,
        is_file: bool,
    ) -> Code {
        let code = self.fill(upstream, head, is_file);
        if code != OK {
            return code;
        }
        let bodiless = self.head_only || !head.has_body();
        if bodiless {
            // What a HEAD request gets must not be taken for the file.
            upstream.set_store(0);
            if let Err(error) = self.read_to_end(upstream) {
                self.complain(error);
                return INVALID_HEADER;
            }
        }
        if is_file {
            upstream.set_cacheable(0);
            upstream.set_store(0);
        }
        let is_whole = self.ended || ends_here(unread(upstream));
        if is_file || is_whole && upstream.cacheable() == 0 && upstream.store() == 0 {
            upstream.set_buffering(0);
        }
        OK
    }

    /// Takes what follows a head without a body, as far as it is here: the connection can be used again then.
    fn read_to_end(&mut self, upstream: &mut ngx_http_upstream_t) -> Result<(), WireError> {
        let bytes = unread(upstream);
        let mut input = bytes;
        while !self.ended {
            match self.next_piece(&mut input)? {
                None => break,
                Some(Piece::End) => self.ended = true,
                Some(_) => {}
            }
        }
        let used = bytes.len() - input.len();
        // SAFETY: so much of the buffer was read.
        upstream.buffer.pos = unsafe { upstream.buffer.pos.add(used) };
        Ok(())
    }

    fn fill(&mut self, upstream: &mut ngx_http_upstream_t, head: &OwnedResponseHead, is_file: bool) -> Code {
        let view = head.view();
        upstream.headers_in.status_n = view.status.into();
        if !view.reason.is_empty() {
            let line = [view.status.to_string().as_bytes(), b" ", view.reason].concat();
            match self.request.copy(&line) {
                Some(line) => upstream.headers_in.status_line = line,
                None => return ERROR,
            }
        }
        // SAFETY: a state was made when the worker was asked; the cache has none.
        unsafe {
            if let Some(state) = upstream.state.as_mut() {
                if state.status == 0 {
                    state.status = view.status.into();
                }
            }
        }
        let length = view.length.map(|length| length.to_string());
        let length = length.as_ref().map(|length| (&b"Content-Length"[..], length.as_bytes()));
        for (name, value) in view.fields().chain(length) {
            // A file is not buffered, whatever the application asks for.
            if is_file && name.eq_ignore_ascii_case(b"x-accel-buffering") {
                continue;
            }
            let code = self.add_field(upstream, name, value);
            if code != OK {
                return code;
            }
        }
        OK
    }

    /// Adds a header to nginx's list and has nginx look at it (`ngx_http_uwsgi_process_header`).
    fn add_field(&mut self, upstream: &mut ngx_http_upstream_t, name: &[u8], value: &[u8]) -> Code {
        let lowered = name.to_ascii_lowercase();
        let (Some(key), Some(value), Some(low)) =
            (self.request.copy(name), self.request.copy(value), self.request.copy(&lowered))
        else {
            return ERROR;
        };
        // ngx_hash: the key of nginx's own tables.
        let hash =
            lowered.iter().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        // SAFETY: the list is the upstream's; the new element is written before anyone reads it, and zeroes are a valid one. The
        // table of known headers is made with the configuration.
        unsafe {
            let field: *mut ngx_table_elt_t = ngx_list_push(&raw mut upstream.headers_in.headers).cast();
            if field.is_null() {
                return ERROR;
            }
            field.write_bytes(0, 1);
            ((*field).hash, (*field).key, (*field).value, (*field).lowcase_key) =
                (hash, key, value, low.data);
            let r = self.request.raw();
            let main: *mut ngx_http_upstream_main_conf_t =
                (*(*r).main_conf.add(ngx_http_upstream_module.ctx_index)).cast();
            let known: *mut ngx_http_upstream_header_t =
                ngx_hash_find(&raw mut (*main).headers_in_hash, hash, low.data, low.len).cast();
            match known.as_ref().and_then(|known| Some((known.handler?, known.offset))) {
                Some((handler, offset)) => handler(r, field, offset),
                None => OK,
            }
        }
    }

    /// Answers a status with nginx's own page. nginx has no call for that in here: it is told that another worker is to be asked,
    /// and then that there is none, which ends in the status.
    fn fail(&mut self, upstream: &mut ngx_http_upstream_t, status: u16, retry_after: u16) -> Code {
        if self.is_asked_again(upstream, status) {
            upstream.headers_in.status_n = status.into();
            return OK;
        }
        self.is_final = true;
        if retry_after > 0 {
            self.request.add_header(Slot::None, b"Retry-After", retry_after.to_string().as_bytes());
        }
        if !retry::is_known(status) {
            return self.plain(upstream, status);
        }
        self.ask_anybody(upstream);
        upstream.peer.tries = 2;
        upstream.headers_in.status_n = status.into();
        // SAFETY: the request lives. Nothing of the body is to be sent any more.
        unsafe { (*self.request.raw()).set_request_body_no_buffering(0) };
        OK
    }

    /// A response without a body, for a status that nginx's upstreams do not know.
    fn plain(&mut self, upstream: &mut ngx_http_upstream_t, status: u16) -> Code {
        self.ended = true;
        upstream.headers_in.status_n = status.into();
        upstream.set_buffering(0);
        self.add_field(upstream, b"Content-Length", b"0")
    }

    pub(crate) fn filter_init(&mut self) -> Code {
        // SAFETY: the request lives, and with it its upstream and pipe.
        unsafe {
            let upstream = &mut *(*self.request.raw()).upstream;
            // Neither "none" nor "until the connection ends": only an end is an end.
            let length = if self.ended { 0 } else { 1 };
            upstream.length = length;
            (*upstream.pipe).length = length;
        }
        OK
    }

    /// Reads the next frame of the body.
    fn next_piece(&mut self, input: &mut &[u8]) -> Result<Option<Piece>, WireError> {
        let Some(link) = &mut self.link else { return Ok(None) };
        let Some(received) = link.reader.next(input)? else { return Ok(None) };
        link.answers.take(&received)?;
        Ok(Some(match received.frame {
            Frame::Chunk(data) => Piece::Data(data.as_ptr().cast_mut(), data.len()),
            Frame::File { offset, length } => Piece::File(offset, length),
            Frame::End => Piece::End,
            Frame::Failed { cause, .. } => {
                if !cause.is_empty() {
                    let text =
                        format!("process group {}: {}", self.group.name, String::from_utf8_lossy(cause));
                    log::request(self.request, Level::Error, text.as_bytes());
                }
                Piece::Cut
            }
            Frame::Log(level, message) => {
                log::request(self.request, level, message);
                Piece::Nothing
            }
            _ => Piece::Nothing,
        }))
    }

    /// Takes `bytes` more of an unbuffered response.
    pub(crate) fn filter(&mut self, bytes: usize) -> Code {
        // SAFETY: the request lives, and with it its upstream; nginx has just put so many bytes behind `last`.
        let (upstream, bytes) = unsafe {
            let upstream = &mut *(*self.request.raw()).upstream;
            let buffer = &mut upstream.buffer;
            buffer.pos = buffer.last;
            buffer.last = buffer.last.add(bytes);
            let slice: &[u8] = std::slice::from_raw_parts(buffer.pos, bytes);
            (upstream, slice)
        };
        let mut input = bytes;
        loop {
            match self.next_piece(&mut input) {
                Ok(None) => break,
                Ok(Some(Piece::Data(start, length))) => {
                    if !add_data(self, upstream, start, length) {
                        return ERROR;
                    }
                }
                Ok(Some(Piece::File(offset, length))) => {
                    if let Err(error) = self.add_file(upstream, offset, length) {
                        self.complain(error);
                        return self.cut(upstream);
                    }
                }
                Ok(Some(Piece::End)) => {
                    self.ended = true;
                    upstream.length = 0;
                }
                Ok(Some(Piece::Cut)) => return self.cut(upstream),
                Ok(Some(Piece::Nothing)) => {}
                Err(error) => {
                    self.complain(error);
                    return self.cut(upstream);
                }
            }
        }
        OK
    }

    fn cut(&mut self, upstream: &mut ngx_http_upstream_t) -> Code {
        self.request.reset_at_close();
        upstream.set_error(1);
        OK
    }

    fn add_file(
        &mut self,
        upstream: &mut ngx_http_upstream_t,
        offset: u64,
        length: u64,
    ) -> Result<(), WireError> {
        let wrong = WireError::Descriptor;
        let link = self.link.as_mut().ok_or(wrong)?;
        let file = link.files.pop_front().ok_or(wrong)?;
        let is_regular = std::fs::File::from(file.try_clone().map_err(|_| wrong)?)
            .metadata()
            .is_ok_and(|about| about.is_file());
        if !is_regular {
            return Err(wrong);
        }
        let from = off_t::try_from(offset).map_err(|_| wrong)?;
        let to = off_t::try_from(offset.saturating_add(length)).map_err(|_| wrong)?;
        if from == to {
            return Ok(());
        }
        // SAFETY: what is allocated is the request's; its cleanup closes the descriptor.
        unsafe {
            let pool = (*self.request.raw()).pool;
            let buffer: *mut ngx_buf_t = ngx_pcalloc(pool, size_of::<ngx_buf_t>()).cast();
            let described: *mut ngx_file_t = ngx_pcalloc(pool, size_of::<ngx_file_t>()).cast();
            let cleanup = ngx_pool_cleanup_add(pool, size_of::<ngx_pool_cleanup_file_t>());
            let chain = nginx_sys::ngx_alloc_chain_link(pool);
            if buffer.is_null() || described.is_null() || cleanup.is_null() || chain.is_null() {
                return Err(wrong);
            }
            let log = (*(*self.request.raw()).connection).log;
            (*described).fd = file.into_raw_fd();
            (*described).name = ngx_str_t { len: 4, data: c"wsgi".as_ptr().cast_mut().cast() };
            (*described).log = log;
            (*cleanup).handler = Some(ngx_pool_cleanup_file);
            let closing: *mut ngx_pool_cleanup_file_t = (*cleanup).data.cast();
            closing.write(ngx_pool_cleanup_file_t { fd: (*described).fd, name: (*described).name.data, log });
            (*buffer).set_in_file(1);
            (*buffer).set_flush(1);
            (*buffer).file = described;
            ((*buffer).file_pos, (*buffer).file_last) = (from, to);
            (*chain).buf = buffer;
            (*chain).next = std::ptr::null_mut();
            append(&mut upstream.out_bufs, chain);
        }
        Ok(())
    }

    /// Takes a buffer of a buffered response (`ngx_http_fastcgi_input_filter`).
    pub(crate) fn pipe_filter(&mut self, pipe: &mut ngx_event_pipe_t, buffer: *mut ngx_buf_t) -> Code {
        // SAFETY: nginx lends a buffer with so many bytes in it.
        let bytes: &[u8] = unsafe {
            let length = usize::try_from((*buffer).last.offset_from((*buffer).pos)).unwrap_or(0);
            if length == 0 {
                return OK;
            }
            std::slice::from_raw_parts((*buffer).pos, length)
        };
        let mut input = bytes;
        let mut last: *mut ngx_buf_t = std::ptr::null_mut();
        // SAFETY: the links and buffers are of the pipe's pool; each shadow leads to the next, and the last one to `buffer`.
        unsafe {
            let mut previous = &raw mut (*buffer).shadow;
            loop {
                match self.next_piece(&mut input) {
                    Ok(None) => break,
                    Ok(Some(Piece::Data(start, length))) => {
                        let link = ngx_chain_get_free_buf(pipe.pool, &raw mut pipe.free);
                        if link.is_null() {
                            return ERROR;
                        }
                        let data = (*link).buf;
                        data.write_bytes(0, 1);
                        (*data).pos = start;
                        (*data).last = start.add(length);
                        (*data).start = (*buffer).start;
                        (*data).end = (*buffer).end;
                        (*data).tag = pipe.tag;
                        (*data).set_temporary(1);
                        (*data).set_recycled(1);
                        (*data).num = (*buffer).num;
                        *previous = data;
                        previous = &raw mut (*data).shadow;
                        if pipe.in_.is_null() {
                            pipe.in_ = link
                        } else {
                            *pipe.last_in = link
                        }
                        pipe.last_in = &raw mut (*link).next;
                        last = data;
                    }
                    Ok(Some(Piece::End)) => {
                        self.ended = true;
                        pipe.set_upstream_done(1);
                    }
                    Ok(Some(Piece::Nothing)) => {}
                    Ok(Some(Piece::Cut)) => {
                        self.request.reset_at_close();
                        pipe.set_upstream_error(1);
                        break;
                    }
                    Ok(Some(Piece::File(..))) => {
                        // Said in the head, or it is against the protocol.
                        self.complain(WireError::Order(Kind::File));
                        pipe.set_upstream_error(1);
                        break;
                    }
                    Err(error) => {
                        self.complain(error);
                        self.request.reset_at_close();
                        pipe.set_upstream_error(1);
                        break;
                    }
                }
            }
            // Whatever comes is handed on at once.
            pipe.length = 1;
            if last.is_null() {
                return ngx_event_pipe_add_free_buf(pipe, buffer);
            }
            (*last).shadow = buffer;
            (*last).set_last_shadow(1);
            // What compresses has to let it go as well.
            (*last).set_flush(u32::from(!self.ended));
        }
        OK
    }
}

/// What is in the upstream's buffer and was not read.
fn unread<'a>(upstream: &ngx_http_upstream_t) -> &'a [u8] {
    let buffer = &upstream.buffer;
    // SAFETY: `pos` to `last` are bytes of the request's memory, which stay as they are while a callback runs.
    unsafe {
        let length = usize::try_from(buffer.last.offset_from(buffer.pos)).unwrap_or(0);
        if length == 0 { &[] } else { std::slice::from_raw_parts(buffer.pos, length) }
    }
}

/// Whether the whole rest of a response is here.
fn ends_here(mut bytes: &[u8]) -> bool {
    while let Ok(Some(header)) = header(bytes, Side::Worker) {
        let Some(rest) = bytes.get(HEADER + header.length..) else { return false };
        if header.kind == Kind::End {
            return true;
        }
        bytes = rest;
    }
    false
}

fn add_data(asking: &Asking, upstream: &mut ngx_http_upstream_t, start: *mut u8, length: usize) -> bool {
    // SAFETY: the request lives; a buffer that is free is ours, and is written anew.
    unsafe {
        let link = ngx_chain_get_free_buf((*asking.request.raw()).pool, &raw mut upstream.free_bufs);
        if link.is_null() {
            return false;
        }
        let buffer = (*link).buf;
        buffer.write_bytes(0, 1);
        (*buffer).set_flush(1);
        (*buffer).set_memory(1);
        (*buffer).pos = start;
        (*buffer).last = start.add(length);
        (*buffer).tag = tag();
        append(&mut upstream.out_bufs, link);
        true
    }
}

/// # Safety
/// Both are chains of the request.
unsafe fn append(chain: &mut *mut ngx_chain_t, link: *mut ngx_chain_t) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut end: *mut *mut ngx_chain_t = chain;
        while !(*end).is_null() {
            end = &raw mut (**end).next;
        }
        *end = link;
    }
}
