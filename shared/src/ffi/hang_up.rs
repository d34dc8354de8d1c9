//! Whether the other end of a socket has closed its side: how a client says that it does not wait any more,
//! and a server that its client does not.
//!
//! A client that closes only its sending side and still reads cannot be told from one that is gone (RFC 9112
//! section 9.6 leaves it to the server); it is taken for gone, as nginx does.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What a socket shows whose other end has closed.
const GONE: i16 = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;

/// Polls sockets and tells what each shows; `None` where a signal came first.
fn poll<const N: usize>(sockets: [(BorrowedFd<'_>, i16); N], timeout: Duration) -> Option<[i16; N]> {
    let mut polled =
        sockets.map(|(socket, events)| libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 });
    let millis = timeout.as_micros().div_ceil(1000).try_into().unwrap_or(i32::MAX);
    // SAFETY: the array has so many entries, and lives for the call.
    let count = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, millis) };
    (count >= 0).then(|| polled.map(|polled| polled.revents))
}

/// Whether the other end has closed, whatever is still to be read. Does not wait.
#[must_use]
pub fn has_hung_up(socket: BorrowedFd<'_>) -> bool {
    poll([(socket, libc::POLLRDHUP)], Duration::ZERO).is_some_and(|[shown]| shown & GONE != 0)
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// There is something to read, the end or an error included.
    Readable,
    /// The client has closed.
    HungUp,
    /// Neither, in time.
    Nothing,
}

/// Waits until there is something to read, or a client has closed.
#[must_use]
pub fn wait(readable: BorrowedFd<'_>, client: BorrowedFd<'_>, timeout: Duration) -> First {
    let begin = Instant::now();
    loop {
        let left = timeout.saturating_sub(begin.elapsed());
        match poll([(readable, libc::POLLIN), (client, libc::POLLRDHUP)], left) {
            Some([readable, _]) if readable != 0 => return First::Readable,
            Some([_, gone]) if gone & GONE != 0 => return First::HungUp,
            _ if begin.elapsed() >= timeout => return First::Nothing,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn an_end_that_is_closed_is_seen_behind_what_is_unread() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(!has_hung_up(ours.as_fd()));
        theirs.write_all(b"unread").unwrap();
        assert!(!has_hung_up(ours.as_fd()));
        theirs.shutdown(Shutdown::Write).unwrap();
        assert!(has_hung_up(ours.as_fd()));
    }

    #[test]
    fn whichever_comes_first_ends_the_wait() {
        let (worker, mut workers) = UnixStream::pair().unwrap();
        let (client, clients) = UnixStream::pair().unwrap();
        let first = |timeout| wait(worker.as_fd(), client.as_fd(), timeout);
        assert_eq!(first(Duration::ZERO), First::Nothing);
        drop(clients);
        assert_eq!(first(Duration::from_secs(60)), First::HungUp);
        workers.write_all(b"response").unwrap();
        assert_eq!(first(Duration::from_secs(60)), First::Readable, "what has come is taken all the same");
    }
}
