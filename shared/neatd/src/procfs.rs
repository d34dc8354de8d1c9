//! /proc, for a process that may have changed its root directory since it started.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

static PROC: OnceLock<OwnedFd> = OnceLock::new();

/// Holds on to /proc. Whoever runs code of others closes this: it leads out of a root directory.
pub fn keep() {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    if let Ok(proc) = open("/proc", flags, Mode::empty()) {
        let _ = PROC.set(proc);
    }
}

/// What a file below /proc says (proc(5)).
pub fn read(path: &Path) -> Option<String> {
    let Some(proc) = PROC.get() else { return std::fs::read_to_string(Path::new("/proc").join(path)).ok() };
    let opened = openat(proc, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(opened).read_to_string(&mut text).ok()?;
    Some(text)
}
