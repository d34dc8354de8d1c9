//! A Python thread's side of an exchange.

use std::os::fd::BorrowedFd;

use super::body::{Body as Stored, StoredBody};
use super::channel::Channel;
use super::item::Item;
use super::sync::Arc;
use crate::exchange::{Body, BodyError, End, Exchange, SendError};
use crate::http::packed::Packed;
use crate::log::Level;
use crate::wsgi::response::{OwnedResponseHead, ResponseHead};

/// From this size on, bytes are sent from where they lie.
pub const MIN_LENT: usize = 64 * 1024;
/// So many of them at a time: the loop copies what has to wait for another response.
pub const MAX_LENT: usize = 4 * 1024 * 1024;
/// Smaller parts are put together up to this size before the loop gets them.
const MAX_PENDING: usize = 32 * 1024;

/// What a thread wants of the server.
pub trait EventLoop {
    /// Has the loop look at `channel`. May not block.
    fn announce(&self, channel: &Arc<Channel>);

    /// Runs `wait`, which blocks, so that other threads take requests meanwhile (see
    /// [`crate::backlog::Backlog::away`]).
    fn away<R>(&self, wait: impl FnOnce() -> R) -> R;
}

/// What the thread keeps back so that it leaves together.
#[derive(Debug, Default)]
struct Pending {
    head: Option<OwnedResponseHead>,
    data: Vec<u8>,
}

impl Pending {
    fn take(&mut self) -> impl Iterator<Item = Item> + use<> {
        let Self { head, data } = std::mem::take(self);
        let data = (!data.is_empty()).then_some(Item::Data(data));
        [head.map(Item::Head), data].into_iter().flatten()
    }
}

/// A request of an event loop, as the engine sees it. One that is dropped before its end is cut.
pub struct ThreadSide<L: EventLoop> {
    event_loop: L,
    channel: Arc<Channel>,
    mount: std::sync::Arc<Packed>,
    head: Packed,
    body: Stored,
    pending: Pending,
    ended: bool,
}

impl<L: EventLoop> ThreadSide<L> {
    /// The thread's side of `channel`.
    pub fn new(
        event_loop: L,
        channel: Arc<Channel>,
        mount: std::sync::Arc<Packed>,
        head: Packed,
        body: Stored,
    ) -> Self {
        Self { event_loop, channel, mount, head, body, pending: Pending::default(), ended: false }
    }

    fn wait_for_room(&self, bytes: usize) -> Result<(), SendError> {
        if self.channel.has_room(bytes) {
            return Ok(());
        }
        self.event_loop.away(|| self.channel.wait_for_room(bytes))
    }

    /// Gives the loop what was kept back, and `more`.
    fn hand_over(&mut self, more: Option<Item>) -> Result<(), SendError> {
        if !matches!(more, Some(Item::End(_))) {
            self.wait_for_room(self.pending.data.len())?;
        }
        let items = self.pending.take().chain(more);
        self.channel.push(items, || self.event_loop.announce(&self.channel))
    }

    /// Lends `data` to the loop, behind what was kept back.
    fn lend(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.wait_for_room(self.pending.data.len())?;
        let before = self.pending.take();
        self.event_loop
            .away(|| Channel::lend(&self.channel, before, data, || self.event_loop.announce(&self.channel)))
    }
}

impl<L: EventLoop> Exchange for ThreadSide<L> {
    fn mount(&self) -> &[u8] {
        self.mount.as_bytes()
    }

    fn head(&self) -> &[u8] {
        self.head.as_bytes()
    }

    fn body(&self) -> Body<'_> {
        match &self.body {
            Stored::Empty => Body::Empty,
            Stored::Memory(bytes) => Body::Memory(bytes),
            Stored::Stored(_) | Stored::Streamed => Body::Stream,
        }
    }

    fn read_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
        if into.is_empty() {
            return Ok(0);
        }
        if let Stored::Memory(bytes) = &mut self.body {
            // The engine reads this one where it lies; taking it from here is as good.
            let mut stored = StoredBody::default();
            stored.push_memory(std::mem::take(bytes));
            self.body = Stored::Stored(stored);
        }
        match &mut self.body {
            Stored::Empty | Stored::Memory(_) => Ok(0),
            Stored::Stored(stored) => stored.read(into).map_err(|error| {
                self.log(Level::Error, format!("cannot read the stored request body: {error}").as_bytes());
                BodyError::Server
            }),
            Stored::Streamed => {
                let mut read = || self.channel.read_body(into, || self.event_loop.announce(&self.channel));
                if self.channel.body_is_ready() { read() } else { self.event_loop.away(read) }
            }
        }
    }

    fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), SendError> {
        self.pending.head = Some(head.keep());
        self.channel.gone().map_or(Ok(()), Err)
    }

    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        if let Some(gone) = self.channel.gone() {
            return Err(gone);
        }
        if data.len() >= MIN_LENT {
            return data.chunks(MAX_LENT).try_for_each(|part| self.lend(part));
        }
        self.pending.data.extend_from_slice(data);
        if self.pending.data.len() >= MAX_PENDING {
            self.hand_over(None)?;
        }
        Ok(())
    }

    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SendError> {
        if length == 0 {
            return Ok(());
        }
        let file = file.try_clone_to_owned().map_err(|error| {
            self.log(Level::Error, format!("cannot duplicate the descriptor of a file: {error}").as_bytes());
            SendError::Server
        })?;
        self.hand_over(Some(Item::File(file, offset, length)))
    }

    fn flush(&mut self) -> Result<(), SendError> {
        if self.pending.head.is_none() && self.pending.data.is_empty() {
            return self.channel.gone().map_or(Ok(()), Err);
        }
        self.hand_over(None)
    }

    fn gone(&self) -> Option<SendError> {
        self.channel.gone()
    }

    fn end(&mut self, end: End) {
        self.ended = true;
        if end != End::Complete {
            self.pending = Pending::default();
        }
        // A client that is gone needs no end.
        let _ = self.hand_over(Some(Item::End(end)));
    }

    fn log(&self, level: Level, message: &[u8]) {
        self.channel.log(level, message, || self.event_loop.announce(&self.channel));
    }

    fn send_is_instant(&self, bytes: usize) -> bool {
        bytes < MIN_LENT && self.channel.has_room_whatever_comes(self.pending.data.len() + bytes)
    }
}

impl<L: EventLoop> Drop for ThreadSide<L> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(End::Cut);
        }
    }
}
