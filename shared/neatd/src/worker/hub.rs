//! Where a worker's requests come from: its connections, and who of its threads watches them.
//!
//! Whoever of the Python threads has nothing to do leads: it waits for the connections, reads the request that comes and serves it
//! itself, so that a short request costs no switch of threads. When the leader has been busy for a slice, the watch has another
//! thread lead; when none is left, the watch leads, so that limits hold and a request that waits can be given to another worker
//! that has a thread free.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use shared::exchange::{Next, Source};
use shared::log::Level;

use super::connection::Connection;
use super::exchange::DaemonExchange;
use super::handover::Inboxes;
use super::reading;
use crate::clients::AllowedClients;
use crate::scoreboard::{Scoreboard, ThreadSlot, now};

/// How long a request waits behind busy threads before an idle one is woken.
const SLICE: Duration = Duration::from_micros(500);
/// So many slices in which somebody led, and the watch goes to sleep.
const QUIET_SLICES: u32 = 20;
/// How long the watch leads before it looks whether a thread is free to.
const WATCH_LEADS: Duration = Duration::from_millis(10);
/// How often a worker whose threads are all busy looks for another that is free.
const LOOK_AROUND: Duration = Duration::from_millis(1);
/// How long a connection may linger after it was told that the worker takes no more.
const LINGER: Duration = Duration::from_secs(1);

/// The listener's number among the events.
const LISTENER: u64 = 0;
/// The inbox's.
const INBOX: u64 = 1;
/// What wakes who leads.
const WAKE: u64 = 2;
/// The first connection's.
const FIRST: u64 = 16;

thread_local! {
    /// Which of the worker's threads this is.
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    /// Whether this thread serves a request and is not away.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// What the group allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Python threads of this worker.
    pub threads: usize,
    /// Requests that may wait in all workers together.
    pub queue_size: usize,
    /// How long one may wait.
    pub queue_timeout: Option<Duration>,
    /// How long the server may take nothing of a response.
    pub send_timeout: Duration,
    /// The size of the socket's buffers.
    pub buffers: (Option<u64>, Option<u64>),
    /// Who may ask.
    pub peers: AllowedClients,
    /// The longest header line of a response, in bytes.
    pub header_line: usize,
}

