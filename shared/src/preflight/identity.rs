//! Who a process group's processes are.

use std::ffi::CString;
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use thiserror::Error;

use crate::conf::group::ProcessGroup;

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

/// The user of a name or a `#uid`, with what the system knows about it.
///
/// # Errors
/// [`IdentityError::NoUser`].
pub fn user(written: &str) -> Result<(Uid, Option<User>), IdentityError> {
    let unknown = || IdentityError::NoUser(written.to_owned());
    if let Some(number) = written.strip_prefix('#') {
        let uid = Uid::from_raw(number.parse().map_err(|_| unknown())?);
        return Ok((uid, User::from_uid(uid).ok().flatten()));
    }
    let user = User::from_name(written).ok().flatten().ok_or_else(unknown)?;
    Ok((user.uid, Some(user)))
}

/// The group of a name or a `#gid`.
///
/// # Errors
/// [`IdentityError::NoGroup`].
pub fn group(written: &str) -> Result<Gid, IdentityError> {
    let unknown = || IdentityError::NoGroup(written.to_owned());
    if let Some(number) = written.strip_prefix('#') {
        return Ok(Gid::from_raw(number.parse().map_err(|_| unknown())?));
    }
    Group::from_name(written).ok().flatten().map(|group| group.gid).ok_or_else(unknown)
}

impl Identity {
    /// Who the processes of a group are to be; `server` is the user of the server's own processes, where the
    /// server is root.
    ///
    /// # Errors
    /// No such user or group, or root.
    pub fn of(conf: &ProcessGroup, server: Option<(u32, u32)>) -> Result<Self, IdentityError> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_there_or_root_is_refused() {
        let mut conf = ProcessGroup::named("shop");
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
