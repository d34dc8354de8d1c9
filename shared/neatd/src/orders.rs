//! What the supervisor and a group's warden say to each other.
//!
//! To the warden: messages with descriptors, over a socket whose other end only the supervisor has; that it
//! is closed says that the supervisor is gone. To the supervisor: single bytes out of the few that
//! [`Status`] knows, over a pipe that the supervisor never waits for. A warden is its group's user, so that
//! this is all that such a user can ever say to root.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::{Deserialize, Serialize};
use shared::ffi::recv;
use shared::launch::handover::GroupSpec;

use crate::clients::AllowedClients;
use crate::control::MAX_FACT;

/// How long a warden waits for what it asked the supervisor for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// So many sockets one group has at a time: one for each generation that has not ended.
pub const SLOTS: usize = 16;

/// What a warden has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WardenConf {
    /// Its group.
    pub spec: GroupSpec,
    /// `nginx` or `apache`.
    pub server: String,
    /// The server's version.
    pub server_version: [u32; 3],
    /// The user of the server's processes, where the server is root.
    pub server_user: Option<(u32, u32)>,
    /// How the paths of the groups' sockets begin.
    pub prefix: PathBuf,
    /// The engine's file.
    pub engine: PathBuf,
    /// The [`shared::log::Level`] up to which lines are written.
    pub log_level: u32,
    /// How many groups there are: the more, the less often each looks at its clock.
    pub groups: usize,
}

/// The supervisor's to a warden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Be as the configuration says that comes along, sealed, and renew the group.
    Configure,
    /// Renew the group, for the reason that the log says.
    Renew,
    /// The error log that comes along is the one to write to.
    Log,
    /// Load: there is room for it now.
    Load,
    /// A socket for a generation comes along.
    Socket {
        /// What the warden calls it.
        slot: usize,
        /// Its own name.
        own_path: PathBuf,
        /// Who may connect.
        clients: AllowedClients,
    },
    /// What was asked for is done.
    Done,
    /// It is not, for this reason.
    Refused {
        /// A sentence for the log.
        why: String,
    },
    /// The configuration has the group no more.
    Remove,
    /// Leave.
    Stop {
        /// How long requests may take that are under way.
        timeout: Duration,
    },
    /// Say that you are alive.
    Ping,
}

impl Order {
    const fn is_answer(&self) -> bool {
        matches!(self, Self::Socket { .. } | Self::Done | Self::Refused { .. })
    }
}

/// A warden's to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The answer to [`Order::Ping`].
    Alive,
    /// A socket for a generation is wanted.
    WantsSocket,
    /// A generation is to be loaded when there is room for it.
    WantsToLoad,
    /// It has been, or never will be.
    HasLoaded,
    /// Servers are to find the socket of this slot, unless another supervisor's serves.
    Prepare(usize),
    /// Servers are to find it: its generation serves.
    Publish(usize),
    /// It is done with.
    Remove(usize),
}

impl Status {
    /// The byte that says so.
    fn byte(self) -> u8 {
        let with = |kind: u8, slot: usize| kind << 4 | u8::try_from(slot.min(SLOTS - 1)).unwrap_or(0);
        match self {
            Self::Alive => 0,
            Self::WantsSocket => 1,
            Self::WantsToLoad => 2,
            Self::HasLoaded => 3,
            Self::Prepare(slot) => with(1, slot),
            Self::Publish(slot) => with(2, slot),
            Self::Remove(slot) => with(3, slot),
        }
    }

    /// What a byte says; `None` for one that no warden sends.
    pub fn from_byte(byte: u8) -> Option<Self> {
        let slot = usize::from(byte & 15);
        match byte >> 4 {
            0 => [Self::Alive, Self::WantsSocket, Self::WantsToLoad, Self::HasLoaded].get(slot).copied(),
            1 => Some(Self::Prepare(slot)),
            2 => Some(Self::Publish(slot)),
            3 => Some(Self::Remove(slot)),
            _ => None,
        }
    }
}

/// Sends an order, without waiting; `false` where the warden does not read, or is gone.
pub fn send(to: BorrowedFd<'_>, order: &Order, descriptor: Option<BorrowedFd<'_>>) -> bool {
    let Ok(text) = serde_json::to_vec(order) else { return false };
    let numbers: Vec<_> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[][..] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&text)], control, flags, None).is_ok()
}

/// A warden's ends.
pub struct Superior {
    orders: OwnedFd,
    statuses: OwnedFd,
    /// What came while an answer was waited for.
    early: VecDeque<(Order, Option<OwnedFd>)>,
    is_gone: bool,
}

