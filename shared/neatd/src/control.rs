//! What supervisor, zygote and workers tell each other, as JSON over a socket that keeps messages apart.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest text in a message, in bytes.
const LONGEST_TEXT: usize = 96 * 1024;
/// The longest message, in bytes. JSON makes six of one byte at worst.
const LONGEST: usize = 8 * LONGEST_TEXT;

/// The supervisor's to a zygote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Fork a worker for a place on the board.
    Fork {
        /// The place.
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

/// A zygote's or a worker's to the supervisor.
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
    /// The application has started threads while it was imported, so that no worker can be forked from the zygote.
    Threaded {
        /// The place that the worker was meant for.
        slot: usize,
    },
    /// A worker was forked.
    Forked {
        /// Its place.
        slot: usize,
        /// Its pid.
        pid: i32,
    },
    /// A worker takes requests; these targets could not be loaded.
    Serving {
        /// Its place.
        slot: usize,
        /// Scripts and modules.
        failed: Vec<String>,
    },
    /// A worker asks to be replaced.
    Replace {
        /// Its place.
        slot: usize,
        /// Why.
        why: String,
    },
    /// A worker has ended.
    Died {
        /// Its place.
        slot: usize,
        /// Its pid.
        pid: i32,
        /// As waitpid says it.
        status: i32,
    },
    /// A line that belongs to no request.
    Log {
        /// Whose.
        pid: u32,
        /// A [`shared::log::Level`].
        level: u32,
        /// What.
        text: String,
    },
}

/// A pair of sockets that keep messages apart.
///
/// # Errors
/// The system's.
pub fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    for end in [&one, &other] {
        setsockopt(end, sockopt::SndBuf, &LONGEST)?;
    }
    Ok((one, other))
}

/// Cuts a text to what a message carries.
pub fn cut(text: &[u8]) -> String {
    String::from_utf8_lossy(text.get(..LONGEST_TEXT).unwrap_or(text)).into_owned()
}

/// Tells, without waiting; `false` when nobody can be told.
pub fn tell(socket: &OwnedFd, message: &impl Serialize) -> bool {
    let Ok(text) = serde_json::to_vec(message) else { return false };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    send(socket.as_raw_fd(), &text, flags).is_ok()
}

/// What has come.
#[derive(Debug)]
pub enum Heard<M> {
    /// A message.
    Message(M),
    /// None now.
    Nothing,
    /// There will be none any more.
    End,
}

/// The next message, without waiting.
pub fn hear<M: DeserializeOwned>(socket: &OwnedFd) -> Heard<M> {
    let mut bytes = vec![0; LONGEST];
    match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Heard::End,
        Ok(length) => {
            let message = serde_json::from_slice(bytes.get(..length).unwrap_or_default());
            message.map_or(Heard::Nothing, Heard::Message)
        }
        Err(Errno::EAGAIN | Errno::EINTR) => Heard::Nothing,
        Err(_) => Heard::End,
    }
}
