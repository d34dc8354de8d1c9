//! The warden of a group: starts its generations, holds its workers to their limits, says why one died, and answers for a group
//! that has none.
//!
//! Today each group's warden is a part of the supervisor's process. It is to be one of its own, as the group's user, so that
//! whatever an application can send ends there; this room imports nothing of the supervisor's, and reaches it through
//! [`site::Site`] alone.

pub mod backoff;
pub mod deaths;
mod generation;
pub mod group;
mod limits;
pub mod lines;
mod memory;
mod reports;
mod responder;
#[allow(unsafe_code)]
pub mod scoreboard;
mod scripts;
pub mod site;
mod upkeep;
mod workers;
