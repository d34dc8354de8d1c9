//! Who may ask a process group: the users that its socket is for, whatever became of the socket's mode.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::socket::{SockFlag, accept4, getsockopt, sockopt};
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

/// The users whose connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedClients([u32; 3]);

/// A connection that was waiting.
pub enum Caller {
    /// It may ask.
    Peer(OwnedFd),
    /// It may not, and is closed: a user's number.
    Refused(u32),
}

impl AllowedClients {
    /// Root, this process's user, and the one whom the socket is for: the web server's.
    pub fn of(owner: Option<Uid>) -> Self {
        let own = Uid::effective();
        Self([0, own.as_raw(), owner.unwrap_or(own).as_raw()])
    }

    /// Accepts a connection, if one waits, and looks at who it is (unix(7), `SO_PEERCRED`).
    pub fn accept(&self, listener: &OwnedFd) -> Option<Caller> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let accepted = accept4(listener.as_raw_fd(), flags).ok()?;
        // SAFETY: just made, and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(accepted) };
        let uid = getsockopt(&socket, sockopt::PeerCredentials).map_or(u32::MAX, |who| who.uid());
        Some(if self.0.contains(&uid) { Caller::Peer(socket) } else { Caller::Refused(uid) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn strangers_are_told_from_peers() {
        let path = std::env::temp_dir().join(format!("neat-peers-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = OwnedFd::from(listener);
        let own = Uid::effective().as_raw();
        assert!(AllowedClients::of(None).accept(&listener).is_none());
        let _one = UnixStream::connect(&path).unwrap();
        assert!(matches!(AllowedClients::of(None).accept(&listener), Some(Caller::Peer(_))));
        let _other = UnixStream::connect(&path).unwrap();
        assert!(
            matches!(AllowedClients([own + 1; 3]).accept(&listener), Some(Caller::Refused(uid)) if uid == own)
        );
        std::fs::remove_file(&path).unwrap();
    }
}
