//! The only door between Python threads and nginx's loop: threads put what they have to say into a queue and ring, the loop
//! goes through the queue.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shared::log::Level;

use crate::embedded::channel::Link;
use crate::embedded::{loop_side, registry};
use crate::entry;
use crate::ffi::cycle;
use crate::ffi::wake::{Bell, Ear, Timer, bell};
use crate::log;

/// So many times the loop goes through the queue before it looks after its other events.
const ROUNDS: u32 = 8;
/// How long the loop may take to notice that the last request of a leaving worker has ended, in milliseconds.
const LINGER: usize = 500;

/// The threads' side.
#[derive(Debug)]
pub struct Door {
    bell: Bell,
    ready: Mutex<Vec<Arc<Link>>>,
    /// With nginx's number of their level.
    logs: Mutex<Vec<(u32, Vec<u8>)>>,
    /// The loop was rung and has not looked yet.
    rung: AtomicBool,
}

/// The loop's side.
struct Inside {
    ear: Ear,
    /// While requests are in flight this is armed: a leaving worker waits for timers, not for requests.
    stay: Timer,
}

thread_local! {
    static INSIDE: RefCell<Option<Inside>> = const { RefCell::new(None) };
}

fn take<T>(queue: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *queue.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Door {
    /// Opens the door, on the loop's thread.
    ///
    /// # Errors
    /// What the system said.
    pub fn open() -> std::io::Result<Self> {
        let (bell, ear) = bell(Some(entry::on_ring))?;
        INSIDE.set(Some(Inside { ear, stay: Timer::new(Some(entry::on_stay)) }));
        Ok(Self { bell, ready: Mutex::default(), logs: Mutex::default(), rung: AtomicBool::new(false) })
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// Tells the loop that `link` has something for it.
    pub fn tell(&self, link: &Arc<Link>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(link));
        self.ring();
    }

    /// Has a line written that belongs to no request.
    pub fn log(&self, level: Level, message: &[u8]) {
        self.add_log(log::number(level), message);
    }

    /// Has it written that the process cannot do its work.
    pub fn emergency(&self, message: &str) {
        self.add_log(cycle::EMERGENCY, message.as_bytes());
    }

    fn add_log(&self, level: u32, message: &[u8]) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push((level, message.to_vec()));
        self.ring();
    }

    /// Writes the lines that wait (loop).
    pub fn write_logs(&self) {
        for (level, message) in take(&self.logs) {
            log::numbered(level, &message);
        }
    }

    /// Writes all lines that wait, those of requests too, which nobody answers any more (loop).
    pub fn write_last_logs(&self) {
        self.write_logs();
        take(&self.ready).iter().for_each(|link| loop_side::write_late_logs(link));
    }

    /// Goes through what the threads have said (loop).
    pub fn answer(&self) {
        self.bell.silence();
        for _ in 0..ROUNDS {
            self.write_logs();
            let ready = take(&self.ready);
            if ready.is_empty() {
                self.rung.store(false, Ordering::SeqCst);
                // What came between the look and the note is looked at now, or has rung.
                if !self.has_work() || self.rung.swap(true, Ordering::SeqCst) {
                    return;
                }
                continue;
            }
            for link in ready {
                loop_side::on_told(&link);
            }
        }
        self.bell.ring();
    }

    fn has_work(&self) -> bool {
        let waits = !self.ready.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        waits || !self.logs.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Closes the loop's side.
pub fn close() {
    if let Some(inside) = INSIDE.take() {
        inside.ear.close();
    }
}

/// Sees to it that the worker does not leave while requests are in flight (loop).
pub fn stay_while_serving() {
    INSIDE.with_borrow_mut(|inside| {
        let Some(inside) = inside else { return };
        if registry::in_flight() == 0 {
            if cycle::is_leaving() {
                inside.stay.disarm();
            }
        } else if !inside.stay.is_armed() {
            inside.stay.arm(LINGER);
        }
    });
}
