//! The event loop's side of an exchange: it alone touches nginx's request, and nginx's structures hold only
//! its number.
#![deny(unsafe_code)]

mod delivery;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use shared::exchange::SendError;
use shared::relay::channel::{BODY_WINDOW, Channel, LoopEnd};
use shared::relay::registry::{Id, Registry};
use shared::relay::sync::Arc;

use crate::embedded::output::Output;
use crate::embedded::queue;
use crate::embedded::request_body::{self, Progress};
use crate::ffi::request::{Cleanup, Request};
use crate::ffi::{Code, ERROR, OK, SPECIAL_RESPONSE, callback};
use crate::{entry, log};

/// What is to be done after a step.
enum Step {
    Wait,
    Finish(Code, SendError),
}

/// One request and what was sent for it.
pub struct LoopSide {
    request: Request,
    end: LoopEnd,
    output: RefCell<Output>,
    cleanup: Cell<Option<Cleanup>>,
    body: Cell<Progress>,
    /// The request was finalized, or is gone: it must not be touched.
    finished: Cell<bool>,
    head_sent: Cell<bool>,
    /// Other requests of the connection send first.
    held: Cell<bool>,
    armed: Cell<bool>,
}

thread_local! {
    static REGISTRY: RefCell<Registry<LoopSide>> = RefCell::default();
}

fn find(id: Id) -> Option<Rc<LoopSide>> {
    REGISTRY.with_borrow(|registry| registry.find(id))
}

/// Sees to it that the worker does not leave while requests are in flight.
pub fn stay_while_serving() {
    queue::stay_for(REGISTRY.with_borrow(Registry::in_flight));
}

/// Ends all waits of threads for the client: the process is ending, and nginx sends nothing any more.
pub fn abandon_all() {
    for side in REGISTRY.with_borrow(Registry::all) {
        side.end.close(SendError::Stopping);
        side.output.borrow_mut().return_loans();
    }
}

/// Begins to serve a request; `None` when nginx has no memory.
pub fn begin(request: Request, body: Progress) -> Option<Arc<Channel>> {
    let make = |id| LoopSide {
        request,
        end: LoopEnd::new(id),
        output: RefCell::default(),
        cleanup: Cell::new(None),
        body: Cell::new(body),
        finished: Cell::new(false),
        head_sent: Cell::new(false),
        held: Cell::new(false),
        armed: Cell::new(false),
    };
    let side = REGISTRY.with_borrow_mut(|registry| registry.add(make))?;
    let channel = side.end.channel();
    match request.attach(channel.id(), entry::on_gone, entry::on_freed) {
        Some(cleanup) => side.cleanup.set(Some(cleanup)),
        None => {
            side.forget(SendError::Server);
            on_freed(channel.id());
            return None;
        }
    }
    request.set_handlers(None, callback::event(entry::on_write));
    request.watch_for_disconnect();
    stay_while_serving();
    Some(Arc::clone(channel))
}

/// A thread has something for the loop.
pub fn on_announced(channel: &Channel) {
    match find(channel.id()).filter(|side| !side.finished.get()) {
        Some(side) => side.in_its_connection(LoopSide::step),
        None => write_late_logs(channel),
    }
}

/// Writes what a thread had to say about a request that is gone.
pub fn write_late_logs(channel: &Channel) {
    for (level, message) in channel.take_logs() {
        log::process(level, &message);
    }
}

/// The connection takes more, or a timer ran out, or nginx wants the request to go on.
pub fn on_write(request: Request) {
    if let Some(side) = request.id().and_then(find) {
        side.work(LoopSide::step_write);
    }
}

/// The connection has more of the body, or a timer ran out.
pub fn on_read(request: Request) {
    if let Some(side) = request.id().and_then(find) {
        side.work(LoopSide::step_read);
    }
}

/// nginx has put the body together; it says so of each, also while it begins with it.
pub fn on_body_complete(request: Request) {
    let side = request.id().and_then(find).filter(|side| side.body.get() == Progress::Complete);
    if let Some(side) = side {
        side.work(LoopSide::step_complete);
    }
}

/// The request cannot be answered any more.
pub fn on_gone(id: Id) {
    if let Some(side) = find(id) {
        side.cleanup.set(None);
        side.forget(SendError::Disconnected);
    }
}

/// The request's memory goes: nothing of ours is in nginx's hands any more, and what is lent returns.
pub fn on_freed(id: Id) {
    let Some(side) = REGISTRY.with_borrow_mut(|registry| registry.remove(id)) else { return };
    side.forget(SendError::Disconnected);
    if let Ok(mut output) = side.output.try_borrow_mut() {
        *output = Output::default();
    }
}

/// Ends a request that no thread takes.
pub fn refuse(channel: &Channel, code: Code) {
    if let Some(side) = find(channel.id()) {
        side.finish(code, SendError::Server);
    }
}

