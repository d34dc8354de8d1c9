//! What a warden, its zygotes and its workers send each other, as JSON over a socket that keeps messages
//! apart.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, setsockopt, socketpair, sockopt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::conf::group::ProcessGroup;
use shared::preflight::identity::Identity;

use crate::clients::AllowedClients;
use crate::warden::deaths::Death;

/// The longest message, in bytes: a line's text, of each of whose bytes JSON makes six at worst.
pub const MAX_LINE: usize = 768 * 1024;
/// The longest command or fact.
pub const MAX_FACT: usize = 16 * 1024;

/// What a zygote is given at its start.
#[derive(Clone, Debug)]
pub struct ZygoteConf {
    /// Its group.
    pub group: ProcessGroup,
    /// The packed entries of the mounts to load ahead.
    pub mounts: Vec<Vec<u8>>,
    /// `nginx` or `apache`.
    pub server: String,
    /// The server's version.
    pub server_version: [u32; 3],
    /// Whose process it is.
    pub identity: Identity,
    /// The server is not root, and so nothing was done that only root can do.
    pub is_unprivileged: bool,
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

impl Report {
    /// The same with its texts in one line each: what a process says of itself must not pass for another
    /// line of the log.
    #[must_use]
    pub fn in_one_line(mut self) -> Self {
        let join = |text: &mut String| {
            if text.contains(['\n', '\r']) {
                *text = text.replace('\r', "").replace('\n', "\\n");
            }
        };
        match &mut self {
            Self::Unable { why } | Self::Replace { why, .. } => join(why),
            Self::Ready { failed } | Self::Serving { failed, .. } => failed.iter_mut().for_each(join),
            Self::Threaded { .. } | Self::Forked { .. } | Self::Died { .. } => {}
        }
        self
    }

    /// The same with its texts cut, so that it is no longer than a fact may be. Of several targets each keeps
    /// as much as any other, and its end, which tells paths apart; how many there are stays.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        // JSON makes six bytes of one at worst, and puts three around each.
        let room = |count: usize| ((MAX_FACT - 256) / count.max(1)).saturating_sub(3) / 6;
        match &mut self {
            Self::Unable { why } | Self::Replace { why, .. } => {
                let end = (0..=room(1)).rev().find(|end| why.is_char_boundary(*end));
                why.truncate(end.unwrap_or(0));
            }
            Self::Ready { failed } | Self::Serving { failed, .. } => {
                let room = room(failed.len());
                for target in failed {
                    let begin = target.len().saturating_sub(room);
                    let begin = (begin..target.len()).find(|begin| target.is_char_boundary(*begin));
                    target.drain(..begin.unwrap_or(target.len()));
                }
            }
            Self::Threaded { .. } | Self::Forked { .. } | Self::Died { .. } => {}
        }
        self
    }
}

/// A pair of sockets that keep messages apart.
///
/// # Errors
/// The system's.
pub fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    for end in [&one, &other] {
        setsockopt(end, sockopt::SndBuf, &MAX_LINE)?;
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
    /// Something that is none.
    Malformed,
    /// None now.
    Nothing,
    /// There will be none any more.
    End,
}

/// The next message, without waiting. One that is longer than `max` is passed over like any other that is
/// none; as much memory is taken as it is long.
pub fn recv<M: DeserializeOwned>(from: &OwnedFd, max: usize) -> Received<M> {
    // Its whole length is said, whatever there is room for (recv(2), MSG_TRUNC).
    let look = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    let length = match socket::recv(from.as_raw_fd(), &mut [0], look) {
        Ok(length) => length,
        Err(Errno::EAGAIN | Errno::EINTR) => return Received::Nothing,
        Err(_) => return Received::End,
    };
    let mut bytes = vec![0; length.clamp(1, max)];
    match socket::recv(from.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
        Ok(0) => Received::End,
        Ok(length) => {
            // Another reader may have taken the one that was looked at.
            let message = bytes.get(..length).and_then(|bytes| serde_json::from_slice(bytes).ok());
            message.map_or(Received::Malformed, Received::Message)
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
        assert_eq!(recv::<Report>(&other, MAX_FACT), Received::Nothing);
        let forked = Report::Forked { slot: 1, pid: 7 };
        let died = Report::Died { slot: 1, pid: Some(7), death: Death::Exited(3) };
        for report in [&forked, &died] {
            assert_eq!(send(&one, &encode(report).unwrap()), Ok(()));
        }
        assert_eq!(recv(&other, MAX_FACT), Received::Message(forked));
        assert_eq!(recv(&other, MAX_FACT), Received::Message(died));
        drop(one);
        assert_eq!(recv::<Report>(&other, MAX_FACT), Received::End);
    }

    #[test]
    fn what_is_no_message_is_passed_over() {
        let (one, other) = pair().unwrap();
        for text in ["{", "[]", r#"{"Died":{"slot":0,"pid":1,"death":255}}"#, "\u{0}"] {
            assert!(socket::send(one.as_raw_fd(), text.as_bytes(), MsgFlags::empty()).is_ok());
            assert_eq!(recv::<Report>(&other, MAX_FACT), Received::Malformed, "{text}");
        }
        assert_eq!(recv::<Report>(&other, MAX_FACT), Received::Nothing);
    }

    #[test]
    fn a_fact_that_is_too_long_is_passed_over() {
        let (one, other) = pair().unwrap();
        let fact = |length: usize| Report::Unable { why: "x".repeat(length) };
        for report in [&fact(MAX_FACT), &fact(100)] {
            send(&one, &encode(report).unwrap()).unwrap();
        }
        assert_eq!(recv::<Report>(&other, MAX_FACT), Received::Malformed);
        assert_eq!(recv(&other, MAX_FACT), Received::Message(fact(100)));
    }

    #[test]
    fn every_fact_is_short_enough_to_be_taken() {
        let long = "\u{7}\u{1f4a9}".repeat(MAX_FACT);
        let many = || vec![long.clone(); 1000];
        let reports = [
            Report::Unable { why: long.clone() },
            Report::Ready { failed: many() },
            Report::Serving { slot: 3, failed: many() },
            Report::Replace { slot: 3, why: long.clone() },
        ];
        for report in reports {
            let short = report.clone().shortened();
            assert!(encode(&short).unwrap().len() <= MAX_FACT);
            if let (Report::Ready { failed }, Report::Ready { failed: all }) = (&short, &report) {
                assert_eq!(failed.len(), all.len(), "how many there are counts");
            }
        }
        let fits = Report::Ready { failed: vec!["/srv/shop.wsgi".to_owned()] };
        assert_eq!(fits.clone().shortened(), fits);
    }

    #[test]
    fn the_longest_line_fits() {
        let (one, other) = pair().unwrap();
        let line = Line::new(shared::log::Level::Error, &vec![1; 1 << 20]);
        assert_eq!(send(&one, &encode(&line).unwrap()), Ok(()));
        assert_eq!(recv(&other, MAX_LINE), Received::Message(line));
    }
}
