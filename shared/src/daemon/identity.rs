//! Who a process group's processes are.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use thiserror::Error;

use crate::conf::group::GroupConf;

/// Why a group's processes cannot be who they are to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// No such user.
    #[error("user={0}: there is no such user; name one of this system, or #uid")]
    NoUser(String),
    /// No such group.
    #[error("group={0}: there is no such group; name one of this system, or #gid")]
    NoGroup(String),
    /// Root.
    #[error("no application is run as root; give the process group an ordinary user=")]
    Root,
    /// Another user than the server's, which only root can become.
    #[error("user={0}: the server does not run as root, and cannot start processes of another user")]
    NotRoot(String),
    /// A directory that is not there, or that the user cannot enter.
    #[error("{option}={path}: {why}")]
    Directory {
        /// Which option names it.
        option: &'static str,
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
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

fn user(written: &str) -> Result<(Uid, Option<User>), IdentityError> {
    let unknown = || IdentityError::NoUser(written.to_owned());
    if let Some(number) = written.strip_prefix('#') {
        let uid = Uid::from_raw(number.parse().map_err(|_| unknown())?);
        return Ok((uid, User::from_uid(uid).ok().flatten()));
    }
    let user = User::from_name(written).ok().flatten().ok_or_else(unknown)?;
    Ok((user.uid, Some(user)))
}

fn group(written: &str) -> Result<Gid, IdentityError> {
    let unknown = || IdentityError::NoGroup(written.to_owned());
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
    pub fn of(conf: &GroupConf, server: Option<(u32, u32)>) -> Result<Self, IdentityError> {
        let own = server
            .map_or((Uid::current(), Gid::current()), |(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
        let (uid, account) = match &conf.user {
            Some(written) => user(written)?,
            None => (own.0, User::from_uid(own.0).ok().flatten()),
        };
        if uid.is_root() {
            return Err(IdentityError::Root);
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

    /// The user's name or number, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("#{}", self.uid))
    }

    /// Whether a directory can be entered, as far as its own mode says.
    #[must_use]
    pub fn may_enter(&self, directory: &Path) -> bool {
        let Ok(about) = std::fs::metadata(directory) else { return false };
        let shift = if about.uid() == self.uid.as_raw() {
            6
        } else if self.gid.as_raw() == about.gid()
            || self.groups.iter().any(|gid| gid.as_raw() == about.gid())
        {
            3
        } else {
            0
        };
        about.is_dir() && about.mode() >> shift & 1 == 1
    }
}

/// Judges what a group asks of the system, before anything is started.
///
/// # Errors
/// What is wrong, for the administrator.
pub fn check(conf: &GroupConf, server: Option<(u32, u32)>) -> Result<(), IdentityError> {
    let identity = Identity::of(conf, server)?;
    if server.is_none() && identity.uid != Uid::current() {
        return Err(IdentityError::NotRoot(conf.user.clone().unwrap_or_default()));
    }
    let wrong =
        |option, path: &Path, why: String| IdentityError::Directory { option, path: path.to_owned(), why };
    for (option, path) in [("home", &conf.home), ("chroot", &conf.chroot)] {
        let Some(path) = path else { continue };
        // What is inside of a chroot is seen from there only.
        if option == "home" && conf.chroot.is_some() {
            continue;
        }
        match std::fs::metadata(path) {
            Err(error) => return Err(wrong(option, path, error.to_string())),
            Ok(about) if !about.is_dir() => return Err(wrong(option, path, "not a directory".to_owned())),
            Ok(_) if !identity.may_enter(path) => {
                let why = format!("the user {} may not enter this directory", identity.shown());
                return Err(wrong(option, path, why));
            }
            Ok(_) => {}
        }
    }
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
        assert!(matches!(Identity::of(&conf, None), Err(IdentityError::Root)));
        conf.user = Some("#54321".to_owned());
        let identity = Identity::of(&conf, Some((33, 33))).unwrap();
        assert_eq!((identity.uid.as_raw(), identity.gid.as_raw(), identity.name), (54321, 33, None));
        conf.group = Some("no-such-group-here".to_owned());
        assert!(Identity::of(&conf, None).unwrap_err().to_string().contains("no-such-group-here"));
    }
}
