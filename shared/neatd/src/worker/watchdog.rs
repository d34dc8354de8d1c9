//! Requests that run too long, seen from outside of Python (`request-timeout`, `interrupt-timeout`).
//!
//! First the stack goes to the log and RequestTimeout is raised in the thread. What does not end on that is
//! answered over its head, and the process is replaced while its other requests finish.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use shared::conf::group::ProcessGroup;
use shared::ffi::guard::guard;
use shared::loader::load::Engine;
use shared::log::Level;
use shared::wire::encode;

use super::hub::Hub;
use super::queue::Served;
use crate::control::Report;
use crate::reports::{self, log};
use crate::warden::scoreboard::Scoreboard;

/// What was done about a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Interrupted,
    Answered,
}

/// Looks at the worker's threads.
pub struct Watchdog {
    timeout: Option<Duration>,
    grace: Duration,
    group: String,
    engine: Engine,
    hub: Arc<Hub>,
    board: Arc<Scoreboard>,
    slot: usize,
    /// For each thread the request that something was done about: when it began.
    steps: Vec<Option<(u16, u64, Step)>>,
}

impl Watchdog {
    /// Watches a worker.
    pub fn new(
        conf: &ProcessGroup,
        engine: Engine,
        hub: Arc<Hub>,
        board: Arc<Scoreboard>,
        slot: usize,
    ) -> Self {
        let threads = hub.limits().threads;
        Self {
            timeout: conf.request_timeout,
            grace: conf.interrupt_timeout,
            group: conf.name.clone(),
            engine,
            hub,
            board,
            slot,
            steps: vec![None; threads],
        }
    }

    /// How long until it should look again.
    pub fn pause(&self) -> Option<Duration> {
        let shortest = self.timeout?.min(self.grace.max(Duration::from_millis(100)));
        Some((shortest / 5).clamp(Duration::from_millis(20), Duration::from_secs(1)))
    }

    /// Does what is due.
    pub fn look(&mut self) {
        let Some(timeout) = self.timeout else { return };
        for (number, score) in self.board.threads(self.slot).iter().enumerate() {
            let Some((text, elapsed)) = score.request() else { continue };
            if elapsed < timeout || score.away.load(Ordering::Acquire) != 0 {
                continue;
            }
            let Some(served) = self.hub.queue.served().get(number).cloned().flatten() else { continue };
            let Some(step) = self.steps.get_mut(number) else { continue };
            let now = (served.number, served.connection.token);
            let before =
                step.filter(|(exchange, token, _)| (*exchange, *token) == now).map(|(.., step)| step);
            let about = format!(
                "{text} of the process group {} has run for {:.1} s",
                self.group,
                elapsed.as_secs_f64()
            );
            match before {
                None => {
                    *step = Some((now.0, now.1, Step::Interrupted));
                    let then = format!(
                        "RequestTimeout is raised in it, and its process is replaced where that does not end it within \
                         {} s (request-timeout)",
                        self.grace.as_secs_f64()
                    );
                    interrupt(self.engine, Arc::clone(&self.hub), number, served, format!("{about}: {then}"));
                }
                Some(Step::Interrupted) if elapsed >= timeout + self.grace => {
                    *step = Some((now.0, now.1, Step::Answered));
                    answer(&served);
                    let why = format!("{about} and did not end on RequestTimeout");
                    reports::send(&Report::Replace { slot: self.slot, why });
                }
                Some(_) => {}
            }
        }
    }
}

/// Raises RequestTimeout on a thread of its own: whoever has the GIL may never let it go.
fn interrupt(engine: Engine, hub: Arc<Hub>, place: usize, served: Served, about: String) {
    let life = move || {
        guard("interrupt", (), || {
            // A thread takes its next request attached, so that the answer holds until it is interrupted.
            let is_meant = || hub.queue.served().get(place).is_some_and(|now| is_same(now.as_ref(), &served));
            if let Some(stack) = engine.interrupt(served.thread, &is_meant) {
                say(&served, &format!("{about}; it was here:\n{stack}"));
            }
        });
    };
    if let Err(error) = thread::Builder::new().name("interrupt".to_owned()).spawn(life) {
        log(Level::Error, format!("a request cannot be interrupted: {error}").as_bytes());
    }
}

fn is_same(now: Option<&Served>, meant: &Served) -> bool {
    now.is_some_and(|now| (now.number, now.connection.token) == (meant.number, meant.connection.token))
}

/// Writes to the request's own log where that is possible.
fn say(served: &Served, text: &str) {
    let outbound = served.connection.try_outbound();
    // The connection may serve another request by now, whose response this would break.
    let open = outbound.filter(|outbound| served.connection.is_open(served.number) && !outbound.closed);
    let sent = open.is_some_and(|mut outbound| {
        let mut bytes = std::mem::take(&mut outbound.buffer);
        outbound.head_at = None;
        encode::log(&mut bytes, served.number, Level::Error, text.as_bytes());
        let sent = served.connection.send(&[std::io::IoSlice::new(&bytes)], None);
        if sent != Ok(bytes.len()) {
            // A part of a frame is worse than none.
            outbound.closed = true;
        }
        sent.is_ok()
    });
    if !sent {
        log(Level::Error, text.as_bytes());
    }
}

/// Answers in place of a thread that does not.
fn answer(served: &Served) {
    let outbound = served.connection.try_outbound();
    if !served.connection.is_open(served.number) {
        // It has ended meanwhile.
        return;
    }
    if let Some(mut outbound) = outbound {
        let status = if outbound.head_sent { 0 } else { 504 };
        let mut bytes = std::mem::take(&mut outbound.buffer);
        outbound.head_at = None;
        encode::failed(&mut bytes, served.number, status, 0, b"request-timeout");
        encode::go_away(&mut bytes);
        let _ = served.connection.send(&[std::io::IoSlice::new(&bytes)], None);
        outbound.closed = true;
    }
    served.connection.cut();
}
