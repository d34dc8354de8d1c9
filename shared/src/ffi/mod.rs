//! What keeps the C boundary safe, and the calls of the system that the crates have no safe form of.

pub mod guard;
pub mod hang_up;
pub mod recv;
