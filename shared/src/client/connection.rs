//! One connection to a worker, and an exchange over it.

use std::cell::RefCell;
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv as peek, sendmsg};

use super::ClientError;
use super::delivery::Delivery;
use crate::conf::group::ProcessGroup;
use crate::exchange::{Body, Exchange, SendError};
use crate::ffi::hang_up::{self, First};
use crate::ffi::recv::recv;
use crate::wire::{BodyMode, Conversation, Cut, Kind, WireError, encode};

/// How much is received at a time, unless the group says otherwise.
const READ_SIZE: usize = 64 * 1024;
/// How much of a body is read from the client at a time.
const BODY_READ_SIZE: usize = 64 * 1024;
/// How often a client is asked after whose end no socket shows: a stream of HTTP/2 that was reset.
const GONE_INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    /// What a thread receives into: nothing of it outlives an exchange.
    static BUFFERS: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// What a group's options say of its connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `socket-timeout`.
    pub(super) send_timeout: Duration,
    /// `response-socket-timeout`.
    pub(super) receive_timeout: Duration,
    /// `response-buffer-size`.
    read_size: usize,
}

impl Limits {
    pub(super) fn of(group: &ProcessGroup) -> Self {
        Self {
            send_timeout: group.socket_timeout,
            receive_timeout: group.response_socket_timeout,
            read_size: usize::try_from(group.response_buffer_size).unwrap_or(READ_SIZE),
        }
    }
}

/// A connection to a worker.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    limits: Limits,
    conversation: Conversation,
    /// Something of the exchange that is open has left.
    has_left: bool,
}

impl Connection {
    pub(super) const fn new(socket: OwnedFd, limits: Limits) -> Self {
        Self { socket, limits, conversation: Conversation::new(), has_left: false }
    }

    /// Whether nothing has come since the last exchange: neither an end nor the word that this worker takes
    /// no more.
    pub(super) fn is_quiet(&self) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        peek(self.socket.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
    }

    /// Whether another exchange may follow: all that came was read.
    pub(super) fn may_be_kept(&self) -> bool {
        self.conversation.may_be_kept(&[])
    }

    /// How far the exchange had come that failed.
    pub(super) fn cut(&self) -> Cut {
        self.conversation.cut(self.has_left)
    }

    /// Sends a request, and delivers the response.
    pub(super) fn serve<X: Exchange>(
        &mut self,
        delivery: &mut Delivery<'_, X>,
        head_only: bool,
    ) -> Result<(), ClientError> {
        let exchange = delivery.exchange();
        self.has_left = false;
        let body = match exchange.body() {
            Body::Empty => BodyMode::None,
            Body::Memory(_) => BodyMode::Pushed,
            Body::Stream => BodyMode::Pulled,
        };
        let begun = self.conversation.begin(head_only, body).ok_or(ClientError::Unsent)?;
        let mut bytes = Vec::with_capacity(1024);
        if begun.needs_hello {
            encode::hello(&mut bytes);
        }
        if !encode::request(&mut bytes, begun.exchange, exchange.mount(), exchange.head(), body) {
            return Err(ClientError::TooLong);
        }
        if let Body::Memory(body) = exchange.body() {
            encode::data(&mut bytes, Kind::Body, begun.exchange, body);
            encode::body_end(&mut bytes, begun.exchange);
        }
        let sent = self.send_all(&bytes);
        self.has_left = !matches!(sent, Ok(0));
        if sent? == 0 {
            return Err(ClientError::Unsent);
        }
        let mut buffer = BUFFERS.take();
        buffer.resize(self.limits.read_size, 0);
        let done = self.take_response(delivery, &mut buffer);
        BUFFERS.set(buffer);
        done
    }

    fn take_response<X: Exchange>(
        &mut self,
        delivery: &mut Delivery<'_, X>,
        buffer: &mut [u8],
    ) -> Result<(), ClientError> {
        while !delivery.is_ended() {
            // Nothing more is at hand: what was sent so far is on its way before this waits.
            delivery.flush().map_err(ClientError::Client)?;
            self.wait(delivery)?;
            let length = self.receive(buffer)?;
            let mut input = buffer.get(..length).unwrap_or_default();
            // All of it is read: what stands behind the end decides whether the connection is kept.
            loop {
                match self.conversation.next(&mut input) {
                    Ok(Some(event)) => {
                        if let Some(wanted) = delivery.take(event)? {
                            self.send_body(delivery, wanted)?;
                        }
                    }
                    Ok(None) => break,
                    // The response was whole: only the connection is of no use any more.
                    Err(_) if delivery.is_ended() => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Waits until something has come, unless the client goes first: a response that nobody waits for is not
    /// waited for either, and the worker learns of it from the end of the connection.
    fn wait<X: Exchange>(&self, delivery: &Delivery<'_, X>) -> Result<(), ClientError> {
        let begin = Instant::now();
        loop {
            let left = self.limits.receive_timeout.saturating_sub(begin.elapsed());
            let Some(client) = delivery.client() else { return Ok(()) };
            let first = hang_up::wait(self.socket.as_fd(), client, left.min(GONE_INTERVAL));
            if first == First::Readable {
                return Ok(());
            }
            if left.is_zero() {
                let limit = self.limits.receive_timeout.as_secs_f64();
                return Err(ClientError::TimedOut(limit, "response-socket-timeout"));
            }
            if let Some(gone) = delivery.exchange().gone() {
                return Err(ClientError::Client(gone));
            }
            if first == First::HungUp {
                return Err(ClientError::Client(SendError::Disconnected));
            }
        }
    }

    /// Receives what there is, or waits for it.
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, ClientError> {
        match recv(self.socket.as_fd(), &mut [IoSliceMut::new(into)], 0) {
            Ok(received) => {
                self.conversation.take_descriptors(received.descriptors, received.is_truncated);
                if received.length == 0 { Err(ClientError::Gone) } else { Ok(received.length) }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let limit = self.limits.receive_timeout.as_secs_f64();
                Err(ClientError::TimedOut(limit, "response-socket-timeout"))
            }
            Err(_) => Err(ClientError::Gone),
        }
    }

    /// Reads the next portion of the client's body, and sends it on. Only one: while this waits for the
    /// client, nothing of the response could leave.
    fn send_body<X: Exchange>(
        &mut self,
        delivery: &mut Delivery<'_, X>,
        wanted: u32,
    ) -> Result<(), ClientError> {
        let most = usize::try_from(wanted).unwrap_or(BODY_READ_SIZE).min(BODY_READ_SIZE);
        let mut portion = vec![0; most];
        let read = delivery.read_body(&mut portion);
        let mut bytes = Vec::with_capacity(read.map_or(0, <[u8]>::len) + 64);
        if !self.conversation.send_body(&mut bytes, read) {
            return Err(WireError::Order(Kind::WantBody).into());
        }
        self.send_all(&bytes).map(drop)
    }

    /// Sends as much as the worker takes; that is all of it unless the worker is gone.
    fn send_all(&self, bytes: &[u8]) -> Result<usize, ClientError> {
        let all = bytes.len();
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let parts = [IoSlice::new(bytes)];
            match sendmsg::<()>(self.socket.as_raw_fd(), &parts, &[], MsgFlags::MSG_NOSIGNAL, None) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let limit = self.limits.send_timeout.as_secs_f64();
                    return Err(ClientError::TimedOut(limit, "socket-timeout"));
                }
                // What the worker said before it left is still there to be read.
                Err(_) => return Ok(all - bytes.len()),
            }
        }
        Ok(all)
    }
}
