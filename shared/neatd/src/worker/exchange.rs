//! A request of a server's connection, as the engine sees it.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use shared::exchange::{Body, BodyError, End, Exchange, SendError};
use shared::http::key::Key;
use shared::http::packed::get;
use shared::log::Level;
use shared::wire::file_range::is_at_rest;
use shared::wire::frame::LONGEST_DATA;
use shared::wire::{Kind, encode};
use shared::wsgi::response::ResponseHead;

use super::arrival::Arrival;
use super::body::Input;
use super::connection::{Connection, Outbound, is_gone};
use super::hub::Hub;

/// Blocks up to this size are copied to those before them, so that a whole response leaves in one call to the
/// system.
const MAX_GATHERED: usize = 16 * 1024;
/// So much of a response fits into an empty socket without waiting.
const MAX_INSTANT: usize = 64 * 1024;
/// So much of a response waits with the lines of the log behind it; further lines go to the group's log.
const MAX_UNSENT_LOG: usize = 64 * 1024;
/// A request that was taken sooner than this has not waited.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// How much of a file is read at a time.
const READ_SIZE: usize = 64 * 1024;

/// A request and its response.
#[derive(Debug)]
pub struct DaemonExchange {
    connection: Arc<Connection>,
    hub: Arc<Hub>,
    number: u16,
    packed: Vec<u8>,
    mount_length: usize,
    input: Input,
    /// How much of the response was written to the socket.
    written: usize,
    /// How much of the log was.
    logged: AtomicUsize,
    /// Something of the response was not followed by a flush yet.
    unflushed: bool,
    ended: bool,
    /// The connection is a new one, which may have waited for this worker to accept it.
    is_first: bool,
    /// When it came.
    pub arrived: Instant,
}

impl DaemonExchange {
    /// A request that has come.
    pub fn new(connection: Arc<Connection>, hub: Arc<Hub>, arrival: Arrival) -> Self {
        connection.open(arrival.number);
        let is_first = connection.is_new();
        Self {
            connection,
            hub,
            number: arrival.number,
            packed: arrival.packed,
            mount_length: arrival.mount_length,
            input: Input::new(arrival.mode, arrival.body, arrival.ended),
            written: 0,
            logged: AtomicUsize::new(0),
            unflushed: false,
            ended: false,
            is_first,
            arrived: Instant::now(),
        }
    }

    /// The connection that it came over.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Its number on the connection.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Method and target, for people.
    pub fn request_line(&self) -> (&[u8], &[u8]) {
        let head = self.head();
        let target = get(head, Key::RequestUri).or_else(|| get(head, Key::PathInfo));
        (get(head, Key::RequestMethod).unwrap_or_default(), target.unwrap_or_default())
    }

