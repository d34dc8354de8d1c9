//! How long the load of an application may take before the log says where it is, and requests are refused
//! instead of waiting: a script that calls a development server's `run()` never ends.

#![forbid(unsafe_code)]

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use shared::ffi::guard::guard;
use shared::log::Level;

use crate::interpreter::{self, Interpreter};
use crate::{request, threads};

/// How many times as long as the startup timeout a load may take where its thread is needed for something
/// else. What is raised in a load may leave what it loads half made for good (Django's registry of
/// applications, say), so that one that is only slow must not meet it.
const END_FACTOR: u32 = 4;

/// When the load that is under way began.
#[derive(Debug, Default)]
pub struct Startup(Mutex<Option<Instant>>);

/// A load that is under way, until this is dropped.
pub struct UnderWay<'a, 'py> {
    startup: &'a Startup,
    py: Python<'py>,
    watch: Option<Watch>,
}

/// A thread that speaks up when the load takes too long.
struct Watch {
    done: Sender<()>,
    thread: JoinHandle<()>,
}

impl Startup {
    fn set(&self, began: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = began;
    }

    fn began(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the calling thread loads `target`.
    pub fn begin<'a, 'py>(&'a self, py: Python<'py>, target: &str) -> UnderWay<'a, 'py> {
        self.set(Some(Instant::now()));
        let watch = interpreter::startup_timeout().and_then(|limit| Watch::begin(target.to_owned(), limit));
        UnderWay { startup: self, py, watch }
    }

    /// How long another thread may wait for the load that is under way, or for one that is about to begin.
    /// `None` without end; nothing where it took too long already.
    pub fn patience(&self) -> Option<Duration> {
        let limit = interpreter::startup_timeout()?;
        Some(self.began().map_or(limit, |began| limit.saturating_sub(began.elapsed())))
    }
}

impl Drop for UnderWay<'_, '_> {
    fn drop(&mut self) {
        self.startup.set(None);
        if let Some(Watch { done, thread }) = self.watch.take() {
            drop(done);
            // It may be about to ask for the GIL. Behind this there is no thread of ours that a fork would
            // lose.
            let _ = self.py.detach(|| thread.join());
            // What it raised came too late.
            threads::forget_interrupt(self.py);
        }
    }
}

impl Watch {
    fn begin(target: String, limit: Duration) -> Option<Self> {
        let (done, is_done) = channel();
        let loader = threads::own_id();
        // A thread that serves is needed for other requests.
        let ends = interpreter::ends_startup() || request::current().is_some();
        let unwatched = format!("nobody watches over the load of {target}");
        let watch = move || {
            guard("the watch over a load", (), || {
                let is_late = |time| is_done.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
                if is_late(limit) {
                    say(&target, limit, loader, ends);
                    if ends && is_late(limit * (END_FACTOR - 1)) {
                        end(&target, loader);
                    }
                }
            });
        };
        match Builder::new().name("neat-load".to_owned()).spawn(watch) {
            Ok(thread) => Some(Self { done, thread }),
            Err(error) => {
                interpreter::log(Level::Warning, format!("{unwatched}: {error}").as_bytes());
                None
            }
        }
    }
}

/// Raises in a load that does not end.
fn end(target: &str, loader: u64) {
    interpreter::log(Level::Error, format!("the load of {target} is ended").as_bytes());
    threads::attached(|py| {
        if let Ok(interpreter) = Interpreter::get() {
            threads::raise(py, loader, &interpreter.not_loaded);
        }
    });
}

/// Two lines: the second needs the GIL, which the load may never let go.
fn say(target: &str, limit: Duration, loader: u64, ends: bool) {
    let seconds = limit.as_secs_f64();
    let what = if ends {
        format!("it is ended after {} s", (limit * END_FACTOR).as_secs_f64())
    } else {
        "it may go on".to_owned()
    };
    let about = format!(
        "{target} is still being loaded after {seconds} s (startup timeout): {what}, and requests that wait for it \
         get 503. A script that calls a server's run() needs if __name__ == \"__main__\": before it; an application \
         that is slow to load needs more time, or a process group"
    );
    interpreter::log(Level::Error, about.as_bytes());
    threads::attached(|py| {
        let Ok(interpreter) = Interpreter::get() else { return };
        if let Ok(stack) = interpreter.stack_of.bind(py).call1((loader,)) {
            interpreter::log(Level::Error, format!("the load of {target} is here:\n{stack}").as_bytes());
        }
    });
}
