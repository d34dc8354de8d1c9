//! What a server's process and a daemon's worker say to each other, without any I/O: bytes in, frames out.
//!
//! A connection begins with one hello in each direction and then carries one exchange at a time. The server
//! sends a request's head and its body, the worker a response's head, chunks, files and log lines, and an
//! explicit end. Both directions are open at once: a response may begin, and end, while the body is still
//! coming. The server may send a body unasked ([`BodyMode::Pushed`]), or wait for [`Frame::WantBody`]
//! ([`BodyMode::Pulled`]), so that a thread which waits for a slow client's body is never one that the
//! response needs.
//!
//! A connection that ends without [`Frame::End`] or [`Frame::Failed`] is a cut, never an end.
//!
//! [`decode::Reader`] takes bytes as they come, in any portions; [`encode`] makes them; [`session`] holds
//! either side to the order; [`conversation`] is all of that for a server, with the descriptors and what may
//! be done with the connection.

pub mod conversation;
pub mod decode;
pub mod encode;
pub mod event;
pub mod file_range;
pub mod frame;
mod log_limit;
pub mod session;

pub use conversation::Conversation;
pub use decode::{Reader, WireError};
pub use event::{BeforeHead, Begun, Cut, Event};
pub use frame::{BodyMode, Frame, HEADER, Header, Hello, Kind, Received};

#[cfg(test)]
mod tests;
