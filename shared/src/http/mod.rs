//! The rules of HTTP that both servers and the engine share: how a request's head is packed, what a header
//! may be called in environ, where an application's mount point ends, and how long a body is.

pub mod body;
pub mod host;
pub mod key;
pub mod length;
pub mod packed;
pub mod target;
pub mod token;
