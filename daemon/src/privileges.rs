//! Giving up what the server's user may do: every step in its order, and every step checked.

use std::ffi::CString;
use std::path::PathBuf;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, Uid, User, chdir, chroot, getgrouplist, setgroups, setresgid, setresuid};
use shared::conf::group::GroupConf;
use thiserror::Error;

/// Why a group's processes cannot be what they are to be.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// No such user.
    #[error("user={0}: there is no such user")]
    NoUser(String),
    /// No such group.
    #[error("group={0}: there is no such group")]
    NoGroup(String),
    /// Root.
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

/// Who a group's processes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
    /// Further groups.
    pub groups: Vec<Gid>,
    /// The user's name, if there is one.
    pub name: Option<String>,
    /// The user's own directory.
    pub home: Option<PathBuf>,
}

fn user(written: &str) -> Result<(Uid, Option<User>), PrivilegeError> {
    let unknown = || PrivilegeError::NoUser(written.to_owned());
    if let Some(number) = written.strip_prefix('#') {
        let uid = Uid::from_raw(number.parse().map_err(|_| unknown())?);
        return Ok((uid, User::from_uid(uid).ok().flatten()));
    }
    let user = User::from_name(written).ok().flatten().ok_or_else(unknown)?;
    Ok((user.uid, Some(user)))
}

fn group(written: &str) -> Result<Gid, PrivilegeError> {
    let unknown = || PrivilegeError::NoGroup(written.to_owned());
    if let Some(number) = written.strip_prefix('#') {
        return Ok(Gid::from_raw(number.parse().map_err(|_| unknown())?));
    }
    Group::from_name(written).ok().flatten().map(|group| group.gid).ok_or_else(unknown)
}

impl Identity {
    /// Who the processes of a group are to be; `server` is the user of the server's own processes, where the server is root.
    ///
    /// # Errors
    /// No such user or group, or root.
    pub fn of(conf: &GroupConf, server: Option<(u32, u32)>) -> Result<Self, PrivilegeError> {
        let own = server
            .map_or((Uid::current(), Gid::current()), |(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
        let (uid, account) = match &conf.user {
            Some(written) => user(written)?,
            None => (own.0, User::from_uid(own.0).ok().flatten()),
        };
        if uid.is_root() {
            return Err(PrivilegeError::Root);
        }
        let gid = match (&conf.group, &account) {
            (Some(written), _) => group(written)?,
            (None, Some(account)) if conf.user.is_some() => account.gid,
            (None, _) => own.1,
        };
        let name = account.as_ref().map(|account| account.name.clone());
        let groups = match (&conf.supplementary_groups, &name) {
            (Some(list), _) => list.iter().map(|written| group(written)).collect::<Result<_, _>>()?,
            (None, Some(name)) => {
                let name = CString::new(name.as_str()).unwrap_or_default();
                getgrouplist(&name, gid).unwrap_or_else(|_| vec![gid])
            }
            (None, None) => vec![gid],
        };
        Ok(Self { uid, gid, groups, name, home: account.map(|account| account.dir) })
    }
}

fn step<T>(what: impl Into<String>, done: nix::Result<T>) -> Result<T, PrivilegeError> {
    done.map_err(|why| PrivilegeError::Refused { step: what.into(), why })
}

/// Becomes what a group's processes are: limits, priority, root directory, groups, group, user, directory. Without root only what
/// needs none is done.
///
/// # Errors
/// The first step that was refused.
pub fn drop_to(conf: &GroupConf, identity: &Identity) -> Result<(), PrivilegeError> {
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
    let given = (Uid::current(), Uid::effective()) == (identity.uid, identity.uid);
    // Whoever can take root back has not given it up.
    if !given || nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(PrivilegeError::NotGiven);
    }
    if let Some(home) = &conf.home {
        step(format!("home={}", home.display()), chdir(home))?;
    }
    // The supervisor, which is another user now, has to be able to see how much memory the process takes, and a debugger to attach.
    // SAFETY: a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_there_or_root_is_refused() {
        let mut conf = GroupConf::named("shop");
        conf.user = Some("no-such-user-here".to_owned());
        assert!(Identity::of(&conf, None).unwrap_err().to_string().contains("no-such-user-here"));
        conf.user = Some("#0".to_owned());
        assert!(matches!(Identity::of(&conf, None), Err(PrivilegeError::Root)));
        conf.user = Some("#54321".to_owned());
        let identity = Identity::of(&conf, Some((33, 33))).unwrap();
        assert_eq!((identity.uid.as_raw(), identity.gid.as_raw(), identity.name), (54321, 33, None));
        conf.group = Some("no-such-group-here".to_owned());
        assert!(Identity::of(&conf, None).unwrap_err().to_string().contains("no-such-group-here"));
    }
}
