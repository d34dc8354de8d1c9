//! Who of several Python threads may run: the scheduler of both modes.
//!
//! A thread that ends a request takes the next one itself, so that twenty threads cost a short request no
//! more than one does. Another thread is woken only when no running one can take what waits:
//! - none runs when a request comes ([`Threads::arrived`]),
//! - the last one that runs goes away into a blocking call of the server ([`Threads::leave`]),
//! - none of those that run has ended a request for a [`SLICE`]: they sleep or compute ([`Slices`]).
//!
//! Requests come from a *leader*: who waits for connections. In nginx that is the event loop, always; in a
//! daemon's worker it is whichever thread has nothing else to do, so that a thread is wanted there as well
//! while nobody leads.
//!
//! This is only the rule: no lock, no clock, no queue. Whoever uses it keeps a [`Threads`] under the lock of
//! what waits, and wakes the threads that it is handed when the lock is released. [`crate::backlog`] and a
//! worker of neatd do.

use std::cell::Cell;
use std::time::Duration;

/// How long a request waits behind busy threads before an idle one is woken.
pub const SLICE: Duration = Duration::from_micros(500);

/// So many slices in which nothing was wanted, and the watch goes to sleep.
const QUIET_SLICES: u32 = 20;

thread_local! {
    /// The calling thread.
    pub static RUNNER: Runner = const { Runner::new() };
}

/// What a thread knows of itself.
#[derive(Debug, Default)]
pub struct Runner {
    /// It is counted in [`Threads::running`].
    running: Cell<bool>,
}

impl Runner {
    /// A thread that does not run.
    #[must_use]
    pub const fn new() -> Self {
        Self { running: Cell::new(false) }
    }
}

/// The threads, as `T`s that can be woken.
#[derive(Debug)]
pub struct Threads<T> {
    /// Those that wait, the most recent last: it is woken first, its memory is still warm.
    idle: Vec<T>,
    /// Those that serve a request and are not away, or were woken to.
    running: usize,
    /// Grows whenever a request ends or somebody begins to lead.
    turns: u64,
    /// Somebody waits for connections.
    led: bool,
    /// The watch looks at each slice.
    watched: bool,
    closed: bool,
}

/// Whom to wake.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Wake<T> {
    /// This thread.
    pub thread: Option<T>,
    /// The watch, which sleeps.
    pub watch: bool,
}

impl<T> Threads<T> {
    /// No thread yet. `led`: requests come by themselves, as from an event loop.
    #[must_use]
    pub const fn new(led: bool) -> Self {
        Self { idle: Vec::new(), running: 0, turns: 0, led, watched: false, closed: false }
    }

    /// Picks an idle thread and counts it as running.
    fn pick(&mut self) -> Option<T> {
        let thread = self.idle.pop()?;
        self.running += 1;
        Some(thread)
    }

    /// A request has come from outside of these threads.
    pub fn arrived(&mut self) -> Wake<T> {
        let thread = if self.running == 0 { self.pick() } else { None };
        let watch = thread.is_none() && !self.watched && !self.idle.is_empty();
        self.watched |= watch;
        Wake { thread, watch }
    }

    /// The calling thread has taken a request; `true` when the watch is to be woken, since nobody leads.
    #[must_use]
    pub fn begin(&mut self, runner: &Runner) -> bool {
        if !runner.running.replace(true) {
            self.running += 1;
        }
        let watch = !self.led && !self.watched;
        self.watched |= watch;
        watch
    }

    /// The calling thread has ended its request, if it runs; it goes on running.
    pub fn end(&mut self, runner: &Runner) {
        if runner.running.get() {
            self.turns = self.turns.wrapping_add(1);
        }
    }

    /// The calling thread goes away into a blocking call in the middle of a request, while `waiting` requests
    /// wait. `None` when it does not run, so that it has nothing to say; otherwise [`Self::come_back`] has to
    /// follow.
    #[must_use]
    pub fn leave(&mut self, runner: &Runner, waiting: usize) -> Option<Wake<T>> {
        if !runner.running.replace(false) {
            return None;
        }
        self.running -= 1;
        let wanted = !self.led || self.running == 0 && waiting > 0;
        Some(Wake { thread: if wanted { self.pick() } else { None }, watch: false })
    }

