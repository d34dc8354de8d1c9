//! Structures that nginx has made and keeps, as handles.
//!
//! nginx holds pointers to them too, and so may several handles. So nobody here holds a reference into one: a
//! reference lasts for the function that reads or changes a field, and that function has nothing else than
//! the structure and a value (`std::cell::Cell` is the same for Rust's own).

use std::marker::PhantomData;
use std::ptr::NonNull;

use nginx_sys::{
    ngx_array_t, ngx_buf_t, ngx_chain_t, ngx_chain_writer_ctx_t, ngx_conf_t, ngx_connection_t, ngx_cycle_t,
    ngx_event_pipe_t, ngx_event_t, ngx_file_t, ngx_hash_t, ngx_http_cache_t, ngx_http_core_loc_conf_t,
    ngx_http_core_srv_conf_t, ngx_http_headers_in_t, ngx_http_headers_out_t, ngx_http_request_body_t,
    ngx_http_request_t, ngx_http_upstream_headers_in_t, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_state_t, ngx_http_upstream_t, ngx_list_part_t, ngx_list_t, ngx_listening_t, ngx_log_t,
    ngx_open_file_t, ngx_peer_connection_t, ngx_pool_t,
};

use super::bytes_of;

/// The headers of one name: a chain since nginx 1.23, an array of pointers before.
#[cfg(nginx_linked_headers)]
pub(super) type Several = *mut nginx_sys::ngx_table_elt_t;
/// As above.
#[cfg(not(nginx_linked_headers))]
pub(super) type Several = ngx_array_t;

/// A structure of nginx's that lives for `'a`, on the loop's thread.
#[repr(transparent)]
pub(super) struct Live<'a, T>(NonNull<T>, PhantomData<&'a T>);

impl<T> Clone for Live<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Live<'_, T> {}

impl<T> PartialEq for Live<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> std::fmt::Debug for Live<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<'a, T> Live<'a, T> {
    /// # Safety
    /// `raw` is null, or a `T` of nginx's that lives for `'a`; it belongs to the loop's thread.
    pub(super) unsafe fn new(raw: *mut T) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self(raw, PhantomData))
    }

    /// # Safety
    /// As for [`Self::new`], and `raw` is not null.
    pub(super) const unsafe fn to(raw: *mut T) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { NonNull::new_unchecked(raw) }, PhantomData)
    }

    /// For nginx.
    pub(super) const fn as_ptr(self) -> *mut T {
        self.0.as_ptr()
    }

    /// Reads it.
    pub(super) fn get<R>(self, read: fn(&T) -> R) -> R {
        // SAFETY: it lives, and while `read` runs nobody writes to it: not nginx, which waits, nor a function
        // that was handed nothing else.
        read(unsafe { self.0.as_ref() })
    }

    /// Changes it with a value.
    pub(super) fn set<V>(self, value: V, change: fn(&mut T, V)) {
        // SAFETY: as for `get`; nobody looks at it either.
        change(unsafe { &mut *self.0.as_ptr() }, value);
    }
}

/// The address of a handle, for nginx; null where there is none.
pub(super) fn pointer<T>(live: Option<Live<'_, T>>) -> *mut T {
    live.map_or(std::ptr::null_mut(), Live::as_ptr)
}

/// Where a structure leads to others, which live as long as it does: to those that it always has, to those
/// that it may have, to its own parts, and to its strings.
macro_rules! links {
    ($($(#[$feature:meta])* $owner:ty {
        $(always $always:ident: $to:ty;)*
        $(perhaps $perhaps:ident: $other:ty;)*
        $(part $part:ident: $inner:ty;)*
        $(text $text:ident;)*
    })*) => {$(
        $(#[$feature])*
        impl<'a> Live<'a, $owner> {
            $(pub(super) fn $always(self) -> Live<'a, $to> {
                // SAFETY: nginx sets it before any module sees the owner, and keeps it as long.
                unsafe { Live::to(self.get(|owner| owner.$always)) }
            })*
            $(pub(super) fn $perhaps(self) -> Option<Live<'a, $other>> {
                // SAFETY: null, or nginx's own, and kept as long as the owner.
                unsafe { Live::new(self.get(|owner| owner.$perhaps)) }
            })*
            $(pub(super) fn $part(self) -> Live<'a, $inner> {
                // SAFETY: a part of a structure that lives.
                unsafe { Live::to(&raw mut (*self.as_ptr()).$part) }
            })*
            $(pub(super) fn $text(self) -> &'a [u8] {
                // SAFETY: a string of nginx's, which lives as long as the owner and is not written to.
                unsafe { bytes_of(self.get(|owner| owner.$text)) }
            })*
        }
    )*};
}

