//! Starting neatd from a server's master process, and telling it about a new configuration.
//!
//! neatd is handed three descriptors: its end of the [`lifeline`], its end of the socket over which the
//! master sends a new configuration ([`renewal`]), and the first configuration, sealed. What the server's
//! children inherit of these can say nothing: the lifeline's other end, and the other end of the socket only
//! until they begin to run ([`Neatd::forget`]).

pub mod handover;
pub mod lifeline;
pub mod renewal;

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use thiserror::Error;

use self::handover::{Handover, socket_path};

/// neatd's file name; it lies beside the server modules.
pub const FILE: &str = "neatd";
/// What neatd's processes start further ones from: the file that they run themselves, whatever lies under its
/// name by now, and whatever a configuration says.
pub const OWN_EXECUTABLE: &str = "/proc/self/exe";
/// neatd's end of the lifeline.
pub const LIFELINE: RawFd = 3;
/// neatd's end of the socket for new configurations.
pub const RENEWALS: RawFd = 4;
/// The configuration, in memory.
pub const CONF: RawFd = 5;

/// How long the server waits for the groups' sockets.
const SOCKETS_TIMEOUT: Duration = Duration::from_secs(2);

/// Why neatd does not run.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// It cannot be executed.
    #[error("\"{path}\" cannot be started: {why}{}", remedy(.why))]
    Start {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The system refuses what is needed to talk to it.
    #[error("the daemon processes cannot be told about: {0}")]
    System(#[from] std::io::Error),
}

/// What to do about an executable that cannot be started, where that is known.
fn remedy(why: &std::io::Error) -> &'static str {
    match why.raw_os_error() {
        Some(libc::ENOENT | libc::EACCES | libc::ENOEXEC) => "; it has to lie beside the server's module",
        Some(libc::EMFILE | libc::EINVAL) => "; the limit of open files (ulimit -n) may be too low",
        _ => "",
    }
}

impl From<nix::Error> for LaunchError {
    fn from(error: nix::Error) -> Self {
        Self::System(error.into())
    }
}

/// The master's hold on neatd. Dropped it lets go, and neatd ends with the server's last process.
#[derive(Debug)]
pub struct Neatd {
    lifeline: lifeline::Server,
    /// That of the one in whose place this was started, whose groups serve until these do.
    former: Option<lifeline::Server>,
    /// `None` in a child of the master.
    renewals: Option<renewal::Sender>,
}

impl Neatd {
    /// Starts neatd with a configuration.
    ///
    /// # Errors
    /// [`LaunchError`].
    pub fn launch(neatd: &Path, conf: &Handover) -> Result<Self, LaunchError> {
        let (server, lifeline) = lifeline::pair()?;
        let (sender, receiver) = renewal::pair()?;
        let file = renewal::sealed(conf)?;
        let title = "neatd: keeper";
        let arguments = [OsStr::new("--site"), conf.prefix.as_os_str()];
        let mut command = command(neatd, title, &arguments);
        hand_over(&mut command, &[lifeline.as_fd(), receiver.as_fd(), file.as_fd()])?;
        let mut child = command.spawn().map_err(|why| LaunchError::Start { path: neatd.to_owned(), why })?;
        // It leaves at once, having forked the keeper. The server's own handler may have seen to it before.
        let _ = child.wait();
        wait_for_sockets(conf);
        Ok(Self { lifeline: server, former: None, renewals: Some(sender) })
    }

    /// Starts neatd in the place of one that is gone. What that has left serves on until the new processes
    /// have taken the sockets' names, at most until the next configuration.
    ///
    /// # Errors
    /// [`LaunchError`]; the former one is kept.
    pub fn launch_anew(&mut self, neatd: &Path, conf: &Handover) -> Result<(), LaunchError> {
        let launched = Self::launch(neatd, conf)?;
        let former = std::mem::replace(self, launched);
        self.former = Some(former.lifeline);
        Ok(())
    }

    /// Tells neatd about a new configuration.
    ///
    /// # Errors
    /// [`LaunchError`]: it is gone, or cannot be told.
    pub fn renew(&mut self, conf: &Handover) -> Result<(), LaunchError> {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotConnected);
        self.renewals.as_ref().ok_or_else(gone)?.send(conf)?;
        self.former = None;
        // The server's new processes may ask a group that was not there before.
        wait_for_sockets(conf);
        Ok(())
    }

    /// Lets go of everything that could tell neatd something, in a child of the master, before it runs
    /// anybody's code.
    pub fn forget(&mut self) {
        self.renewals = None;
        self.former = None;
    }
}