impl LoopSide {
    /// Works on the request outside of an event handler of nginx's, and does what those do around it.
    fn in_its_connection(&self, step: fn(&Self) -> Step) {
        let connection = self.request.connection();
        self.request.set_log_request();
        self.work(step);
        connection.run_posted_requests();
    }

    fn work(&self, step: fn(&Self) -> Step) {
        if self.finished.get() {
            return;
        }
        match step(self) {
            Step::Wait => {
                let waits = !self.output.borrow().is_drained() || self.request.is_buffered();
                // The timer may be another request's of the connection, which waits for this one now.
                let is_armed = self.armed.replace(waits) || self.request.has_write_timer();
                if (waits || is_armed) && self.request.arm_write() == ERROR {
                    self.finish(ERROR, SendError::Server);
                }
            }
            Step::Finish(code, why) => self.finish(code, why),
        }
    }

    fn step(&self) -> Step {
        loop {
            let held = self.request.waits_for_its_turn();
            if self.held.replace(held) != held {
                self.end.hold(held);
            }
            // What is held goes to nginx all the same, which keeps it: the other request may need the thread.
            let taken = self.end.take(held || self.output.borrow().is_drained());
            for (level, message) in taken.logs {
                log::request(self.request, level, &message);
            }
            if taken.wants_body {
                if let Err(step) = self.read_body() {
                    return step;
                }
            }
            if taken.items.is_empty() {
                return Step::Wait;
            }
            if let Err(step) = self.deliver(taken.items) {
                return step;
            }
        }
    }

    fn step_write(&self) -> Step {
        if self.request.write_timed_out() {
            self.request.set_timed_out();
            return Step::Finish(408, SendError::TimedOut);
        }
        if self.request.write_is_delayed() {
            self.armed.set(true);
            return Step::Wait;
        }
        if !self.output.borrow().is_drained() || self.request.is_buffered() {
            let code = self.request.output(None);
            if let Err(step) = self.after_output(code) {
                return step;
            }
        }
        self.step()
    }

    fn step_read(&self) -> Step {
        if self.body.get() == Progress::Reading && self.end.body_waiting() < BODY_WINDOW {
            if let Err(step) = self.advance_body(self.request.read_unbuffered_body()) {
                return step;
            }
        }
        Step::Wait
    }

    fn step_complete(&self) -> Step {
        self.advance_body(OK).err().unwrap_or(Step::Wait)
    }

    fn failed(&self, code: Code) -> Step {
        let why = if self.request.is_broken() { SendError::Disconnected } else { SendError::Server };
        Step::Finish(code, why)
    }

    fn read_body(&self) -> Result<(), Step> {
        let code = match self.body.get() {
            Progress::Done | Progress::Complete => return Ok(()),
            Progress::Reading => self.request.read_unbuffered_body(),
            Progress::Untouched => {
                let code = self.request.read_client_body(true, callback::event(entry::on_body_complete));
                if code < SPECIAL_RESPONSE {
                    // nginx counts one more reader; this request is held already.
                    self.request.release();
                }
                // nginx has set handlers of its own.
                if code == crate::ffi::AGAIN && !self.request.is_unbuffered() {
                    self.request.set_write_handler(callback::event(entry::on_write));
                    self.body.set(Progress::Complete);
                    return Ok(());
                }
                self.request.set_handlers(callback::event(entry::on_read), callback::event(entry::on_write));
                code
            }
        };
        self.advance_body(code)
    }

    fn advance_body(&self, code: Code) -> Result<(), Step> {
        match request_body::advance(self.request, &self.end, code) {
            Ok(progress) => {
                self.body.set(progress);
                if progress == Progress::Done {
                    self.request.watch_for_disconnect();
                }
                Ok(())
            }
            Err(code) => {
                self.body.set(Progress::Done);
                if self.request.is_broken() {
                    return Err(Step::Finish(code, SendError::Disconnected));
                }
                self.request.stop_read_timer();
                self.request.block_reading();
                // Where the body ends is not known: what follows must not be taken for a request.
                self.request.close_behind_response();
                Ok(())
            }
        }
    }

    /// Lets go of the request without touching it; `false` when that was done before.
    fn forget(&self, why: SendError) -> bool {
        if self.finished.replace(true) {
            return false;
        }
        self.end.close(why);
        REGISTRY.with_borrow_mut(Registry::note_end);
        stay_while_serving();
        true
    }

    /// Ends the request. nginx may free it in here.
    fn finish(&self, code: Code, why: SendError) {
        if !self.forget(why) {
            return;
        }
        if let Some(cleanup) = self.cleanup.take() {
            cleanup.disarm();
        }
        let mut code = code;
        if self.body.replace(Progress::Done) == Progress::Untouched && self.request.is_main() && code != ERROR
        {
            let discarded = self.request.discard_body();
            if discarded != OK {
                code = if self.head_sent.get() { ERROR } else { discarded };
            }
        }
        self.request.finalize(code);
    }
}
