//! Giving up what the server's user may do: every step in its order, and every step checked.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chdir, chroot, setgroups, setresgid, setresuid};
use shared::conf::group::ProcessGroup;
use shared::preflight::identity::Identity;
use thiserror::Error;

/// Why a group's processes cannot be what they are to be.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// They would be root.
    #[error("no application is run as root; give the process group an ordinary user=")]
    Root,
    /// A step was refused.
    #[error("{step}: {why}")]
    Refused {
        /// What was to be done.
        step: String,
        /// What the system said.
        why: nix::Error,
    },
    /// A step was done and did not hold.
    #[error("the user or the group of the process is not what was asked for")]
    NotGiven,
}

fn step<T>(what: impl Into<String>, done: nix::Result<T>) -> Result<T, PrivilegeError> {
    done.map_err(|why| PrivilegeError::Refused { step: what.into(), why })
}

/// Becomes the group's user for good: what needs root first, then root directory, groups, group, user, each
/// checked. Without root only what needs none is done.
///
/// # Errors
/// The first step that was refused.
pub fn become_user(conf: &ProcessGroup, identity: &Identity) -> Result<(), PrivilegeError> {
    if Uid::effective().is_root() {
        if let Some(size) = conf.virtual_memory_limit {
            // Nobody but root may raise it; [`settle`] sets it, for the processes that it is meant for.
            let (soft, hard) = step("virtual-memory-limit", getrlimit(Resource::RLIMIT_AS))?;
            if size > hard {
                step("virtual-memory-limit", setrlimit(Resource::RLIMIT_AS, soft, size))?;
            }
        }
        if let Some(priority) = conf.cpu_priority {
            set_priority(priority)?;
        }
        if let Some(root) = &conf.chroot {
            step(format!("chroot={}", root.display()), chroot(root))?;
            step("chroot", chdir("/"))?;
        }
        step("supplementary-groups", setgroups(&identity.groups))?;
        step("group", setresgid(identity.gid, identity.gid, identity.gid))?;
        step("user", setresuid(identity.uid, identity.uid, identity.uid))?;
    }
    if Uid::effective().is_root() || Uid::current().is_root() {
        return Err(PrivilegeError::Root);
    }
    let given = (Uid::current(), Uid::effective()) == (identity.uid, identity.uid)
        && (Gid::current(), Gid::effective()) == (identity.gid, identity.gid);
    // Whoever can take root back has not given it up.
    if !given || nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(PrivilegeError::NotGiven);
    }
    // Another process of the same user can signal this one, and neither read its memory nor take its
    // descriptors (prctl(2), ptrace(2)).
    // SAFETY: a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    Ok(())
}

/// What is the application's own: umask, limits, directory. `was_not_root`: the server is not root.
///
/// # Errors
/// The first step that was refused.
pub fn settle(conf: &ProcessGroup, was_not_root: bool) -> Result<(), PrivilegeError> {
    if let Some(mask) = conf.umask {
        umask(Mode::from_bits_truncate(mask));
    }
    if let Some(size) = conf.virtual_memory_limit {
        step("virtual-memory-limit", setrlimit(Resource::RLIMIT_AS, size, size))?;
    }
    // Where the server is root that was done when it still could be.
    if let Some(priority) = conf.cpu_priority.filter(|_| was_not_root) {
        set_priority(priority)?;
    }
    if let Some(home) = &conf.home {
        step(format!("home={}", home.display()), chdir(home))?;
    }
    // The warden has to be able to see how much memory the process takes, and a debugger to attach.
    // SAFETY: a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    Ok(())
}

fn set_priority(priority: i32) -> Result<(), PrivilegeError> {
    // SAFETY: changes this process's priority only.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, priority) };
    step(format!("cpu-priority={priority}"), nix::errno::Errno::result(done).map(drop))
}

/// The user and the group of nobody, where a process is not to be who it was to be (the kernel's overflow
/// numbers, user_namespaces(7)).
const NOBODY: u32 = 65_534;

/// Becomes nobody, for good; `false` where this process is root all the same.
pub fn become_nobody() -> bool {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    if Uid::effective().is_root() || Uid::current().is_root() {
        let _ = (setgroups(&[]), setresgid(gid, gid, gid), setresuid(uid, uid, uid));
    }
    !Uid::effective().is_root() && !Uid::current().is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_err()
}
