//! What lies between the two halves of an exchange: a Python thread puts the response in and takes the body out, the event
//! loop does the opposite. Both only lock for a moment; only the thread waits.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use shared::exchange::{BodyError, End, SendError};
use shared::log::Level;
use shared::wsgi::response::OwnedResponseHead;

use crate::embedded::registry::Id;
use crate::ffi::lent::Lent;

/// How many bytes of a response may wait for the client before the thread does.
pub const WINDOW: usize = 128 * 1024;
/// How many bytes of a streamed body may wait for the thread before the client does.
pub const BODY_WINDOW: usize = 256 * 1024;
/// Up to this size, chunks that follow each other become one.
const JOINED: usize = 32 * 1024;

/// A part of the response, on its way to the loop.
#[derive(Debug)]
pub enum Item {
    /// The head.
    Head(OwnedResponseHead),
    /// Bytes.
    Data(Vec<u8>),
    /// Bytes that the thread keeps until they are sent.
    Lent(Lent),
    /// A part of a file: from where on, and how much.
    File(OwnedFd, u64, u64),
    /// Nothing more comes.
    End(End),
}

/// What the loop takes at once.
#[derive(Debug, Default)]
pub struct Taken {
    /// Parts of the response, in order.
    pub items: VecDeque<Item>,
    /// Lines for the log.
    pub logs: Vec<(Level, Vec<u8>)>,
    /// Whether the thread waits for the body.
    pub wants_body: bool,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Item>,
    logs: Vec<(Level, Vec<u8>)>,
    /// The loop was told that there is something for it.
    told: bool,
    /// Why nothing more can be sent.
    gone: Option<SendError>,
    /// Bytes of the thread's are in use.
    lending: bool,
    wants_body: bool,
    body: VecDeque<u8>,
    body_end: Option<Result<(), BodyError>>,
}

/// The link of one exchange.
#[derive(Debug)]
pub struct Link {
    /// The loop's half.
    pub id: Id,
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that were given to the loop and are not sent yet.
    outstanding: AtomicUsize,
    is_gone: AtomicBool,
}

