//! Where a process group is, as a worker of nginx knows it.
#![deny(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::conf::group::ProcessGroup;
use shared::launch::handover::socket_path;

use crate::conf::MainConf;
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
    /// The address of a group.
    pub fn of(main: &MainConf, group: &ProcessGroup) -> Self {
        let path = socket_path(&socket_prefix(main), &group.name);
        Self { name: group.name.clone(), path, timeouts: timeouts(group) }
    }
}

/// Where the sockets are, unless the configuration says so: with nginx's pid file.
pub fn socket_prefix(main: &MainConf) -> PathBuf {
    prefix_beside(main, &main.pid_path)
}

/// The same for another pid file.
pub fn prefix_beside(main: &MainConf, pid_path: &Path) -> PathBuf {
    main.process.socket_prefix(pid_path.parent().unwrap_or_else(|| Path::new("/run")))
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
