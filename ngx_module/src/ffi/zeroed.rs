//! Structures of nginx's and of the system's that are empty when all of their bytes are zero.

/// A structure of numbers, bits, pointers, and functions that may be null.
pub(super) trait Zeroed {
    /// An empty one.
    fn zeroed() -> Self;
}

macro_rules! zeroed {
    ($($type:ty)*) => {$(
        impl Zeroed for $type {
            fn zeroed() -> Self {
                // SAFETY: a structure of C whose members are of the kinds that the trait names.
                unsafe { std::mem::zeroed() }
            }
        }
    )*};
}

zeroed! {
    nginx_sys::ngx_buf_t
    nginx_sys::ngx_event_pipe_t
    nginx_sys::ngx_event_t
    nginx_sys::ngx_file_t
    nginx_sys::ngx_hash_init_t
    nginx_sys::ngx_http_compile_complex_value_t
    nginx_sys::ngx_http_complex_value_t
    nginx_sys::ngx_http_script_compile_t
    nginx_sys::ngx_http_upstream_conf_t
    nginx_sys::ngx_http_upstream_srv_conf_t
    nginx_sys::ngx_table_elt_t
    libc::sigaction
    libc::sockaddr_un
}
