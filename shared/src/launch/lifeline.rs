//! How neatd learns that the last process of a server is gone.
//!
//! A pipe of which the server's processes hold the reading end and neatd's the writing end. Nothing is ever
//! said through it: when the last reader is gone the writing end polls as an error (pipe(7)). A process of
//! the server can do nothing with its end but close it, and one of neatd's nothing but write what nobody
//! reads. An end cannot be had from the other one by anybody but the pipe's owner, who is the server's
//! master's user (its mode is 0600).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

/// neatd's end.
#[derive(Debug)]
pub struct Lifeline(OwnedFd);

/// The server's end: the master has it, and each child that the master forks gets a copy.
#[derive(Debug)]
pub struct Server {
    _end: OwnedFd,
}

/// Both ends of a new one. They are closed by exec.
///
/// # Errors
/// The system's.
pub fn pair() -> io::Result<(Server, Lifeline)> {
    let (reading, writing) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok((Server { _end: reading }, Lifeline(writing)))
}

impl Lifeline {
    /// neatd's end as it was handed over.
    #[must_use]
    pub const fn new(end: OwnedFd) -> Self {
        Self(end)
    }

    /// Whether the last process of the server is gone.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let mut polled = [self.watched()];
        let _ = poll(&mut polled, PollTimeout::ZERO);
        polled[0].revents().is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP))
    }

    /// What to wait for along with other descriptors: the wait ends when the server is gone.
    #[must_use]
    pub fn watched(&self) -> PollFd<'_> {
        PollFd::new(self.0.as_fd(), PollFlags::empty())
    }
}

impl AsFd for Lifeline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_cut_when_the_last_process_of_the_server_is_gone() {
        let (server, lifeline) = pair().unwrap();
        assert!(!lifeline.is_cut());
        let child = Server { _end: server._end.try_clone().unwrap() };
        drop(server);
        assert!(!lifeline.is_cut(), "a child has a copy");
        drop(child);
        assert!(lifeline.is_cut());
    }

    #[test]
    fn the_servers_end_can_say_nothing() {
        let (server, lifeline) = pair().unwrap();
        assert_eq!(nix::unistd::write(&server._end, b"r"), Err(nix::errno::Errno::EBADF));
        assert!(!lifeline.is_cut());
    }
}
