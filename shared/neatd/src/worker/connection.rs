//! A server's connection: its socket, what has come over it, and what is to leave.

use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, Shutdown, recv, sendmsg, shutdown};
use shared::exchange::SendError;
use shared::wire::decode::Side;
use shared::wire::session::WorkerSide;
use shared::wire::{Reader, encode};

/// Nobody serves a request of it: the leader reads it.
const RESTING: u8 = 0;
/// A thread serves a request of it and reads it.
const SERVED: u8 = 1;
/// The same, and something has come meanwhile.
const READABLE: u8 = 2;

/// What has come.
#[derive(Debug)]
pub struct Inbound {
    /// Makes frames of it.
    pub reader: Reader,
    /// Holds the server to the order.
    pub requests: WorkerSide,
    /// What was received and not read yet.
    pub pending: Vec<u8>,
    /// How much of `pending` was read.
    pub used: usize,
    /// The server was told that no further request is taken.
    pub closing: bool,
}

/// What is to leave.
#[derive(Debug)]
pub struct Outbound {
    /// Frames that wait for company.
    pub buffer: Vec<u8>,
    /// The response's head was encoded.
    pub head_sent: bool,
    /// Where in `buffer` it begins, as long as it is there.
    pub head_at: Option<usize>,
    /// Nothing more may be written: the server is gone, or somebody else has answered.
    pub closed: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Its number in this process.
    pub token: u64,
    socket: OwnedFd,
    phase: AtomicU8,
    /// The exchange whose response is not complete; 0 for none. Changed by whoever has `outbound`.
    open: AtomicU16,
    inbound: Mutex<Inbound>,
    outbound: Mutex<Outbound>,
}

