//! The headers that the client sent.

use nginx_sys::{ngx_list_part_t, ngx_table_elt_t};

use super::bytes_of;
use super::live::Live;
use super::request::Request;

/// The headers of a request in their order, as name and value.
pub struct Headers<'r> {
    part: Live<'r, ngx_list_part_t>,
    next: usize,
}

impl Request {
    /// The headers that the client sent.
    pub fn headers(&self) -> Headers<'_> {
        Headers { part: self.live().headers_in().headers().part(), next: 0 }
    }
}

impl<'r> Iterator for Headers<'r> {
    type Item = (&'r [u8], &'r [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (elts, count) = self.part.get(|part| (part.elts, part.nelts));
            if self.next >= count {
                self.part = self.part.next()?;
                self.next = 0;
                continue;
            }
            // SAFETY: a part of the request's header list has so many elements of this type.
            let header = unsafe { &*elts.cast::<ngx_table_elt_t>().add(self.next) };
            self.next += 1;
            if header.hash != 0 {
                // SAFETY: live as long as the request.
                return Some(unsafe { (bytes_of(header.key), bytes_of(header.value)) });
            }
        }
    }
}
