//! How a field of nginx's configuration takes over what was written around it (`ngx_conf_merge_value` and its kin), in two steps: what
//! nobody wrote stays unset until a default is decided.

use nginx_sys::ngx_uint_t;

/// Takes over a value that is not written here.
pub(crate) fn inherit_value<T: Copy + PartialEq>(inner: &mut T, outer: T, unset: T) {
    if *inner == unset {
        *inner = outer;
    }
}

/// The same for a set of bits, which is empty where nothing is written.
pub(crate) fn inherit_bits(inner: &mut ngx_uint_t, outer: ngx_uint_t) {
    inherit_value(inner, outer, 0);
}