/// What is locked is never left half done: a poisoned state is a whole one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// A connection that was just accepted. The hello leaves with the first answer.
    pub fn new(token: u64, socket: OwnedFd) -> Self {
        let mut buffer = Vec::with_capacity(512);
        encode::hello(&mut buffer);
        Self::with(token, socket, WorkerSide::new(), buffer)
    }

    /// A connection that another worker has begun with.
    pub fn resumed(token: u64, socket: OwnedFd, exchange: u16, greet: bool) -> Self {
        let mut buffer = Vec::with_capacity(512);
        if greet {
            encode::hello(&mut buffer);
        }
        Self::with(token, socket, WorkerSide::resume(exchange), buffer)
    }

    fn with(token: u64, socket: OwnedFd, requests: WorkerSide, buffer: Vec<u8>) -> Self {
        Self {
            token,
            socket,
            phase: AtomicU8::new(RESTING),
            open: AtomicU16::new(0),
            inbound: Mutex::new(Inbound {
                reader: Reader::new(Side::Server),
                requests,
                pending: Vec::new(),
                used: 0,
                closing: false,
            }),
            outbound: Mutex::new(Outbound { buffer, head_sent: false, head_at: None, closed: false }),
        }
    }

    /// Its socket's descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// What has come.
    pub fn inbound(&self) -> MutexGuard<'_, Inbound> {
        lock(&self.inbound)
    }

    /// What is to leave.
    pub fn outbound(&self) -> MutexGuard<'_, Outbound> {
        lock(&self.outbound)
    }

    /// What is to leave, unless a thread waits with it for the server.
    pub fn try_outbound(&self) -> Option<MutexGuard<'_, Outbound>> {
        match self.outbound.try_lock() {
            Ok(outbound) => Some(outbound),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Sends all of `bytes`, and waits for room where there is none.
    ///
    /// # Errors
    /// The server is gone.
    pub fn send_all(&self, mut bytes: &[u8]) -> Result<(), SendError> {
        while !bytes.is_empty() {
            match self.send(&[IoSlice::new(bytes)], None) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(nix::Error::EAGAIN) => {
                    self.wait(PollFlags::POLLOUT, None);
                }
                Err(_) => return Err(SendError::Disconnected),
            }
        }
        Ok(())
    }

    /// Tells the server that no further request is taken, unless one is served.
    pub fn send_go_away(&self) {
        let mut inbound = self.inbound();
        if !self.is_resting() || std::mem::replace(&mut inbound.closing, true) {
            return;
        }
        let mut outbound = self.outbound();
        let mut bytes = std::mem::take(&mut outbound.buffer);
        encode::go_away(&mut bytes);
        // A server that is gone has nothing to be told.
        let _ = self.send(&[IoSlice::new(&bytes)], None);
    }

    /// Cuts it off.
    pub fn cut(&self) {
        // A socket that is gone is cut off already.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    /// The response of an exchange begins.
    pub fn open(&self, exchange: u16) {
        self.open.store(exchange, Ordering::Release);
    }

    /// Nothing of the exchange may be written any more.
    pub fn close(&self) {
        self.open.store(0, Ordering::Release);
    }

    /// Whether the response of an exchange is not complete. What this says lasts for as long as `outbound` is
    /// locked.
    pub fn is_open(&self, exchange: u16) -> bool {
        self.open.load(Ordering::Acquire) == exchange
    }

    /// Whether the hello still waits for the first answer.
    pub fn is_new(&self) -> bool {
        !self.outbound().buffer.is_empty()
    }

    /// Notes that something has come; `true` when the caller is to read it.
    pub fn note_readable(&self) -> bool {
        let swapped = self.phase.compare_exchange(SERVED, READABLE, Ordering::AcqRel, Ordering::Acquire);
        swapped == Err(RESTING)
    }

    /// A thread will serve a request.
    pub fn begin(&self) {
        self.phase.store(SERVED, Ordering::Release);
    }

    /// The request has ended; `true` when something has come meanwhile that has to be read.
    pub fn rest(&self) -> bool {
        self.phase.swap(RESTING, Ordering::AcqRel) == READABLE
    }

    /// Whether no thread serves a request of it.
    pub fn is_resting(&self) -> bool {
        self.phase.load(Ordering::Acquire) == RESTING
    }

    /// Receives without waiting: how many bytes, 0 at the end.
    ///
    /// # Errors
    /// The system's; `EAGAIN` when there is nothing.
    pub fn receive(&self, into: &mut [u8]) -> nix::Result<usize> {
        loop {
            match recv(self.socket.as_raw_fd(), into, MsgFlags::MSG_DONTWAIT) {
                Err(nix::Error::EINTR) => {}
                received => return received,
            }
        }
    }

    /// Waits until there is something to receive, or room to send; `false` when neither came in time.
    pub fn wait(&self, what: PollFlags, timeout: Option<Duration>) -> bool {
        let mut polled = [PollFd::new(self.borrow(), what)];
        let timeout = timeout
            .map_or(PollTimeout::NONE, |timeout| PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX));
        !matches!(poll(&mut polled, timeout), Ok(0))
    }

    /// Whether the server has closed it: that is how it says that nobody waits for the response any more.
    pub fn is_hung_up(&self) -> bool {
        shared::ffi::hang_up::has_hung_up(self.borrow())
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.socket)
    }

    /// Sends without waiting: how many bytes, with the descriptor of a file beside the first.
    ///
    /// # Errors
    /// The system's; `EAGAIN` when there is no room.
    pub fn send(&self, parts: &[IoSlice<'_>], file: Option<BorrowedFd<'_>>) -> nix::Result<usize> {
        let descriptors = file.map(|file| [file.as_raw_fd()]);
        let control = descriptors.as_ref().map(|list| [ControlMessage::ScmRights(list)]);
        let control: &[ControlMessage<'_>] = control.as_ref().map_or(&[], |control| control);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.socket.as_raw_fd(), parts, control, flags, None) {
                Err(nix::Error::EINTR) => {}
                sent => return sent,
            }
        }
    }
}

/// Whether an error of a socket says that its other end is gone.
pub fn is_gone(error: nix::Error) -> bool {
    matches!(
        std::io::Error::from(error).kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected
    )
}

impl std::os::fd::AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.borrow()
    }
}
