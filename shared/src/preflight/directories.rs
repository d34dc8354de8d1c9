//! Whether a process group's user can get into its directories, as far as can be seen before anything is
//! started.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use super::SystemError;
use super::acl::has_access_list;
use super::identity::Identity;
use crate::conf::group::ProcessGroup;
use crate::loader::denied::Denied;
use crate::loader::locate::Python;

/// Judges a group's chroot and home.
///
/// # Errors
/// [`SystemError::Directory`], [`SystemError::Barred`].
pub(super) fn check(conf: &ProcessGroup, identity: &Identity) -> Result<(), SystemError> {
    if let Some(root) = &conf.chroot {
        let about = directory("chroot", root, root)?;
        // It is entered as root, so that what lies above does not matter.
        enter("chroot", root, root, &about, identity)?;
        return conf.home.as_ref().map_or(Ok(()), |home| check_home_below(root, home, identity));
    }
    conf.home.as_ref().map_or(Ok(()), |home| check_way("home", home, identity))
}

/// Judges whether a user may read what a Python reads when it starts: a virtual environment, a standard
/// library, libpython. Root's own look, which may read everything, does not show it.
///
/// # Errors
/// What is closed.
pub(super) fn check_python(python: &Python, identity: &Identity) -> Result<(), Denied> {
    let is_closed =
        |path: &Path, about: &Metadata, needed| !permits(about, needed, identity) && !has_access_list(path);
    for file in python.reads.iter().chain([&python.library]) {
        let resolved = file.canonicalize().unwrap_or_else(|_| file.clone());
        for step in steps(file.parent().unwrap_or(file), resolved.parent().unwrap_or(&resolved)) {
            let Ok(about) = step.metadata() else { continue };
            if is_closed(step, &about, 0o1) {
                return Err(Denied::entering(step, identity.shown(), &about));
            }
        }
        let Ok(about) = file.metadata() else { continue };
        if about.is_dir() && is_closed(file, &about, 0o1) {
            return Err(Denied::entering(file, identity.shown(), &about));
        }
        if is_closed(file, &about, 0o4) {
            return Err(Denied::opening(file, identity.shown(), &about));
        }
    }
    Ok(())
}

/// Judges the same for the server's own processes; `server` is their user, where the server is root.
///
/// # Errors
/// What is closed.
pub(crate) fn check_embedded_python(python: &Python, server: Option<(u32, u32)>) -> Result<(), Denied> {
    // Without root this process has looked as who it is, and a server whose processes are root reads
    // everything.
    let Some(server) = server.filter(|(uid, _)| *uid != 0) else { return Ok(()) };
    Identity::of(&ProcessGroup::named("server"), Some(server))
        .map_or(Ok(()), |identity| check_python(python, &identity))
}

/// The directories on a way, the outermost first. Where links lead, every directory before the link has to be
/// entered, and every one above its target.
fn steps<'p>(path: &'p Path, resolved: &'p Path) -> Vec<&'p Path> {
    let mut steps: Vec<&Path> = path.ancestors().chain(resolved.ancestors()).collect();
    steps.sort_by_key(|step| step.as_os_str().len());
    steps
}

/// Judges a directory and the way to it.
fn check_way(option: &'static str, path: &Path, identity: &Identity) -> Result<(), SystemError> {
    directory(option, path, path)?;
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for step in steps(path, &resolved) {
        enter(option, path, step, &directory(option, path, step)?, identity)?;
    }
    Ok(())
}

/// Judges whether the server's processes get to the sockets' directory; `server` is their user, where the
/// server is root.
///
/// # Errors
/// A sentence for the administrator.
pub fn check_sockets_directory(directory: &Path, server: Option<(u32, u32)>) -> Result<(), String> {
    let identity = Identity::of(&ProcessGroup::named("server"), server).map_err(|error| error.to_string())?;
    check_way("sockets", directory, &identity).map_err(|error| match error {
        SystemError::Barred { barred, user, owner, group, mode, .. } => format!(
            "the directory \"{}\" of the sockets cannot be reached by the server's processes: their user {user} may not enter \"{}\" \
             (owner #{owner}, group #{group}, mode {mode:04o}); name another place with WSGISocketPrefix or wsgi_socket_prefix, as in \
             /run/wsgi, or give that user the x permission there",
            directory.display(),
            barred.display()
        ),
        other => other.to_string(),
    })
}

/// A home is seen from inside of the chroot. Links are followed there only, so that nothing is said about
/// what lies behind one.
fn check_home_below(root: &Path, home: &Path, identity: &Identity) -> Result<(), SystemError> {
    let mut step = root.to_owned();
    for part in home.components().filter(|part| *part != Component::RootDir) {
        step.push(part);
        if part == Component::ParentDir || step.is_symlink() {
            return Ok(());
        }
        enter("home", home, &step, &directory("home", home, &step)?, identity)?;
    }
    Ok(())
}

fn directory(option: &'static str, path: &Path, step: &Path) -> Result<Metadata, SystemError> {
    let wrong = |why: String| SystemError::Directory { option, path: path.to_owned(), why };
    let about = std::fs::metadata(step).map_err(|error| wrong(error.to_string()))?;
    if about.is_dir() { Ok(about) } else { Err(wrong(format!("\"{}\" is not a directory", step.display()))) }
}

