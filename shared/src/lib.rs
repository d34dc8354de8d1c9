//! The server-neutral half of Neat: every rule of HTTP and WSGI, the vocabulary of configuration, and the
//! boundary between a server module and the engine that runs Python.
//!
//! What passes through: a server module packs a request into a [`http::packed::Packed`], offers itself as an
//! [`exchange::Exchange`], and hands that over [`loader::abi`] to the engine, which judges the application's
//! answer with [`wsgi::response`] and gives it back through the same exchange.
//!
//! What this room must never know: a type of nginx, of httpd, or of Python.

#![deny(unsafe_code)]

pub mod backlog;
pub mod client;
pub mod conf;
pub mod exchange;
pub mod fault;
#[allow(unsafe_code)]
pub mod ffi;
pub mod http;
#[allow(unsafe_code)]
pub mod launch;
#[allow(unsafe_code)]
pub mod loader;
pub mod log;
pub mod preflight;
pub mod relay;
pub mod threads;
pub mod vocabulary;
pub mod waiting;
pub mod wire;
pub mod wsgi;
