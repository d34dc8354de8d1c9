//! What lies between the two ends of an exchange: a Python thread puts the response in and takes the body
//! out, the event loop does the opposite. Both only lock for a moment; only the thread waits, and never
//! without an end.

use std::collections::VecDeque;
use std::time::Duration;

use super::item::{Item, Taken};
use super::loan::{self, Lent};
use super::log_queue::{LogQueue, REQUEST_LIMIT};
use super::registry::Id;
use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use super::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait, wait_for};
use crate::exchange::{BodyError, End, SendError};
use crate::log::Level;

/// How many bytes of a response may wait for the client before the thread does.
pub const WINDOW: usize = 128 * 1024;
/// The window of a response that waits for another one (a page for its fragment): that one may need the
/// thread.
pub const HELD_WINDOW: usize = 16 * 1024 * 1024;
/// How long a thread waits for a response that waits for another one.
const HELD_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(60) };
/// How many bytes of a streamed body may wait for the thread before the client does.
pub const BODY_WINDOW: usize = 256 * 1024;
/// Up to this size, chunks that follow each other become one.
const MAX_JOINED: usize = 32 * 1024;

#[derive(Debug)]
struct State {
    queue: VecDeque<Item>,
    logs: LogQueue<Level>,
    /// The loop was told that there is something for it.
    announced: bool,
    /// Why nothing more can be sent.
    gone: Option<SendError>,
    /// Bytes of the thread's are lent.
    lent: bool,
    /// The response waits for another one, and so the window is [`HELD_WINDOW`].
    held: bool,
    wants_body: bool,
    body: VecDeque<u8>,
    body_end: Option<Result<(), BodyError>>,
}

/// What is common to the two ends of an exchange.
#[derive(Debug)]
pub struct Channel {
    id: Id,
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that were given to the loop and are not sent yet.
    outstanding: AtomicUsize,
    window: AtomicUsize,
    is_gone: AtomicBool,
    /// The thread has waited too long for another response: of this one only the end is taken.
    is_given_up: AtomicBool,
}

/// What both sides may do.
impl Channel {
    fn new(id: Id) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                logs: LogQueue::new(REQUEST_LIMIT),
                announced: false,
                gone: None,
                lent: false,
                held: false,
                wants_body: false,
                body: VecDeque::new(),
                body_end: None,
            }),
            changed: Condvar::new(),
            outstanding: AtomicUsize::new(0),
            window: AtomicUsize::new(WINDOW),
            is_gone: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
        }
    }

    /// The number of the request.
    pub const fn id(&self) -> Id {
        self.id
    }

    /// The log lines alone: for a request that is gone.
    pub fn take_logs(&self) -> Vec<(Level, Vec<u8>)> {
        let mut state = lock(&self.state);
        state.announced = false;
        state.logs.take(Level::Warning)
    }

    pub(super) fn begin_loan(&self) {
        lock(&self.state).lent = true;
    }

    pub(super) fn return_loan(&self) {
        lock(&self.state).lent = false;
        self.changed.notify_all();
    }

    pub(super) fn wait_for_loan(&self) {
        let mut state = lock(&self.state);
        while state.lent {
            state = wait(&self.changed, state);
        }
    }
}

/// The thread's methods. Those that take `wake` call it, without the lock, when the loop has to be told.
impl Channel {
    /// Notes that the loop is told; `true` when the caller has to.
    fn announce(state: &mut State) -> bool {
        !std::mem::replace(&mut state.announced, true)
    }

