//! The requests that wait for a Python thread.
//!
//! Which thread takes the next one, and when another one is woken, is [`crate::threads`]' rule. Somebody has
//! to call [`Backlog::watch`], on a thread of its own, since requests that wait behind threads that sleep or
//! compute are found by looking.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use crate::exchange::{Exchange, Next, Source};
use crate::threads::{RUNNER, SLICE, Slices, Threads, Wake};
use crate::waiting::Waiting;

/// The queue between an event loop and its Python threads.
#[derive(Debug)]
pub struct Backlog<X> {
    state: Mutex<State<X>>,
    watch: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct State<X> {
    queue: Waiting<X>,
    threads: Threads<Thread>,
    /// Requests whose clients have gone: they are dropped without the lock.
    abandoned: Vec<X>,
}

/// Whether nobody waits for a response any more.
fn is_abandoned<X: Exchange>(exchange: &X) -> bool {
    exchange.gone().is_some()
}

impl<X: Exchange> State<X> {
    /// Takes the next request for the calling thread.
    fn take(&mut self) -> Option<X> {
        let taken = self.queue.take(is_abandoned);
        self.abandoned.extend(taken.abandoned);
        let exchange = taken.next?;
        // The event loop leads, always: nobody has to be woken to.
        let _ = RUNNER.with(|runner| self.threads.begin(runner));
        Some(exchange)
    }
}

impl<X> Backlog<X> {
    /// An empty queue that takes up to `capacity` requests.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                queue: Waiting::default(),
                threads: Threads::new(true),
                abandoned: Vec::new(),
            }),
            watch: Condvar::new(),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<X>> {
        // No code of others runs under the lock, so that a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, wake: Wake<Thread>) {
        if let Some(thread) = wake.thread {
            thread.unpark();
        }
        if wake.watch {
            self.watch.notify_one();
        }
    }

    /// Adds a request. Does not wait.
    ///
    /// # Errors
    /// Gives it back when the queue is full or closed.
    pub fn push(&self, exchange: X) -> Result<(), X>
    where
        X: Exchange,
    {
        let mut state = self.lock();
        if state.queue.len() >= self.capacity {
            let abandoned = state.queue.sweep(is_abandoned);
            drop(state);
            drop(abandoned);
            state = self.lock();
        }
        if state.threads.is_closed() || state.queue.len() >= self.capacity {
            return Err(exchange);
        }
        state.queue.push(exchange);
        let wake = state.threads.arrived();
        drop(state);
        self.wake(wake);
        Ok(())
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    /// Runs `wait`, a blocking call that a serving thread makes in the middle of a request (for a body or for
    /// room to send), while other threads may take what waits.
    pub fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        struct Back<'b, X>(&'b Backlog<X>);
        impl<X> Drop for Back<'_, X> {
            fn drop(&mut self) {
                RUNNER.with(|runner| self.0.lock().threads.come_back(runner));
            }
        }
        let mut state = self.lock();
        let waiting = state.queue.len();
        let left = RUNNER.with(|runner| state.threads.leave(runner, waiting));
        drop(state);
        let Some(left) = left else { return wait() };
        self.wake(left);
        let _back = Back(self);
        wait()
    }

    /// Watches over the slices; runs on a thread of its own until the queue is closed.
    pub fn watch(&self) {
        let mut state = self.lock();
        while !state.threads.is_closed() {
            if !state.threads.is_watched() {
                state = self.watch.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let mut slices = Slices::default();
            while !state.threads.is_closed() && !slices.are_quiet() {
                slices.begin(&state.threads);
                state = self.watch.wait_timeout(state, SLICE).unwrap_or_else(PoisonError::into_inner).0;
                let waiting = state.queue.len();
                let woken = slices.end(&mut state.threads, waiting);
                if !woken.is_empty() {
                    drop(state);
                    woken.iter().for_each(Thread::unpark);
                    state = self.lock();
                }
            }
            state.threads.set_watched(false);
        }
    }

    /// Says that nothing will come any more, and hands back what waits. A thread ends when it asks for its
    /// next request.
    pub fn close(&self) -> Vec<X> {
        let mut state = self.lock();
        let waiting = state.queue.drain().collect();
        let idle = state.threads.close();
        drop(state);
        idle.iter().for_each(Thread::unpark);
        self.watch.notify_all();
        waiting
    }
}

impl<X: Exchange + Send> Source for Backlog<X> {
    type Exchange = X;

    fn try_next(&self) -> Next<X> {
        let mut state = self.lock();
        RUNNER.with(|runner| state.threads.end(runner));
        let next = match state.take() {
            Some(exchange) => Next::Exchange(exchange),
            None if state.threads.is_closed() => Next::Closed,
            None => Next::Nothing,
        };
        let abandoned = std::mem::take(&mut state.abandoned);
        drop(state);
        drop(abandoned);
        next
    }

    fn wait_next(&self) -> Next<X> {
        RUNNER.with(|runner| {
            let mut state = self.lock();
            state.threads.end(runner);
            loop {
                let exchange = state.take();
                if !state.abandoned.is_empty() {
                    let abandoned = std::mem::take(&mut state.abandoned);
                    drop(state);
                    drop(abandoned);
                    state = self.lock();
                }
                if let Some(exchange) = exchange {
                    return Next::Exchange(exchange);
                }
                if !state.queue.is_empty() {
                    continue;
                }
                if state.threads.is_closed() {
                    state.threads.rest(runner);
                    return Next::Closed;
                }
                let current = std::thread::current();
                let own = current.id();
                state.threads.sleep(runner, current);
                drop(state);
                std::thread::park();
                state = self.lock();
                state.threads.woken(runner, |thread| thread.id() == own);
            }
        })
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
    use std::time::Duration;

    const TIMEOUT: Duration = Duration::from_secs(10);

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
        fn gone(&self) -> Option<SendError> {
            None
        }
        fn end(&mut self, _: End) {}
        fn log(&self, _: Level, _: &[u8]) {}
        fn send_is_instant(&self, _: usize) -> bool {
            true
        }
    }

    /// A thread that says which request it took, and ends it when the test says so.
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
                let wait = || gone.recv_timeout(TIMEOUT).unwrap();
                if away { backlog.away(wait) } else { wait() }
            }
        });
        go
    }

    fn until_idle(backlog: &Backlog<Numbered>, threads: usize) {
        let begin = std::time::Instant::now();
        while backlog.lock().threads.idle() < threads {
            assert!(begin.elapsed() < TIMEOUT, "the threads did not begin to wait");
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
            assert_eq!(took.recv_timeout(TIMEOUT), Ok(1));
            backlog.push(Numbered(2)).unwrap();
            // Nobody watches, so that the second request waits for the thread that runs.
            assert_eq!(backlog.waiting(), 1);
            let _ = (first.send(()), second.send(()));
            assert_eq!(took.recv_timeout(TIMEOUT), Ok(2));
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
            let mut numbers: Vec<u32> = (0..3).map(|_| took.recv_timeout(TIMEOUT).unwrap()).collect();
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
            let mut numbers: Vec<u32> = (0..20).map(|_| took.recv_timeout(TIMEOUT).unwrap()).collect();
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
