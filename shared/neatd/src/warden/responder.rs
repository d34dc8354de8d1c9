//! Answers for a group that has no process yet: 503, with what the log says in full.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{MsgFlags, recv, send};
use shared::wire::decode::Side;
use shared::wire::{Frame, Reader, encode};

use crate::clients::{AllowedClients, Caller};

/// Connections that are answered at a time.
const MOST: usize = 256;

struct Asked {
    socket: OwnedFd,
    reader: Reader,
    answered: bool,
}

/// The connections of a group without a process.
#[derive(Default)]
pub struct Responder {
    asked: Vec<Asked>,
}

impl Responder {
    /// What to wait for.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.asked.iter().map(|asked| asked.socket.as_fd())
    }

    /// Takes the connections that wait at a group's socket.
    pub fn accept(&mut self, listener: &OwnedFd, peers: AllowedClients) {
        while self.asked.len() < MOST {
            match peers.accept(listener) {
                Some(Caller::Peer(socket)) => {
                    self.asked.push(Asked { socket, reader: Reader::new(Side::Server), answered: false });
                }
                Some(Caller::Refused(_)) => {}
                None => break,
            }
        }
    }

    /// Answers whoever has asked.
    pub fn answer(&mut self, retry_after: u16, why: &str) {
        self.asked.retain_mut(|asked| asked.go_on(retry_after, why));
    }
}

impl Asked {
    /// Reads on; `false` when the connection is done with.
    fn go_on(&mut self, retry_after: u16, why: &str) -> bool {
        let mut bytes = [0; 16 * 1024];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return false,
                Ok(length) => length,
                Err(error) => return error == nix::Error::EAGAIN || error == nix::Error::EINTR,
            };
            let mut input = bytes.get(..length).unwrap_or_default();
            loop {
                let exchange = match self.reader.next(&mut input) {
                    Err(_) => return false,
                    Ok(None) => break,
                    Ok(Some(received)) if matches!(received.frame, Frame::Request { .. }) => {
                        received.exchange
                    }
                    Ok(Some(_)) => continue,
                };
                let mut answer = Vec::new();
                if !self.answered {
                    encode::hello(&mut answer);
                }
                encode::failed(&mut answer, exchange, 503, retry_after, why.as_bytes());
                encode::go_away(&mut answer);
                self.answered = true;
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                if send(self.socket.as_raw_fd(), &answer, flags).is_err() {
                    return false;
                }
            }
        }
    }
}
