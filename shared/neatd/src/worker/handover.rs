//! Requests that go from a worker without a free thread to one that has some: the connection's descriptor and
//! what came over it.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    setsockopt, socketpair, sockopt,
};

use super::exchange::DaemonExchange;

/// The longest request that moves, in bytes; a longer one waits where it is.
const MAX_REQUEST: usize = 128 * 1024;

/// What is before the request: the number of the connection's last exchange, and whether the hello is still
/// to be said.
const HEADER: usize = 4;

/// A socket pair for each slot on the scoreboard, made before the workers are forked, so that each has all of
/// them.
pub struct Handovers {
    pairs: Vec<(OwnedFd, OwnedFd)>,
}

/// A request that another worker has handed over.
pub struct Handover {
    /// The connection.
    pub socket: OwnedFd,
    /// The number of its last exchange.
    pub last_exchange: u16,
    /// Whether the hello is still to be said.
    pub is_new: bool,
    /// What came over it.
    pub bytes: Vec<u8>,
}

impl Handovers {
    /// As many as there are slots.
    ///
    /// # Errors
    /// The system's.
    pub fn new(count: usize) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
            setsockopt(&theirs, sockopt::SndBuf, &(4 * MAX_REQUEST))?;
            pairs.push((ours, theirs));
        }
        Ok(Self { pairs })
    }

    /// Where requests for a slot come in.
    pub fn own(&self, slot: usize) -> Option<&OwnedFd> {
        self.pairs.get(slot).map(|(ours, _)| ours)
    }

    /// Sends a request to the worker of a slot; `false` where that cannot be done now.
    pub fn send(&self, slot: usize, exchange: &DaemonExchange) -> bool {
        let Some(request) = exchange.handover(MAX_REQUEST) else { return false };
        let connection = exchange.connection();
        self.send_request(
            slot,
            connection.descriptor(),
            exchange.number().wrapping_sub(1),
            connection.is_new(),
            &request,
        )
    }

    fn send_request(&self, slot: usize, socket: RawFd, last: u16, is_new: bool, request: &[u8]) -> bool {
        let Some((_, theirs)) = self.pairs.get(slot) else { return false };
        let [low, high] = last.to_le_bytes();
        let header = [low, high, u8::from(is_new), 0];
        let descriptors = [socket];
        let control = [ControlMessage::ScmRights(&descriptors)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let parts = [IoSlice::new(&header), IoSlice::new(request)];
        sendmsg::<()>(theirs.as_raw_fd(), &parts, &control, flags, None).is_ok()
    }

    /// Takes the next request that was handed to the worker of a slot.
    pub fn receive(&self, slot: usize) -> Option<Handover> {
        let ours = self.own(slot)?;
        let mut bytes = vec![0; MAX_REQUEST + HEADER];
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
        let (header, request) = bytes.get(..length)?.split_at_checked(HEADER)?;
        let [low, high, is_new, _] = header.first_chunk::<HEADER>().copied()?;
        let last_exchange = u16::from_le_bytes([low, high]);
        Some(Handover { socket, last_exchange, is_new: is_new != 0, bytes: request.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    use shared::http::key::Key;
    use shared::http::packed::Packer;
    use shared::wire::{BodyMode, encode};

    use crate::clients::AllowedClients;
    use crate::warden::scoreboard::Scoreboard;
    use crate::worker::hub::{Hub, Limits};

    #[test]
    fn a_request_is_handed_over_with_its_connection() {
        let handovers = Handovers::new(2).unwrap();
        let (mut server, connection) = UnixStream::pair().unwrap();
        assert!(handovers.receive(1).is_none());
        assert!(handovers.send_request(1, connection.as_raw_fd(), 0xfffe, true, b"request"));
        drop(connection);
        assert!(handovers.receive(0).is_none(), "it is for the other one");
        let taken = handovers.receive(1).unwrap();
        assert_eq!(
            (taken.last_exchange, taken.is_new, taken.bytes.as_slice()),
            (0xfffe, true, &b"request"[..])
        );
        UnixStream::from(taken.socket).write_all(b"response").unwrap();
        let mut response = String::new();
        server.read_to_string(&mut response).unwrap();
        assert_eq!(response, "response");
        assert!(!handovers.send_request(2, server.as_raw_fd(), 0, false, b""), "nobody has that slot");
    }

    #[test]
    fn a_worker_that_leaves_serves_what_was_handed_to_it() {
        let handovers = Handovers::new(1).unwrap();
        let clone = |socket: &OwnedFd| socket.try_clone().unwrap();
        let others = Handovers { pairs: handovers.pairs.iter().map(|(a, b)| (clone(a), clone(b))).collect() };
        let board = Arc::new(Scoreboard::new(1, 1).unwrap());
        let limits = Limits {
            threads: 1,
            queue_size: 10,
            queue_timeout: None,
            send_timeout: Duration::from_secs(1),
            buffers: (None, None),
            clients: AllowedClients::of(None),
            header_line: 1000,
        };
        let (listener, _) = UnixStream::pair().unwrap();
        listener.set_nonblocking(true).unwrap();
        let hub = Hub::new(listener.into(), handovers, board, 0, limits, |_, _| ()).unwrap();
        hub.drain();
        let (_server, connection) = UnixStream::pair().unwrap();
        let mut head = Packer::new();
        head.set(Key::RequestMethod, b"GET");
        let mut request = Vec::new();
        assert!(encode::request(&mut request, 1, b"", head.finish().as_bytes(), BodyMode::None));
        assert!(others.send_request(0, connection.as_raw_fd(), 0, true, &request));
        assert!(!hub.is_drained());
        assert_eq!(hub.queue.lock().ready.len(), 1, "it was taken");
    }
}