impl Superior {
    /// As they were handed over.
    pub const fn new(orders: OwnedFd, statuses: OwnedFd) -> Self {
        Self { orders, statuses, early: VecDeque::new(), is_gone: false }
    }

    /// Whether the supervisor is gone, or has another warden in this one's place.
    pub const fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// What to wait for; nothing once it is gone, which would be something to look at for ever.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_gone).then(|| self.orders.as_fd())
    }

    /// Says something, without waiting: a pipe that is full has a reader that will find out in its own way.
    pub fn say(&self, status: Status) {
        let _ = nix::unistd::write(&self.statuses, &[status.byte()]);
    }

    /// The next order, if one has come, with what came along.
    pub fn next(&mut self) -> Option<(Order, Option<OwnedFd>)> {
        self.early.pop_front().or_else(|| self.recv())
    }

    /// Asks for something, and waits for the answer.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn ask(&mut self, status: Status) -> Result<(Order, Option<OwnedFd>), String> {
        // An answer that came too late for what it was asked for is not this one's.
        while let Some((order, descriptor)) = self.recv() {
            if !matches!(order, Order::Done | Order::Refused { .. }) {
                self.early.push_back((order, descriptor));
            }
        }
        self.say(status);
        let begin = Instant::now();
        while !self.is_gone {
            match self.recv() {
                Some((Order::Refused { why }, _)) => return Err(why),
                Some(answer) if answer.0.is_answer() => return Ok(answer),
                Some(other) => self.early.push_back(other),
                None => {
                    let left = ANSWER_TIMEOUT.saturating_sub(begin.elapsed());
                    if left.is_zero() {
                        return Err("neatd's supervisor does not answer".to_owned());
                    }
                    let mut polled = [PollFd::new(self.orders.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
                }
            }
        }
        Err("neatd's supervisor is gone".to_owned())
    }

    fn recv(&mut self) -> Option<(Order, Option<OwnedFd>)> {
        let mut bytes = vec![0; MAX_FACT];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut received = match recv::recv(self.orders.as_fd(), &mut parts, libc::MSG_DONTWAIT) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(_) => {
                self.is_gone = true;
                return None;
            }
        };
        if received.length == 0 {
            self.is_gone = true;
            return None;
        }
        let order = serde_json::from_slice(bytes.get(..received.length)?).ok()?;
        Some((order, received.descriptors.pop()))
    }
}

/// What a sealed configuration says.
///
/// # Errors
/// A sentence for the log.
pub fn read(file: OwnedFd) -> Result<WardenConf, String> {
    shared::launch::renewal::open(File::from(file)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::pair;

    #[test]
    fn a_status_is_one_of_few_bytes() {
        let mut known = 0;
        for byte in 0..=u8::MAX {
            if let Some(status) = Status::from_byte(byte) {
                assert_eq!(status.byte(), byte);
                known += 1;
            }
        }
        assert_eq!(known, 4 + 3 * SLOTS);
    }

    /// A supervisor that answers each byte that it reads with the next of these.
    fn answering(ours: OwnedFd, read: OwnedFd, answers: Vec<Order>) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let answer = |order: Order| {
                let mut byte = [0];
                assert_eq!(nix::unistd::read(&read, &mut byte), Ok(1));
                assert!(send(ours.as_fd(), &order, Some(read.as_fd())));
                byte[0]
            };
            answers.into_iter().map(answer).collect()
        })
    }

    #[test]
    fn what_comes_before_an_answer_waits() {
        let (ours, theirs) = pair().unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut superior = Superior::new(theirs, write);
        assert!(superior.next().is_none());
        assert!(send(ours.as_fd(), &Order::Ping, None));
        // An answer to what was asked before, and given up.
        assert!(send(ours.as_fd(), &Order::Refused { why: "late".to_owned() }, None));
        let refused = Order::Refused { why: "no".to_owned() };
        let supervisor = answering(ours, read, vec![Order::Done, refused]);
        let (answer, descriptor) = superior.ask(Status::Publish(3)).unwrap();
        assert!(answer == Order::Done && descriptor.is_some());
        assert_eq!(superior.next().map(|(order, _)| order), Some(Order::Ping));
        assert_eq!(superior.ask(Status::WantsSocket).unwrap_err(), "no");
        let said = supervisor.join().unwrap();
        let said: Vec<_> = said.into_iter().map(Status::from_byte).collect();
        assert_eq!(said, [Some(Status::Publish(3)), Some(Status::WantsSocket)]);
        assert!(superior.ask(Status::WantsSocket).unwrap_err().ends_with("is gone"));
        assert!(superior.is_gone() && superior.descriptor().is_none());
    }
}
