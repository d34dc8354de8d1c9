//! Configuration in two stages: as written ([`location`], [`process`]), as decided ([`mount`]).

pub mod location;
pub mod mount;
pub mod process;
