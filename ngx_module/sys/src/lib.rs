//! nginx's C interface, as its configured headers on this machine have it.
//!
//! The bindings are made by `build/main.rs`, which also has nginx's own C compiler lay every structure out:
//! where the two differ this does not compile. Beside them stands what bindgen drops: macros and inline
//! functions ([`macros`]). Nothing here is safe, and nothing here decides anything.

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
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

/// The layout of every structure, bit-fields included.
#[allow(clippy::all, reason = "generated")]
mod layout {
    use std::mem::offset_of;

    use super::bindings::*;

    include!(concat!(env!("OUT_DIR"), "/layout.rs"));
}

/// What nginx was configured with, of what the module asks for.
pub const FEATURES: &str = env!("NEAT_NGINX_FEATURES");

pub mod macros;

pub use bindings::*;
pub use macros::*;