    /// The request as the frame that it came in, and whatever was received behind it, for another worker.
    /// `None` when that is longer than `most`, or a part of it has been used.
    pub fn handover(&self, most: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.packed.len() + 64);
        let fits = encode::request(&mut bytes, self.number, self.mount(), self.head(), self.input.mode());
        if !self.input.encode(&mut bytes, self.number) {
            return None;
        }
        let inbound = self.connection.inbound();
        bytes.extend_from_slice(inbound.pending.get(inbound.used..).unwrap_or_default());
        (fits && bytes.len() <= most && !inbound.reader.is_in_frame()).then_some(bytes)
    }

    /// Lets go of a request that another worker has taken over: nothing is answered here.
    pub fn forget(mut self) -> Arc<Connection> {
        self.ended = true;
        Arc::clone(&self.connection)
    }

    /// Whether the server has closed the connection of a request that waited: its client is gone. One that
    /// was taken as it came is not asked after.
    pub fn is_abandoned(&self) -> bool {
        let has_waited = self.is_first || self.arrived.elapsed() >= MIN_WAIT;
        has_waited && self.connection.is_hung_up()
    }

    /// Lets go of a request that nobody waits for.
    pub fn abandon(mut self) {
        self.ended = true;
        self.hub.connections.remove(self.connection.token);
    }

    /// Answers without having run anything.
    pub fn refuse(mut self, status: u16, retry_after: u16, cause: &str) {
        self.fail(status, retry_after, cause);
    }

    fn fail(&mut self, status: u16, retry_after: u16, cause: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let connection = Arc::clone(&self.connection);
        let mut outbound = connection.outbound();
        let status = match (std::mem::take(&mut outbound.head_sent), status) {
            (true, _) => 0,
            // The head was refused: there is nothing to cut.
            (false, 0) => 500,
            (false, status) => status,
        };
        encode::failed(&mut outbound.buffer, self.number, status, retry_after, cause.as_bytes());
        let _ = self.write(&mut outbound, &[], None);
        connection.close();
        drop(outbound);
        self.leave();
    }

    fn leave(&self) {
        self.hub.has_ended(&self.connection);
    }

    /// Writes what waits, and `data` behind it. Waits for room.
    fn write(
        &mut self,
        outbound: &mut Outbound,
        data: &[u8],
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), SendError> {
        if outbound.closed {
            return Err(SendError::Disconnected);
        }
        let total = outbound.buffer.len() + data.len();
        let (mut done, mut file) = (0, file);
        let timeout = self.hub.limits().send_timeout;
        while done < total {
            let first = outbound.buffer.get(done..).unwrap_or_default();
            let second = data.get(done.saturating_sub(outbound.buffer.len())..).unwrap_or_default();
            match self.connection.send(&[IoSlice::new(first), IoSlice::new(second)], file) {
                Ok(sent) => {
                    done += sent;
                    file = None;
                }
                Err(Errno::EAGAIN) => {
                    let connection = &self.connection;
                    if !self.hub.away(|| connection.wait(PollFlags::POLLOUT, Some(timeout))) {
                        outbound.closed = true;
                        return Err(SendError::TimedOut);
                    }
                }
                Err(error) => {
                    outbound.closed = true;
                    return Err(if is_gone(error) { SendError::Disconnected } else { SendError::Server });
                }
            }
        }
        self.written += total;
        outbound.head_at = None;
        outbound.buffer.clear();
        Ok(())
    }

    /// Sends a file as bytes that are read from it.
    fn send_read(&mut self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SendError> {
        let file = file.try_clone_to_owned().map(std::fs::File::from).map_err(|_| SendError::Server)?;
        let (mut at, end) = (offset, offset.saturating_add(length));
        let mut buffer = vec![0; READ_SIZE];
        while at < end {
            let room = usize::try_from(end - at).unwrap_or(READ_SIZE).min(READ_SIZE);
            let read = file.read_at(buffer.get_mut(..room).unwrap_or_default(), at);
            match read.unwrap_or(0) {
                0 => return Err(SendError::Server),
                read => {
                    self.send(buffer.get(..read).unwrap_or_default())?;
                    at += read as u64;
                }
            }
        }
        Ok(())
    }
}

impl Exchange for DaemonExchange {
    fn mount(&self) -> &[u8] {
        self.packed.get(..self.mount_length).unwrap_or_default()
    }

    fn head(&self) -> &[u8] {
        self.packed.get(self.mount_length..).unwrap_or_default()
    }

