//! httpd's and APR's C interface, as their headers on this machine have it.
//!
//! The bindings are made by `build.rs`. Beside them stands what bindgen drops: macros ([`macros`]), compiled from the headers too.
//! Nothing here is safe, and nothing here decides anything.

#[allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    missing_docs,
    unsafe_op_in_unsafe_fn,
    unknown_lints,
    unnecessary_transmutes,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "generated"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/httpd.rs"));
}

pub mod macros;

pub use bindings::*;
