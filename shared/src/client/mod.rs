//! A server's side of daemon mode where a thread may wait: the request of an [`Exchange`] goes to a worker, and the worker's answer
//! comes back through the same exchange.
//!
//! Connections to a group's socket are kept and used again, the most recent first. A request goes out a second time only where
//! it is certain that it was not begun: a request that ends its process is not to end another.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, recvmsg,
    sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use thiserror::Error;

use crate::conf::group::ProcessGroup;
use crate::exchange::{Body, End, Exchange, SendError};
use crate::http::key::Key;
use crate::http::packed::get;
use crate::launch::handover::socket_path;
use crate::log::Level;
use crate::wire::decode::Side;
use crate::wire::session::ServerSide;
use crate::wire::{BodyMode, Frame, Kind, Reader, WireError, encode};

/// How much is received at a time, unless the group says otherwise.
const PORTION: usize = 64 * 1024;
/// How much of a body is read from the client at a time.
const BODY_PORTION: usize = 64 * 1024;
/// The pause between two tries to connect while the group's socket is not there.
const RETRY: Duration = Duration::from_millis(20);

/// Why a worker did not answer.
#[derive(Debug, Error)]
enum Fault {
    /// Nobody listens, or all that do are busy.
    #[error("its socket \"{path}\" cannot be reached: {why}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        why: Errno,
    },
    /// It took nothing, or said nothing, for too long.
    #[error("its process did not answer within {0} s ({1})")]
    TimedOut(f64, &'static str),
    /// The connection ended in the middle.
    #[error(
        "its process ended the connection before the response was complete; the error log says why it ended"
    )]
    Gone,
    /// It was gone before anything of the request had left.
    #[error("its process has ended")]
    Unsent,
    /// It was told that it is to ask another one.
    #[error("its process takes no further request")]
    GoAway,
    /// It does not keep to the protocol.
    #[error("its process sent {0}")]
    Wire(#[from] WireError),
    /// The request's head is too long for the protocol.
    #[error("the request's head is longer than 1 MiB")]
    TooLong,
    /// The server's own client is gone.
    #[error("{0}")]
    Client(SendError),
}

impl Fault {
    const fn status(&self) -> u16 {
        match self {
            Self::Connect { .. } => 503,
            Self::TimedOut(..) => 504,
            Self::TooLong => 431,
            _ => 502,
        }
    }
}

/// The connections of this process to a group's workers.
pub struct Pool {
    group: String,
    path: PathBuf,
    connect_timeout: Duration,
    send_timeout: Duration,
    receive_timeout: Duration,
    portion: usize,
    idle: Mutex<Vec<Link>>,
}

/// A connection to a worker.
struct Link {
    socket: OwnedFd,
    reader: Reader,
    answers: ServerSide,
    /// Descriptors that came and belong to file frames that are still to come.
    files: VecDeque<OwnedFd>,
    is_new: bool,
}

thread_local! {
    /// What a thread receives into: nothing of it outlives an exchange.
    static PORTIONS: RefCell<Vec<u8>> = RefCell::new(vec![0; PORTION]);
}

/// How far an exchange has come.
#[derive(Default)]
struct Progress {
    received: bool,
    body_read: bool,
    head_sent: bool,
    unflushed: bool,
}

impl Pool {
    /// No connections yet.
    #[must_use]
    pub fn new(prefix: &Path, group: &ProcessGroup) -> Self {
        Self {
            group: group.name.clone(),
            path: socket_path(prefix, &group.name),
            connect_timeout: group.connect_timeout,
            send_timeout: group.socket_timeout,
            receive_timeout: group.response_socket_timeout,
            portion: usize::try_from(group.response_buffer_size).unwrap_or(PORTION),
            idle: Mutex::default(),
        }
    }

    /// Has a worker answer a request.
    pub fn serve<X: Exchange>(&self, exchange: &mut X) {
        let method = get(exchange.head(), Key::RequestMethod).unwrap_or_default();
        let head_only = method == b"HEAD";
        let mut tries = 0;
        loop {
            tries += 1;
            let mut progress = Progress::default();
            let (reused, done) = match self.take(tries > 1) {
                Ok(mut link) => {
                    let reused = !link.is_new;
                    let done = link.exchange(self, exchange, &mut progress, head_only);
                    if done.is_ok() && link.answers.is_idle() {
                        self.give_back(link);
                    }
                    (reused, done)
                }
                Err(fault) => (false, Err(fault)),
            };
            let Err(fault) = done else { return };
            let again = match &fault {
                Fault::GoAway => !progress.body_read && tries < 8,
                Fault::Unsent => reused && tries < 3,
                _ => false,
            };
            if !again {
                return self.fail(exchange, &progress, &fault);
            }
        }
    }

