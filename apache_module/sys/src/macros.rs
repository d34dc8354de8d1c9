//! The macros of httpd and APR that bindgen drops.

use std::mem::offset_of;

use crate::{apr_bucket, apr_bucket_brigade, command_rec, module};

/// `MODULE_MAGIC_COOKIE`: "AP24".
pub const MAGIC_COOKIE: std::ffi::c_ulong = 0x4150_3234;

/// `STANDARD20_MODULE_STUFF`: a module record with everything empty that a module fills in.
#[must_use]
pub const fn standard_module(name: &'static std::ffi::CStr) -> module {
    module {
        version: crate::MODULE_MAGIC_NUMBER_MAJOR,
        minor_version: crate::MODULE_MAGIC_NUMBER_MINOR,
        module_index: -1,
        name: name.as_ptr(),
        dynamic_load_handle: std::ptr::null_mut(),
        next: std::ptr::null_mut(),
        magic: MAGIC_COOKIE,
        rewrite_args: None,
        create_dir_config: None,
        merge_dir_config: None,
        create_server_config: None,
        merge_server_config: None,
        cmds: std::ptr::null(),
        register_hooks: None,
        flags: 0,
    }
}

/// The empty record that ends a command table.
#[must_use]
pub const fn no_command() -> command_rec {
    // SAFETY: all zeroes is how C writes `{ NULL }`; every field allows it.
    unsafe { std::mem::zeroed() }
}

/// `APR_BRIGADE_SENTINEL`: what stands where the ring of a brigade begins and ends.
///
/// # Safety
/// `brigade` is a living brigade.
pub unsafe fn sentinel(brigade: *mut apr_bucket_brigade) -> *mut apr_bucket {
    // SAFETY: the list lies within the brigade; the sentinel's address is only compared, or used for its link.
    unsafe { (&raw mut (*brigade).list).cast::<u8>().wrapping_sub(offset_of!(apr_bucket, link)).cast() }
}

/// `APR_BRIGADE_FIRST`, or null in place of the sentinel.
///
/// # Safety
/// `brigade` is a living brigade.
pub unsafe fn first(brigade: *mut apr_bucket_brigade) -> *mut apr_bucket {
    // SAFETY: the caller's promise.
    unsafe {
        let bucket = (*brigade).list.next;
        if bucket == sentinel(brigade) { std::ptr::null_mut() } else { bucket }
    }
}

/// `APR_BRIGADE_INSERT_TAIL`.
///
/// # Safety
/// `brigade` is a living brigade, and `bucket` a bucket in no ring.
pub unsafe fn insert_tail(brigade: *mut apr_bucket_brigade, bucket: *mut apr_bucket) {
    // SAFETY: the ring is whole before and after; the sentinel's link is the brigade's list.
    unsafe {
        let sentinel = sentinel(brigade);
        let last = (*brigade).list.prev;
        (*bucket).link.next = sentinel;
        (*bucket).link.prev = last;
        if last == sentinel {
            (*brigade).list.next = bucket;
        } else {
            (*last).link.next = bucket;
        }
        (*brigade).list.prev = bucket;
    }
}

/// `apr_bucket_delete`: takes a bucket out of its ring and destroys it.
///
/// # Safety
/// `bucket` is a living bucket of a brigade.
pub unsafe fn delete(bucket: *mut apr_bucket) {
    // SAFETY: neighbours of a bucket in a ring are buckets, or a sentinel whose link is the brigade's list.
    unsafe {
        let (next, prev) = ((*bucket).link.next, (*bucket).link.prev);
        (*prev).link.next = next;
        (*next).link.prev = prev;
        if let Some(destroy) = (*(*bucket).type_).destroy {
            destroy((*bucket).data);
        }
        if let Some(free) = (*bucket).free {
            free(bucket.cast());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brigades_list_begins_with_a_link_as_a_bucket_does() {
        // What `sentinel` relies on: the list of a brigade and the link of a bucket are both `next`, then `prev`.
        assert_eq!(
            offset_of!(crate::apr_bucket_brigade_apr_bucket_list, next),
            offset_of!(crate::apr_bucket__bindgen_ty_1, next)
        );
        assert_eq!(
            offset_of!(crate::apr_bucket_brigade_apr_bucket_list, prev),
            offset_of!(crate::apr_bucket__bindgen_ty_1, prev)
        );
    }

    #[test]
    fn a_module_record_has_the_headers_magic() {
        let record = standard_module(c"x");
        assert_eq!((record.version, record.magic), (20_120_211, 0x4150_3234));
    }
}
