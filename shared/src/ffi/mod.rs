//! What keeps the C boundary safe, and the one call of the system that the crates have no safe form of.

pub mod guard;
pub mod recv;