    fn body(&self) -> Body<'_> {
        self.input.body()
    }

    fn read_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
        self.input.read(&self.connection, &self.hub, self.number, into)
    }

    fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), SendError> {
        let most = self.hub.limits().header_line;
        // A colon, a space and the end of the line.
        let length = |(name, value): (&[u8], &[u8])| name.len() + value.len() + 4;
        if let Some(field) = head.fields().find(|field| length(*field) > most) {
            let name = String::from_utf8_lossy(field.0);
            let length = length(field);
            let why = format!(
                "the response is not sent: its header line {name} has {length} bytes, and header-buffer-size allows {most}"
            );
            self.log(Level::Error, why.as_bytes());
            return Err(SendError::Server);
        }
        let mut outbound = self.connection.outbound();
        if outbound.closed {
            return Err(SendError::Disconnected);
        }
        outbound.head_at = Some(outbound.buffer.len());
        if !encode::head(&mut outbound.buffer, Kind::Head, self.number, head) {
            drop(outbound);
            self.log(Level::Error, b"the response's head is longer than 1 MiB and is not sent");
            return Err(SendError::Server);
        }
        outbound.head_sent = true;
        self.unflushed = true;
        Ok(())
    }

    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.unflushed = true;
        let connection = Arc::clone(&self.connection);
        let mut outbound = connection.outbound();
        for part in data.chunks(LONGEST_DATA) {
            let header = encode::header(Kind::Chunk, self.number, part.len());
            outbound.buffer.extend_from_slice(&header);
            if outbound.buffer.len() + part.len() <= MAX_GATHERED {
                outbound.buffer.extend_from_slice(part);
            } else {
                self.write(&mut outbound, part, None)?;
            }
        }
        Ok(())
    }

    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SendError> {
        let connection = Arc::clone(&self.connection);
        let mut outbound = connection.outbound();
        let Some(head) = outbound.head_at.filter(|_| is_at_rest(file)) else {
            drop(outbound);
            // Something has left already: the server may be about to store the response, and takes bytes
            // only. Or the server would not take the file, whose bytes lie nowhere.
            return self.send_read(file, offset, length);
        };
        encode::mark_file(&mut outbound.buffer, head);
        encode::file(&mut outbound.buffer, self.number, offset, length);
        self.unflushed = true;
        self.write(&mut outbound, &[], Some(file))
    }

    fn flush(&mut self) -> Result<(), SendError> {
        let connection = Arc::clone(&self.connection);
        let mut outbound = connection.outbound();
        if std::mem::take(&mut self.unflushed) {
            encode::flush(&mut outbound.buffer, self.number);
        }
        if outbound.buffer.is_empty() { Ok(()) } else { self.write(&mut outbound, &[], None) }
    }

    fn gone(&self) -> Option<SendError> {
        self.connection.is_hung_up().then_some(SendError::Disconnected)
    }

    fn end(&mut self, end: End) {
        match end {
            End::Complete if !self.ended => {
                self.ended = true;
                let connection = Arc::clone(&self.connection);
                let mut outbound = connection.outbound();
                encode::end(&mut outbound.buffer, self.number);
                outbound.head_sent = false;
                // Whether it left or not, this exchange is over.
                let _ = self.write(&mut outbound, &[], None);
                connection.close();
                drop(outbound);
                self.leave();
            }
            End::Complete => {}
            End::Status(status) => self.fail(status, 0, ""),
            End::Cut => self.fail(0, 0, ""),
        }
    }

    /// Called attached to Python, so that it never waits: what finds no room, since the client does not read,
    /// goes along with what leaves next, and what finds a thread waiting with the response goes to the
    /// group's log.
    fn log(&self, level: Level, message: &[u8]) {
        let open = self.connection.try_outbound();
        let open = open.filter(|out| !out.closed && out.buffer.len() + message.len() < MAX_UNSENT_LOG);
        let Some(mut outbound) = open else { return self.hub.log(level, message) };
        let before = outbound.buffer.len();
        encode::log(&mut outbound.buffer, self.number, level, message);
        self.logged.fetch_add(outbound.buffer.len() - before, Ordering::Relaxed);
        match self.connection.send(&[IoSlice::new(&outbound.buffer)], None) {
            Ok(sent) => {
                outbound.head_at = None;
                outbound.buffer.drain(..sent);
            }
            Err(Errno::EAGAIN) => {}
            Err(_) => {
                outbound.closed = true;
                drop(outbound);
                self.hub.log(level, message);
            }
        }
    }

    fn send_is_instant(&self, bytes: usize) -> bool {
        self.written + self.logged.load(Ordering::Relaxed) + bytes < MAX_INSTANT
    }
}

impl Drop for DaemonExchange {
    fn drop(&mut self) {
        // An exchange that nobody ended: the engine was left in the middle of it.
        self.fail(500, 0, "");
    }
}