/// Waits until every group's socket is there, so that no request finds none; a group that cannot have one
/// does not hold the server up for long.
fn wait_for_sockets(conf: &Handover) {
    let begin = Instant::now();
    // One after the other: each look is a connection that somebody has to take.
    for spec in &conf.groups {
        let path = socket_path(&conf.prefix, &spec.conf.name);
        while !is_listening(&path) && begin.elapsed() < SOCKETS_TIMEOUT {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether somebody listens at a socket, without waiting for them.
#[must_use]
pub fn is_listening(path: &Path) -> bool {
    let Ok(address) = UnixAddr::new(path) else { return false };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let Ok(tried) = socket(AddressFamily::Unix, SockType::Stream, flags, None) else { return false };
    // A queue that is full is somebody's.
    matches!(connect(tried.as_raw_fd(), &address), Ok(()) | Err(Errno::EAGAIN))
}

/// A file that is only in memory. It can be sealed (memfd_create(2)).
///
/// # Errors
/// The system's.
pub fn memory() -> std::io::Result<File> {
    // SAFETY: the name is a C string; the new descriptor is nobody else's.
    unsafe {
        let descriptor = libc::memfd_create(c"neat".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(descriptor))
    }
}

/// A process of neatd with a clean environment, under the name that ps shows.
#[must_use]
pub fn command(neatd: &Path, title: &str, arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(neatd);
    command
        .arg0(title)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// The most descriptors that a process is handed.
const MAX_HANDED: usize = 16;
/// The number of the first.
const FIRST_HANDED: RawFd = 3;

/// Gives copies of these descriptors the numbers from 3 on. They are not closed by exec.
fn number(descriptors: &[impl AsRawFd]) -> std::io::Result<()> {
    let end = FIRST_HANDED + RawFd::try_from(descriptors.len().min(MAX_HANDED)).unwrap_or(0);
    // Out of the way of the numbers that are to be filled, first.
    let mut aside = [-1; MAX_HANDED];
    for (aside, descriptor) in aside.iter_mut().zip(descriptors) {
        // SAFETY: both numbers are of this process; nothing but system calls, as is asked for after a fork.
        *aside = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD, end) };
        if *aside < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    for (target, aside) in (FIRST_HANDED..end).zip(&aside) {
        // SAFETY: as above.
        if unsafe { libc::dup2(*aside, target) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Has this process, which was just forked and goes on without exec, find `descriptors` from number 3 on, and
/// closes every other one but the standard streams.
///
/// # Errors
/// The system's.
///
/// # Safety
/// Nobody uses a descriptor of before, nor drops what owns one.
pub unsafe fn keep_only(descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    number(descriptors)?;
    let end = FIRST_HANDED + RawFd::try_from(descriptors.len()).unwrap_or(0);
    // SAFETY: the caller's promise.
    if unsafe { libc::syscall(libc::SYS_close_range, end, u32::MAX, 0) } == 0 {
        return Ok(());
    }
    // A kernel before 5.9.
    // SAFETY: asks for a number.
    let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    for number in end..RawFd::try_from(most).unwrap_or(1024) {
        // SAFETY: the caller's promise.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// Has the new process find `descriptors` from number 3 on, and no other one of this process's.
///
/// # Errors
/// The system's: there are too many.
pub fn hand_over(command: &mut Command, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let cloned = descriptors.iter().map(BorrowedFd::try_clone_to_owned);
    let descriptors = cloned.collect::<std::io::Result<Vec<_>>>()?;
    let count = RawFd::try_from(descriptors.len().min(MAX_HANDED)).unwrap_or(0);
    let end = FIRST_HANDED + count;
    let prepare = move || {
        number(&descriptors)?;
        // Rust learns through a descriptor of its own that exec failed: it is closed by exec, as the others
        // are to be. A kernel without this call leaves them to their own flags.
        // SAFETY: marks descriptors only.
        unsafe { libc::syscall(libc::SYS_close_range, end, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        Ok(())
    };
    // SAFETY: `prepare` makes system calls only and takes no memory; the command keeps what it refers to.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

/// Takes over a descriptor that this process was given by number.
///
/// # Safety
/// It was handed over by [`hand_over`], and nobody else has taken it.
#[must_use]
pub unsafe fn take(number: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise. What is exec'd later is not to have it.
    unsafe {
        libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
        OwnedFd::from_raw_fd(number)
    }
}

/// Whether a descriptor is open.
#[must_use]
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: asks for a descriptor's flags, which any number may be asked for.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_are_handed_over_by_number_under_a_low_limit() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (unused, _other) = UnixStream::pair().unwrap();
        let mut child = Command::new("sh");
        child.args(["-c", "echo \"$(ls /proc/self/fd | wc -l)\" >&4"]).stdin(Stdio::null());
        let limit = || {
            let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
            // SAFETY: a limit of the child's.
            let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
            if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: one system call.
        unsafe { child.pre_exec(limit) };
        hand_over(&mut child, &[unused.as_fd(), theirs.as_fd()]).unwrap();
        assert!(child.status().unwrap().success());
        drop((child, theirs));
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        // 0, 1, 2, the two that were handed over, and what ls itself reads the directory by; the pipe of $()
        // is 1.
        assert_eq!(text.trim(), "6");
        assert!(ours.write_all(b"x").is_err(), "nobody else has it");
    }

    #[test]
    fn the_remedy_fits_the_error() {
        let message = |code| {
            let why = std::io::Error::from_raw_os_error(code);
            LaunchError::Start { path: PathBuf::from("/lib/neatd"), why }.to_string()
        };
        assert!(message(libc::ENOENT).ends_with("it has to lie beside the server's module"));
        assert!(message(libc::EMFILE).contains("ulimit -n"));
        assert!(message(libc::ENOMEM).ends_with("(os error 12)"));
    }
}
