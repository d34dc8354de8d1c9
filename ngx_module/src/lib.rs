//! Neat inside nginx: the module `ngx_http_wsgi_module`.
//!
//! What passes through: nginx calls in at `entry.rs`; `directives.rs` and `conf.rs` read the configuration;
//! `handler.rs` takes a request, `request.rs` packs its head; `embedded/` gives it to a Python thread of this
//! worker and its response to nginx.
//!
//! What this room must never know: Python (the engine is behind `shared::loader`), or a rule of HTTP or WSGI
//! (those are `shared`'s). Raw pointers of nginx's stay in `ffi/` and `entry.rs`.

#![deny(unsafe_code)]

mod conf;
mod directives;
mod embedded;
#[allow(unsafe_code)]
mod entry;
mod fault;
#[allow(unsafe_code)]
mod ffi;
mod group_address;
mod groups;
mod handler;
mod log;
mod module;
mod request;
mod upstream;
