//! What a location takes over from the one around it, whether or not applications are served there: `http` and `server` only hand on.

use nginx_sys::ngx_http_upstream_conf_t;

use super::conf::{UNSET, UNSET_BITS, UNSET_POINTER, UNSET_SIZE};
use super::directives::{cache, rate, store};
use super::retry;
use super::slots::{inherit_bits, inherit_value};

/// Copies what was not written here from what was written around it. Nothing gets its default: that is for the location that asks an
/// upstream ([`super::UpstreamConf::decide`]).
pub(crate) fn inherit(inner: &mut ngx_http_upstream_conf_t, outer: &ngx_http_upstream_conf_t) {
    // First: it looks at whether a cache was written here.
    store::inherit(inner, outer);
    retry::inherit(inner, outer);
    rate::inherit(inner, outer);
    cache::inherit(inner, outer);
    macro_rules! take_over {
        ($unset:expr; $($field:ident)*) => {
            $(inherit_value(&mut inner.$field, outer.$field, $unset);)*
        };
    }
    take_over!(UNSET; buffering ignore_client_abort force_ranges cache_lock cache_revalidate cache_background_update);
    take_over!(UNSET_SIZE; connect_timeout send_timeout read_timeout buffer_size busy_buffers_size_conf max_temp_file_size_conf
        temp_file_write_size_conf cache_min_uses cache_lock_timeout cache_lock_age);
    take_over!(UNSET_POINTER as *mut _; hide_headers pass_headers cache_bypass no_cache cache_valid);
    take_over!(std::ptr::null_mut(); temp_path);
    inherit_bits(&mut inner.ignore_headers, outer.ignore_headers);
    if inner.bufs.num == 0 {
        inner.bufs = outer.bufs;
    }
    if inner.cache() == UNSET_BITS {
        inner.set_cache(outer.cache());
        inner.cache_zone = outer.cache_zone;
        inner.cache_value = outer.cache_value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::UpstreamConf;

    #[test]
    fn what_is_not_written_is_handed_on() {
        let (mut outer, mut middle, mut inner) =
            (UpstreamConf::default(), UpstreamConf::default(), UpstreamConf::default());
        let (outer, middle, inner) = (outer.get_mut(), middle.get_mut(), inner.get_mut());
        (outer.buffering, outer.read_timeout, outer.ignore_headers) = (0, 7, 2);
        (outer.bufs.num, outer.bufs.size) = (3, 4096);
        outer.set_cache(1);
        inner.read_timeout = 5;
        inherit(middle, outer);
        inherit(inner, middle);
        assert_eq!((inner.buffering, inner.read_timeout, inner.ignore_headers), (0, 5, 2));
        assert_eq!((inner.bufs.num, inner.cache()), (3, 1));
        assert_eq!((inner.send_timeout, inner.hide_headers as usize), (UNSET_SIZE, UNSET_POINTER));
    }
}
