//! Neat inside Apache httpd: the module `wsgi_module`, in `mod_neat.so`.
//!
//! What passes through: a URL becomes a script ([`translate`]), a request becomes an exchange ([`handler`],
//! [`request`], [`exchange`]) and is served by the engine on httpd's own thread; blocks go out as brigades
//! ([`output`]), the body comes in as brigades ([`request_body`]). Directives and their inheritance are in
//! [`directives`] and [`conf`], the life of a child in [`child`], process groups in [`groups`], and what
//! holds for their responses only in [`group_response`].
//!
//! This room must never know Python, nor a rule of HTTP or WSGI: those are in `shared`. Raw pointers stay in
//! [`ffi`] and [`entry`].

#![deny(unsafe_code)]

mod child;
mod conf;
mod directives;
#[allow(unsafe_code, reason = "the entry points from C")]
mod entry;
mod exchange;
#[allow(unsafe_code, reason = "httpd's structures, wrapped into safe types")]
mod ffi;
mod group_response;
mod groups;
mod handler;
mod log;
mod output;
mod request;
mod request_body;
mod translate;
