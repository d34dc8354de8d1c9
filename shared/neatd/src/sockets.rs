//! The sockets of a group: each generation binds one of its own, and gives it the group's name when it is
//! ready.

use std::fs::Permissions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::socket::{Backlog, listen};
use nix::unistd::{Uid, User, fchownat};
use shared::conf::group::ProcessGroup;
use shared::launch::handover::{GroupSpec, Handover, socket_path};
use shared::launch::is_listening;

use crate::clients::AllowedClients;

/// A socket that a generation is to listen at, and its name.
pub struct ListenSocket {
    /// What the supervisor calls it.
    pub slot: usize,
    /// The socket.
    pub listener: OwnedFd,
    /// Who may connect.
    pub clients: AllowedClients,
    /// Its own name.
    pub own_path: PathBuf,
}

/// Makes a socket for a generation of a group.
///
/// # Errors
/// A sentence for the log.
pub fn make(conf: &Handover, spec: &GroupSpec, generation: u64, slot: usize) -> Result<ListenSocket, String> {
    let name = format!("{}.{}-{generation}", spec.conf.name, std::process::id());
    let own_path = socket_path(&conf.prefix, &name);
    let owner = owner_of(conf, &spec.conf)?;
    let listener = bind(&own_path, owner, spec.conf.listen_backlog)
        .map_err(|error| format!("the socket \"{}\" cannot be made: {error}", own_path.display()))?;
    Ok(ListenSocket { slot, listener, own_path, clients: AllowedClients::of(owner) })
}

fn owner_of(conf: &Handover, group: &ProcessGroup) -> Result<Option<Uid>, String> {
    let Some(written) = &group.socket_user else {
        return Ok(conf.server_user.map(|(uid, _)| Uid::from_raw(uid)));
    };
    if let Some(number) = written.strip_prefix('#') {
        let uid = number.parse().map_err(|_| format!("socket-user={written}: not a number"))?;
        return Ok(Some(Uid::from_raw(uid)));
    }
    match User::from_name(written) {
        Ok(Some(user)) => Ok(Some(user.uid)),
        _ => Err(format!("socket-user={written}: there is no such user")),
    }
}

/// Binds a socket that only `owner` may connect to. The process's mask keeps others out before its mode is
/// set (a directory's default access list would come before the mask, acl(5)).
///
/// # Errors
/// The system's.
pub fn bind(path: &Path, owner: Option<Uid>, backlog: u32) -> std::io::Result<OwnedFd> {
    let _ = std::fs::remove_file(path);
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = bound?;
    restrict(path, owner)?;
    listener.set_nonblocking(true)?;
    let listener = OwnedFd::from(listener);
    let backlog = i32::try_from(backlog).ok().and_then(|backlog| Backlog::new(backlog).ok());
    listen(&listener, backlog.unwrap_or(Backlog::MAXCONN))?;
    Ok(listener)
}

/// Gives a socket that was just bound to `owner` alone. By a descriptor of the socket itself: should another
/// file lie under its name by now, or a link, nothing of that is changed.
fn restrict(path: &Path, owner: Option<Uid>) -> std::io::Result<()> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let socket = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = socket.metadata()?;
    if !about.file_type().is_socket() || about.uid() != Uid::effective().as_raw() || about.nlink() != 1 {
        return Err(std::io::Error::other("another file lies there: somebody else writes to this directory"));
    }
    // chmod(2) through a descriptor that was opened for its path only is refused; through its link in /proc
    // it is not (open(2), O_PATH).
    let by_descriptor = format!("/proc/self/fd/{}", socket.as_raw_fd());
    std::fs::set_permissions(by_descriptor, Permissions::from_mode(0o600))?;
    if let Some(owner) = owner {
        fchownat(&socket, "", Some(owner), None, AtFlags::AT_EMPTY_PATH)?;
    }
    Ok(())
}

/// Has servers find the socket at `own` under `public`, in place of whatever they found there before. No
/// connection is refused in between.
///
/// # Errors
/// The system's.
pub fn publish(own: &Path, public: &Path) -> std::io::Result<()> {
    // Between two names of one file rename does nothing, and would leave both (rename(2)).
    if is_same(own, public) {
        return Ok(());
    }
    let mut between = own.as_os_str().to_owned();
    between.push("~");
    let between = PathBuf::from(between);
    let _ = std::fs::remove_file(&between);
    std::fs::hard_link(own, &between)?;
    std::fs::rename(&between, public)
}

/// Whether two paths are one socket.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| std::fs::symlink_metadata(path).ok().map(|about| (about.dev(), about.ino()));
    inode(one).is_some_and(|found| Some(found) == inode(other))
}

/// What marks the generation that one supervisor would have under the group's name: there are two supervisors
/// while nginx's executable is replaced.
const MARK: &str = "-serving.sock";

fn mark_of(public: &Path, supervisor: u32) -> PathBuf {
    public.with_extension(format!("{supervisor}{MARK}"))
}

