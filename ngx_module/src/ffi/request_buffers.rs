//! What a request is sent to an upstream from: buffers that stay as they are until the request ends, so that
//! they can be sent once more.

use nginx_sys::{ngx_buf_t, ngx_file_t, off_t};

use super::links::{Chain, Growing, Link, Recycled};
use super::live::{Live, pointer};
use super::request::Request;

/// Buffers with their bytes. It belongs to what `upstream::begin` gives to the request's pool, and
/// so lives as long as the chain that nginx has of it.
pub struct RequestBuffers {
    request: Request,
    chain: Growing<'static>,
    own: Vec<(Live<'static, ngx_buf_t>, Vec<u8>)>,
    headers: Recycled,
}

impl RequestBuffers {
    pub(super) fn new(request: Request) -> Self {
        Self { request, chain: Growing::default(), own: Vec::new(), headers: Recycled::default() }
    }

    /// Adds an empty buffer. Without a tag it stays ours: nginx fills buffers of its own tag anew.
    fn add(&mut self) -> Option<Live<'static, ngx_buf_t>> {
        let link = Link::new(self.request)?;
        let buffer = link.buffer();
        self.chain.push(link);
        Some(buffer)
    }

    /// Adds a buffer of so many bytes in memory.
    fn add_memory(&mut self, start: *mut u8, length: usize) -> Option<Live<'static, ngx_buf_t>> {
        let buffer = self.add()?;
        buffer.set((start, start.wrapping_add(length)), |buffer, (start, end)| {
            (buffer.start, buffer.pos) = (start, start);
            (buffer.last, buffer.end) = (end, end);
            buffer.set_temporary(1);
        });
        Some(buffer)
    }

    /// Adds a buffer of a part of a file.
    fn add_file(&mut self, file: *mut ngx_file_t, from: off_t, to: off_t) -> Option<()> {
        self.add()?.set((file, from, to), |buffer, (file, from, to)| {
            buffer.set_in_file(1);
            buffer.file = file;
            (buffer.file_pos, buffer.file_last) = (from, to);
        });
        Some(())
    }

    /// Adds bytes, and says which buffer they are in; `None`, here and below, when nginx has no memory.
    pub fn add_bytes(&mut self, bytes: Vec<u8>) -> Option<usize> {
        // The bytes of a Vec stay where they are when it is moved.
        let buffer = self.add_memory(bytes.as_ptr().cast_mut(), bytes.len())?;
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
            buffer.set(start, |buffer, start| (buffer.start, buffer.pos) = (start, start));
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
            let length = usize::try_from(original.size()).ok()?;
            let mut done = 0;
            while done < length {
                let size = (length - done).min(portion);
                self.add_bytes(header(size))?;
                match original.file_range() {
                    Some((_, start, _)) => {
                        let from = start + off_t::try_from(done).ok()?;
                        let to = from + off_t::try_from(size).ok()?;
                        self.add_file(pointer(original.file()), from, to)?;
                    }
                    None => {
                        let start = original.get(|buffer| buffer.pos);
                        self.add_memory(start.wrapping_add(done), size)?;
                    }
                }
                done += size;
            }
        }
        Some(())
    }

    /// How many buffers with bytes of ours there are.
    pub fn len(&self) -> usize {
        self.own.len()
    }

    pub(super) fn chain(&self) -> Chain<'static> {
        self.chain.chain()
    }

    /// Puts what `header` says before each buffer of a chain that is not ours, and `end` behind the last.
    pub(super) fn frame<'c, const N: usize>(
        &mut self,
        chain: Chain<'c>,
        header: impl Fn(usize) -> [u8; N],
        end: Option<[u8; N]>,
    ) -> Option<Chain<'c>> {
        let mut framed = Growing::default();
        for buffer in chain.buffers() {
            let length = buffer.length();
            if length == 0 {
                continue;
            }
            if !self.own.iter().any(|(own, _)| *own == buffer) {
                framed.push(self.headers.link(self.request, &header(length))?);
            }
            framed.push(Link::to(self.request, buffer)?);
        }
        if let Some(end) = end {
            framed.push(self.headers.link(self.request, &end)?);
        }
        Some(framed.chain())
    }

    /// Takes back what [`Self::frame`] used, as far as it was sent.
    pub(super) fn unframe(&mut self, sent: Chain<'_>) {
        self.headers.update(self.request, sent);
    }
}