    fn fail<X: Exchange>(&self, exchange: &mut X, progress: &Progress, fault: &Fault) {
        let level = if matches!(fault, Fault::Client(_)) { Level::Info } else { Level::Error };
        exchange.log(level, format!("process group {}: {fault}", self.group).as_bytes());
        if progress.head_sent {
            return exchange.end(End::Cut);
        }
        if fault.status() == 503 {
            exchange.retry_after(1);
        }
        exchange.end(End::Status(fault.status()));
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, fresh: bool) -> Result<Link, Fault> {
        let next = || if fresh { None } else { self.idle().pop() };
        while let Some(link) = next() {
            if link.is_quiet() {
                return Ok(link);
            }
        }
        self.connect()
    }

    fn give_back(&self, link: Link) {
        self.idle().push(link);
    }

    fn connect(&self) -> Result<Link, Fault> {
        let failed = |why| Fault::Connect { path: self.path.clone(), why };
        let address = UnixAddr::new(&self.path).map_err(failed)?;
        let begin = Instant::now();
        loop {
            let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
                .map_err(failed)?;
            let left = self.connect_timeout.saturating_sub(begin.elapsed());
            // A listener whose queue is full makes a connection wait for as long as that.
            limit(&socket, left, left).map_err(failed)?;
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => {
                    limit(&socket, self.send_timeout, self.receive_timeout).map_err(failed)?;
                    return Ok(Link {
                        socket,
                        reader: Reader::new(Side::Worker),
                        answers: ServerSide::new(),
                        files: VecDeque::new(),
                        is_new: true,
                    });
                }
                Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::EAGAIN | Errno::EINTR)
                    if begin.elapsed() + RETRY < self.connect_timeout =>
                {
                    std::thread::sleep(RETRY);
                }
                Err(why) => return Err(failed(why)),
            }
        }
    }
}

/// Bounds how long sending and receiving wait.
fn limit(socket: &OwnedFd, send: Duration, receive: Duration) -> nix::Result<()> {
    let value = |time: Duration| {
        // 0 would be no bound at all.
        let micros = time.as_micros().clamp(1000, 1_000_000_000_000_000);
        TimeVal::new((micros / 1_000_000) as i64, (micros % 1_000_000) as i64)
    };
    setsockopt(socket, sockopt::SendTimeout, &value(send))?;
    setsockopt(socket, sockopt::ReceiveTimeout, &value(receive))
}

impl Link {
    /// Whether nothing has come since the last exchange: neither an end nor the word that this worker takes no more.
    fn is_quiet(&self) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        recv(self.socket.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
    }

    fn exchange<X: Exchange>(
        &mut self,
        pool: &Pool,
        exchange: &mut X,
        progress: &mut Progress,
        head_only: bool,
    ) -> Result<(), Fault> {
        let number = self.answers.begin(head_only).ok_or(Fault::GoAway)?;
        let mut bytes = Vec::with_capacity(1024);
        if std::mem::take(&mut self.is_new) {
            encode::hello(&mut bytes);
        }
        let mode = match exchange.body() {
            Body::Empty => BodyMode::None,
            Body::Memory(_) => BodyMode::Pushed,
            Body::Stream => BodyMode::Pulled,
        };
        if !encode::request(&mut bytes, number, exchange.mount(), exchange.head(), mode) {
            return Err(Fault::TooLong);
        }
        if let Body::Memory(body) = exchange.body() {
            encode::data(&mut bytes, Kind::Body, number, body);
            encode::body_end(&mut bytes, number);
        }
        if send_all(&self.socket, pool, &bytes)? == 0 {
            return Err(Fault::Unsent);
        }
        let mut portion = PORTIONS.take();
        portion.resize(pool.portion, 0);
        let done = self.answer(pool, exchange, progress, number, &mut portion);
        PORTIONS.set(portion);
        done
    }

    fn receive(&mut self, pool: &Pool, into: &mut [u8]) -> Result<usize, Fault> {
        loop {
            let mut space = nix::cmsg_space!([RawFd; 8]);
            let mut parts = [IoSliceMut::new(into)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                Ok(message) => {
                    for control in message.cmsgs().into_iter().flatten() {
                        if let ControlMessageOwned::ScmRights(list) = control {
                            self.files.extend(list.iter().map(|number| {
                                // SAFETY: the kernel made it for this process just now.
                                unsafe { OwnedFd::from_raw_fd(*number) }
                            }));
                        }
                    }
                    return if message.bytes == 0 { Err(Fault::Gone) } else { Ok(message.bytes) };
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let limit = pool.receive_timeout.as_secs_f64();
                    return Err(Fault::TimedOut(limit, "response-socket-timeout"));
                }
                Err(_) => return Err(Fault::Gone),
            }
        }
    }

