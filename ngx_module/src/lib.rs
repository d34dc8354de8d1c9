//! Neat inside nginx: the module `ngx_http_wsgi_module`.
//!
//! What passes through: nginx calls in at `entry.rs`; `directives.rs` and `conf.rs` read the configuration; `handler.rs` takes
//! a request, `request.rs` packs its head, `request_body.rs` its body; `exchange.rs` is a Python thread's half of it and
//! `serving.rs` the event loop's, with `link.rs` between them; `event_loop.rs` is the only door from the threads to the loop;
//! `output.rs` and `response.rs` give the answer to nginx; `process.rs` starts and ends the threads.
//!
//! What this room must never know: Python (the engine is behind `shared::loader`), or a rule of HTTP or WSGI (those are
//! `shared`'s). Raw pointers of nginx's stay in `ffi/` and `entry.rs`.

#![deny(unsafe_code)]

mod conf;
mod directives;
#[allow(unsafe_code)]
mod entry;
mod event_loop;
mod exchange;
mod fault;
#[allow(unsafe_code)]
mod ffi;
mod groups;
mod handler;
mod link;
mod log;
mod output;
mod registry;
mod request;
mod request_body;
mod response;
mod serving;
mod upstream;
mod worker;

pub(crate) use entry::module_index;
