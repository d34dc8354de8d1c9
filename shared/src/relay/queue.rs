//! The only way from Python threads to the event loop: threads queue what they have to say and wake the loop,
//! the loop goes through the queue.

use super::channel::Channel;
use super::log_queue::{LogQueue, PROCESS_LIMIT};
use super::sync::atomic::{AtomicBool, Ordering};
use super::sync::{Arc, Mutex, lock};

/// So many times the loop goes through the queue before it looks after its other events.
const ROUNDS: u32 = 8;

/// How a thread wakes the event loop. May not block.
pub trait Wake {
    /// Has the loop call [`LoopQueue::turn`].
    fn wake(&self);
}

/// What waits for the event loop.
#[derive(Debug)]
pub struct LoopQueue<W> {
    waker: W,
    ready: Mutex<Vec<Arc<Channel>>>,
    /// With the server's number of their level.
    logs: Mutex<LogQueue<u32>>,
    /// The loop was woken and has not looked yet.
    woken: AtomicBool,
}

impl<W: Wake> LoopQueue<W> {
    /// An empty queue.
    #[must_use]
    pub fn new(waker: W) -> Self {
        Self {
            waker,
            ready: Mutex::new(Vec::new()),
            logs: Mutex::new(LogQueue::new(PROCESS_LIMIT)),
            woken: AtomicBool::new(false),
        }
    }

    /// What wakes the loop.
    pub const fn waker(&self) -> &W {
        &self.waker
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Tells the loop that there is something in `channel` (thread).
    pub fn push(&self, channel: &Arc<Channel>) {
        lock(&self.ready).push(Arc::clone(channel));
        self.wake();
    }

    /// Has a line written that belongs to no request (thread). `level` is the server's number.
    pub fn log(&self, level: u32, message: &[u8]) {
        lock(&self.logs).push(level, message);
        self.wake();
    }

    /// The lines that wait (loop). `warning` is the server's number of that level.
    pub fn take_logs(&self, warning: u32) -> Vec<(u32, Vec<u8>)> {
        lock(&self.logs).take(warning)
    }

    /// The channels that have something for the loop (loop).
    pub fn take_ready(&self) -> Vec<Arc<Channel>> {
        std::mem::take(&mut *lock(&self.ready))
    }

    fn has_work(&self) -> bool {
        !lock(&self.ready).is_empty() || !lock(&self.logs).is_empty()
    }

    /// Goes through what the threads have said (loop).
    pub fn turn(
        &self,
        warning: u32,
        mut on_log: impl FnMut(u32, &[u8]),
        mut on_channel: impl FnMut(&Arc<Channel>),
    ) {
        for _ in 0..ROUNDS {
            self.take_logs(warning).iter().for_each(|(level, message)| on_log(*level, message));
            let ready = self.take_ready();
            if ready.is_empty() {
                // Not a store: by reading what the threads wrote this comes behind what they queued before.
                self.woken.swap(false, Ordering::AcqRel);
                // What came between the look and the note is looked at now, or has woken the loop again.
                if !self.has_work() || self.woken.swap(true, Ordering::AcqRel) {
                    return;
                }
                continue;
            }
            ready.iter().for_each(&mut on_channel);
        }
        self.waker.wake();
    }
}