/// A worker's connections and requests.
pub struct Hub {
    epoll: Epoll,
    wake: EventFd,
    listener: OwnedFd,
    inboxes: Inboxes,
    board: Arc<Scoreboard>,
    slot: usize,
    limits: Limits,
    log: fn(Level, &[u8]),
    state: Mutex<State>,
    watch: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<DaemonExchange>,
    /// Connections that something has come over while a request of them was served.
    stirred: Vec<Arc<Connection>>,
    connections: HashMap<u64, Arc<Connection>>,
    next: u64,
    idle: Vec<Thread>,
    /// What each thread serves.
    served: Vec<Option<Served>>,
    /// Threads that serve a request, away or not.
    serving: usize,
    /// Of these, those that are away in a blocking call.
    away: usize,
    leading: bool,
    /// Grows whenever somebody begins to lead or ends a request.
    turns: u64,
    watched: bool,
    draining: Option<Instant>,
    closed: bool,
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

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hub").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub over the group's listener and this worker's inbox.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        listener: OwnedFd,
        inboxes: Inboxes,
        board: Arc<Scoreboard>,
        slot: usize,
        limits: Limits,
        log: fn(Level, &[u8]),
    ) -> nix::Result<Arc<Self>> {
        let epoll = Epoll::new(nix::sys::epoll::EpollCreateFlags::EPOLL_CLOEXEC)?;
        let shared_wake = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        epoll.add(&listener, EpollEvent::new(shared_wake, LISTENER))?;
        if let Some(inbox) = inboxes.own(slot) {
            epoll.add(inbox, EpollEvent::new(EpollFlags::EPOLLIN, INBOX))?;
        }
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE))?;
        let state = Mutex::new(State { next: FIRST, served: vec![None; limits.threads], ..State::default() });
        board.slot(slot).idle.store(u32::try_from(limits.threads).unwrap_or(u32::MAX), Ordering::Relaxed);
        Ok(Arc::new(Self {
            epoll,
            wake,
            listener,
            inboxes,
            board,
            slot,
            limits,
            log,
            state,
            watch: Condvar::new(),
        }))
    }

    /// What the group allows.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Writes a line that belongs to no request.
    pub fn log(&self, level: Level, message: &[u8]) {
        (self.log)(level, message);
    }

    /// Names the calling thread on the board.
    pub fn join(&self, number: usize) {
        NUMBER.set(Some(number));
    }

    /// What each thread serves.
    pub fn served(&self) -> Vec<Option<Served>> {
        self.lock().served.clone()
    }

    fn place(&self) -> Option<&ThreadSlot> {
        self.board.threads(self.slot).get(NUMBER.get()?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so that a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, state: &State) {
        let slot = self.board.slot(self.slot);
        let free = self.limits.threads.saturating_sub(state.serving);
        // Whoever leaves takes nothing from others.
        let idle = if state.draining.is_some() { 0 } else { free.saturating_sub(state.ready.len()) };
        // What a free thread is about to take does not wait.
        let waiting = state.ready.len().saturating_sub(free);
        slot.idle.store(u32::try_from(idle).unwrap_or(0), Ordering::Relaxed);
        slot.waiting.store(u32::try_from(waiting).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Runs `wait`, a blocking call in the middle of a request.
    pub fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        if !RUNNING.replace(false) {
            return wait();
        }
        let mut state = self.lock();
        state.away += 1;
        // Nobody is left to see what comes: another thread leads at once.
        let wake = if state.leading { None } else { state.idle.pop() };
        drop(state);
        if let Some(thread) = wake {
            thread.unpark();
        }
        self.place().map(ThreadSlot::leave);
        let result = wait();
        self.place().map(ThreadSlot::come_back);
        self.lock().away -= 1;
        RUNNING.set(true);
        result
    }

    /// A request of a connection has ended.
    pub fn has_ended(self: &Arc<Self>, connection: &Arc<Connection>) {
        if connection.outbound().closed {
            self.drop_connection(connection.token);
            return;
        }
        let unread = {
            let inbound = connection.inbound();
            inbound.used < inbound.pending.len()
        };
        let stirred = connection.rest();
        let mut state = self.lock();
        if stirred || unread {
            // The calling thread reads it when it asks for its next request; the watch sees to it that this is soon.
            state.stirred.push(Arc::clone(connection));
            if !state.watched {
                state.watched = true;
                self.watch.notify_one();
            }
        }
        let draining = state.draining.is_some();
        drop(state);
        if draining {
            reading::say_closing(connection);
        }
    }

    fn drop_connection(&self, token: u64) {
        let gone = self.lock().connections.remove(&token);
        if let Some(connection) = gone {
            let _ = self.epoll.delete(&*connection);
        }
    }

    /// Adds a connection, and reads what came over it already.
    fn adopt(
        self: &Arc<Self>,
        make: impl FnOnce(u64) -> Connection,
        found: &mut Vec<DaemonExchange>,
        bytes: Option<&[u8]>,
    ) {
        let mut state = self.lock();
        let token = state.next;
        state.next += 1;
        let connection = Arc::new(make(token));
        state.connections.insert(token, Arc::clone(&connection));
        drop(state);
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        if self.epoll.add(&*connection, EpollEvent::new(flags, token)).is_err() {
            self.drop_connection(token);
            return;
        }
        match bytes {
            Some(bytes) => self.read(&connection, Some(bytes), found),
            None => self.read(&connection, None, found),
        }
    }

    fn read(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        bytes: Option<&[u8]>,
        found: &mut Vec<DaemonExchange>,
    ) {
        match reading::read(self, connection, bytes) {
            Ok(Some(exchange)) => found.push(exchange),
            Ok(None) => {}
            Err(why) => {
                if let Some(why) = why {
                    self.log(Level::Warning, format!("a connection of the server: {why}").as_bytes());
                }
                self.drop_connection(connection.token);
            }
        }
    }

    fn read_all(self: &Arc<Self>, stirred: &[Arc<Connection>]) -> Vec<DaemonExchange> {
        let mut found = Vec::new();
        for connection in stirred {
            self.read(connection, None, &mut found);
        }
        found
    }

    /// Looks after the connections for at most `patience`; who calls it leads.
    fn lead(self: &Arc<Self>, patience: Option<Duration>) -> Vec<DaemonExchange> {
        let stirred = std::mem::take(&mut self.lock().stirred);
        let mut found = self.read_all(&stirred);
        let patience = if found.is_empty() { patience } else { Some(Duration::ZERO) };
        let mut events = [EpollEvent::empty(); 64];
        let timeout = patience.map_or(EpollTimeout::NONE, |patience| {
            let millis = if patience.is_zero() { 0 } else { patience.as_millis().max(1) };
            EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::NONE)
        });
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        for event in events.iter().take(count) {
            match event.data() {
                LISTENER => self.accept(&mut found),
                INBOX => self.open_inbox(&mut found),
                WAKE => {}
                token => {
                    let connection = self.lock().connections.get(&token).map(Arc::clone);
                    if let Some(connection) = connection.filter(|connection| connection.stir()) {
                        self.read(&connection, None, &mut found);
                    }
                }
            }
        }
        found
    }

    fn accept(self: &Arc<Self>, found: &mut Vec<DaemonExchange>) {
        // Not all at once: others of the group take some.
        for _ in 0..8 {
            match reading::accept(&self.listener, &self.limits) {
                Some(socket) => self.adopt(|token| Connection::new(token, socket), found, None),
                None => return,
            }
        }
    }

    fn open_inbox(self: &Arc<Self>, found: &mut Vec<DaemonExchange>) {
        while let Some((socket, exchange, greet, bytes)) = self.inboxes.receive(self.slot) {
            self.adopt(|token| Connection::resumed(token, socket, exchange, greet), found, Some(&bytes));
        }
    }

    /// Puts requests where threads find them; what is too much is refused.
    fn queue(&self, found: Vec<DaemonExchange>) {
        let mut refused = Vec::new();
        let mut state = self.lock();
        for exchange in found {
            let busy = state.serving + state.ready.len() >= self.limits.threads;
            if busy && self.board.waiting() >= self.limits.queue_size || state.closed {
                refused.push(exchange);
            } else {
                state.ready.push_back(exchange);
                self.note(&state);
            }
        }
        drop(state);
        for exchange in refused {
            let why = format!("{} requests wait for a thread already (queue-size)", self.limits.queue_size);
            exchange.refuse(503, 1, &why);
        }
    }

    /// Takes the next request for the calling thread.
    fn take(&self, state: &mut State) -> Option<DaemonExchange> {
        let exchange = state.ready.pop_front()?;
        state.serving += 1;
        RUNNING.set(true);
        self.note(state);
        if let Some(place) = self.place() {
            let (method, target) = exchange.request_line();
            place.begin(method, target);
        }
        if let Some(served) = NUMBER.get().and_then(|number| state.served.get_mut(number)) {
            *served = Some(Served {
                connection: Arc::clone(exchange.connection()),
                number: exchange.number(),
                thread: nix::sys::pthread::pthread_self() as u64,
            });
        }
        // Nobody leads now: the watch has an eye on it.
        if !state.watched && !state.leading {
            state.watched = true;
            self.watch.notify_one();
        }
        Some(exchange)
    }

    /// The calling thread's request has ended, if it had one.
    fn done(&self, state: &mut State) {
        if !RUNNING.replace(false) {
            return;
        }
        state.serving -= 1;
        state.turns = state.turns.wrapping_add(1);
        let slot = self.board.slot(self.slot);
        slot.served.fetch_add(1, Ordering::Relaxed);
        slot.active.store(now(), Ordering::Relaxed);
        self.note(state);
        if let Some(place) = self.place() {
            place.end();
        }
        if let Some(served) = NUMBER.get().and_then(|number| state.served.get_mut(number)) {
            *served = None;
        }
    }

    /// Watches over the slice, and leads when nobody else can; runs on a thread of its own until the hub is closed.
    pub fn watch(self: &Arc<Self>) {
        let mut state = self.lock();
        while !state.closed {
            if !state.watched && state.draining.is_none() {
                state = self.watch.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (mut quiet, mut burst) = (0, 1);
            while !state.closed && quiet < QUIET_SLICES {
                let before = state.turns;
                state = self.watch.wait_timeout(state, SLICE).unwrap_or_else(PoisonError::into_inner).0;
                let stuck = state.turns == before;
                if stuck && state.leading && !state.stirred.is_empty() {
                    // A counter that is full wakes as well.
                    let _ = self.wake.write(1);
                    quiet = 0;
                    continue;
                }
                if state.leading && state.ready.is_empty() {
                    (quiet, burst) = (quiet + 1, 1);
                } else if stuck && state.idle.is_empty() && !state.leading {
                    state = self.stand_in(state);
                    quiet = 0;
                } else if stuck {
                    let wanted = if state.ready.is_empty() { 1 } else { burst.min(state.ready.len()) };
                    let woken: Vec<Thread> = (0..wanted).map_while(|_| state.idle.pop()).collect();
                    drop(state);
                    woken.iter().for_each(Thread::unpark);
                    state = self.lock();
                    (quiet, burst) = (0, burst.saturating_mul(2));
                } else {
                    (quiet, burst) = (0, 1);
                }
            }
            state.watched = false;
        }
    }

    /// All threads are busy: the watch looks after the connections until one is free.
    fn stand_in<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.leading = true;
        while !state.closed && state.idle.is_empty() {
            let patience = if state.ready.is_empty() { WATCH_LEADS } else { LOOK_AROUND };
            drop(state);
            let found = self.lead(Some(patience));
            self.queue(found);
            self.hand_over();
            self.refuse_late();
            state = self.lock();
            if state.serving < self.limits.threads && !state.ready.is_empty() {
                break;
            }
        }
        state.leading = false;
        let next = state.idle.pop();
        drop(state);
        if let Some(thread) = next {
            thread.unpark();
        }
        self.lock()
    }

    /// Gives requests that wait here to workers that have a thread free.
    fn hand_over(self: &Arc<Self>) {
        loop {
            let Some(other) = self.free_worker() else { return };
            let mut state = self.lock();
            if state.serving < self.limits.threads {
                return;
            }
            let Some(exchange) = state.ready.pop_front() else { return };
            self.note(&state);
            drop(state);
            match self.inboxes.send(other, &exchange) {
                true => {
                    let connection = exchange.forget();
                    self.drop_connection(connection.token);
                }
                false => {
                    let mut state = self.lock();
                    state.ready.push_front(exchange);
                    self.note(&state);
                    return;
                }
            }
        }
    }

    fn free_worker(&self) -> Option<usize> {
        let other = (0..self.board.len()).filter(|slot| *slot != self.slot).find(|slot| {
            let slot = self.board.slot(*slot);
            slot.idle.load(Ordering::Relaxed) > 0 && slot.waiting.load(Ordering::Relaxed) == 0
        })?;
        // A thread of it is spoken for; it will say anew itself.
        let reserved =
            self.board
                .slot(other)
                .idle
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |idle| idle.checked_sub(1));
        reserved.is_ok().then_some(other)
    }

    fn refuse_late(&self) {
        let Some(most) = self.limits.queue_timeout else { return };
        loop {
            let mut state = self.lock();
            if state.ready.front().is_none_or(|exchange| exchange.arrived.elapsed() < most) {
                return;
            }
            let late = state.ready.pop_front();
            self.note(&state);
            drop(state);
            if let Some(exchange) = late {
                let why = format!("it waited {} s for a thread (queue-timeout)", most.as_secs_f64());
                exchange.refuse(503, 1, &why);
            }
        }
    }

    /// Takes no further connection, and tells those there are: the worker is about to leave.
    pub fn drain(self: &Arc<Self>) {
        let mut found = Vec::new();
        // Whoever connected before belongs here.
        while let Some(socket) = reading::accept(&self.listener, &self.limits) {
            self.adopt(|token| Connection::new(token, socket), &mut found, None);
        }
        self.queue(found);
        let mut state = self.lock();
        if state.draining.is_some() {
            return;
        }
        state.draining = Some(Instant::now());
        self.board.slot(self.slot).idle.store(0, Ordering::Relaxed);
        let _ = self.epoll.delete(&self.listener);
        let resting: Vec<_> =
            state.connections.values().filter(|connection| connection.is_resting()).map(Arc::clone).collect();
        state.watched = true;
        drop(state);
        self.watch.notify_one();
        for connection in resting {
            reading::say_closing(&connection);
        }
    }

    /// Whether a draining worker has nothing more to do.
    pub fn is_drained(&self) -> bool {
        let state = self.lock();
        let idle = state.serving == 0 && state.ready.is_empty();
        let lingered = state.draining.is_some_and(|since| since.elapsed() > LINGER);
        idle && (state.connections.is_empty() || lingered)
    }

    /// Ends the threads: each leaves when it asks for its next request.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting: Vec<_> = state.ready.drain(..).collect();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(waiting);
        idle.iter().for_each(Thread::unpark);
        self.watch.notify_all();
        // A counter that is full wakes as well.
        let _ = self.wake.write(1);
    }
}

