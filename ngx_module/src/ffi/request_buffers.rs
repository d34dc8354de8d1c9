//! What a request is sent to an upstream from: buffers that stay as they are until the request ends, so that
//! they can be sent once more.

use std::ptr::NonNull;

use nginx_sys::{ngx_buf_t, ngx_chain_t, off_t};

use super::links::{Chain, Link, Recycled, length_of};
use super::request::Request;

/// Buffers with their bytes. It belongs to what [`super::upstream::begin`] gives to the request's pool, and
/// so lives as long as the chain that nginx has of it.
pub struct RequestBuffers {
    request: Request,
    first: *mut ngx_chain_t,
    /// Where the next link goes; null for `first`.
    end: *mut *mut ngx_chain_t,
    own: Vec<(NonNull<ngx_buf_t>, Vec<u8>)>,
    headers: Recycled,
}

impl RequestBuffers {
    pub(super) fn new(request: Request) -> Self {
        let (first, end) = (std::ptr::null_mut(), std::ptr::null_mut());
        Self { request, first, end, own: Vec::new(), headers: Recycled::default() }
    }

    /// Adds a buffer. Without a tag it stays ours: nginx fills buffers of its own tag anew.
    fn add(&mut self, fill: impl FnOnce(&mut ngx_buf_t)) -> Option<NonNull<ngx_buf_t>> {
        let mut link = Link::new(self.request)?;
        fill(link.buffer());
        let buffer = NonNull::from(link.buffer());
        // SAFETY: null, or a place in a link that lives as long as the request.
        let end = unsafe { self.end.as_mut() }.unwrap_or(&mut self.first);
        self.end = link.append_to(end);
        Some(buffer)
    }

    /// Adds bytes, and says which buffer they are in; `None`, here and below, when nginx has no memory.
    pub fn add_bytes(&mut self, bytes: Vec<u8>) -> Option<usize> {
        let (start, length) = (bytes.as_ptr().cast_mut(), bytes.len());
        let buffer = self.add(|buffer| {
            (buffer.start, buffer.pos) = (start, start);
            (buffer.last, buffer.end) = (start.wrapping_add(length), start.wrapping_add(length));
            buffer.set_temporary(1);
        })?;
        // The bytes of a Vec stay where they are when it is moved.
        self.own.push((buffer, bytes));
        Some(self.own.len() - 1)
    }

    /// The bytes of a buffer, to be changed before it is sent (again).
    pub fn bytes(&mut self, index: usize) -> &mut [u8] {
        self.own.get_mut(index).map_or(&mut [], |(_, bytes)| bytes)
    }

    /// Has a buffer begin so many bytes later than what was added.
    pub fn skip(&mut self, index: usize, count: usize) {
        if let Some((buffer, bytes)) = self.own.get_mut(index) {
            let start = bytes.as_mut_ptr().wrapping_add(count.min(bytes.len()));
            // SAFETY: a buffer of `add`; nginx looks at it only outside of callbacks.
            let buffer = unsafe { buffer.as_mut() };
            (buffer.start, buffer.pos) = (start, start);
        }
    }

    /// Adds nginx's buffers of the body, in portions of at most `portion` bytes, each behind what `header`
    /// says before so many.
    pub fn add_body(
        &mut self,
        body: Chain<'_>,
        portion: usize,
        mut header: impl FnMut(usize) -> Vec<u8>,
    ) -> Option<()> {
        for original in body.buffers() {
            let is_file = original.in_file() != 0;
            let length = if is_file {
                usize::try_from(original.file_last - original.file_pos).ok()?
            } else {
                length_of(original)
            };
            let mut done = 0;
            while done < length {
                let size = (length - done).min(portion);
                self.add_bytes(header(size))?;
                let (from, count) = (off_t::try_from(done).ok()?, off_t::try_from(size).ok()?);
                self.add(|buffer| {
                    if is_file {
                        buffer.set_in_file(1);
                        buffer.file = original.file;
                        buffer.file_pos = original.file_pos + from;
                        buffer.file_last = buffer.file_pos + count;
                    } else {
                        buffer.pos = original.pos.wrapping_add(done);
                        buffer.last = buffer.pos.wrapping_add(size);
                        (buffer.start, buffer.end) = (buffer.pos, buffer.last);
                        buffer.set_temporary(1);
                    }
                })?;
                done += size;
            }
        }
        Some(())
    }

    /// How many buffers with bytes of ours there are.
    pub fn len(&self) -> usize {
        self.own.len()
    }

    pub(super) const fn chain(&self) -> *mut ngx_chain_t {
        self.first
    }

    /// Puts what `header` says before each buffer of a chain that is not ours, and `end` behind the last.
    pub(super) fn frame<const N: usize>(
        &mut self,
        chain: Chain<'_>,
        header: impl Fn(usize) -> [u8; N],
        end: Option<[u8; N]>,
    ) -> Option<*mut ngx_chain_t> {
        let mut framed = std::ptr::null_mut();
        for buffer in chain.buffers() {
            let (length, buffer) = (length_of(buffer), NonNull::from(buffer));
            if length == 0 {
                continue;
            }
            if !self.own.iter().any(|(own, _)| *own == buffer) {
                self.headers.link(self.request, &header(length))?.append_to(&mut framed);
            }
            Link::to(self.request, buffer)?.append_to(&mut framed);
        }
        if let Some(end) = end {
            self.headers.link(self.request, &end)?.append_to(&mut framed);
        }
        Some(framed)
    }

    /// Takes back what [`Self::frame`] used, as far as it was sent.
    pub(super) fn unframe(&mut self, sent: *mut ngx_chain_t) {
        self.headers.update(self.request, sent);
    }
}
