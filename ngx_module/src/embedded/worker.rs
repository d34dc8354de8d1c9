//! Python in a worker: the thread that starts and ends it, the threads that serve, and their end.
#![deny(unsafe_code)]

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use shared::backlog::Backlog;
use shared::exchange::{End, Exchange};
use shared::ffi::guard::{guard, set_panic_sink};
use shared::loader::load::{self, Engine, LoadError, Start};
use shared::log::Level;
use shared::relay::channel::Channel;
use shared::relay::queue::LoopQueue;
use shared::relay::sync::Arc;
use shared::relay::thread_side::{EventLoop, ThreadSide};

use crate::conf::{MainConf, is_there};
use crate::embedded::{loop_side, queue};
use crate::ffi::cycle::{self, Cycle};
use crate::ffi::waker::Waker;
use crate::ffi::{built_for, signal};
use crate::{entry, log};

/// How many requests may wait for a thread; more are answered with 503.
const MAX_WAITING: usize = 1000;
/// What a Python thread needs for CPython's own limit of recursion; Rust's threads have a quarter of it.
const STACK_SIZE: usize = 8 * 1024 * 1024;
/// How long the worker may take to leave: nginx's master kills it not long after that.
const EXIT_TIMEOUT: Duration = Duration::from_millis(2000);

/// What of the worker's runs.
#[derive(Default)]
struct Running {
    engine: Option<Engine>,
    failed: bool,
    leaving: bool,
    serving: usize,
    main: bool,
}

/// Python in this worker.
pub struct Worker {
    queue: LoopQueue<Waker>,
    backlog: Backlog<ThreadSide<&'static Worker>>,
    running: Mutex<Running>,
    changed: Condvar,
}

static WORKER: OnceLock<Worker> = OnceLock::new();

/// Python in this process; `None` where it was not asked for.
pub fn worker() -> Option<&'static Worker> {
    WORKER.get()
}

/// Where the guard's panics go.
fn log_panic(message: &str) {
    match WORKER.get() {
        Some(worker) if !signal::on_main_thread() => worker.log(Level::Critical, message.as_bytes()),
        _ => log::process(Level::Critical, message.as_bytes()),
    }
}

/// Has panics logged; once in every process.
pub fn log_panics() {
    set_panic_sink(log_panic);
}

fn write_log(level: Level, message: &[u8]) {
    if let Some(worker) = WORKER.get() {
        worker.log(level, message);
    }
}

impl EventLoop for &'static Worker {
    fn announce(&self, channel: &Arc<Channel>) {
        self.queue.push(channel);
    }

    fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.backlog.away(wait)
    }
}

/// A thread woke the loop.
pub fn on_wake() {
    if let Some(worker) = WORKER.get() {
        // A panic costs the one request: the others of this turn are still announced.
        queue::turn(&worker.queue, |channel| {
            guard("on_announced", (), || loop_side::on_announced(channel));
        });
    }
}