    /// The calling thread is back from where it [went](Self::leave).
    pub fn come_back(&mut self, runner: &Runner) {
        runner.running.set(true);
        self.running += 1;
    }

    /// The calling thread runs no longer.
    pub fn rest(&mut self, runner: &Runner) {
        if runner.running.replace(false) {
            self.running -= 1;
        }
    }

    /// The calling thread waits until it is woken, as `thread`.
    pub fn sleep(&mut self, runner: &Runner, thread: T) {
        self.rest(runner);
        self.idle.push(thread);
    }

    /// The calling thread has been woken. Whoever did that took it off the list and counted it; without that
    /// the wake-up was a spurious one.
    pub fn woken(&mut self, runner: &Runner, is_own: impl Fn(&T) -> bool) {
        match self.idle.iter().position(is_own) {
            Some(position) => drop(self.idle.swap_remove(position)),
            None => runner.running.set(true),
        }
    }

    /// Begins to lead; `false` when somebody does.
    #[must_use]
    pub fn lead(&mut self) -> bool {
        !std::mem::replace(&mut self.led, true)
    }

    /// Has the calling thread lead for as long as nothing comes: that somebody does is a turn.
    pub fn lead_and_wait(&mut self, runner: &Runner) -> bool {
        let leads = self.lead();
        if leads {
            self.rest(runner);
            self.turns = self.turns.wrapping_add(1);
        }
        leads
    }

    /// Leads no longer.
    pub fn follow(&mut self) {
        self.led = false;
    }

    /// The watch has led in place of the threads and does so no longer: the thread that is to lead, where one
    /// is idle.
    pub fn hand_lead_over(&mut self) -> Option<T> {
        self.led = false;
        self.pick()
    }

    /// Whether somebody leads.
    #[must_use]
    pub const fn is_led(&self) -> bool {
        self.led
    }

    /// Whether every thread is busy.
    #[must_use]
    pub fn none_idle(&self) -> bool {
        self.idle.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Whether the watch is to look at each slice.
    #[must_use]
    pub const fn is_watched(&self) -> bool {
        self.watched
    }

    /// Has the watch look at each slice, or sleep.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// Nothing will come any more. All that wait are to be woken.
    #[must_use]
    pub fn close(&mut self) -> Vec<T> {
        self.closed = true;
        self.running += self.idle.len();
        std::mem::take(&mut self.idle)
    }

    /// Whether nothing will come any more.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }
}

/// The watch over slices, from when it wakes until it sleeps again.
#[derive(Debug)]
pub struct Slices {
    /// The count of turns when the slice began.
    turns: u64,
    quiet: u32,
    burst: usize,
}

impl Default for Slices {
    fn default() -> Self {
        Self { turns: 0, quiet: 0, burst: 1 }
    }
}

impl Slices {
    /// A slice begins.
    pub fn begin<T>(&mut self, threads: &Threads<T>) {
        self.turns = threads.turns;
    }

    /// Whether nothing has moved since the slice began.
    #[must_use]
    pub const fn is_stuck<T>(&self, threads: &Threads<T>) -> bool {
        self.turns == threads.turns
    }

    /// The slice has ended, and `waiting` requests wait: the threads to wake. One after the first slice in
    /// which nothing moved, two more after the second, and so on.
    #[must_use]
    pub fn end<T>(&mut self, threads: &mut Threads<T>, waiting: usize) -> Vec<T> {
        // One to lead, where nobody does.
        let wanted = waiting.max(usize::from(!threads.led));
        if wanted == 0 {
            (self.quiet, self.burst) = (self.quiet.saturating_add(1), 1);
        } else if !self.is_stuck(threads) {
            (self.quiet, self.burst) = (0, 1);
        } else {
            let count = self.burst.min(wanted);
            (self.quiet, self.burst) = (0, self.burst.saturating_mul(2));
            return (0..count).map_while(|_| threads.pick()).collect();
        }
        Vec::new()
    }

    /// The slice was not a quiet one, for a reason of the caller's.
    pub const fn keep_on(&mut self) {
        self.quiet = 0;
    }

    /// Whether the watch may sleep.
    #[must_use]
    pub const fn are_quiet(&self) -> bool {
        self.quiet >= QUIET_SLICES
    }
}

#[cfg(test)]
mod tests;
