//! The body of a request: what nginx read of it, and reading more.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use nginx_sys::{
    ngx_buf_t, ngx_http_block_reading, ngx_http_client_body_handler_pt, ngx_http_discard_request_body,
    ngx_http_read_client_request_body, ngx_http_read_unbuffered_request_body, ngx_http_request_t,
    ngx_http_test_reading, ngx_posted_events,
};

use super::Code;
use super::links::Chain;
use super::live::Live;
use super::request::Request;

/// A part of a body that nginx has read.
pub enum Part<'r> {
    /// Bytes.
    Memory(&'r [u8]),
    /// A range of a temporary file: its descriptor, offset and length.
    File(BorrowedFd<'r>, u64, u64),
}

impl Part<'_> {
    /// In bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, _, length) => *length,
        }
    }
}

impl<'r> Live<'r, ngx_buf_t> {
    /// What nginx has read.
    fn as_part(self) -> Part<'r> {
        match self.file_range() {
            Some((file, from, to)) => {
                let (from, to) = (u64::try_from(from).unwrap_or(0), u64::try_from(to).unwrap_or(0));
                Part::File(file, from, to.saturating_sub(from))
            }
            None => Part::Memory(self.bytes()),
        }
    }
}

impl Request {
    /// Whether the client sends it in chunks, without a length (for HTTP/2: without a length).
    pub fn has_chunked_body(&self) -> bool {
        self.get(|request| request.headers_in.chunked()) != 0
    }

    /// The length of the body as its field says it; nginx has refused what is no number.
    pub fn content_length(&self) -> Option<u64> {
        u64::try_from(self.get(|request| request.headers_in.content_length_n)).ok()
    }

    /// Whether somebody began with the body already: another location that this request was redirected from.
    pub fn body_was_begun(&self) -> bool {
        self.get(|request| !request.request_body.is_null() || request.discard_body() != 0)
    }

    /// Whether a body that was begun unbuffered is not complete.
    pub fn is_reading_body(&self) -> bool {
        self.get(|request| request.reading_body()) != 0
    }

    /// Whether the body is handed on as it comes.
    pub fn is_unbuffered(&self) -> bool {
        self.get(|request| request.request_body_no_buffering()) != 0
    }

    /// Whether the client waits to be told that it may send the body.
    pub fn expects_continue(&self) -> bool {
        self.get(|request| !request.headers_in.expect.is_null() && request.expect_tested() == 0)
    }

    /// Begins to read the body; `then` is called when all of it is there, or, `unbuffered`, when reading has
    /// begun.
    pub fn read_client_body(self, unbuffered: bool, then: ngx_http_client_body_handler_pt) -> Code {
        if unbuffered {
            self.set(1, ngx_http_request_t::set_request_body_no_buffering);
        }
        // SAFETY: the request lives.
        unsafe { ngx_http_read_client_request_body(self.raw(), then) }
    }

    /// Reads more of an unbuffered body.
    pub fn read_unbuffered_body(self) -> Code {
        // SAFETY: the request lives, and reading has begun.
        unsafe { ngx_http_read_unbuffered_request_body(self.raw()) }
    }

    /// What nginx has read and still keeps.
    pub fn body_parts(&self) -> impl Iterator<Item = Part<'_>> {
        let body = self.live().request_body();
        Chain::new(body.and_then(Live::bufs)).buffers().map(Live::as_part)
    }

    /// Whether nothing of the body lies in a file.
    pub(crate) fn body_is_in_memory(&self) -> bool {
        self.body_parts().all(|part| matches!(part, Part::Memory(_)))
    }

    /// Takes what nginx has read of an unbuffered body, so that it can read on; `false` when a part lies in a
    /// file that cannot be read. One lies there where HTTP/2 had the whole body already, which it has room
    /// for in memory, and `client_body_in_file_only` is on.
    pub fn take_body_parts(&self, mut take: impl FnMut(&[u8])) -> bool {
        let Some(body) = self.live().request_body() else { return true };
        let chain = Chain::new(body.bufs());
        body.set(std::ptr::null_mut(), |body, none| body.bufs = none);
        let mut whole = true;
        for link in chain.links() {
            if let Some(buffer) = link.buf() {
                match buffer.as_part() {
                    Part::Memory(bytes) => take(bytes),
                    Part::File(file, from, length) => match read_part(file, from, length) {
                        Ok(bytes) => take(&bytes),
                        Err(_) => whole = false,
                    },
                }
                // A used buffer is one whose `pos` is its `last`.
                buffer.set((), |buffer, ()| buffer.pos = buffer.last);
            }
            self.pool().free_link(link);
        }
        whole
    }

    /// Stops the clock of `client_body_timeout` while nobody wants to read.
    pub fn stop_read_timer(self) {
        self.live().connection().read().stop_timer();
    }

    /// Watches for a client that goes away, now that it has nothing more to say.
    pub fn watch_for_disconnect(self) {
        self.set_read_handler(Some(ngx_http_test_reading));
        self.post_read();
    }

    /// Has nginx look once more at what came along with the request, of which it says nothing a second time:
    /// it may have been the connection's end.
    pub fn post_read(self) {
        // A stream of HTTP/2 has an event that nobody reads.
        let is_stream = self.get(|request| !request.stream.is_null());
        let event = self.live().connection().read();
        if self.is_main() && !is_stream && event.get(|event| event.ready()) != 0 {
            event.post(&raw mut ngx_posted_events);
        }
    }

    /// Looks at nothing that the client sends.
    pub fn block_reading(self) {
        self.set_read_handler(Some(ngx_http_block_reading));
    }

    /// Sees to a body that nobody read, so that the connection can be kept. A client that waits for `100
    /// Continue` is not told to go on; whether it sends the body all the same cannot be known, so that its
    /// connection is not kept.
    pub fn discard_body(self) -> Code {
        if self.expects_continue() {
            self.set(1, ngx_http_request_t::set_expect_tested);
            self.set(0, ngx_http_request_t::set_keepalive);
        }
        // SAFETY: the request lives.
        unsafe { ngx_http_discard_request_body(self.raw()) }
    }

    /// Has the connection closed behind the response, whatever the client sends until then, which is read and
    /// thrown away (`lingering_close`).
    pub fn close_behind_response(self) {
        self.set(0, ngx_http_request_t::set_keepalive);
        self.set(1, ngx_http_request_t::set_lingering_close);
    }

    /// Says, before the head leaves, that a connection whose client still waits for `100 Continue` is not
    /// kept.
    pub fn close_if_expecting(self) {
        if self.expects_continue()
            && self.get(|request| request.http_version) < nginx_sys::NGX_HTTP_VERSION_20 as usize
        {
            self.set(0, ngx_http_request_t::set_keepalive);
        }
    }
}

fn read_part(file: BorrowedFd<'_>, from: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    std::fs::File::from(duplicate(file)?).read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// A descriptor of our own for a part's file: the request, and with it nginx's, may go before the reader.
pub fn duplicate(file: BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    file.try_clone_to_owned()
}
