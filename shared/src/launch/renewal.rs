//! How the server's master gives neatd a new configuration.
//!
//! A socket of which only the master has the other end: its children close their copies before they run
//! anybody's code ([`super::Neatd::forget`] says how). A configuration is a file in memory that is sealed
//! before it is sent, so that neither side can change what the other reads; the kernel says who sent it, and
//! nobody is believed but root, or the user that neatd itself runs as.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::unistd::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::handover::Handover;
use crate::ffi::recv::recv_with_sender;

/// No configuration is larger: a million groups have room in it.
const MAX_SIZE: u64 = 1 << 30;
/// The one message.
const MESSAGE: &[u8] = b"configuration";

/// Why a configuration is not taken.
#[derive(Debug, Error)]
pub enum RenewalError {
    /// The other end is gone: the master has ended.
    #[error("the server's master is gone")]
    Closed,
    /// Somebody else than the master has the socket.
    #[error("a configuration of user #{0} is refused; only the server's master may send one")]
    OtherUser(u32),
    /// It is not what the master sends.
    #[error("the server sent {0}, which is not a configuration")]
    Malformed(&'static str),
    /// It cannot be read.
    #[error("the server's configuration cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl From<Errno> for RenewalError {
    fn from(error: Errno) -> Self {
        Self::Unreadable(error.into())
    }
}

/// The master's end.
#[derive(Debug)]
pub struct Sender(OwnedFd);

/// neatd's end.
#[derive(Debug)]
pub struct Receiver(OwnedFd);

/// Both ends of a new one. They are closed by exec.
///
/// # Errors
/// The system's.
pub fn pair() -> io::Result<(Sender, Receiver)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    setsockopt(&theirs, sockopt::PassCred, &true)?;
    Ok((Sender(ours), Receiver(theirs)))
}

impl Sender {
    /// Sends a configuration.
    ///
    /// # Errors
    /// neatd is gone, or does not read.
    pub fn send(&self, conf: &Handover) -> io::Result<()> {
        let file = sealed(conf)?;
        let files = [file.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&files)];
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(MESSAGE)], &control, flags, None)?;
        Ok(())
    }
}

impl Receiver {
    /// neatd's end as it was handed over.
    #[must_use]
    pub const fn new(end: OwnedFd) -> Self {
        Self(end)
    }

    /// The next configuration that was sent, if there is one.
    ///
    /// # Errors
    /// [`RenewalError`]: what came is not taken, or none will come any more.
    pub fn receive(&self) -> Result<Option<Handover>, RenewalError> {
        let mut bytes = [0; MESSAGE.len() + 1];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = match recv_with_sender(self.0.as_fd(), &mut parts, libc::MSG_DONTWAIT) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (length, is_truncated) = (received.length, received.is_truncated);
        let mut files = received.descriptors;
        if length == 0 && files.is_empty() {
            return Err(RenewalError::Closed);
        }
        match received.sender {
            Some(uid) if uid == 0 || uid == geteuid().as_raw() => {}
            Some(uid) => return Err(RenewalError::OtherUser(uid)),
            None => return Err(RenewalError::Malformed("a message without a sender")),
        }
        if bytes.get(..length) != Some(MESSAGE) {
            return Err(RenewalError::Malformed("another message"));
        }
        match files.pop() {
            Some(file) if files.is_empty() && !is_truncated => open(file.into()).map(Some),
            Some(_) => Err(RenewalError::Malformed("several files")),
            None => Err(RenewalError::Malformed("a message without a file")),
        }
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const SEALS: SealFlag = SealFlag::F_SEAL_WRITE
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_SEAL);

/// A configuration in a file that nobody can change any more.
///
/// # Errors
/// The system's.
pub fn sealed(conf: &impl Serialize) -> io::Result<File> {
    let mut file = super::memory()?;
    file.write_all(&serde_json::to_vec(conf)?)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(file)
}

/// What a sealed file holds.
///
/// # Errors
/// It is not sealed, too large, or no configuration.
pub fn open<C: DeserializeOwned>(file: File) -> Result<C, RenewalError> {
    let seals = fcntl(&file, FcntlArg::F_GET_SEALS).unwrap_or(0);
    if !SealFlag::from_bits_truncate(seals).contains(SEALS) {
        return Err(RenewalError::Malformed("a file that can be changed"));
    }
    let size = file.metadata()?.len();
    if size > MAX_SIZE {
        return Err(RenewalError::Malformed("a file that is too large"));
    }
    let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
    // By position: the file's own may be anybody's.
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut text, 0)?;
    serde_json::from_slice(&text).map_err(|error| RenewalError::Unreadable(error.into()))
}

