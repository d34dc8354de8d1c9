//! nginx's directives of an upstream, by what they are about.

pub(crate) mod cache;
pub(crate) mod rate;
pub(crate) mod store;