links! {
    ngx_http_request_t {
        always connection: ngx_connection_t;
        always main: ngx_http_request_t;
        always pool: ngx_pool_t;
        perhaps request_body: ngx_http_request_body_t;
        perhaps upstream: ngx_http_upstream_t;
        perhaps cache: ngx_http_cache_t;
        part headers_in: ngx_http_headers_in_t;
        part headers_out: ngx_http_headers_out_t;
        text method_name;
        text uri;
        text args;
        text unparsed_uri;
        text http_protocol;
    }
    ngx_http_headers_in_t {
        part headers: ngx_list_t;
        text server;
        text user;
    }
    ngx_list_t {
        part part: ngx_list_part_t;
    }
    ngx_list_part_t {
        perhaps next: ngx_list_part_t;
    }
    ngx_http_headers_out_t {
        part headers: ngx_list_t;
        part cache_control: Several;
        part link: Several;
    }
    ngx_cycle_t {
        perhaps log: ngx_log_t;
        text prefix;
    }
    ngx_conf_t {
        always args: ngx_array_t;
        always cycle: ngx_cycle_t;
        always pool: ngx_pool_t;
        perhaps log: ngx_log_t;
    }
    ngx_log_t {
        perhaps file: ngx_open_file_t;
    }
    ngx_open_file_t {
        text name;
    }
    ngx_connection_t {
        always read: ngx_event_t;
        always write: ngx_event_t;
        perhaps log: ngx_log_t;
        perhaps pool: ngx_pool_t;
        perhaps listening: ngx_listening_t;
        text addr_text;
    }
    ngx_listening_t {
        text addr_text;
    }
    ngx_http_upstream_main_conf_t {
        part headers_in_hash: ngx_hash_t;
    }
    ngx_http_core_loc_conf_t {
        text name;
        text root;
    }
    ngx_http_core_srv_conf_t {
        text server_name;
    }
    #[cfg(ngx_feature = "http_ssl")]
    ngx_connection_t {
        perhaps ssl: nginx_sys::ngx_ssl_connection_t;
    }
    ngx_http_cache_t {
        part keys: ngx_array_t;
        text etag;
    }
    ngx_http_request_body_t {
        perhaps bufs: ngx_chain_t;
    }
    ngx_chain_t {
        perhaps buf: ngx_buf_t;
        perhaps next: ngx_chain_t;
    }
    ngx_buf_t {
        perhaps file: ngx_file_t;
    }
    ngx_http_upstream_t {
        perhaps pipe: ngx_event_pipe_t;
        perhaps state: ngx_http_upstream_state_t;
        perhaps request_bufs: ngx_chain_t;
        part buffer: ngx_buf_t;
        part peer: ngx_peer_connection_t;
        part free_bufs: *mut ngx_chain_t;
        part out_bufs: *mut ngx_chain_t;
        part writer: ngx_chain_writer_ctx_t;
        part headers_in: ngx_http_upstream_headers_in_t;
    }
    ngx_http_upstream_headers_in_t {
        part headers: ngx_list_t;
    }
    ngx_event_pipe_t {
        perhaps last_in: *mut ngx_chain_t;
        part free: *mut ngx_chain_t;
        part in_: *mut ngx_chain_t;
    }
    ngx_peer_connection_t {
        perhaps connection: ngx_connection_t;
        perhaps log: ngx_log_t;
    }
}