    /// Whether so many bytes more fit into the window.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let outstanding = self.outstanding.load(Ordering::Acquire);
        outstanding == 0 || outstanding + bytes <= self.window.load(Ordering::Acquire)
    }

    /// Whether so much can be handed over, even if the window becomes smaller before that: whoever asks is
    /// attached to Python and is not to wait.
    pub(super) fn has_room_whatever_comes(&self, bytes: usize) -> bool {
        let outstanding = self.outstanding.load(Ordering::Acquire);
        outstanding == 0 || outstanding + bytes <= WINDOW
    }

    /// Why nothing can be sent any more, if so.
    pub(super) fn gone(&self) -> Option<SendError> {
        if !self.is_gone.load(Ordering::Acquire) {
            return None;
        }
        let given_up = self.is_given_up.load(Ordering::Acquire);
        lock(&self.state).gone.or(given_up.then_some(SendError::TimedOut))
    }

    /// Waits until so many bytes fit into the window. Once that took too long, it is over for good.
    pub(super) fn wait_for_room(&self, bytes: usize) -> Result<(), SendError> {
        if let Some(gone) = self.gone() {
            return Err(gone);
        }
        let mut state = lock(&self.state);
        loop {
            if let Some(gone) = state.gone {
                return Err(gone);
            }
            if self.has_room(bytes) {
                return Ok(());
            }
            if !state.held {
                // The server's own timeout for a client that takes nothing ends this.
                state = wait(&self.changed, state);
                continue;
            }
            let timed_out;
            (state, timed_out) = wait_for(&self.changed, state, HELD_TIMEOUT);
            if timed_out && state.held && state.gone.is_none() {
                self.is_given_up.store(true, Ordering::Release);
                self.is_gone.store(true, Ordering::Release);
                return Err(SendError::TimedOut);
            }
        }
    }

    /// Adds parts of the response.
    pub(super) fn push(
        &self,
        items: impl IntoIterator<Item = Item>,
        wake: impl FnOnce(),
    ) -> Result<(), SendError> {
        if self.is_given_up.load(Ordering::Acquire) {
            // What is dropped here may be a loan, which takes the lock.
            return if items.into_iter().any(|item| matches!(item, Item::End(_))) {
                self.enqueue([Item::End(End::Cut)], wake)
            } else {
                Err(SendError::TimedOut)
            };
        }
        self.enqueue(items, wake)
    }

    fn enqueue(&self, items: impl IntoIterator<Item = Item>, wake: impl FnOnce()) -> Result<(), SendError> {
        let mut state = lock(&self.state);
        if let Some(gone) = state.gone {
            // The lock goes before `items`: a loan that is returned takes it.
            return Err(gone);
        }
        for item in items {
            match item {
                Item::Data(mut bytes) => {
                    self.outstanding.fetch_add(bytes.len(), Ordering::AcqRel);
                    match state.queue.back_mut() {
                        Some(Item::Data(before)) if before.len() + bytes.len() <= MAX_JOINED => {
                            before.append(&mut bytes);
                        }
                        _ => state.queue.push_back(Item::Data(bytes)),
                    }
                }
                other => state.queue.push_back(other),
            }
        }
        let announce = Self::announce(&mut state);
        drop(state);
        if announce {
            wake();
        }
        Ok(())
    }

    /// Adds `before` and lends `data` behind it; returns when nobody uses that any more.
    pub(super) fn lend(
        channel: &Arc<Self>,
        before: impl IntoIterator<Item = Item>,
        data: &[u8],
        wake: impl FnOnce(),
    ) -> Result<(), SendError> {
        loan::lend(channel, data, |lent| {
            channel.push(before.into_iter().chain(std::iter::once(Item::Lent(lent))), wake)
        })?;
        channel.gone().map_or(Ok(()), Err)
    }

    /// Adds a line for the log.
    pub(super) fn log(&self, level: Level, message: &[u8], wake: impl FnOnce()) {
        let mut state = lock(&self.state);
        state.logs.push(level, message);
        let announce = Self::announce(&mut state);
        drop(state);
        if announce {
            wake();
        }
    }

    /// Reads the streamed body. Where nothing is there it asks the loop and waits.
    pub(super) fn read_body(&self, into: &mut [u8], wake: impl FnOnce()) -> Result<usize, BodyError> {
        let mut state = lock(&self.state);
        let mut wake = Some(wake);
        loop {
            if !state.body.is_empty() {
                return Ok(take_front(&mut state.body, into));
            }
            match state.body_end {
                Some(Ok(())) => return Ok(0),
                Some(Err(error)) => return Err(error),
                None => {}
            }
            if let Some(wake) = wake.take() {
                state.wants_body = true;
                if Self::announce(&mut state) {
                    drop(state);
                    wake();
                    state = lock(&self.state);
                    continue;
                }
            }
            state = wait(&self.changed, state);
        }
    }

    /// Whether a read of the body returns at once.
    pub(super) fn body_is_ready(&self) -> bool {
        let state = lock(&self.state);
        !state.body.is_empty() || state.body_end.is_some()
    }
}

