//! Who of a worker's threads waits for its connections.
//!
//! Whoever of the Python threads has nothing to do leads: it waits for the connections, reads the request
//! that comes and serves it itself, so that a short request costs no switch of threads. When the leader has
//! been busy for a slice, the watch has another thread lead; when none is left, the watch leads, so that
//! limits hold and a request that waits can be given to another worker that has a thread free. Who is woken
//! when is [`shared::threads`]' rule.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use shared::exchange::{Next, Source};
use shared::log::Level;
use shared::threads::{RUNNER, SLICE, Slices};

use super::arrival;
use super::connection::Connection;
use super::connections::Event;
use super::exchange::DaemonExchange;
use super::hub::Hub;
use super::queue::State;

/// How long the watch leads before it looks whether a thread is free to.
const WATCH_TIMEOUT: Duration = Duration::from_millis(10);
/// How often a worker whose threads are all busy looks for another that is free.
const HANDOVER_INTERVAL: Duration = Duration::from_millis(1);
/// How many connections are accepted at a time: others of the group take some.
const MAX_ACCEPTED: usize = 8;

impl Hub {
    /// Reads a connection that rests, and `bytes` before what is in its socket.
    fn read(self: &Arc<Self>, connection: &Arc<Connection>, bytes: &[u8], found: &mut Vec<DaemonExchange>) {
        match arrival::read(connection, bytes) {
            Ok(Some(arrival)) => {
                found.push(DaemonExchange::new(Arc::clone(connection), Arc::clone(self), arrival));
            }
            Ok(None) => {}
            Err(why) => {
                if let Some(why) = why {
                    self.log(Level::Warning, format!("a connection of the server: {why}").as_bytes());
                }
                self.connections.remove(connection.token);
            }
        }
    }

    fn read_all(self: &Arc<Self>, readable: &[Arc<Connection>]) -> Vec<DaemonExchange> {
        let mut found = Vec::new();
        for connection in readable {
            self.read(connection, b"", &mut found);
        }
        found
    }

    /// Adds a connection, and reads what came over it already.
    fn adopt(
        self: &Arc<Self>,
        make: impl FnOnce(u64) -> Connection,
        bytes: &[u8],
        found: &mut Vec<DaemonExchange>,
    ) {
        if let Some(connection) = self.connections.add(make) {
            self.read(&connection, bytes, found);
        }
    }

    /// Looks after the connections for at most `timeout`; who calls it leads.
    fn poll(self: &Arc<Self>, timeout: Option<Duration>) -> Vec<DaemonExchange> {
        let readable = std::mem::take(&mut self.queue.lock().readable);
        let mut found = self.read_all(&readable);
        let timeout = if found.is_empty() { timeout } else { Some(Duration::ZERO) };
        for event in self.connections.wait(timeout) {
            match event {
                Event::Connect => {
                    self.accept(&mut found, MAX_ACCEPTED);
                }
                Event::Handover => self.take_handovers(&mut found),
                Event::Readable(connection) => {
                    if connection.note_readable() {
                        self.read(&connection, b"", &mut found);
                    }
                }
            }
        }
        found
    }

    /// Accepts connections.
    pub(super) fn accept(self: &Arc<Self>, found: &mut Vec<DaemonExchange>, most: usize) {
        for _ in 0..most {
            let Some(socket) = self.connections.accept(&self.limits()) else { return };
            self.adopt(|token| Connection::new(token, socket), b"", found);
        }
    }

    pub(super) fn take_handovers(self: &Arc<Self>, found: &mut Vec<DaemonExchange>) {
        while let Some(taken) = self.connections.take_handover() {
            let (socket, last, is_new) = (taken.socket, taken.last_exchange, taken.is_new);
            self.adopt(|token| Connection::resumed(token, socket, last, is_new), &taken.bytes, found);
        }
    }

    /// Puts requests where threads find them; what is too much is refused.
    pub(super) fn add(&self, found: Vec<DaemonExchange>) {
        for exchange in self.queue.add(found) {
            let most = self.limits().queue_size;
            exchange.refuse(503, 1, &format!("{most} requests wait for a thread already (queue-size)"));
        }
    }

