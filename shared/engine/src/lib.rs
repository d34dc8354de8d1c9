//! The engine: runs WSGI applications in CPython, whatever version of it was loaded.
//!
//! What passes through: an exchange of a server ([`entry`]) becomes a request ([`request`]), is served
//! ([`serve`]): its application is found ([`call_input`], [`application`]), its environ made ([`environ`]),
//! its input opened ([`input`]); `start_response` ([`start_response`]) and the iteration give the response
//! back to the exchange.
//!
//! This room knows Python and nothing of a server. It has no `#[pyclass]`: what an application holds is the
//! standard library's, or a built-in function over a capsule, so that an interpreter with a GIL of its own
//! stays possible.

mod application;
mod call_input;
mod capsule;
mod entry;
mod environ;
mod errors;
mod file_wrapper;
mod fork;
mod input;
mod interpreter;
mod names;
mod native;
mod request;
mod serve;
mod start_response;
mod startup;
mod threads;
mod traceback;
