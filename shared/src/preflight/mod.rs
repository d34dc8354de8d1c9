//! What a process group asks of the system, judged before anything is started: users, directories, the
//! Python.

#[allow(unsafe_code)]
mod acl;
pub(crate) mod directories;
pub mod identity;
#[cfg(test)]
pub(crate) mod tree;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid};
use thiserror::Error;

use self::identity::{Identity, IdentityError};

use crate::conf::group::ProcessGroup;
use crate::loader::build_name::BuildName;
use crate::loader::denied::Denied;
use crate::loader::locate::{LocateError, locate};

/// What is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SystemError {
    /// The processes cannot be who they are to be.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What only root can do.
    #[error(
        "{option}={written}: only a server that is started as root can do that; start it as root, or leave {option}= out"
    )]
    NotRoot {
        /// The option.
        option: &'static str,
        /// Its value.
        written: String,
    },
    /// An owner that does not exist.
    #[error("{option}={written}: there is no such {what}; name one of this system, or #{number}")]
    NoOwner {
        /// The option.
        option: &'static str,
        /// Its value.
        written: String,
        /// User or group.
        what: &'static str,
        /// What its number is called.
        number: &'static str,
    },
    /// A directory that cannot be used by anybody.
    #[error("{option}={}: {why}; make this directory, or name another", path.display())]
    Directory {
        /// The option.
        option: &'static str,
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A directory that the user cannot enter.
    #[error(
        "{option}={}: the user {user} may not enter \"{}\" (owner #{owner}, group #{group}, mode {mode:04o}); give that user the \
         x permission there, or name another directory or another user=",
        path.display(),
        barred.display()
    )]
    Barred {
        /// The option.
        option: &'static str,
        /// Its value.
        path: PathBuf,
        /// The directory on the way to it that cannot be entered.
        barred: PathBuf,
        /// The user.
        user: String,
        /// Whose directory it is.
        owner: u32,
        /// The group of the directory.
        group: u32,
        /// The directory's permissions.
        mode: u32,
    },
    /// A Python that the user may not read.
    #[error("python-home={}: {denied}, or name another directory or another user=", home.display())]
    Python {
        /// The Python's home.
        home: PathBuf,
        /// What is closed to the user.
        denied: Denied,
    },
    /// No Python that can be loaded.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// No executable.
    #[error(
        "python={}: there is no executable file of this name; name one as in /srv/shop/venv/bin/python3",
        _0.display()
    )]
    NoExecutable(PathBuf),
    /// An executable beside the one that its installation starts.
    #[error(
        "python={0}: this is Python 3.{asked}, but its installation \"{1}\" starts Python 3.{found}; make a virtual environment with \
         it ({0} -m venv DIRECTORY), and write python-home=DIRECTORY instead",
        python.display(),
        home.display()
    )]
    OtherPython {
        /// The executable.
        python: PathBuf,
        /// Its installation.
        home: PathBuf,
        /// The executable's minor version.
        asked: u32,
        /// That of the installation.
        found: u32,
    },
}

/// Judges what a group asks of the system. `server` is the user of the server's processes, where the server
/// is root.
///
/// # Errors
/// A [`SystemError`].
pub fn check(conf: &ProcessGroup, server: Option<(u32, u32)>) -> Result<(), SystemError> {
    let identity = Identity::of(conf, server)?;
    check_owners(conf)?;
    if server.is_none() {
        check_without_root(conf, &identity)?;
    }
    directories::check(conf, &identity)?;
    // What is inside of a chroot is another system's.
    if conf.chroot.is_none() { check_python(conf, &identity) } else { Ok(()) }
}

fn check_owners(conf: &ProcessGroup) -> Result<(), SystemError> {
    for (option, written) in [("socket-user", &conf.socket_user), ("script-user", &conf.script_user)] {
        if let Some(written) = written.as_ref().filter(|written| identity::user(written).is_err()) {
            let written = written.clone();
            return Err(SystemError::NoOwner { option, written, what: "user", number: "uid" });
        }
    }
    match &conf.script_group {
        Some(written) if identity::group(written).is_err() => Err(SystemError::NoOwner {
            option: "script-group",
            written: written.clone(),
            what: "group",
            number: "gid",
        }),
        _ => Ok(()),
    }
}

