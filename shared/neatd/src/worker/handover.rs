//! Requests that go from a worker without a free thread to one that has some: the connection's descriptor and what came over it.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    setsockopt, socketpair, sockopt,
};

use super::exchange::DaemonExchange;

/// The longest request that moves, in bytes; a longer one waits where it is.
const LONGEST: usize = 128 * 1024;

/// What is before the request: the number of the connection's last exchange, and whether the hello is still to be said.
const HEADER: usize = 4;

/// One inbox for each place on the board, made before the workers are forked, so that each has all of them.
pub struct Inboxes {
    pairs: Vec<(OwnedFd, OwnedFd)>,
}

impl Inboxes {
    /// As many as there are places.
    ///
    /// # Errors
    /// The system's.
    pub fn new(count: usize) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
            setsockopt(&theirs, sockopt::SndBuf, &(4 * LONGEST))?;
            pairs.push((ours, theirs));
        }
        Ok(Self { pairs })
    }

    /// Where requests for a place come in.
    pub fn own(&self, slot: usize) -> Option<&OwnedFd> {
        self.pairs.get(slot).map(|(ours, _)| ours)
    }

    /// Sends a request to the worker of a place; `false` where that cannot be done now.
    pub fn send(&self, slot: usize, exchange: &DaemonExchange) -> bool {
        let Some((_, theirs)) = self.pairs.get(slot) else { return false };
        let connection = exchange.connection();
        let Some(packet) = exchange.packet(LONGEST) else { return false };
        let [low, high] = exchange.number().wrapping_sub(1).to_le_bytes();
        let header = [low, high, u8::from(connection.is_new()), 0];
        let descriptors: [RawFd; 1] = [connection.descriptor()];
        let control = [ControlMessage::ScmRights(&descriptors)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let parts = [IoSlice::new(&header), IoSlice::new(&packet)];
        sendmsg::<()>(theirs.as_raw_fd(), &parts, &control, flags, None).is_ok()
    }

    /// Takes the next request out of an inbox: the connection, its last exchange, whether to greet, and what came.
    pub fn receive(&self, slot: usize) -> Option<(OwnedFd, u16, bool, Vec<u8>)> {
        let ours = self.own(slot)?;
        let mut bytes = vec![0; LONGEST + HEADER];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<()>(ours.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
        let length = message.bytes;
        let descriptor = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(list) => list.first().copied(),
            _ => None,
        })?;
        // SAFETY: the kernel made it for this process just now.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let (header, rest) = bytes.get(..length)?.split_at_checked(HEADER)?;
        let [low, high, greet, _] = header.first_chunk::<HEADER>().copied()?;
        Some((socket, u16::from_le_bytes([low, high]), greet != 0, rest.to_vec()))
    }
}
