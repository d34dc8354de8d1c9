//! The response's head, put where nginx's filters look for it.

use std::ptr::NonNull;

use nginx_sys::{
    ngx_http_headers_out_t, ngx_list_push, ngx_pnalloc, ngx_str_t, ngx_table_elt_t, off_t, time_t,
};

use super::request::Request;

/// The headers that other modules look at, each in a field of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderField {
    /// `Server`: replaces nginx's own.
    Server,
    /// `Date`: replaces nginx's own.
    Date,
    /// `Content-Encoding`: gzip leaves the body alone.
    ContentEncoding,
    /// `Location`, where it is a whole URL.
    Location,
    /// `Refresh`.
    Refresh,
    /// `Last-Modified`.
    LastModified,
    /// `Content-Range`.
    ContentRange,
    /// `Accept-Ranges`.
    AcceptRanges,
    /// `WWW-Authenticate`.
    WwwAuthenticate,
    /// `Expires`.
    Expires,
    /// `ETag`.
    Etag,
    /// `Cache-Control`, of which there may be several.
    CacheControl,
    /// `Link`, of which there may be several.
    Link,
    /// Any other.
    Other,
}

fn put(headers: &mut ngx_http_headers_out_t, field: HeaderField, header: *mut ngx_table_elt_t) {
    match field {
        HeaderField::Server => headers.server = header,
        HeaderField::Date => headers.date = header,
        HeaderField::ContentEncoding => headers.content_encoding = header,
        HeaderField::Location => headers.location = header,
        HeaderField::Refresh => headers.refresh = header,
        HeaderField::LastModified => headers.last_modified = header,
        HeaderField::ContentRange => headers.content_range = header,
        HeaderField::AcceptRanges => headers.accept_ranges = header,
        HeaderField::WwwAuthenticate => headers.www_authenticate = header,
        HeaderField::Expires => headers.expires = header,
        HeaderField::Etag => headers.etag = header,
        HeaderField::CacheControl | HeaderField::Link | HeaderField::Other => {}
    }
}

/// Adds a header to those of its name: a chain since nginx 1.23, an array of pointers before.
///
/// # Safety
/// `header` is of the request's header list.
#[cfg(nginx_linked_headers)]
unsafe fn add(mut end: *mut *mut ngx_table_elt_t, header: *mut ngx_table_elt_t) -> bool {
    // SAFETY: the chain's elements are of the request's pool.
    unsafe {
        while !(*end).is_null() {
            end = &raw mut (**end).next;
        }
        *end = header;
    }
    true
}

#[cfg(not(nginx_linked_headers))]
unsafe fn add(
    pool: *mut nginx_sys::ngx_pool_t,
    array: &mut nginx_sys::ngx_array_t,
    header: *mut ngx_table_elt_t,
) -> bool {
    // SAFETY: an array without elements was not made yet; its elements are pointers to headers, as nginx
    // makes them.
    unsafe {
        if array.elts.is_null() {
            let made = nginx_sys::ngx_array_create(pool, 1, size_of::<*mut ngx_table_elt_t>());
            if made.is_null() {
                return false;
            }
            *array = made.read();
        }
        let element: *mut *mut ngx_table_elt_t = nginx_sys::ngx_array_push(array).cast();
        if element.is_null() {
            return false;
        }
        *element = header;
    }
    true
}

impl Request {
    /// Copies into the request's pool.
    pub(super) fn copy(self, bytes: &[u8]) -> Option<ngx_str_t> {
        // SAFETY: the pool lives; the new memory has room for the bytes.
        unsafe {
            let data: *mut u8 = ngx_pnalloc(self.pool(), bytes.len()).cast();
            NonNull::new(data)?;
            data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Some(ngx_str_t { len: bytes.len(), data })
        }
    }

    /// Sets the status and, where the application gave a reason, the whole line. `false`, here and below,
    /// when nginx has no memory.
    pub fn set_status(self, status: u16, reason: &[u8]) -> bool {
        let line = if reason.is_empty() {
            Some(ngx_str_t::empty())
        } else {
            self.copy(&[status.to_string().as_bytes(), b" ", reason].concat())
        };
        self.change(|request| {
            request.headers_out.status = status.into();
            // What an application says about a condition of the client's is final.
            request.set_disable_not_modified(1);
            match line {
                Some(line) => request.headers_out.status_line = line,
                None => return false,
            }
            true
        })
    }

    /// Sets the body's length; without one nginx sends chunks, or closes.
    pub fn set_content_length(self, length: Option<u64>) {
        self.change(|request| {
            request.headers_out.content_length_n =
                length.and_then(|length| off_t::try_from(length).ok()).unwrap_or(-1);
        });
    }

    /// Sets the type. `essence` is how long it is without its parameters where those have a charset, which
    /// stands at `charset` then: nginx's filters want to know both.
    pub fn set_content_type(
        self,
        value: &[u8],
        essence: usize,
        charset: Option<std::ops::Range<usize>>,
    ) -> bool {
        let Some(text) = self.copy(value) else { return false };
        self.change(|request| {
            let headers = &mut request.headers_out;
            headers.content_type = text;
            headers.content_type_len = essence.min(text.len);
            headers.content_type_lowcase = std::ptr::null_mut();
            if let Some(charset) = charset.filter(|range| range.start <= range.end && range.end <= text.len) {
                // SAFETY: the range lies within the text.
                let data = unsafe { text.data.add(charset.start) };
                headers.charset = ngx_str_t { len: charset.len(), data };
            }
        });
        true
    }

    /// Sets when the response's subject last changed, in seconds since the epoch.
    pub fn set_last_modified_time(self, value: &[u8]) {
        // SAFETY: nginx reads so many bytes.
        let time: time_t = unsafe { nginx_sys::ngx_parse_http_time(value.as_ptr().cast_mut(), value.len()) };
        self.change(|request| request.headers_out.last_modified_time = time);
    }

    /// Adds a header.
    pub fn add_header(self, field: HeaderField, name: &[u8], value: &[u8]) -> bool {
        let (Some(key), Some(value)) = (self.copy(name), self.copy(value)) else { return false };
        // SAFETY: the list is the request's; the new element is written before anyone reads it. Zeroes are a
        // valid header.
        let header = self.change(|request| unsafe {
            let header: *mut ngx_table_elt_t = ngx_list_push(&raw mut request.headers_out.headers).cast();
            if !header.is_null() {
                header.write(ngx_table_elt_t { hash: 1, key, value, ..std::mem::zeroed() });
            }
            header
        });
        if header.is_null() {
            return false;
        }
        #[cfg(not(nginx_linked_headers))]
        let pool = self.pool();
        self.change(|request| {
            let headers = &mut request.headers_out;
            let several = match field {
                HeaderField::CacheControl => &mut headers.cache_control,
                HeaderField::Link => &mut headers.link,
                _ => {
                    put(headers, field, header);
                    return true;
                }
            };
            // SAFETY: `header` was pushed above.
            unsafe {
                #[cfg(nginx_linked_headers)]
                return add(several, header);
                #[cfg(not(nginx_linked_headers))]
                return add(pool, several, header);
            }
        })
    }
}
