//! Daemon mode as the servers see it: what neatd is told ([`conf`]), whether the system has what that asks for ([`system`]),
//! starting neatd ([`launch`]), and having its workers answer where a thread may wait for that ([`client`]).

#[allow(unsafe_code)]
mod access_list;
#[allow(unsafe_code)]
pub mod client;
#[cfg(test)]
mod client_tests;
pub mod conf;
pub mod identity;
#[allow(unsafe_code)]
pub mod launch;
pub(crate) mod reach;
pub mod system;
#[cfg(test)]
pub(crate) mod tree;
