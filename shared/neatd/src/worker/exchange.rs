//! A request of a server's connection, as the engine sees it.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::PollFlags;
use shared::exchange::{Body, BodyError, End, Exchange, SendError};
use shared::http::key::Key;
use shared::http::packed::get;
use shared::log::Level;
use shared::wire::frame::LONGEST_DATA;
use shared::wire::{BodyMode, Frame, Kind, encode};
use shared::wsgi::response::ResponseHead;

use super::connection::{Connection, Outbound, is_gone};
use super::hub::Hub;

/// Blocks up to this size are copied to those before them, so that a whole response leaves in one call to the system.
const GATHERED: usize = 16 * 1024;
/// So much of a response fits into an empty socket without waiting.
const INSTANT: usize = 64 * 1024;
/// How much of a pulled body is asked for at a time, at most.
const PULL: u32 = 64 * 1024;
/// How much is received at a time.
const PORTION: usize = 64 * 1024;

/// How the body comes.
#[derive(Debug)]
enum Input {
    Empty,
    Memory(Vec<u8>),
    Stream {
        /// What came with the head.
        first: Vec<u8>,
        used: usize,
        /// Whether it has to be asked for, and whether that was done.
        pulled: Option<bool>,
        ended: Result<bool, BodyError>,
    },
}

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
    /// Something of the response was not followed by a flush yet.
    unflushed: bool,
    ended: bool,
    /// When it came.
    pub arrived: Instant,
}

/// What is known of a request when its head has come.
pub struct Arrival {
    /// Its number.
    pub number: u16,
    /// The packed entries of its mount, and its own behind them.
    pub packed: Vec<u8>,
    /// How long the first part is.
    pub mount_length: usize,
    /// How the body comes.
    pub mode: BodyMode,
    /// What of the body came with the head.
    pub body: Vec<u8>,
    /// Whether that is all of it, or an error instead.
    pub ended: Result<bool, BodyError>,
}