    /// Watches over the slices, and leads when nobody else can; runs on a thread of its own until the hub is
    /// closed.
    pub fn watch(self: &Arc<Self>) {
        let mut state = self.queue.lock();
        while !state.threads.is_closed() {
            if !state.threads.is_watched() && state.draining.is_none() {
                state = self.queue.watch.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let mut slices = Slices::default();
            while !state.threads.is_closed() && !slices.are_quiet() {
                slices.begin(&state.threads);
                state = self.queue.watch.wait_timeout(state, SLICE).unwrap_or_else(PoisonError::into_inner).0;
                let is_stuck = slices.is_stuck(&state.threads);
                if is_stuck && state.threads.is_led() && !state.readable.is_empty() {
                    self.connections.wake();
                    slices.keep_on();
                } else if is_stuck && !state.threads.is_led() && state.threads.none_idle() {
                    state = self.poll_while_busy(state);
                    slices.keep_on();
                } else {
                    let waiting = state.ready.len();
                    let woken = slices.end(&mut state.threads, waiting);
                    if !woken.is_empty() {
                        drop(state);
                        woken.iter().for_each(Thread::unpark);
                        state = self.queue.lock();
                    }
                }
            }
            state.threads.set_watched(false);
        }
    }

    /// All threads are busy: the watch looks after the connections until one is free.
    fn poll_while_busy<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        // Nobody leads: the caller has looked under this lock.
        let _ = state.threads.lead();
        while !state.threads.is_closed() && state.threads.none_idle() {
            let timeout = if state.ready.is_empty() { WATCH_TIMEOUT } else { HANDOVER_INTERVAL };
            drop(state);
            let found = self.poll(Some(timeout));
            self.add(found);
            self.hand_over();
            self.refuse_late();
            state = self.queue.lock();
            if self.queue.has_free_thread(&state) && !state.ready.is_empty() {
                break;
            }
        }
        let next = state.threads.hand_lead_over();
        drop(state);
        if let Some(thread) = next {
            thread.unpark();
        }
        self.queue.lock()
    }

    /// Gives requests that wait here to workers that have a thread free.
    fn hand_over(&self) {
        while let Some(reserved) = self.queue.reserve_other() {
            let Some(exchange) = self.queue.take_stuck() else { return };
            if !self.connections.hand_over(reserved.slot(), &exchange) {
                return self.queue.put_back(exchange);
            }
            reserved.use_up();
            let connection = exchange.forget();
            self.connections.remove(connection.token);
        }
    }

    fn refuse_late(&self) {
        let Some(most) = self.limits().queue_timeout else { return };
        while let Some(exchange) = self.queue.take_late(most) {
            let seconds = most.as_secs_f64();
            exchange.refuse(503, 1, &format!("it waited {seconds} s for a thread (queue-timeout)"));
        }
    }
}

/// The hub as the engine's source of requests.
#[derive(Clone)]
pub struct Requests(pub Arc<Hub>);

impl Source for Requests {
    type Exchange = DaemonExchange;

    fn try_next(&self) -> Next<DaemonExchange> {
        let hub = &self.0;
        let mut state = hub.queue.lock();
        hub.queue.end(&mut state);
        if state.threads.is_closed() {
            return Next::Closed;
        }
        if let Some(exchange) = hub.queue.take(&mut state) {
            return Next::Exchange(exchange);
        }
        let leads = state.threads.lead();
        let readable = std::mem::take(&mut state.readable);
        drop(state);
        let mut found = hub.read_all(&readable);
        if leads && found.is_empty() {
            found = hub.poll(Some(Duration::ZERO));
        }
        hub.add(found);
        let mut state = hub.queue.lock();
        if leads {
            state.threads.follow();
        }
        hub.queue.take(&mut state).map_or(Next::Nothing, Next::Exchange)
    }

    fn wait_next(&self) -> Next<DaemonExchange> {
        let hub = &self.0;
        RUNNER.with(|runner| {
            let mut state = hub.queue.lock();
            hub.queue.end(&mut state);
            loop {
                if state.threads.is_closed() {
                    state.threads.rest(runner);
                    return Next::Closed;
                }
                if let Some(exchange) = hub.queue.take(&mut state) {
                    return Next::Exchange(exchange);
                }
                if state.threads.lead_and_wait(runner) {
                    drop(state);
                    let found = hub.poll(None);
                    hub.add(found);
                    state = hub.queue.lock();
                    state.threads.follow();
                    continue;
                }
                let current = std::thread::current();
                let own = current.id();
                state.threads.sleep(runner, current);
                drop(state);
                std::thread::park();
                state = hub.queue.lock();
                state.threads.woken(runner, |thread| thread.id() == own);
            }
        })
    }
}
