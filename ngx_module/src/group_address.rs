//! Where a process group is, as a worker of nginx knows it.
#![deny(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::conf::group::ProcessGroup;
use shared::launch::handover::socket_path;

use crate::ffi::upstream_conf::Timeouts;

/// A process group's address.
#[derive(Debug)]
pub struct GroupAddress {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub path: PathBuf,
    /// How long nginx waits for it, where the location does not say.
    pub timeouts: Timeouts,
}

impl GroupAddress {
    /// The address of a group, of which `prefix` is how its socket's path begins.
    pub fn of(prefix: &Path, group: &ProcessGroup) -> Self {
        let path = socket_path(prefix, &group.name);
        Self { name: group.name.clone(), path, timeouts: timeouts(group) }
    }
}

/// How long nginx waits for a group.
pub fn timeouts(group: &ProcessGroup) -> Timeouts {
    let millis = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX >> 2);
    Timeouts {
        connect: millis(group.connect_timeout),
        send: millis(group.socket_timeout),
        read: millis(group.response_socket_timeout),
    }
}
