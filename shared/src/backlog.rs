//! The requests that wait for a Python thread, and which thread takes the next one.
//!
//! A thread that ends a request takes the next one without letting go of the GIL, so that twenty threads cost a short request
//! no more than one does. Another thread is woken only when no running one can take what waits: when none runs, when those that
//! run are [`Backlog::away`] in a blocking call of the server, or when none of them ended a request for a [`SLICE`], since then
//! they sleep or compute (somebody has to call [`Backlog::watch`] for that).

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use crate::exchange::{Exchange, Next, Source};

/// How long a request waits behind busy threads before an idle one is woken.
pub const SLICE: Duration = Duration::from_micros(500);

/// So many slices without anything waiting, and the watch goes to sleep.
const QUIET_SLICES: u32 = 20;

thread_local! {
    /// Whether this thread is counted in [`State::running`].
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// The queue between an event loop and its Python threads.
#[derive(Debug)]
pub struct Backlog<X> {
    state: Mutex<State<X>>,
    watch: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct State<X> {
    queue: VecDeque<X>,
    /// The threads that wait, the most recent last: it is woken first, its memory is still warm.
    idle: Vec<Thread>,
    /// Threads that serve a request and are not away, or were woken to.
    running: usize,
    /// How many requests have ended; the watch looks whether it grows.
    ended: u64,
    watched: bool,
    closed: bool,
}

impl<X> State<X> {
    /// Picks a waiting thread and counts it as running; the caller wakes it when the lock is released.
    fn pick(&mut self) -> Option<Thread> {
        let thread = self.idle.pop()?;
        self.running += 1;
        Some(thread)
    }
}

impl<X> Backlog<X> {
    /// An empty queue that takes up to `capacity` requests.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                idle: Vec::new(),
                running: 0,
                ended: 0,
                watched: false,
                closed: false,
            }),
            watch: Condvar::new(),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<X>> {
        // No code of others runs under the lock, so that a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request. Does not wait.
    ///
    /// # Errors
    /// Gives it back when the queue is full or closed.
    pub fn push(&self, exchange: X) -> Result<(), X> {
        let mut state = self.lock();
        if state.closed || state.queue.len() >= self.capacity {
            return Err(exchange);
        }
        state.queue.push_back(exchange);
        let picked = if state.running == 0 { state.pick() } else { None };
        let watch = picked.is_none() && !state.watched && !state.idle.is_empty();
        state.watched |= watch;
        drop(state);
        if let Some(thread) = picked {
            thread.unpark();
        }
        if watch {
            self.watch.notify_one();
        }
        Ok(())
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    /// Runs `wait`, a blocking call that a serving thread makes in the middle of a request (for a body or for room to send),
    /// while other threads may take what waits.
    pub fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        struct Back<'b, X>(&'b Backlog<X>);
        impl<X> Drop for Back<'_, X> {
            fn drop(&mut self) {
                self.0.lock().running += 1;
                RUNNING.set(true);
            }
        }
        if !RUNNING.replace(false) {
            return wait();
        }
        let mut state = self.lock();
        state.running -= 1;
        let picked = if state.running == 0 && !state.queue.is_empty() { state.pick() } else { None };
        drop(state);
        if let Some(thread) = picked {
            thread.unpark();
        }
        let _back = Back(self);
        wait()
    }

    /// Watches over the slice; runs on a thread of its own until the queue is closed. While no running thread ends a request and
    /// some wait, it wakes one thread after the first slice, two more after the second, and so on.
    pub fn watch(&self) {
        let mut state = self.lock();
        while !state.closed {
            if !state.watched {
                state = self.watch.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let mut quiet = 0;
            let mut burst = 1;
            while !state.closed && quiet < QUIET_SLICES {
                let before = state.ended;
                state = self.watch.wait_timeout(state, SLICE).unwrap_or_else(PoisonError::into_inner).0;
                if state.queue.is_empty() {
                    (quiet, burst) = (quiet + 1, 1);
                } else if state.ended != before {
                    (quiet, burst) = (0, 1);
                } else {
                    let waiting = state.queue.len();
                    let woken: Vec<Thread> = (0..burst.min(waiting)).map_while(|_| state.pick()).collect();
                    drop(state);
                    woken.iter().for_each(Thread::unpark);
                    state = self.lock();
                    (quiet, burst) = (0, burst.saturating_mul(2));
                }
            }
            state.watched = false;
        }
    }

    /// Says that nothing will come any more, and hands back what waits. A thread ends when it asks for its next request.
    pub fn close(&self) -> Vec<X> {
        let mut state = self.lock();
        state.closed = true;
        let waiting = state.queue.drain(..).collect();
        let idle = std::mem::take(&mut state.idle);
        state.running += idle.len();
        drop(state);
        idle.iter().for_each(Thread::unpark);
        self.watch.notify_all();
        waiting
    }

    /// Takes the next request for the calling thread, which is counted as running from here on.
    fn take(state: &mut State<X>) -> Option<X> {
        let exchange = state.queue.pop_front()?;
        if !RUNNING.replace(true) {
            state.running += 1;
        }
        Some(exchange)
    }

    /// Notes that the calling thread has ended its request.
    fn ended(state: &mut State<X>) {
        if RUNNING.get() {
            state.ended = state.ended.wrapping_add(1);
        }
    }
}

impl<X: Exchange + Send> Source for Backlog<X> {
    type Exchange = X;

    fn try_next(&self) -> Next<X> {
        let mut state = self.lock();
        Self::ended(&mut state);
        match Self::take(&mut state) {
            Some(exchange) => Next::Exchange(exchange),
            None if state.closed => Next::Closed,
            None => Next::Nothing,
        }
    }