impl Link {
    /// A new link.
    pub fn new(id: Id) -> Self {
        Self {
            id,
            state: Mutex::default(),
            changed: Condvar::new(),
            outstanding: AtomicUsize::new(0),
            is_gone: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so that a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the loop once; `true` when the caller has to.
    fn tell(state: &mut State) -> bool {
        !std::mem::replace(&mut state.told, true)
    }

    /// Whether so many bytes more fit into the window.
    pub fn has_room(&self, bytes: usize) -> bool {
        let outstanding = self.outstanding.load(Ordering::Acquire);
        outstanding == 0 || outstanding + bytes <= WINDOW
    }

    /// Why nothing can be sent any more, if so.
    pub fn gone(&self) -> Option<SendError> {
        if self.is_gone.load(Ordering::Acquire) { self.lock().gone } else { None }
    }

    /// Waits until so many bytes fit into the window (thread).
    ///
    /// # Errors
    /// The exchange cannot go on.
    pub fn wait_for_room(&self, bytes: usize) -> Result<(), SendError> {
        let mut state = self.lock();
        loop {
            match state.gone {
                Some(gone) => return Err(gone),
                None if self.has_room(bytes) => return Ok(()),
                None => state = self.wait(state),
            }
        }
    }

    /// Adds parts of the response (thread); `Ok(true)` when the loop has to be told.
    ///
    /// # Errors
    /// The exchange cannot go on.
    pub fn push(&self, items: impl IntoIterator<Item = Item>) -> Result<bool, SendError> {
        let mut state = self.lock();
        if let Some(gone) = state.gone {
            return Err(gone);
        }
        for item in items {
            match item {
                Item::Data(mut bytes) => {
                    self.outstanding.fetch_add(bytes.len(), Ordering::AcqRel);
                    match state.queue.back_mut() {
                        Some(Item::Data(before)) if before.len() + bytes.len() <= JOINED => {
                            before.append(&mut bytes);
                        }
                        _ => state.queue.push_back(Item::Data(bytes)),
                    }
                }
                other => state.queue.push_back(other),
            }
        }
        Ok(Self::tell(&mut state))
    }

    /// Lends `data` to the loop, says so with `tell`, and waits until it is in nobody's use any more (thread).
    ///
    /// # Errors
    /// The exchange cannot go on.
    pub fn lend(&self, data: &[u8], tell: impl FnOnce()) -> Result<(), SendError> {
        let mut state = self.lock();
        if let Some(gone) = state.gone {
            return Err(gone);
        }
        state.queue.push_back(Item::Lent(Lent::new(data)));
        state.lending = true;
        if Self::tell(&mut state) {
            drop(state);
            tell();
            state = self.lock();
        }
        while state.lending {
            state = self.wait(state);
        }
        state.gone.map_or(Ok(()), Err)
    }

    /// Adds a line for the log (thread); `true` when the loop has to be told.
    pub fn log(&self, level: Level, message: &[u8]) -> bool {
        let mut state = self.lock();
        state.logs.push((level, message.to_vec()));
        Self::tell(&mut state)
    }

    /// Reads the streamed body (thread). Where nothing is there it asks the loop with `tell` and waits.
    ///
    /// # Errors
    /// The body cannot be read whole.
    pub fn read_body(&self, into: &mut [u8], tell: impl FnOnce()) -> Result<usize, BodyError> {
        let mut state = self.lock();
        let mut tell = Some(tell);
        loop {
            if !state.body.is_empty() {
                return Ok(take_front(&mut state.body, into));
            }
            match state.body_end {
                Some(Ok(())) => return Ok(0),
                Some(Err(error)) => return Err(error),
                None => {}
            }
            if let Some(tell) = tell.take() {
                state.wants_body = true;
                if Self::tell(&mut state) {
                    drop(state);
                    tell();
                    state = self.lock();
                    continue;
                }
            }
            state = self.wait(state);
        }
    }

    /// Whether a read of the body returns at once (thread).
    pub fn body_is_ready(&self) -> bool {
        let state = self.lock();
        !state.body.is_empty() || state.body_end.is_some()
    }

    /// Takes what the thread put in (loop). The response stays where it is while nginx is busy with what came before.
    pub fn take(&self, response_too: bool) -> Taken {
        let mut state = self.lock();
        state.told = false;
        Taken {
            items: if response_too { std::mem::take(&mut state.queue) } else { VecDeque::new() },
            logs: std::mem::take(&mut state.logs),
            wants_body: std::mem::take(&mut state.wants_body),
        }
    }

    /// Notes that so many bytes have been sent (loop).
    pub fn sent(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        // Under the lock, so that a thread that has just looked does not miss it.
        let _state = self.lock();
        self.outstanding.fetch_sub(bytes, Ordering::AcqRel);
        self.changed.notify_all();
    }

    /// Notes that the lent bytes are in nobody's use any more (loop).
    pub fn return_lent(&self) {
        self.lock().lending = false;
        self.changed.notify_all();
    }

    /// How much of the body waits for the thread (loop).
    pub fn body_waiting(&self) -> usize {
        self.lock().body.len()
    }

    /// Gives the thread a part of the body, and its end where that is known (loop).
    pub fn supply(&self, bytes: &[u8], end: Option<Result<(), BodyError>>) {
        let mut state = self.lock();
        state.body.extend(bytes);
        if state.body_end.is_none() {
            state.body_end = end;
        }
        self.changed.notify_all();
    }

    /// Says that the exchange cannot go on: nothing is taken from the thread any more, and it does not wait any longer (loop).
    /// Bytes that nginx took on loan stay on loan until [`Link::return_lent`].
    pub fn close(&self, gone: SendError) {
        let mut state = self.lock();
        if state.gone.is_some() {
            return;
        }
        state.gone = Some(gone);
        self.is_gone.store(true, Ordering::Release);
        let queue = std::mem::take(&mut state.queue);
        if queue.iter().any(|item| matches!(item, Item::Lent(_))) {
            state.lending = false;
        }
        if state.body_end.is_none() {
            state.body_end = Some(Err(match gone {
                SendError::Disconnected => BodyError::Disconnected,
                SendError::TimedOut => BodyError::TimedOut,
                SendError::Server => BodyError::Server,
                SendError::Stopping => BodyError::Stopping,
            }));
        }
        self.changed.notify_all();
    }
}

fn take_front(from: &mut VecDeque<u8>, into: &mut [u8]) -> usize {
    // VecDeque's Read gives one of its two runs at a time.
    std::io::Read::read(from, into).unwrap_or(0)
}
