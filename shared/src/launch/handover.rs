//! What a server hands to neatd: every process group, decided, and where to find what it needs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::conf::group::ProcessGroup;

/// The longest path of a Unix socket, in bytes (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Everything that neatd has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// `nginx` or `apache`.
    pub server: String,
    /// The server's version.
    pub server_version: [u32; 3],
    /// How the paths of the groups' sockets begin. It names the site in the list of processes too.
    pub prefix: PathBuf,
    /// The user and the group of the server's processes: they may connect, and a group without a user of its
    /// own runs as they do. `None` where the server is not root, so that everybody is the same user.
    pub server_user: Option<(u32, u32)>,
    /// The server's error log; `None` where only standard error leads there.
    pub error_log: Option<PathBuf>,
    /// The [`crate::log::Level`] up to which lines are written.
    pub log_level: u32,
    /// The engine's file.
    pub engine: PathBuf,
    /// The groups.
    pub groups: Vec<GroupSpec>,
}

/// A group and what runs in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// The group.
    pub conf: ProcessGroup,
    /// The packed entries of each mount that is known before a request comes
    /// ([`crate::wsgi::environ::mount`]).
    pub mounts: Vec<Vec<u8>>,
}

/// Where a group's processes listen. It stays the same over reloads.
#[must_use]
pub fn socket_path(prefix: &Path, group: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(".");
    path.push(group);
    path.push(".sock");
    PathBuf::from(path)
}

/// Whether the sockets of these groups can be made: their directory is there, and their paths are short
/// enough.
///
/// # Errors
/// A sentence for the administrator.
pub fn check_sockets<'a>(prefix: &Path, groups: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let directory = prefix.parent().unwrap_or_else(|| Path::new("/"));
    let about = std::fs::metadata(directory).map_err(|error| {
        format!("the directory \"{}\" of the sockets cannot be used: {error}", directory.display())
    })?;
    if !about.is_dir() {
        return Err(format!("\"{}\", where the sockets are to be, is not a directory", directory.display()));
    }
    if geteuid().is_root() {
        only_root_writes(directory)?;
    }
    for group in groups {
        let path = socket_path(prefix, group);
        // Room for the numbers that stand in a generation's own name and in a supervisor's mark.
        if path.as_os_str().len() + 20 > MAX_SOCKET_PATH {
            return Err(format!(
                "the socket's path \"{}\" is too long; choose a shorter prefix for the sockets, or a shorter name \
                 for the group",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Whether only root can change what lies in a directory: whoever else could would put a file or a socket of
/// theirs where root's is expected.
///
/// # Errors
/// A sentence for the administrator.
fn only_root_writes(directory: &Path) -> Result<(), String> {
    let remedy = "name another place with WSGISocketPrefix or wsgi_socket_prefix, as in /run/wsgi";
    let resolved = directory
        .canonicalize()
        .map_err(|error| format!("the directory \"{}\" of the sockets: {error}", directory.display()))?;
    for step in resolved.ancestors() {
        let about = std::fs::metadata(step).map_err(|error| format!("\"{}\": {error}", step.display()))?;
        let mode = about.mode() & 0o7777;
        // In a directory above, a sticky bit keeps others from renaming what is root's (unlink(2)).
        let is_kept = step != resolved && mode & 0o1000 != 0;
        if about.uid() != 0 || mode & 0o022 != 0 && !is_kept {
            return Err(format!(
                "the sockets cannot lie in \"{}\": others than root may write to \"{}\" (owner #{}, mode {mode:04o}); {remedy}",
                directory.display(),
                step.display(),
                about.uid(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::tree::Tree;

    #[test]
    fn a_path_is_the_prefix_and_the_group() {
        assert_eq!(socket_path(Path::new("/run/wsgi"), "shop"), Path::new("/run/wsgi.shop.sock"));
    }

    #[test]
    fn a_path_that_cannot_be_is_an_error_of_the_configuration() {
        let error = check_sockets(Path::new("/nowhere/wsgi"), ["shop"].into_iter()).unwrap_err();
        assert!(error.contains("/nowhere"), "{error}");
        let long = format!("/usr/{}", "x".repeat(90));
        let error = check_sockets(Path::new(&long), ["shop"].into_iter()).unwrap_err();
        assert!(error.contains("too long"), "{error}");
        assert_eq!(check_sockets(Path::new("/usr/wsgi"), ["shop"].into_iter()), Ok(()));
    }

    #[test]
    fn a_directory_that_others_write_to_is_refused() {
        let tree = Tree::new("prefix");
        let own = std::fs::metadata(&tree.0).unwrap().uid();
        if own != 0 {
            return assert!(only_root_writes(&tree.0).unwrap_err().contains("owner #"));
        }
        assert_eq!(only_root_writes(&tree.directory("run", 0o755)), Ok(()));
        for mode in [0o775, 0o757, 0o1777] {
            let error = only_root_writes(&tree.directory("open", mode)).unwrap_err();
            assert!(error.contains("others than root") && error.contains(&format!("{mode:04o}")), "{error}");
        }
        let below = tree.directory("open/run", 0o755);
        assert_eq!(only_root_writes(&below), Ok(()), "what lies in a sticky directory stays");
        let theirs = tree.directory("theirs", 0o755);
        let below = tree.directory("theirs/run", 0o755);
        std::os::unix::fs::chown(&theirs, Some(54_321), None).unwrap();
        assert!(only_root_writes(&below).unwrap_err().contains("owner #54321"));
    }
}
