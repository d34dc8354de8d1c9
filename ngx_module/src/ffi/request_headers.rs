//! The headers that the client sent.

use nginx_sys::{ngx_list_part_t, ngx_table_elt_t};

use super::bytes_of;
use super::request::Request;

/// The headers of a request in their order, as name and value.
pub struct Headers<'r> {
    part: &'r ngx_list_part_t,
    next: usize,
}

impl Request {
    /// The headers that the client sent.
    pub fn headers(&self) -> Headers<'_> {
        Headers { part: &self.get().headers_in.headers.part, next: 0 }
    }
}

impl<'r> Iterator for Headers<'r> {
    type Item = (&'r [u8], &'r [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.next >= self.part.nelts {
                // SAFETY: the parts of a list are linked, and live as long as the request.
                self.part = unsafe { self.part.next.as_ref() }?;
                self.next = 0;
                continue;
            }
            // SAFETY: a part of the request's header list has `nelts` elements of this type.
            let header = unsafe { &*self.part.elts.cast::<ngx_table_elt_t>().add(self.next) };
            self.next += 1;
            if header.hash != 0 {
                // SAFETY: live as long as the request.
                return Some(unsafe { (bytes_of(header.key), bytes_of(header.value)) });
            }
        }
    }
}
