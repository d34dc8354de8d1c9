//! The warden of a group: its generations, limits and deaths.

pub mod generation;
pub mod group;
mod memory;
pub mod responder;