impl DaemonExchange {
    /// A request that has come.
    pub fn new(connection: Arc<Connection>, hub: Arc<Hub>, arrival: Arrival) -> Self {
        let input = match (arrival.mode, arrival.ended) {
            (BodyMode::None, _) => Input::Empty,
            (_, Ok(true)) => Input::Memory(arrival.body),
            (mode, ended) => Input::Stream {
                first: arrival.body,
                used: 0,
                pulled: (mode == BodyMode::Pulled).then_some(false),
                ended,
            },
        };
        Self {
            connection,
            hub,
            number: arrival.number,
            packed: arrival.packed,
            mount_length: arrival.mount_length,
            input,
            written: 0,
            unflushed: false,
            ended: false,
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

    /// The request as the frame that it came in, and whatever was received behind it, for another worker. `None` when that is
    /// longer than `most`, or a part of it has been used.
    pub fn packet(&self, most: usize) -> Option<Vec<u8>> {
        let mode = match &self.input {
            Input::Empty => BodyMode::None,
            Input::Stream { pulled: Some(_), .. } => BodyMode::Pulled,
            _ => BodyMode::Pushed,
        };
        let mut packet = Vec::with_capacity(self.packed.len() + 64);
        let fits = encode::request(&mut packet, self.number, self.mount(), self.head(), mode);
        match &self.input {
            Input::Empty => {}
            Input::Memory(body) => {
                encode::data(&mut packet, Kind::Body, self.number, body);
                encode::body_end(&mut packet, self.number);
            }
            Input::Stream { first, ended, .. } => {
                if *ended != Ok(false) {
                    return None;
                }
                encode::data(&mut packet, Kind::Body, self.number, first);
            }
        }
        let inbound = self.connection.inbound();
        packet.extend_from_slice(inbound.pending.get(inbound.used..).unwrap_or_default());
        (fits && packet.len() <= most && !inbound.reader.is_in_frame()).then_some(packet)
    }

    /// Lets go of a request that another worker has taken over: nothing is answered here.
    pub fn forget(mut self) -> Arc<Connection> {
        self.ended = true;
        Arc::clone(&self.connection)
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
        let mut portion = vec![0; PORTION];
        while at < end {
            let room = usize::try_from(end - at).unwrap_or(PORTION).min(PORTION);
            let read = file.read_at(portion.get_mut(..room).unwrap_or_default(), at);
            match read.unwrap_or(0) {
                0 => return Err(SendError::Server),
                read => {
                    self.send(portion.get(..read).unwrap_or_default())?;
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
        match &self.input {
            Input::Empty => Body::Empty,
            Input::Memory(body) => Body::Memory(body),
            Input::Stream { .. } => Body::Stream,
        }
    }

    fn read_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
        let Input::Stream { first, used, pulled, ended } = &mut self.input else { return Ok(0) };
        let rest = first.get(*used..).unwrap_or_default();
        if !rest.is_empty() {
            let taken = into.iter_mut().zip(rest).map(|(place, byte)| *place = *byte).count();
            *used += taken;
            return Ok(taken);
        }
        if (*ended)? || into.is_empty() {
            return Ok(0);
        }
        let connection = Arc::clone(&self.connection);
        loop {
            let mut inbound = connection.inbound();
            let inbound = &mut *inbound;
            // A portion of data is never longer than the bytes that it is read from.
            let from = inbound.pending.get(inbound.used..).unwrap_or_default();
            let mut input = from.get(..into.len()).unwrap_or(from);
            let before = input.len();
            let received = inbound.reader.next(&mut input).map_err(|_| BodyError::Malformed)?;
            inbound.used += before - input.len();
            if let Some(received) = received {
                inbound.requests.take(&received).map_err(|_| BodyError::Malformed)?;
                match received.frame {
                    Frame::Body(data) => {
                        into.iter_mut().zip(data).for_each(|(place, byte)| *place = *byte);
                        let length = data.len();
                        if pulled.is_some() && !inbound.reader.is_in_frame() {
                            // That was one portion; the next one has to be asked for.
                            *pulled = Some(false);
                        }
                        return Ok(length);
                    }
                    Frame::BodyEnd => {
                        *ended = Ok(true);
                        return Ok(0);
                    }
                    Frame::BodyFailed(error) => {
                        *ended = Err(error);
                        return Err(error);
                    }
                    _ => return Err(BodyError::Malformed),
                }
            }
            if inbound.used < inbound.pending.len() {
                continue;
            }
            inbound.used = 0;
            inbound.pending.resize(PORTION, 0);
            let received = connection.receive(&mut inbound.pending);
            inbound.pending.truncate(*received.as_ref().unwrap_or(&0));
            match received {
                Ok(0) => {
                    *ended = Err(BodyError::Disconnected);
                    return Err(BodyError::Disconnected);
                }
                Ok(_) => {}
                Err(Errno::EAGAIN) => {
                    let mut outbound = connection.outbound();
                    if let Some(false) = pulled {
                        *pulled = Some(true);
                        let most = u32::try_from(into.len()).unwrap_or(PULL).min(PULL);
                        encode::want_body(&mut outbound.buffer, self.number, most);
                    }
                    // Whatever waits may be what the client waits for before it sends more.
                    let waits = std::mem::take(&mut outbound.buffer);
                    outbound.head_at = None;
                    drop(outbound);
                    if !waits.is_empty() {
                        send_all(&connection, &waits).map_err(|_| BodyError::Disconnected)?;
                    }
                    self.hub.away(|| connection.wait(PollFlags::POLLIN, None));
                }
                Err(_) => {
                    *ended = Err(BodyError::Disconnected);
                    return Err(BodyError::Disconnected);
                }
            }
        }
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
            if outbound.buffer.len() + part.len() <= GATHERED {
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
        let Some(head) = outbound.head_at else {
            drop(outbound);
            // Something has left already: the server may be about to store the response, and takes bytes only.
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
                drop(outbound);
                self.leave();
            }
            End::Complete => {}
            End::Status(status) => self.fail(status, 0, ""),
            End::Cut => self.fail(0, 0, ""),
        }
    }

    fn log(&self, level: Level, message: &[u8]) {
        let mut outbound = self.connection.outbound();
        let mut frame = Vec::with_capacity(message.len() + 16);
        std::mem::swap(&mut frame, &mut outbound.buffer);
        outbound.head_at = None;
        encode::log(&mut frame, self.number, level, message);
        let sent =
            if outbound.closed { Err(SendError::Disconnected) } else { send_all(&self.connection, &frame) };
        if sent.is_err() {
            outbound.closed = true;
            drop(outbound);
            self.hub.log(level, message);
        }
    }

    fn send_is_instant(&self, bytes: usize) -> bool {
        self.written + bytes < INSTANT
    }
}

/// Sends all of `bytes`, and waits for room where there is none.
fn send_all(connection: &Connection, mut bytes: &[u8]) -> Result<(), SendError> {
    while !bytes.is_empty() {
        match connection.send(&[IoSlice::new(bytes)], None) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(Errno::EAGAIN) => {
                connection.wait(PollFlags::POLLOUT, None);
            }
            Err(_) => return Err(SendError::Disconnected),
        }
    }
    Ok(())
}

impl Drop for DaemonExchange {
    fn drop(&mut self) {
        // An exchange that nobody ended: the engine was left in the middle of it.
        self.fail(500, 0, "");
    }
}
