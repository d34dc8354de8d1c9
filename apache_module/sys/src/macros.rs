//! What httpd's headers say as macros: functions are compiled from the headers (`macros.c`), and records that have to be constants of
//! Rust's are compared with the headers' by a test.

use crate::{command_rec, module};

pub use crate::bindings::{
    neat_brigade_first as first, neat_brigade_insert_tail as insert_tail, neat_bucket_delete as delete,
};

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
        magic: crate::MODULE_MAGIC_COOKIE as std::ffi::c_ulong,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_record_is_what_the_headers_make_of_one() {
        // SAFETY: zeroes are an empty record, which the function fills in.
        let header = unsafe {
            let mut record: module = std::mem::zeroed();
            crate::bindings::neat_standard_module(&raw mut record);
            record
        };
        let ours = standard_module(c"x");
        assert_eq!(
            (ours.version, ours.minor_version, ours.module_index, ours.magic, ours.flags),
            (header.version, header.minor_version, header.module_index, header.magic, header.flags)
        );
        assert!(header.dynamic_load_handle.is_null() && header.next.is_null());
        assert!(header.rewrite_args.is_none() && header.register_hooks.is_none());
    }
}
