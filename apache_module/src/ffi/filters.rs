//! The output filters of a request.

use std::ffi::CStr;

use httpd_sys::ap_remove_output_filter;

use super::Request;
use super::text::borrowed;

impl Request<'_> {
    /// Takes the filters of a name (httpd writes them in lower case) out of the response's way.
    pub fn remove_output_filter(self, name: &CStr) {
        let mut filter = self.output_filters();
        // SAFETY: filters live as long as the request.
        while let Some(found) = unsafe { filter.as_ref() } {
            let next = found.next;
            // SAFETY: records of filters, and their names, live as long as the process.
            let own = unsafe { found.frec.as_ref().and_then(|record| borrowed(record.name)) };
            if own == Some(name.to_bytes()) {
                // SAFETY: it is one of this request's, and not used behind this.
                unsafe { ap_remove_output_filter(filter) };
            }
            filter = next;
        }
    }
}