impl Worker {
    /// What waits for a thread.
    pub fn backlog(&self) -> &Backlog<ThreadSide<&'static Self>> {
        &self.backlog
    }

    /// Whether Python did not start.
    pub fn has_failed(&self) -> bool {
        self.lock().failed
    }

    /// Has a line written that belongs to no request.
    fn log(&self, level: Level, message: &[u8]) {
        self.queue.log(log::number(level), message);
    }

    /// Writes all lines that wait, those of requests too, which nobody answers any more (loop).
    fn write_last_logs(&self) {
        queue::write_logs(&self.queue);
        self.queue.take_ready().iter().for_each(|channel| loop_side::write_late_logs(channel));
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Running)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `ready` gives something.
    fn wait<R>(&self, ready: impl Fn(&Running) -> Option<R>) -> R {
        let mut running = self.lock();
        loop {
            if let Some(result) = ready(&running) {
                return result;
            }
            running = self.changed.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits on the loop's thread, which writes the threads' log lines meanwhile.
    fn wait_until(&self, deadline: Instant, done: impl Fn(&Running) -> bool) -> bool {
        let mut running = self.lock();
        loop {
            let is_done = done(&running);
            drop(running);
            self.write_last_logs();
            let left = deadline.saturating_duration_since(Instant::now());
            if is_done || left.is_zero() {
                return is_done;
            }
            running = self.lock();
            if !done(&running) {
                let slice = left.min(Duration::from_millis(20));
                running = self.changed.wait_timeout(running, slice).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn fail(&self, message: &str) {
        self.queue.log(cycle::EMERGENCY, message.as_bytes());
        self.change(|running| running.failed = true);
        self.refuse_waiting();
    }

    fn refuse_waiting(&self) {
        for mut exchange in self.backlog.close() {
            exchange.end(End::Status(503));
        }
    }

    /// The life of Python's main thread.
    fn run_python(&self, start: impl FnOnce() -> Result<Engine, LoadError>, mounts: &[Vec<u8>]) {
        let engine = match signal::keeping(start) {
            Ok(engine) => engine,
            Err(error) => return self.fail(&error.to_string()),
        };
        self.change(|running| running.engine = Some(engine));
        for mount in mounts {
            if self.lock().leaving {
                break;
            }
            // What went wrong is in the log, and the first request tries again.
            let _ = engine.preload(mount);
        }
        self.wait(|running| (running.leaving && running.serving == 0).then_some(()));
        engine.stop(EXIT_TIMEOUT / 2);
    }

    /// The life of a thread that serves.
    fn serve(&self) {
        let engine = self.wait(|running| match running.engine {
            Some(engine) => Some(Some(engine)),
            None => (running.failed || running.leaving).then_some(None),
        });
        if let Some(engine) = engine {
            engine.serve(&self.backlog);
        }
    }
}

fn spawn(name: String, life: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new()
        .name(name)
        .stack_size(STACK_SIZE)
        .spawn(move || guard("a thread of Python's", (), life))?;
    Ok(())
}

/// Starts Python in a worker. What fails here is logged; requests are answered with 503 then.
pub fn start(cycle: Cycle<'_>) {
    let Some(conf) = cycle.main_conf().filter(|conf| conf.is_used) else { return };
    if !cycle::answers_requests() || WORKER.get().is_some() {
        return;
    }
    log_panics();
    if let Err(another) = built_for::check_connections(cycle) {
        log::emergency(&another.to_string());
        return;
    }
    if let Err(error) = try_start(conf, cycle.workers()) {
        let why = format!("Python does not start in this worker: {error}");
        match WORKER.get() {
            // Requests are not to wait for threads that will never be there.
            Some(worker) => worker.fail(&why),
            None => log::emergency(&why),
        }
    }
}

fn try_start(conf: &MainConf, workers: u32) -> std::io::Result<()> {
    let Some((python, engine)) = conf.python.clone() else {
        return Err(std::io::Error::other("the configuration was not decided"));
    };
    signal::wrap(entry::on_signal);
    let worker = WORKER.get_or_init({
        let queue = queue::open()?;
        || Worker {
            queue,
            backlog: Backlog::new(MAX_WAITING),
            running: Mutex::default(),
            changed: Condvar::new(),
        }
    });
    let threads = conf.process.threads();
    let path = conf.process.path().to_vec();
    let startup_timeout = conf.process.startup_timeout();
    // A missing script was warned of when the configuration was read.
    let mounts: Vec<Vec<u8>> =
        conf.mounts.iter().filter(|mount| is_there(mount)).map(|mount| mount.as_bytes().to_vec()).collect();
    worker.change(|running| running.main = true);
    spawn("neat-main".to_owned(), move || {
        let start = || {
            load::start(
                &engine,
                &Start {
                    python: &python,
                    path: &path,
                    server: "nginx",
                    server_version: cycle::VERSION,
                    threads,
                    processes: workers,
                    multiprocess: workers > 1,
                    keeps_scripts: false,
                    switch_interval: None,
                    startup_timeout: Some(startup_timeout),
                    ends_startup: false,
                    log: write_log,
                },
            )
        };
        worker.run_python(start, &mounts);
        worker.change(|running| running.main = false);
    })
    .inspect_err(|_| worker.change(|running| (running.main, running.failed) = (false, true)))?;
    spawn("neat-watch".to_owned(), || worker.backlog.watch())?;
    for number in 1..=threads {
        worker.change(|running| running.serving += 1);
        let spawned = spawn(format!("neat-py-{number}"), || {
            worker.serve();
            worker.change(|running| running.serving -= 1);
        });
        if let Err(error) = spawned {
            worker.change(|running| running.serving -= 1);
            let message = format!("only {} of {threads} Python threads can be started: {error}", number - 1);
            if number == 1 {
                worker.fail(&message);
            } else {
                log::process(Level::Error, message.as_bytes());
            }
            break;
        }
    }
    Ok(())
}

/// Ends Python in a worker that leaves. Threads that do not end in time stay behind: the process ends under
/// them, without running destructors.
pub fn stop() {
    let Some(worker) = WORKER.get() else { return };
    let deadline = Instant::now() + EXIT_TIMEOUT;
    loop_side::abandon_all();
    queue::close();
    worker.change(|running| running.leaving = true);
    worker.refuse_waiting();
    if !worker.wait_until(deadline, |running| running.serving == 0 && !running.main) {
        let serving = worker.lock().serving;
        let message = format!("{serving} Python threads are still busy; the worker leaves without them");
        log::process(Level::Warning, message.as_bytes());
    }
    // Threads of the application may run in any case.
    signal::leave_without_destructors(entry::on_exit);
}
