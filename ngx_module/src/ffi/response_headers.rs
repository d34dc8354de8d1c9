//! The response's head, put where nginx's filters look for it.

use std::ptr::NonNull;

#[cfg(not(nginx_linked_headers))]
use nginx_sys::{ngx_array_create, ngx_array_push};
use nginx_sys::{
    ngx_http_headers_out_t, ngx_list_push, ngx_list_t, ngx_pool_t, ngx_str_t, ngx_table_elt_t, off_t, time_t,
};

use super::live::{Live, Several};
use super::request::Request;
use super::zeroed::Zeroed;

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

/// Adds a header to a list.
///
/// # Safety
/// It is a list of headers.
pub(super) unsafe fn push_header<'r>(
    list: Live<'r, ngx_list_t>,
    header: ngx_table_elt_t,
) -> Option<Live<'r, ngx_table_elt_t>> {
    // SAFETY: the caller's promise; the new element is written before anybody reads it.
    unsafe {
        let new = NonNull::<ngx_table_elt_t>::new(ngx_list_push(list.as_ptr()).cast())?;
        new.write(header);
        Some(Live::to(new.as_ptr()))
    }
}

impl<'r> Live<'r, Several> {
    /// Adds one of the request's list.
    #[cfg(nginx_linked_headers)]
    fn add(self, _pool: Live<'r, ngx_pool_t>, header: Live<'r, ngx_table_elt_t>) -> Option<()> {
        let mut end = self;
        // SAFETY: the headers of a chain are of the request's memory.
        while let Some(last) = unsafe { Live::<ngx_table_elt_t>::new(end.get(|end| *end)) } {
            // SAFETY: a part of the header.
            end = unsafe { Live::to(&raw mut (*last.as_ptr()).next) };
        }
        end.set(header.as_ptr(), |end, header| *end = header);
        Some(())
    }

    /// Adds one of the request's list.
    #[cfg(not(nginx_linked_headers))]
    fn add(self, pool: Live<'r, ngx_pool_t>, header: Live<'r, ngx_table_elt_t>) -> Option<()> {
        const SIZE: usize = size_of::<*mut ngx_table_elt_t>();
        if self.get(|array| array.elts.is_null()) {
            // SAFETY: an array of the request's memory, or null.
            let new: Live<'_, Several> = unsafe { Live::new(ngx_array_create(pool.as_ptr(), 1, SIZE)) }?;
            self.set(new.get(|new| *new), |array, new| *array = new);
        }
        // SAFETY: its elements are pointers to headers, as nginx makes them; a new one, or null.
        let element: Live<'_, *mut ngx_table_elt_t> =
            unsafe { Live::new(ngx_array_push(self.as_ptr()).cast()) }?;
        element.set(header.as_ptr(), |element, header| *element = header);
        Some(())
    }
}

impl Request {
    /// Copies into the request's pool.
    pub(super) fn copy(self, bytes: &[u8]) -> Option<ngx_str_t> {
        self.pool().copy(bytes)
    }

    /// Sets the status and, where the application gave a reason, the whole line. `false`, here and below,
    /// when nginx has no memory.
    pub fn set_status(self, status: u16, reason: &[u8]) -> bool {
        let line = if reason.is_empty() {
            Some(ngx_str_t::empty())
        } else {
            self.copy(&[status.to_string().as_bytes(), b" ", reason].concat())
        };
        let Some(line) = line else { return false };
        self.set((status, line), |request, (status, line)| {
            request.headers_out.status = status.into();
            request.headers_out.status_line = line;
            // What an application says about a condition of the client's is final.
            request.set_disable_not_modified(1);
        });
        true
    }

    /// Sets the body's length; without one nginx sends chunks, or closes.
    pub fn set_content_length(self, length: Option<u64>) {
        let length = length.and_then(|length| off_t::try_from(length).ok()).unwrap_or(-1);
        self.set(length, |request, length| request.headers_out.content_length_n = length);
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
        let charset = charset.filter(|range| range.start <= range.end && range.end <= text.len);
        let charset =
            charset.map(|range| ngx_str_t { len: range.len(), data: text.data.wrapping_add(range.start) });
        self.live().headers_out().set((text, essence, charset), |headers, (text, essence, charset)| {
            headers.content_type = text;
            headers.content_type_len = essence.min(text.len);
            headers.content_type_lowcase = std::ptr::null_mut();
            headers.charset = charset.unwrap_or(headers.charset);
        });
        true
    }

    /// Sets when the response's subject last changed, in seconds since the epoch.
    pub fn set_last_modified_time(self, value: &[u8]) {
        // SAFETY: nginx reads so many bytes.
        let time: time_t = unsafe { nginx_sys::ngx_parse_http_time(value.as_ptr().cast_mut(), value.len()) };
        self.set(time, |request, time| request.headers_out.last_modified_time = time);
    }

    /// Adds a header.
    pub fn add_header(self, field: HeaderField, name: &[u8], value: &[u8]) -> bool {
        let (Some(key), Some(value)) = (self.copy(name), self.copy(value)) else { return false };
        let header = ngx_table_elt_t { hash: 1, key, value, ..ngx_table_elt_t::zeroed() };
        let out = self.live().headers_out();
        // SAFETY: the request's list of headers.
        let Some(header) = (unsafe { push_header(out.headers(), header) }) else { return false };
        let several = match field {
            HeaderField::CacheControl => out.cache_control(),
            HeaderField::Link => out.link(),
            _ => {
                out.set((field, header.as_ptr()), |out, (field, header)| put(out, field, header));
                return true;
            }
        };
        several.add(self.pool(), header).is_some()
    }
}
