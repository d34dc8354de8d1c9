//! The requests that wait for a Python thread, and which thread takes the next one.
//!
//! A thread that ends a request takes the next one without letting go of the GIL. Another is woken only when no running thread
//! can take it: when all that run are away in a blocking call of the server, or when the one that runs has been busy past a
//! slice and work waits.

use std::time::Duration;

use crate::exchange::{Exchange, Next, Source};

/// How long a request waits behind a busy thread before an idle one is woken.
pub const SLICE: Duration = Duration::from_micros(500);

/// The queue between an event loop and its Python threads.
#[derive(Debug)]
pub struct Backlog<X> {
    todo: std::marker::PhantomData<fn(X)>,
}

impl<X: Exchange + Send> Backlog<X> {
    /// An empty queue that takes up to `capacity` requests.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let _ = capacity;
        Self { todo: std::marker::PhantomData }
    }

    /// Adds a request. Does not wait.
    ///
    /// # Errors
    /// Gives it back when the queue is full or closed.
    pub fn push(&self, exchange: X) -> Result<(), X> {
        Err(exchange)
    }

    /// Runs `wait`, a blocking call that a serving thread makes in the middle of a request (for body or for room to send), while
    /// other requests may be taken by other threads.
    pub fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        wait()
    }

    /// Watches over the slice: runs on a thread of its own until the queue is closed.
    pub fn watch(&self) {}

    /// Says that nothing will come any more and hands back what waits. Threads end when they ask for the next one.
    pub fn close(&self) -> Vec<X> {
        Vec::new()
    }
}

impl<X: Exchange + Send> Source for Backlog<X> {
    type Exchange = X;

    fn try_next(&self) -> Next<X> {
        Next::Closed
    }

    fn wait_next(&self) -> Next<X> {
        Next::Closed
    }
}