    fn wait_next(&self) -> Next<X> {
        let mut state = self.lock();
        Self::ended(&mut state);
        loop {
            if let Some(exchange) = Self::take(&mut state) {
                return Next::Exchange(exchange);
            }
            if RUNNING.replace(false) {
                state.running -= 1;
            }
            if state.closed {
                return Next::Closed;
            }
            let current = std::thread::current();
            let own = current.id();
            state.idle.push(current);
            drop(state);
            std::thread::park();
            state = self.lock();
            // Whoever woke this thread took it off the list and counted it; without that the wake-up was a spurious one.
            match state.idle.iter().position(|thread| thread.id() == own) {
                Some(position) => drop(state.idle.swap_remove(position)),
                None => RUNNING.set(true),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Body, BodyError, End, SendError};
    use crate::log::Level;
    use crate::wsgi::response::ResponseHead;
    use std::os::fd::BorrowedFd;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A request that is only a number.
    #[derive(Debug, PartialEq, Eq)]
    struct Numbered(u32);

    impl Exchange for Numbered {
        fn mount(&self) -> &[u8] {
            &[]
        }
        fn head(&self) -> &[u8] {
            &[]
        }
        fn body(&self) -> Body<'_> {
            Body::Empty
        }
        fn read_body(&mut self, _: &mut [u8]) -> Result<usize, BodyError> {
            Ok(0)
        }
        fn send_head(&mut self, _: ResponseHead<'_>) -> Result<(), SendError> {
            Ok(())
        }
        fn send(&mut self, _: &[u8]) -> Result<(), SendError> {
            Ok(())
        }
        fn send_file(&mut self, _: BorrowedFd<'_>, _: u64, _: u64) -> Result<(), SendError> {
            Ok(())
        }
        fn flush(&mut self) -> Result<(), SendError> {
            Ok(())
        }
        fn end(&mut self, _: End) {}
        fn log(&self, _: Level, _: &[u8]) {}
        fn send_is_instant(&self, _: usize) -> bool {
            true
        }
    }

    /// A thread that says which request it took, and ends it when it is told to.
    fn serve<'s>(
        scope: &'s std::thread::Scope<'s, '_>,
        backlog: &'s Backlog<Numbered>,
        taken: Sender<u32>,
        away: bool,
    ) -> Sender<()> {
        let (go, gone): (Sender<()>, Receiver<()>) = channel();
        scope.spawn(move || {
            loop {
                let next = match backlog.try_next() {
                    Next::Nothing => backlog.wait_next(),
                    next => next,
                };
                let Next::Exchange(Numbered(number)) = next else { return };
                taken.send(number).unwrap();
                let wait = || gone.recv_timeout(PATIENCE).unwrap();
                if away { backlog.away(wait) } else { wait() }
            }
        });
        go
    }

    fn until_idle(backlog: &Backlog<Numbered>, threads: usize) {
        let begin = std::time::Instant::now();
        while backlog.lock().idle.len() < threads {
            assert!(begin.elapsed() < PATIENCE, "the threads did not begin to wait");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_running_thread_takes_what_waits_and_no_other_is_woken() {
        let backlog = Backlog::new(10);
        std::thread::scope(|scope| {
            let (taken, took) = channel();
            let first = serve(scope, &backlog, taken.clone(), false);
            let second = serve(scope, &backlog, taken, false);
            until_idle(&backlog, 2);
            backlog.push(Numbered(1)).unwrap();
            assert_eq!(took.recv_timeout(PATIENCE), Ok(1));
            backlog.push(Numbered(2)).unwrap();
            // Nobody watches, so that the second request waits for the thread that runs.
            assert_eq!(backlog.waiting(), 1);
            let _ = (first.send(()), second.send(()));
            assert_eq!(took.recv_timeout(PATIENCE), Ok(2));
            let _ = (first.send(()), second.send(()));
            backlog.close();
        });
    }

    #[test]
    fn a_thread_that_is_away_does_not_hold_up_the_next_request() {
        let backlog = Backlog::new(10);
        std::thread::scope(|scope| {
            let (taken, took) = channel();
            let threads: Vec<_> = (0..3).map(|_| serve(scope, &backlog, taken.clone(), true)).collect();
            for number in 0..3 {
                backlog.push(Numbered(number)).unwrap();
            }
            let mut numbers: Vec<u32> = (0..3).map(|_| took.recv_timeout(PATIENCE).unwrap()).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, [0, 1, 2]);
            backlog.close();
            for thread in threads {
                thread.send(()).unwrap();
            }
        });
    }

    #[test]
    fn the_watch_wakes_others_when_those_that_run_do_not_end() {
        let backlog = Backlog::new(100);
        std::thread::scope(|scope| {
            scope.spawn(|| backlog.watch());
            let (taken, took) = channel();
            let threads: Vec<_> = (0..20).map(|_| serve(scope, &backlog, taken.clone(), false)).collect();
            for number in 0..20 {
                backlog.push(Numbered(number)).unwrap();
            }
            let mut numbers: Vec<u32> = (0..20).map(|_| took.recv_timeout(PATIENCE).unwrap()).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..20).collect::<Vec<_>>());
            backlog.close();
            for thread in threads {
                thread.send(()).unwrap();
            }
        });
    }

    #[test]
    fn a_full_or_closed_queue_gives_the_request_back() {
        let backlog = Backlog::new(1);
        assert_eq!(backlog.push(Numbered(1)), Ok(()));
        assert_eq!(backlog.push(Numbered(2)), Err(Numbered(2)));
        assert_eq!(backlog.close(), [Numbered(1)]);
        assert_eq!(backlog.push(Numbered(3)), Err(Numbered(3)));
        assert_eq!(backlog.try_next(), Next::Closed);
        assert_eq!(backlog.wait_next(), Next::Closed);
    }
}