/// Marks the first generation of this supervisor, and has servers find it too, unless another supervisor's
/// still serves: whoever asks before it is ready waits for it.
///
/// # Errors
/// The system's.
pub fn prepare(own: &Path, public: &Path) -> std::io::Result<()> {
    if is_listening(public) { publish(own, &mark_of(public, std::process::id())) } else { serve(own, public) }
}

/// Has servers find a generation, and marks it.
///
/// # Errors
/// The system's.
pub fn serve(own: &Path, public: &Path) -> std::io::Result<()> {
    publish(own, &mark_of(public, std::process::id()))?;
    publish(own, public)
}

/// Gives the group's name to the generation that another supervisor has marked, where there is one: of two
/// executables of nginx one leaves, and the other one keeps the group. Whether there was one.
pub fn hand_back(public: &Path) -> bool {
    let Some(stem) = public.file_stem().map(|stem| format!("{}.", stem.to_string_lossy())) else {
        return false;
    };
    let own = std::process::id().to_string();
    let entries = public.parent().and_then(|directory| std::fs::read_dir(directory).ok());
    entries.into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        let other = name.to_str().and_then(|name| name.strip_prefix(&stem)?.strip_suffix(MARK));
        other.is_some_and(|pid| pid != own && pid.bytes().all(|digit| digit.is_ascii_digit()))
            && is_listening(&entry.path())
            && publish(&entry.path(), public).is_ok()
    })
}

/// Removes a generation's socket, its mark, and the group's name where they still lead to it.
pub fn remove(own: &Path, public: &Path) {
    let mark = mark_of(public, std::process::id());
    if is_same(own, &mark) {
        let _ = std::fs::remove_file(mark);
    }
    if is_same(own, public) && !hand_back(public) {
        let _ = std::fs::remove_file(public);
    }
    let _ = std::fs::remove_file(own);
}

/// Removes sockets of this prefix that nobody listens at any more: those of a supervisor that was killed.
pub fn sweep(prefix: &Path) {
    let (Some(directory), Some(name)) = (prefix.parent(), prefix.file_name()) else { return };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut beginning = name.to_string_lossy().into_owned();
    beginning.push('.');
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.starts_with(&beginning) && (name.ends_with(".sock") || name.ends_with(".sock~"));
        if ours && !is_listening(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_name_is_handed_on_without_a_gap() {
        let directory = std::env::temp_dir().join(format!("neat-sockets-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = |name: &str| directory.join(name);
        let public = path("wsgi.shop.sock");
        let one = bind(&path("wsgi.shop.1.sock"), None, 8).unwrap();
        publish(&path("wsgi.shop.1.sock"), &public).unwrap();
        UnixStream::connect(&public).unwrap().write_all(b"x").unwrap();
        let _two = bind(&path("wsgi.shop.2.sock"), None, 8).unwrap();
        publish(&path("wsgi.shop.2.sock"), &public).unwrap();
        assert!(is_same(&path("wsgi.shop.2.sock"), &public));
        remove(&path("wsgi.shop.1.sock"), &public);
        assert!(is_listening(&public));
        assert_eq!(std::fs::metadata(&public).unwrap().permissions().mode() & 0o777, 0o600);
        drop(one);
        std::fs::write(path("wsgi.other.sock"), "").unwrap();
        sweep(&path("wsgi"));
        assert!(!path("wsgi.other.sock").exists() && public.exists());
        remove(&path("wsgi.shop.2.sock"), &public);
        assert!(!public.exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_lies_under_a_sockets_name_is_not_followed() {
        let directory = std::env::temp_dir().join(format!("neat-links-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = |name: &str| directory.join(name);
        std::fs::write(path("secret"), "").unwrap();
        std::fs::set_permissions(path("secret"), Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(path("secret"), path("link")).unwrap();
        let _socket = bind(&path("socket"), None, 8).unwrap();
        std::fs::hard_link(path("socket"), path("other")).unwrap();
        for name in ["secret", "link", "socket"] {
            assert!(restrict(&path(name), None).is_err(), "{name}");
        }
        assert_eq!(std::fs::metadata(path("secret")).unwrap().permissions().mode() & 0o777, 0o640);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_name_goes_back_to_the_supervisor_that_serves_beside() {
        let directory = std::env::temp_dir().join(format!("neat-heirs-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = |name: &str| directory.join(name);
        let (public, other) = (path("wsgi.shop.sock"), path("wsgi.shop.1-1.sock"));
        let _theirs = bind(&other, None, 8).unwrap();
        publish(&other, &mark_of(&public, 1)).unwrap();
        let own = path("wsgi.shop.2-1.sock");
        let _ours = bind(&own, None, 8).unwrap();
        serve(&own, &public).unwrap();
        assert!(is_same(&own, &public));
        remove(&own, &public);
        assert!(is_same(&other, &public));
        publish(&other, &public).unwrap();
        assert_eq!(
            std::fs::read_dir(&directory).unwrap().count(),
            3,
            "the name, the other's socket and its mark"
        );
        assert!(!mark_of(&public, std::process::id()).exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