/// Without root the processes are the server's user, whatever else was asked for.
fn check_without_root(conf: &ProcessGroup, identity: &Identity) -> Result<(), SystemError> {
    let refused = |option, written: &str| Err(SystemError::NotRoot { option, written: written.to_owned() });
    match (&conf.user, &conf.group) {
        (Some(user), _) if identity.uid != Uid::current() => return refused("user", user),
        (_, Some(group)) if identity.gid != Gid::current() => return refused("group", group),
        _ => {}
    }
    if let Some(groups) = &conf.supplementary_groups {
        return refused("supplementary-groups", &groups.join(","));
    }
    if let Some(chroot) = &conf.chroot {
        return refused("chroot", &chroot.display().to_string());
    }
    match &conf.socket_user {
        Some(written) if !identity::user(written).is_ok_and(|(uid, _)| uid == Uid::current()) => {
            refused("socket-user", written)
        }
        _ => Ok(()),
    }
}

fn check_python(conf: &ProcessGroup, identity: &Identity) -> Result<(), SystemError> {
    if let Some(python) = &conf.python {
        let about = std::fs::metadata(python).ok();
        if !about.is_some_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0) {
            return Err(SystemError::NoExecutable(python.clone()));
        }
    }
    let located = locate(conf.python_home.as_deref())?;
    let Some(home) = &conf.python_home else { return Ok(()) };
    directories::check_python(&located, identity)
        .map_err(|denied| SystemError::Python { home: home.clone(), denied })?;
    let (found, Some(python)) = (located.minor, &conf.python) else { return Ok(()) };
    let asked = python.file_name().and_then(|name| BuildName::read(&name.to_string_lossy()));
    match asked {
        Some(BuildName { minor: asked, .. }) if asked != found => {
            Err(SystemError::OtherPython { python: python.clone(), home: home.clone(), asked, found })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::tree::Tree;
    use std::os::unix::fs::symlink;

    fn group(options: &str) -> ProcessGroup {
        let words: Vec<String> = format!("shop {options}").split_whitespace().map(str::to_owned).collect();
        ProcessGroup::parse(&words).unwrap().0
    }

    #[test]
    fn owners_have_to_exist() {
        let said = |options: &str| check_owners(&group(options)).map_err(|error| error.to_string());
        for option in ["socket-user", "script-user", "script-group"] {
            let error = said(&format!("{option}=no-such-owner")).unwrap_err();
            assert!(error.starts_with(&format!("{option}=no-such-owner: there is no such")), "{error}");
        }
        // Scripts of root's are the safest.
        assert_eq!(said("script-user=root script-group=#0"), Ok(()));
    }

    #[test]
    fn without_root_nobody_becomes_somebody_else() {
        let me = (Uid::current(), Gid::current());
        let said = |options: &str| {
            let identity = Identity { uid: me.0, gid: me.1, groups: vec![], name: None, home: None };
            let other =
                Identity { uid: Uid::from_raw(54_321), gid: Gid::from_raw(54_321), ..identity.clone() };
            let conf = group(options);
            let identity = if options.contains("54321") { other } else { identity };
            check_without_root(&conf, &identity).map_err(|error| error.to_string())
        };
        assert_eq!(said(""), Ok(()));
        assert_eq!(said(&format!("group=#{} socket-user=#{}", me.1, me.0)), Ok(()));
        for options in
            ["user=#54321", "group=#54321", "supplementary-groups=#1,#2", "chroot=/srv", "socket-user=#54320"]
        {
            let error = said(options).unwrap_err();
            assert!(
                error.starts_with(&format!("{options}: ")) && error.contains("start it as root"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_python_that_was_named_is_the_one_that_runs() {
        let tree = Tree::new("python");
        let python = tree.file("bin/python3.12", 0o755);
        symlink(&python, tree.0.join("bin/python3")).unwrap();
        tree.file("bin/python3.9", 0o755);
        tree.file("bin/python3.11", 0o644);
        tree.file("lib/libpython3.12.so.1.0", 0o644);
        let said = |name: &str| {
            let conf = group(&format!("python={}/bin/{name}", tree.0.display()));
            let identity = Identity::of(&conf, Some((54_321, 54_321))).unwrap();
            check_python(&conf, &identity).map_err(|error| error.to_string())
        };
        assert_eq!((said("python3"), said("python3.12")), (Ok(()), Ok(())));
        let error = said("python3.9").unwrap_err();
        assert!(error.contains("is Python 3.9") && error.contains("starts Python 3.12"), "{error}");
        assert!(error.contains("bin/python3.9 -m venv DIRECTORY"), "{error}");
        assert!(said("python3.11").unwrap_err().contains("no executable"));
        assert!(said("python3.10").unwrap_err().contains("no executable"));
    }
}