fn enter(
    option: &'static str,
    path: &Path,
    step: &Path,
    about: &Metadata,
    identity: &Identity,
) -> Result<(), SystemError> {
    if permits(about, 0o1, identity) || has_access_list(step) {
        return Ok(());
    }
    Err(SystemError::Barred {
        option,
        path: path.to_owned(),
        barred: step.to_owned(),
        user: identity.shown(),
        owner: about.uid(),
        group: about.gid(),
        mode: about.mode() & 0o7777,
    })
}

/// Whether a mode gives somebody all of some permissions, of the one class that counts for them
/// (path_resolution(7)).
fn permits(about: &Metadata, needed: u32, identity: &Identity) -> bool {
    let shift = if about.uid() == identity.uid.as_raw() {
        6
    } else if identity.gid.as_raw() == about.gid()
        || identity.groups.iter().any(|gid| gid.as_raw() == about.gid())
    {
        3
    } else {
        0
    };
    (about.mode() >> shift) & needed == needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::tree::Tree;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// What is said about the directories of a group whose user owns nothing here.
    fn said(options: &str) -> Result<(), String> {
        let words: Vec<String> = format!("shop {options}").split_whitespace().map(str::to_owned).collect();
        let conf = ProcessGroup::parse(&words).unwrap().0;
        let identity = Identity::of(&conf, Some((54_321, 54_321))).unwrap();
        check(&conf, &identity).map_err(|error| error.to_string())
    }

    #[test]
    fn a_home_has_to_be_there_and_to_be_a_directory() {
        assert_eq!(said("home=/usr"), Ok(()));
        let error = said("home=/no/such/home").unwrap_err();
        assert!(
            error.starts_with("home=/no/such/home: No such file") && error.contains("make this"),
            "{error}"
        );
        assert!(said("home=/etc/passwd").unwrap_err().contains("not a directory"));
        assert!(said("chroot=/no/such/root").unwrap_err().starts_with("chroot=/no/such/root"));
    }

    #[test]
    fn the_sockets_have_to_be_reached_by_the_server() {
        let tree = Tree::new("sockets");
        let barred = tree.directory("private", 0o700);
        let error = check_sockets_directory(&barred, Some((54_321, 54_321))).unwrap_err();
        assert!(error.contains("#54321 may not enter") && error.contains("wsgi_socket_prefix"), "{error}");
        assert_eq!(check_sockets_directory(Path::new("/usr"), Some((54_321, 54_321))), Ok(()));
    }

    #[test]
    fn a_python_has_to_be_read_by_the_user() {
        let tree = Tree::new("reads");
        let open = tree.file("open/lib/libpython3.13.so.1.0", 0o644);
        let closed = tree.directory("private", 0o700);
        let config = tree.file("private/venv/pyvenv.cfg", 0o644);
        let library = tree.file("library/libpython3.13.so.1.0", 0o600);
        let link = tree.0.join("link");
        symlink(closed.join("venv"), &link).unwrap();
        let said = |reads: &Path, library: &Path| {
            let (program, reads) = (PathBuf::new(), vec![reads.to_owned()]);
            let python = Python { minor: 13, library: library.to_owned(), program, reads };
            check_embedded_python(&python, Some((54_321, 54_321))).map_err(|denied| denied.to_string())
        };
        assert_eq!(said(Path::new("/usr/lib"), &open), Ok(()));
        for config in [&config, &link.join("pyvenv.cfg")] {
            let error = said(config, &open).unwrap_err();
            let named = format!("the user #54321 may not enter \"{}\"", closed.display());
            assert!(error.contains(&named) && error.contains("mode 0700"), "{error}");
        }
        let error = said(Path::new("/usr/lib"), &library).unwrap_err();
        assert!(
            error.contains("may not read") && error.contains("give that user the r permission"),
            "{error}"
        );
    }

    #[test]
    fn a_home_has_to_be_reached_by_the_user() {
        let tree = Tree::new("home");
        let barred = tree.directory("private", 0o700);
        let inside = tree.directory("private/home", 0o755);
        let error = said(&format!("home={}", inside.display())).unwrap_err();
        let named = format!("#54321 may not enter \"{}\"", barred.display());
        assert!(error.contains(&named) && error.contains("mode 0700"), "{error}");
        // By way of a link as well.
        let link = tree.0.join("link");
        symlink(&inside, &link).unwrap();
        assert!(said(&format!("home={}", link.display())).unwrap_err().contains(&named));
    }

    #[test]
    fn a_home_in_a_chroot_is_looked_for_there() {
        let tree = Tree::new("chroot");
        let root = tree.directory("root", 0o755);
        tree.directory("root/srv", 0o755);
        tree.directory("root/closed", 0o700);
        symlink("/nowhere", root.join("link")).unwrap();
        let said = |home: &str| said(&format!("chroot={} home={home}", root.display()));
        assert_eq!((said("/srv"), said("/link/x"), said("/")), (Ok(()), Ok(()), Ok(())));
        assert!(said("/usr").unwrap_err().contains("home=/usr"));
        assert!(said("/closed").unwrap_err().contains("may not enter"));
    }
}
