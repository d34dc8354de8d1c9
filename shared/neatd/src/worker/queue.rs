//! The requests of a worker that wait for a thread, those that are served, and what the scoreboard shows of
//! them.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use shared::threads::{RUNNER, Threads};
use shared::waiting::Waiting;

use super::connection::Connection;
use super::exchange::DaemonExchange;
use super::hub::Limits;
use crate::warden::scoreboard::{Scoreboard, ThreadScore, now};

/// How often a queue that is full is searched for requests whose clients have gone.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

thread_local! {
    /// Which of the worker's threads this is.
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The requests of a worker.
pub struct Queue {
    state: Mutex<State>,
    /// Wakes the watch.
    pub watch: Condvar,
    board: Arc<Scoreboard>,
    slot: usize,
    limits: Limits,
}

/// What the lock of a queue guards.
pub struct State {
    /// Requests that wait.
    pub ready: Waiting<DaemonExchange>,
    /// When it was looked for requests that nobody waits for any more.
    swept: Instant,
    /// Connections that something has come over while a request of them was served.
    pub readable: Vec<Arc<Connection>>,
    /// Who may run.
    pub threads: Threads<Thread>,
    /// What each thread serves.
    served: Vec<Option<Served>>,
    /// Threads that serve a request, away or not.
    serving: usize,
    /// Since when the worker is about to leave.
    pub draining: Option<Instant>,
}

/// What a thread serves.
#[derive(Clone)]
pub struct Served {
    /// The connection of its request.
    pub connection: Arc<Connection>,
    /// The request's number there.
    pub number: u16,
    /// The thread, as the system numbers it.
    pub thread: u64,
}

/// A thread of another worker that a request of this one is about to be given to.
pub struct Reservation {
    board: Arc<Scoreboard>,
    slot: usize,
    /// How many free threads the worker shows beside this one.
    left: u32,
}

impl Reservation {
    /// The worker's slot.
    pub const fn slot(&self) -> usize {
        self.slot
    }

    /// The request is there: the worker shows by itself that the thread is taken.
    pub fn use_up(mut self) {
        self.left = u32::MAX;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // The worker is idle, and would not show its figures anew before somebody asks it. Where it has, they
        // are right.
        if let Some(before) = self.left.checked_add(1) {
            let idle = &self.board.score(self.slot).idle;
            let _ = idle.compare_exchange(self.left, before, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Queue {
    /// An empty one.
    pub fn new(board: Arc<Scoreboard>, slot: usize, limits: Limits) -> Self {
        let idle = u32::try_from(limits.threads).unwrap_or(u32::MAX);
        board.score(slot).idle.store(idle, Ordering::Relaxed);
        let state = State {
            ready: Waiting::default(),
            swept: Instant::now(),
            readable: Vec::new(),
            threads: Threads::new(false),
            served: vec![None; limits.threads],
            serving: 0,
            draining: None,
        };
        Self { state: Mutex::new(state), watch: Condvar::new(), board, slot, limits }
    }

    /// Locks it.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so that a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the calling thread on the scoreboard.
    pub fn join(&self, number: usize) {
        NUMBER.set(Some(number));
    }

    fn score(&self) -> Option<&ThreadScore> {
        self.board.threads(self.slot).get(NUMBER.get()?)
    }

    /// Shows how many threads are free and how many requests wait.
    fn show(&self, state: &State) {
        let score = self.board.score(self.slot);
        let free = self.limits.threads.saturating_sub(state.serving);
        // Whoever leaves takes nothing from others.
        let idle = if state.draining.is_some() { 0 } else { free.saturating_sub(state.ready.len()) };
        // What a free thread is about to take does not wait.
        let waiting = state.ready.len().saturating_sub(free);
        score.idle.store(u32::try_from(idle).unwrap_or(0), Ordering::Relaxed);
        score.waiting.store(u32::try_from(waiting).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Runs `wait`, a blocking call in the middle of a request.
    pub fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        RUNNER.with(|runner| {
            let mut state = self.lock();
            let waiting = state.ready.len();
            let Some(left) = state.threads.leave(runner, waiting) else {
                drop(state);
                return wait();
            };
            drop(state);
            if let Some(thread) = left.thread {
                thread.unpark();
            }
            let score = self.score();
            score.map(ThreadScore::leave);
            let result = wait();
            score.map(ThreadScore::come_back);
            self.lock().threads.come_back(runner);
            result
        })
    }

    /// Adds requests; those that are too many are handed back.
    pub fn add(&self, found: Vec<DaemonExchange>) -> Vec<DaemonExchange> {
        let mut refused = Vec::new();
        if found.is_empty() {
            return refused;
        }
        let mut state = self.lock();
        for exchange in found {
            let busy = state.serving + state.ready.len() >= self.limits.threads;
            if busy && self.board.waiting() >= self.limits.queue_size {
                self.sweep(&mut state);
            }
            if busy && self.board.waiting() >= self.limits.queue_size || state.threads.is_closed() {
                refused.push(exchange);
            } else {
                state.ready.push(exchange);
                self.show(&state);
            }
        }
        refused
    }

    /// Makes room of what nobody waits for any more, now and then: it costs a call of the system for each.
    fn sweep(&self, state: &mut State) {
        if state.swept.elapsed() >= SWEEP_INTERVAL {
            state.swept = Instant::now();
            state.ready.sweep(DaemonExchange::is_abandoned).into_iter().for_each(DaemonExchange::abandon);
            self.show(state);
        }
    }

    /// Takes the next request for the calling thread.
    pub fn take(&self, state: &mut State) -> Option<DaemonExchange> {
        let taken = state.ready.take(DaemonExchange::is_abandoned);
        if !taken.abandoned.is_empty() {
            taken.abandoned.into_iter().for_each(DaemonExchange::abandon);
            self.show(state);
        }
        let exchange = taken.next?;
        state.serving += 1;
        let watch = RUNNER.with(|runner| state.threads.begin(runner));
        self.show(state);
        if let Some(score) = self.score() {
            let (method, target) = exchange.request_line();
            score.begin(method, target);
        }
        if let Some(served) = NUMBER.get().and_then(|number| state.served.get_mut(number)) {
            *served = Some(Served {
                connection: Arc::clone(exchange.connection()),
                number: exchange.number(),
                thread: nix::sys::pthread::pthread_self() as u64,
            });
        }
        if watch {
            self.watch.notify_one();
        }
        Some(exchange)
    }

    /// The calling thread's request has ended, if it had one.
    pub fn end(&self, state: &mut State) {
        let served = NUMBER.get().and_then(|number| state.served.get_mut(number)).and_then(Option::take);
        if served.is_none() {
            return;
        }
        state.serving -= 1;
        RUNNER.with(|runner| state.threads.end(runner));
        let score = self.board.score(self.slot);
        score.served.fetch_add(1, Ordering::Relaxed);
        score.active.store(now(), Ordering::Relaxed);
        self.show(state);
        if let Some(score) = self.score() {
            score.end();
        }
    }

    /// What each thread serves.
    pub fn served(&self) -> Vec<Option<Served>> {
        self.lock().served.clone()
    }

    /// Whether a thread is free for what waits.
    pub fn has_free_thread(&self, state: &State) -> bool {
        state.serving < self.limits.threads
    }

    /// Takes a request that no thread of this worker is free for.
    pub fn take_stuck(&self) -> Option<DaemonExchange> {
        let mut state = self.lock();
        if self.has_free_thread(&state) {
            return None;
        }
        let exchange = state.ready.take_oldest()?;
        self.show(&state);
        Some(exchange)
    }

    /// Puts a request back that was taken last.
    pub fn put_back(&self, exchange: DaemonExchange) {
        let mut state = self.lock();
        state.ready.put_back(exchange);
        self.show(&state);
    }

    /// Takes a request that has waited for longer than `most`.
    pub fn take_late(&self, most: Duration) -> Option<DaemonExchange> {
        let mut state = self.lock();
        if state.ready.oldest().is_none_or(|exchange| exchange.arrived.elapsed() < most) {
            return None;
        }
        let late = state.ready.take_oldest();
        self.show(&state);
        late
    }

    /// Another worker that has a thread for what waits here, which is reserved until the worker shows its
    /// figures anew; a reservation that is not used goes back when it is dropped.
    pub fn reserve_other(&self) -> Option<Reservation> {
        let other = (0..self.board.len()).filter(|slot| *slot != self.slot).find(|slot| {
            let score = self.board.score(*slot);
            score.idle.load(Ordering::Relaxed) > 0 && score.waiting.load(Ordering::Relaxed) == 0
        })?;
        let idle = &self.board.score(other).idle;
        let reserved = idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |idle| idle.checked_sub(1));
        let left = reserved.ok()?.saturating_sub(1);
        Some(Reservation { board: Arc::clone(&self.board), slot: other, left })
    }

    /// Something has come over a connection whose request has just ended. The calling thread reads it when it
    /// asks for its next request; the watch sees to it that this is soon.
    pub fn add_readable(&self, connection: &Arc<Connection>) {
        let mut state = self.lock();
        state.readable.push(Arc::clone(connection));
        if !state.threads.is_watched() {
            state.threads.set_watched(true);
            self.watch.notify_one();
        }
    }

    /// Whether the worker is about to leave.
    pub fn is_draining(&self) -> bool {
        self.lock().draining.is_some()
    }

    /// The worker is about to leave; `false` when that was said before.
    pub fn drain(&self) -> bool {
        let mut state = self.lock();
        if state.draining.is_some() {
            return false;
        }
        state.draining = Some(Instant::now());
        self.board.score(self.slot).idle.store(0, Ordering::Relaxed);
        state.threads.set_watched(true);
        drop(state);
        self.watch.notify_one();
        true
    }

    /// Since when the worker is about to leave, if nothing is left to do.
    pub fn drained_since(&self) -> Option<Instant> {
        let state = self.lock();
        state.draining.filter(|_| state.serving == 0 && state.ready.is_empty())
    }

    /// Ends the threads: each leaves when it asks for its next request.
    pub fn close(&self) {
        let mut state = self.lock();
        let waiting: Vec<_> = state.ready.drain().collect();
        let idle = state.threads.close();
        drop(state);
        drop(waiting);
        idle.iter().for_each(Thread::unpark);
        self.watch.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::AllowedClients;

    fn queue_beside(others_idle: u32) -> Queue {
        let board = Arc::new(Scoreboard::new(2, 2).unwrap());
        board.score(1).idle.store(others_idle, Ordering::Relaxed);
        let limits = Limits {
            threads: 2,
            queue_size: 10,
            queue_timeout: None,
            send_timeout: Duration::from_secs(1),
            buffers: (None, None),
            clients: AllowedClients::of(None),
            header_line: 1000,
        };
        Queue::new(board, 0, limits)
    }

    #[test]
    fn a_reservation_that_is_not_used_goes_back() {
        let queue = queue_beside(1);
        let reserved = queue.reserve_other().unwrap();
        assert_eq!(reserved.slot(), 1);
        assert!(queue.reserve_other().is_none(), "its one thread is reserved");
        drop(reserved);
        queue.reserve_other().unwrap().use_up();
        assert!(queue.reserve_other().is_none(), "the worker shows anew when it has taken the request");
    }

    #[test]
    fn what_a_worker_shows_itself_is_not_changed_by_what_goes_back() {
        let queue = queue_beside(2);
        let reserved = queue.reserve_other().unwrap();
        queue.board.score(1).idle.store(0, Ordering::Relaxed);
        drop(reserved);
        assert!(queue.reserve_other().is_none());
    }
}
