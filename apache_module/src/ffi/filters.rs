//! The output filters of a request.

use std::ffi::CStr;

use httpd_sys::ap_remove_output_filter;

use super::Request;
use super::text::borrowed;

impl Request<'_> {
    /// Takes the filters of a name (httpd writes them in lower case) out of the response's way.
    pub fn remove_output_filter(self, name: &CStr) {
        let mut filter = self.output_filters();
        while !filter.is_null() {
            // SAFETY: filters live as long as the request, and their records as long as the process; one that
            // is removed keeps its `next`.
            unsafe {
                let next = (*filter).next;
                if !(*filter).frec.is_null() && borrowed((*(*filter).frec).name) == Some(name.to_bytes()) {
                    ap_remove_output_filter(filter);
                }
                filter = next;
            }
        }
    }
}
