//! What keeps the C boundary safe.

pub mod guard;