/// Keeps a configuration where only neatd's own root processes can write: for a supervisor that is started
/// anew.
///
/// # Errors
/// The system's.
pub fn keep(file: &mut File, conf: &Handover) -> io::Result<()> {
    use std::io::Seek;
    let text = serde_json::to_vec(conf)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

/// What [`keep`] kept.
///
/// # Errors
/// It cannot be read.
pub fn kept(file: &mut File) -> Result<Handover, RenewalError> {
    use std::io::Seek;
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(|error| RenewalError::Unreadable(error.into()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn conf(prefix: &str) -> Handover {
        Handover {
            server: "nginx".to_owned(),
            server_version: [1, 2, 3],
            prefix: PathBuf::from(prefix),
            server_user: None,
            error_log: None,
            log_level: 4,
            engine: PathBuf::from("/modules/neat_engine.abi3.so"),
            groups: Vec::new(),
        }
    }

    #[test]
    fn a_configuration_arrives_as_it_was_sent() {
        let (sender, receiver) = pair().unwrap();
        assert!(receiver.receive().unwrap().is_none());
        sender.send(&conf("/run/a")).unwrap();
        sender.send(&conf("/run/b")).unwrap();
        assert_eq!(receiver.receive().unwrap(), Some(conf("/run/a")));
        assert_eq!(receiver.receive().unwrap(), Some(conf("/run/b")));
        assert!(receiver.receive().unwrap().is_none());
        drop(sender);
        assert!(matches!(receiver.receive(), Err(RenewalError::Closed)));
    }

    #[test]
    fn what_was_sealed_cannot_be_changed() {
        let mut file = sealed(&conf("/run/a")).unwrap();
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
        assert_eq!(open::<Handover>(file).unwrap(), conf("/run/a"));
    }

    #[test]
    fn a_file_that_can_be_changed_is_refused() {
        let mut file = super::super::memory().unwrap();
        file.write_all(&serde_json::to_vec(&conf("/run/a")).unwrap()).unwrap();
        let opened = open::<Handover>(file);
        assert!(matches!(opened, Err(RenewalError::Malformed("a file that can be changed"))));
    }

    #[test]
    fn other_messages_are_refused() {
        let (sender, receiver) = pair().unwrap();
        let say = |text: &[u8]| {
            sendmsg::<()>(sender.0.as_raw_fd(), &[IoSlice::new(text)], &[], MsgFlags::empty(), None).unwrap();
        };
        say(MESSAGE);
        assert!(matches!(receiver.receive(), Err(RenewalError::Malformed("a message without a file"))));
        say(b"r");
        assert!(matches!(receiver.receive(), Err(RenewalError::Malformed("another message"))));
        say(b"configuration and more");
        assert!(matches!(receiver.receive(), Err(RenewalError::Malformed("another message"))));
    }

    #[test]
    fn a_message_with_many_descriptors_is_refused_and_leaves_none_open() {
        let (sender, receiver) = pair().unwrap();
        let file = sealed(&conf("/run/a")).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        let is_it = |path: std::path::PathBuf| {
            std::fs::metadata(path).is_ok_and(|about| std::os::unix::fs::MetadataExt::ino(&about) == inode)
        };
        let open_now = || {
            let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            all.filter(|entry| is_it(entry.path())).count()
        };
        for count in [2, 3, 30] {
            let files = vec![file.as_raw_fd(); count];
            let control = [ControlMessage::ScmRights(&files)];
            sendmsg::<()>(sender.0.as_raw_fd(), &[IoSlice::new(MESSAGE)], &control, MsgFlags::empty(), None)
                .unwrap();
            assert!(matches!(receiver.receive(), Err(RenewalError::Malformed("several files"))), "{count}");
            assert_eq!(open_now(), 1, "{count}");
        }
    }

    #[test]
    fn what_is_kept_is_what_was_kept_last() {
        let mut file = super::super::memory().unwrap();
        keep(&mut file, &conf("/run/a-long-name")).unwrap();
        keep(&mut file, &conf("/run/b")).unwrap();
        assert_eq!(kept(&mut file).unwrap(), conf("/run/b"));
    }
}
