//! The C edge: nginx's structures behind types with safe methods. Nothing outside this folder (and
//! `entry.rs`, where nginx calls in) holds a raw pointer of nginx's.
//!
//! One rule keeps all of it sound: nginx's structures are touched on the event loop's thread only. The types
//! here hold `NonNull` and are therefore neither `Send` nor `Sync`; what crosses threads is in
//! `shared::relay`.

pub mod built_for;
pub mod callback;
pub mod chain;
pub mod complex_value;
pub mod conf;
mod connection;
pub mod cycle;
pub mod environment;
pub mod links;
mod live;
pub mod location;
pub mod module;
pub mod peer;
pub mod pipe;
mod pool;
mod probe;
mod receive;
pub mod request;
pub mod request_body;
pub mod request_buffers;
pub mod request_headers;
pub mod response_headers;
pub mod signal;
pub mod upstream;
pub mod upstream_callbacks;
pub mod upstream_conf;
pub mod upstream_directives;
mod upstream_response;
pub mod waker;
mod zeroed;

use nginx_sys::{ngx_int_t, ngx_str_t};

/// A result of nginx's functions.
pub type Code = ngx_int_t;

/// nginx's `NGX_OK`.
pub const OK: Code = nginx_sys::NGX_OK as Code;
/// nginx's `NGX_ERROR`.
pub const ERROR: Code = nginx_sys::NGX_ERROR as Code;
/// nginx's `NGX_AGAIN`.
pub const AGAIN: Code = nginx_sys::NGX_AGAIN as Code;
/// nginx's `NGX_DONE`.
pub const DONE: Code = nginx_sys::NGX_DONE as Code;
/// nginx's `NGX_DECLINED`.
pub const DECLINED: Code = nginx_sys::NGX_DECLINED as Code;
/// nginx's `NGX_HTTP_SPECIAL_RESPONSE`: from here on a result is a status.
pub const SPECIAL_RESPONSE: Code = nginx_sys::NGX_HTTP_SPECIAL_RESPONSE as Code;

/// A constant as a string of nginx's, which is never written to.
const fn text(text: &'static std::ffi::CStr) -> ngx_str_t {
    ngx_str_t { len: text.to_bytes().len(), data: text.as_ptr().cast_mut().cast() }
}

/// Borrows a string of nginx's for as long as its owner is borrowed.
///
/// # Safety
/// `text` belongs to something that lives, unchanged, for `'a`.
pub(crate) unsafe fn bytes_of<'a>(text: ngx_str_t) -> &'a [u8] {
    if text.data.is_null() || text.len == 0 {
        return &[];
    }
    // SAFETY: nginx's strings have `len` bytes at `data`; the caller answers for the lifetime.
    unsafe { std::slice::from_raw_parts(text.data, text.len) }
}
