//! What a warden, its zygotes and its workers send each other, as JSON over a socket that keeps messages
//! apart.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, setsockopt, socketpair, sockopt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::conf::group::ProcessGroup;

use crate::clients::AllowedClients;
use crate::warden::deaths::Death;

/// The longest message, in bytes: a line's text, of each of whose bytes JSON makes six at worst.
const MAX_MESSAGE: usize = 768 * 1024;

/// What a zygote is given at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ZygoteConf {
    /// Its group.
    pub group: ProcessGroup,
    /// The packed entries of the mounts to load ahead.
    pub mounts: Vec<Vec<u8>>,
    /// `nginx` or `apache`.
    pub server: String,
    /// The server's version.
    pub server_version: [u32; 3],
    /// The user of the server's processes, where the server is root.
    pub server_user: Option<(u32, u32)>,
    /// The engine's file.
    pub engine: PathBuf,
    /// Slots on the scoreboard.
    pub slots: usize,
    /// The socket under the name of this generation alone.
    pub own_path: PathBuf,
    /// The one that servers know.
    pub public_path: PathBuf,
    /// Who may connect.
    pub clients: AllowedClients,
}

/// The warden's to a zygote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Fork a worker for a slot on the scoreboard.
    Fork {
        /// The slot.
        slot: usize,
    },
    /// Signal a worker that was forked.
    Signal {
        /// Its pid.
        pid: i32,
        /// The signal's number.
        signal: i32,
    },
    /// Leave once there are no workers any more.
    Leave,
}

/// A fact, a zygote's or a worker's to the warden. None may be lost. Lines of the log have a socket of their
/// own ([`crate::reports`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The zygote is ready to fork; these targets could not be loaded.
    Ready {
        /// Scripts and modules.
        failed: Vec<String>,
    },
    /// The zygote cannot do its work.
    Unable {
        /// Why.
        why: String,
    },
    /// The application has started threads while it was imported, so that no worker can be forked from the
    /// zygote.
    Threaded {
        /// The slot that the worker was meant for.
        slot: usize,
    },
    /// A worker was forked.
    Forked {
        /// Its slot.
        slot: usize,
        /// Its pid.
        pid: i32,
    },
    /// A worker takes requests; these targets could not be loaded.
    Serving {
        /// Its slot.
        slot: usize,
        /// Scripts and modules.
        failed: Vec<String>,
    },
    /// A worker asks to be replaced.
    Replace {
        /// Its slot.
        slot: usize,
        /// Why.
        why: String,
    },
    /// A worker has ended, or could not be forked.
    Died {
        /// Its slot.
        slot: usize,
        /// Its pid, where it came to have one.
        pid: Option<i32>,
        /// How.
        death: Death,
    },
}

/// A pair of sockets that keep messages apart.
///
/// # Errors
/// The system's.
pub fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    for end in [&one, &other] {
        setsockopt(end, sockopt::SndBuf, &MAX_MESSAGE)?;
    }
    Ok((one, other))
}

/// A message as it is sent. `None` never is: no message has a part that JSON could not say.
pub fn encode(message: &impl Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(message).ok()
}

/// Sends a message, without waiting.
///
/// # Errors
/// The system's: `EAGAIN` where there is no room, `EPIPE` where nobody is left.
pub fn send(to: &OwnedFd, message: &[u8]) -> nix::Result<()> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    socket::send(to.as_raw_fd(), message, flags).map(|_| ())
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<M> {
    /// A message.
    Message(M),
    /// None now.
    Nothing,
    /// There will be none any more.
    End,
}

/// The next message, without waiting.
pub fn recv<M: DeserializeOwned>(from: &OwnedFd) -> Received<M> {
    let mut bytes = vec![0; MAX_MESSAGE];
    match socket::recv(from.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Received::End,
        Ok(length) => {
            let message = serde_json::from_slice(bytes.get(..length).unwrap_or_default());
            message.map_or(Received::Nothing, Received::Message)
        }
        Err(Errno::EAGAIN | Errno::EINTR) => Received::Nothing,
        Err(_) => Received::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warden::lines::Line;

    #[test]
    fn messages_come_in_order_and_one_by_one() {
        let (one, other) = pair().unwrap();
        assert_eq!(recv::<Report>(&other), Received::Nothing);
        let forked = Report::Forked { slot: 1, pid: 7 };
        let died = Report::Died { slot: 1, pid: Some(7), death: Death::Exited(3) };
        for report in [&forked, &died] {
            assert_eq!(send(&one, &encode(report).unwrap()), Ok(()));
        }
        assert_eq!(recv(&other), Received::Message(forked));
        assert_eq!(recv(&other), Received::Message(died));
        drop(one);
        assert_eq!(recv::<Report>(&other), Received::End);
    }

    #[test]
    fn what_is_no_message_is_passed_over() {
        let (one, other) = pair().unwrap();
        for text in ["{", "[]", r#"{"Died":{"slot":0,"pid":1,"death":255}}"#, "\u{0}"] {
            assert!(socket::send(one.as_raw_fd(), text.as_bytes(), MsgFlags::empty()).is_ok());
            assert_eq!(recv::<Report>(&other), Received::Nothing, "{text}");
        }
    }

    #[test]
    fn the_longest_line_fits() {
        let (one, other) = pair().unwrap();
        let line = Line::new(shared::log::Level::Error, &vec![1; 1 << 20]);
        assert_eq!(send(&one, &encode(&line).unwrap()), Ok(()));
        assert_eq!(recv(&other), Received::Message(line));
    }
}
