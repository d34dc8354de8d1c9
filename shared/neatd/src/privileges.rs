//! Giving up what the server's user may do: every step in its order, and every step checked.

use nix::sys::resource::{Resource, setrlimit};
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

/// Becomes what a group's processes are: limits, priority, root directory, groups, group, user, directory.
/// Without root only what needs none is done.
///
/// # Errors
/// The first step that was refused.
pub fn drop_to(conf: &ProcessGroup, identity: &Identity) -> Result<(), PrivilegeError> {
    if let Some(mask) = conf.umask {
        umask(Mode::from_bits_truncate(mask));
    }
    if let Some(size) = conf.virtual_memory_limit {
        step("virtual-memory-limit", setrlimit(Resource::RLIMIT_AS, size, size))?;
    }
    if let Some(priority) = conf.cpu_priority {
        // SAFETY: changes this process's priority only.
        let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, priority) };
        step(format!("cpu-priority={priority}"), nix::errno::Errno::result(done))?;
    }
    if Uid::effective().is_root() {
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
    if let Some(home) = &conf.home {
        step(format!("home={}", home.display()), chdir(home))?;
    }
    // The supervisor, which is another user now, has to be able to see how much memory the process takes, and
    // a debugger to attach.
    // SAFETY: a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    Ok(())
}