/// The event loop's end of an exchange. A thread that still uses the other end learns from the drop of this
/// one that the server is done with the request.
#[derive(Debug)]
pub struct LoopEnd(Arc<Channel>);

impl LoopEnd {
    /// The end of a new channel.
    #[must_use]
    pub fn new(id: Id) -> Self {
        Self(Arc::new(Channel::new(id)))
    }

    /// What the thread's end is made of.
    #[must_use]
    pub const fn channel(&self) -> &Arc<Channel> {
        &self.0
    }

    /// Takes what the thread put in. The response stays where it is while the server is busy with what came
    /// before.
    #[must_use]
    pub fn take(&self, response_too: bool) -> Taken {
        let mut state = lock(&self.0.state);
        state.announced = false;
        Taken {
            items: if response_too { std::mem::take(&mut state.queue) } else { VecDeque::new() },
            logs: state.logs.take(Level::Warning),
            wants_body: std::mem::take(&mut state.wants_body),
        }
    }

    /// Copies what was lent, so that its thread goes on. The copy counts against the window.
    #[must_use]
    pub fn copy(&self, lent: Lent) -> Vec<u8> {
        let bytes = lent.bytes().to_vec();
        self.0.outstanding.fetch_add(bytes.len(), Ordering::AcqRel);
        drop(lent);
        bytes
    }

    /// Notes that so many bytes have been sent.
    pub fn sent(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        // Under the lock, so that a thread that has just looked does not miss it.
        let _state = lock(&self.0.state);
        self.0.outstanding.fetch_sub(bytes, Ordering::AcqRel);
        self.0.changed.notify_all();
    }

    /// Notes whether the response waits for another one, so that its thread should end before it is sent.
    pub fn hold(&self, held: bool) {
        let mut state = lock(&self.0.state);
        if state.held != held {
            state.held = held;
            self.0.window.store(if held { HELD_WINDOW } else { WINDOW }, Ordering::Release);
            self.0.changed.notify_all();
        }
    }

    /// How much of the body waits for the thread.
    #[must_use]
    pub fn body_waiting(&self) -> usize {
        lock(&self.0.state).body.len()
    }

    /// Gives the thread a part of the body, and its end where that is known.
    pub fn supply(&self, bytes: &[u8], end: Option<Result<(), BodyError>>) {
        let mut state = lock(&self.0.state);
        state.body.extend(bytes);
        if state.body_end.is_none() {
            state.body_end = end;
        }
        self.0.changed.notify_all();
    }

    /// Says that the exchange cannot go on: nothing is taken from the thread any more, and it does not wait
    /// any longer. Bytes that the server still points to stay on loan until they are dropped.
    pub fn close(&self, why: SendError) {
        let dropped = Self::close_state(lock(&self.0.state), why);
        if dropped.is_some() {
            self.0.is_gone.store(true, Ordering::Release);
        }
        self.0.changed.notify_all();
        // A loan in here takes the lock when it is returned.
        drop(dropped);
    }

    /// What waited in the queue, unless the channel was closed before.
    fn close_state(mut state: MutexGuard<'_, State>, why: SendError) -> Option<VecDeque<Item>> {
        if state.gone.is_some() {
            return None;
        }
        state.gone = Some(why);
        if state.body_end.is_none() {
            state.body_end = Some(Err(match why {
                SendError::Disconnected => BodyError::Disconnected,
                SendError::TimedOut => BodyError::TimedOut,
                SendError::Server => BodyError::Server,
                SendError::Stopping => BodyError::Stopping,
            }));
        }
        Some(std::mem::take(&mut state.queue))
    }
}

impl Drop for LoopEnd {
    fn drop(&mut self) {
        self.close(SendError::Server);
    }
}

fn take_front(from: &mut VecDeque<u8>, into: &mut [u8]) -> usize {
    // VecDeque's Read gives one of its two runs at a time.
    std::io::Read::read(from, into).unwrap_or(0)
}