    fn answer<X: Exchange>(
        &mut self,
        pool: &Pool,
        exchange: &mut X,
        progress: &mut Progress,
        number: u16,
        portion: &mut [u8],
    ) -> Result<(), Fault> {
        loop {
            if std::mem::take(&mut progress.unflushed) {
                // Nothing more is at hand: what was sent so far is on its way before this waits.
                exchange.flush().map_err(Fault::Client)?;
            }
            let length = self.receive(pool, portion)?;
            let mut input = portion.get(..length).unwrap_or_default();
            let mut ended = false;
            while let Some(received) = self.reader.next(&mut input)? {
                self.answers.take(&received)?;
                let kind = received.frame.kind();
                progress.received |= kind != Kind::Hello && kind != Kind::GoAway;
                match received.frame {
                    Frame::GoAway if ended => {}
                    Frame::GoAway => return Err(Fault::GoAway),
                    Frame::Log(level, message) => exchange.log(level, message),
                    Frame::WantBody(wanted) => {
                        progress.body_read = true;
                        let body =
                            read_body(exchange, number, wanted, |bytes| send_all(&self.socket, pool, bytes));
                        body?;
                    }
                    Frame::Head { head, .. } => {
                        progress.head_sent = true;
                        progress.unflushed = true;
                        exchange.send_head(head.view()).map_err(Fault::Client)?;
                    }
                    Frame::Chunk(data) => {
                        progress.unflushed = true;
                        exchange.send(data).map_err(Fault::Client)?;
                    }
                    Frame::File { offset, length } => {
                        let file = self.files.pop_front().ok_or(WireError::Descriptor)?;
                        let about = nix::sys::stat::fstat(&file).map_err(|_| WireError::Descriptor)?;
                        let kind = nix::sys::stat::SFlag::from_bits_truncate(about.st_mode);
                        if kind & nix::sys::stat::SFlag::S_IFMT != nix::sys::stat::SFlag::S_IFREG {
                            return Err(WireError::Descriptor.into());
                        }
                        progress.unflushed = true;
                        exchange.send_file(file.as_fd(), offset, length).map_err(Fault::Client)?;
                    }
                    Frame::Flush => {
                        progress.unflushed = false;
                        exchange.flush().map_err(Fault::Client)?;
                    }
                    Frame::End => {
                        exchange.end(End::Complete);
                        ended = true;
                    }
                    Frame::Failed { status, retry_after, cause } => {
                        if !cause.is_empty() {
                            let text =
                                format!("process group {}: {}", pool.group, String::from_utf8_lossy(cause));
                            exchange.log(Level::Error, text.as_bytes());
                        }
                        if std::mem::take(&mut progress.unflushed) {
                            // What came before a cut has left in embedded mode, too.
                            exchange.flush().map_err(Fault::Client)?;
                        }
                        if retry_after > 0 {
                            exchange.retry_after(retry_after);
                        }
                        exchange.end(if status == 0 { End::Cut } else { End::Status(status) });
                        ended = true;
                    }
                    _ => {}
                }
            }
            if ended {
                return Ok(());
            }
        }
    }
}

/// Reads the next portion of the client's body, and sends it on. Only one: while this waits for the client, nothing of the answer
/// could leave.
fn read_body<X: Exchange>(
    exchange: &mut X,
    number: u16,
    wanted: u32,
    mut send: impl FnMut(&[u8]) -> Result<usize, Fault>,
) -> Result<(), Fault> {
    let mut portion = vec![0; BODY_PORTION.min(usize::try_from(wanted).unwrap_or(BODY_PORTION)).max(1)];
    let mut bytes = Vec::with_capacity(portion.len() + 64);
    match exchange.read_body(&mut portion) {
        Ok(0) => encode::body_end(&mut bytes, number),
        Ok(length) => encode::data(&mut bytes, Kind::Body, number, portion.get(..length).unwrap_or_default()),
        Err(error) => encode::body_failed(&mut bytes, number, error),
    }
    send(&bytes).map(drop)
}

/// Sends as much as the worker takes; that is all of it unless the worker is gone.
fn send_all(socket: &OwnedFd, pool: &Pool, bytes: &[u8]) -> Result<usize, Fault> {
    let all = bytes.len();
    let mut bytes = bytes;
    while !bytes.is_empty() {
        let sent =
            sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &[], MsgFlags::MSG_NOSIGNAL, None);
        match sent {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                return Err(Fault::TimedOut(pool.send_timeout.as_secs_f64(), "socket-timeout"));
            }
            // What the worker said before it left is still there to be read.
            Err(_) => return Ok(all - bytes.len()),
        }
    }
    Ok(all)
}
