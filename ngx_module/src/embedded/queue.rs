//! The event loop's end of the queue that Python threads write to: how nginx is woken, and what keeps a
//! leaving worker alive.
#![deny(unsafe_code)]

use std::cell::RefCell;

use shared::log::Level;
use shared::relay::channel::Channel;
use shared::relay::queue::LoopQueue;
use shared::relay::sync::Arc;

use crate::ffi::cycle;
use crate::ffi::waker::{Timer, WakeConnection, Waker};
use crate::{entry, log};

/// How long the loop may take to notice that the last request of a leaving worker has ended, in milliseconds.
const STAY_INTERVAL: usize = 500;

/// What belongs to the loop's thread.
struct LoopThread {
    connection: WakeConnection,
    /// While requests are in flight this is armed: a leaving worker waits for timers, not for requests.
    stay: Timer,
}

thread_local! {
    static LOOP_THREAD: RefCell<Option<LoopThread>> = const { RefCell::new(None) };
}

/// Makes the queue, on the loop's thread.
///
/// # Errors
/// What the system said.
pub fn open() -> std::io::Result<LoopQueue<Waker>> {
    let (waker, connection) = Waker::connect(Some(entry::on_wake))?;
    LOOP_THREAD.set(Some(LoopThread { connection, stay: Timer::new(Some(entry::on_stay)) }));
    Ok(LoopQueue::new(waker))
}

/// Goes through the queue.
pub fn turn(queue: &LoopQueue<Waker>, on_channel: impl FnMut(&Arc<Channel>)) {
    queue.waker().clear();
    queue.turn(log::number(Level::Warning), log::numbered, on_channel);
}

/// Writes the lines that belong to no request.
pub fn write_logs(queue: &LoopQueue<Waker>) {
    for (level, message) in queue.take_logs(log::number(Level::Warning)) {
        log::numbered(level, &message);
    }
}

/// Gives the connection back to nginx.
pub fn close() {
    if let Some(thread) = LOOP_THREAD.take() {
        thread.connection.close();
    }
}

/// Sees to it that the worker does not leave while requests are in flight.
pub fn stay_for(in_flight: usize) {
    LOOP_THREAD.with_borrow_mut(|thread| {
        let Some(thread) = thread else { return };
        if in_flight == 0 {
            if cycle::is_leaving() {
                thread.stay.disarm();
            }
        } else if !thread.stay.is_armed() {
            thread.stay.arm(STAY_INTERVAL);
        }
    });
}