/// The hub as the engine's source of requests.
#[derive(Clone)]
pub struct Requests(pub Arc<Hub>);

impl Source for Requests {
    type Exchange = DaemonExchange;

    fn try_next(&self) -> Next<DaemonExchange> {
        let hub = &self.0;
        let mut state = hub.lock();
        hub.done(&mut state);
        if state.closed {
            return Next::Closed;
        }
        if let Some(exchange) = hub.take(&mut state) {
            return Next::Exchange(exchange);
        }
        let leads = !std::mem::replace(&mut state.leading, true);
        let stirred = std::mem::take(&mut state.stirred);
        drop(state);
        let mut found = hub.read_all(&stirred);
        if leads && found.is_empty() {
            found = hub.lead(Some(Duration::ZERO));
        }
        hub.queue(found);
        let mut state = hub.lock();
        if leads {
            state.leading = false;
        }
        hub.take(&mut state).map_or(Next::Nothing, Next::Exchange)
    }

    fn wait_next(&self) -> Next<DaemonExchange> {
        let hub = &self.0;
        let mut state = hub.lock();
        hub.done(&mut state);
        loop {
            if state.closed {
                return Next::Closed;
            }
            if let Some(exchange) = hub.take(&mut state) {
                return Next::Exchange(exchange);
            }
            if state.leading {
                state.idle.push(std::thread::current());
                drop(state);
                std::thread::park();
                state = hub.lock();
                let own = std::thread::current().id();
                state.idle.retain(|thread| thread.id() != own);
                continue;
            }
            state.leading = true;
            state.turns = state.turns.wrapping_add(1);
            drop(state);
            let found = hub.lead(None);
            hub.queue(found);
            state = hub.lock();
            state.leading = false;
        }
    }
}
