//! What keeps a user from a file: the file itself, or the directory on the way to it that is closed.

use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

/// The most links that one path may lead through, as for the kernel (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// What is closed to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    path: PathBuf,
    user: String,
    enters: bool,
    owner: u32,
    group: u32,
    mode: u32,
}

impl Denied {
    /// Why this process cannot read a file or a directory; `None` where it can, or where it is not there.
    #[must_use]
    pub fn reading(path: &Path) -> Option<Self> {
        let denied = |error: &std::io::Error| error.kind() == ErrorKind::PermissionDenied;
        // It may be a FIFO by now, which would be waited for (fifo(7)).
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
        if !opened.is_err_and(|error| denied(&error)) {
            return None;
        }
        let uid = geteuid();
        let user = User::from_uid(uid).ok().flatten().map_or_else(|| format!("#{uid}"), |user| user.name);
        match on_the_way(path, MAX_LINKS) {
            Some((closed, about)) => Some(Self::entering(&closed, user, &about)),
            None => Some(Self::opening(path, user, &path.metadata().ok()?)),
        }
    }

    /// A directory that `user` may not enter.
    #[must_use]
    pub fn entering(directory: &Path, user: String, about: &Metadata) -> Self {
        Self::new(directory, user, true, about)
    }

    /// A file or directory that `user` may not read.
    #[must_use]
    pub fn opening(path: &Path, user: String, about: &Metadata) -> Self {
        Self::new(path, user, false, about)
    }

    fn new(path: &Path, user: String, enters: bool, about: &Metadata) -> Self {
        let (owner, group, mode) = (about.uid(), about.gid(), about.mode() & 0o7777);
        Self { path: path.to_owned(), user, enters, owner, group, mode }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, permission) = if self.enters { ("enter", "x") } else { ("read", "r") };
        write!(
            formatter,
            "the user {} may not {verb} \"{}\" (owner #{}, group #{}, mode {:04o}); give that user the {permission} permission there",
            self.user,
            self.path.display(),
            self.owner,
            self.group,
            self.mode
        )
    }
}

/// The first directory on the way to `path` that cannot be entered: nothing in it can be seen.
fn on_the_way(path: &Path, links: u32) -> Option<(PathBuf, Metadata)> {
    let mut steps: Vec<&Path> = path.ancestors().collect();
    steps.reverse();
    for (step, above) in steps.iter().skip(1).zip(&steps) {
        match step.symlink_metadata() {
            Ok(about) if about.is_symlink() && links > 0 => {
                let target = above.join(step.read_link().ok()?);
                if let Some(found) = on_the_way(&target, links - 1) {
                    return Some(found);
                }
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Some(((*above).to_owned(), above.metadata().ok()?));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::tree::Tree;
    use nix::unistd::{Uid, setfsuid};

    #[test]
    fn what_can_be_read_or_is_not_there_is_not_denied() {
        assert_eq!(Denied::reading(Path::new("/etc/passwd")), None);
        assert_eq!(Denied::reading(Path::new("/usr")), None);
        assert_eq!(Denied::reading(Path::new("/no/such/file")), None);
    }

    #[test]
    fn the_closed_directory_or_file_is_named_with_its_owner() {
        let tree = Tree::new("denied");
        let closed = tree.directory("closed", 0o600);
        let link = tree.0.join("link");
        std::os::unix::fs::symlink(closed.join("venv"), &link).unwrap();
        let file = tree.file("file", 0o200);
        // Root may read everything: the thread becomes somebody else for the file system meanwhile
        // (setfsuid(2)).
        let before = setfsuid(Uid::from_raw(54_321));
        let said = [&closed.join("venv/pyvenv.cfg"), &link, &file].map(|path| Denied::reading(path));
        setfsuid(before);
        let said = said.map(|denied| denied.unwrap().to_string());
        assert!(said[0].contains(&format!("may not enter \"{}\"", closed.display())), "{}", said[0]);
        assert!(said[0].contains("mode 0600") && said[0].contains("the x permission"), "{}", said[0]);
        assert_eq!(said[1], said[0]);
        assert!(said[2].contains("may not read") && said[2].contains("mode 0200"), "{}", said[2]);
    }
}
