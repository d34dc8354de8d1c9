//! A Python thread's half of an exchange.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use shared::exchange::{Body, BodyError, End, Exchange, SendError};
use shared::http::packed::Packed;
use shared::log::Level;
use shared::wsgi::response::{OwnedResponseHead, ResponseHead};

use crate::embedded::channel::{Item, Link};
use crate::embedded::request_body::{Stored, StoredBody};
use crate::embedded::worker::Worker;

/// From this size on, bytes are sent from where they lie.
const LENT: usize = 64 * 1024;
/// Smaller parts are put together up to this size before the loop gets them.
const TOGETHER: usize = 32 * 1024;

/// What the thread keeps back so that it leaves together.
#[derive(Debug, Default)]
struct Pending {
    head: Option<OwnedResponseHead>,
    data: Vec<u8>,
}

/// A request of nginx, as the engine sees it.
pub struct NginxExchange {
    worker: &'static Worker,
    link: Arc<Link>,
    mount: Arc<Packed>,
    head: Packed,
    body: StoredBody,
    pending: Pending,
}

impl NginxExchange {
    /// The thread's half of `link`.
    pub fn new(
        worker: &'static Worker,
        link: Arc<Link>,
        mount: Arc<Packed>,
        head: Packed,
        body: StoredBody,
    ) -> Self {
        Self { worker, link, mount, head, body, pending: Pending::default() }
    }

    fn tell(&self) {
        self.worker.door().tell(&self.link);
    }

    fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.worker.backlog().away(wait)
    }

    /// Gives the loop what was kept back, and `more`.
    fn hand_over(&mut self, more: Option<Item>) -> Result<(), SendError> {
        let Pending { head, data } = std::mem::take(&mut self.pending);
        let ends = matches!(more, Some(Item::End(_)));
        if !data.is_empty() && !ends && !self.link.has_room(data.len()) {
            self.away(|| self.link.wait_for_room(data.len()))?;
        }
        let data = (!data.is_empty()).then_some(Item::Data(data));
        let items = [head.map(Item::Head), data, more].into_iter().flatten();
        if self.link.push(items)? {
            self.tell();
        }
        Ok(())
    }
}

impl Exchange for NginxExchange {
    fn mount(&self) -> &[u8] {
        self.mount.as_bytes()
    }

    fn head(&self) -> &[u8] {
        self.head.as_bytes()
    }

    fn body(&self) -> Body<'_> {
        match &self.body {
            StoredBody::Empty => Body::Empty,
            StoredBody::Memory(bytes) => Body::Memory(bytes),
            StoredBody::Stored(_) | StoredBody::Streamed => Body::Stream,
        }
    }

    fn read_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
        if into.is_empty() {
            return Ok(0);
        }
        match &mut self.body {
            StoredBody::Empty => Ok(0),
            StoredBody::Memory(bytes) => {
                // The engine reads this one where it lies; taking it from here is as good.
                let stored = Stored::of_memory(std::mem::take(bytes));
                self.body = StoredBody::Stored(stored);
                self.read_body(into)
            }
            StoredBody::Stored(stored) => stored.read(into).map_err(|error| {
                self.log(Level::Error, format!("cannot read the stored request body: {error}").as_bytes());
                BodyError::Server
            }),
            StoredBody::Streamed => {
                if self.link.body_is_ready() {
                    return self.link.read_body(into, || self.tell());
                }
                self.away(|| self.link.read_body(into, || self.tell()))
            }
        }
    }

    fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), SendError> {
        self.pending.head = Some(head.keep());
        self.link.gone().map_or(Ok(()), Err)
    }

    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        if let Some(gone) = self.link.gone() {
            return Err(gone);
        }
        if data.len() >= LENT {
            self.hand_over(None)?;
            return self.away(|| self.link.lend(data, || self.tell()));
        }
        self.pending.data.extend_from_slice(data);
        if self.pending.data.len() >= TOGETHER {
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
            return self.link.gone().map_or(Ok(()), Err);
        }
        self.hand_over(None)
    }

    fn end(&mut self, end: End) {
        if end != End::Complete {
            self.pending = Pending::default();
        }
        // A client that is gone needs no end.
        let _ = self.hand_over(Some(Item::End(end)));
    }

    fn log(&self, level: Level, message: &[u8]) {
        if self.link.log(level, message) {
            self.tell();
        }
    }

    fn send_is_instant(&self, bytes: usize) -> bool {
        bytes < LENT && self.link.has_room(self.pending.data.len() + bytes)
    }
}
