//! The event loop's half of an exchange: it alone touches nginx's request.
//!
//! nginx's structures hold only its number in the [`register`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use shared::exchange::{End, SendError};

use crate::ffi::request::{Cleanup, Request};
use crate::ffi::{Code, ERROR, OK};
use crate::link::{Item, Link};
use crate::output::{NoMemory, Output};
use crate::registry::{self, Id, find};
use crate::request_body::Progress;
use crate::{entry, event_loop, log, request_body, response};

/// What is to be done after a step.
enum Step {
    Wait,
    Finish(Code, SendError),
}

/// One request and what was sent for it.
pub struct Serving {
    request: Request,
    link: Arc<Link>,
    output: RefCell<Output>,
    cleanup: Cell<Option<Cleanup>>,
    body: Cell<Progress>,
    /// The request was finalized, or is gone: it must not be touched.
    finished: Cell<bool>,
    head_sent: Cell<bool>,
    /// Bytes of the thread's are in nginx's chains.
    lent: Cell<bool>,
    armed: Cell<bool>,
}

/// Ends all waits of threads for the client: the process is ending.
pub fn abandon_all() {
    for serving in registry::all() {
        serving.link.close(SendError::Stopping);
        // nginx sends nothing any more: the loop has ended.
        serving.link.return_lent();
    }
}

/// Begins to serve a request; `None` when nginx has no memory.
pub fn begin(request: Request, body: Progress) -> Option<Arc<Link>> {
    let serving = registry::add(|id| Serving {
        request,
        link: Arc::new(Link::new(id)),
        output: RefCell::default(),
        cleanup: Cell::new(None),
        body: Cell::new(body),
        finished: Cell::new(false),
        head_sent: Cell::new(false),
        lent: Cell::new(false),
        armed: Cell::new(false),
    })?;
    let id = serving.link.id;
    match request.attach(id, entry::on_gone, entry::on_freed) {
        Some(cleanup) => serving.cleanup.set(Some(cleanup)),
        None => {
            serving.forget(SendError::Server);
            on_freed(id);
            return None;
        }
    }
    request.set_handlers(None, Some(entry::on_write));
    request.watch_for_disconnect();
    event_loop::stay_while_serving();
    Some(Arc::clone(&serving.link))
}

/// A thread has something for the loop.
pub fn on_told(link: &Link) {
    match find(link.id).filter(|serving| !serving.finished.get()) {
        Some(serving) => serving.in_its_connection(Serving::step),
        None => write_late_logs(link),
    }
}

/// Writes what a thread had to say about a request that is gone.
pub fn write_late_logs(link: &Link) {
    for (level, message) in link.take(false).logs {
        log::process(level, &message);
    }
}

/// The connection takes more, or a timer ran out, or nginx wants the request to go on.
pub fn on_write(request: Request) {
    if let Some(serving) = request.serving().and_then(find) {
        serving.work(Serving::step_write);
    }
}

/// The connection has more of the body, or a timer ran out.
pub fn on_read(request: Request) {
    if let Some(serving) = request.serving().and_then(find) {
        serving.work(Serving::step_read);
    }
}

/// nginx has put the body together; it says so of each, also while it begins with it.
pub fn on_body_complete(request: Request) {
    let serving = request.serving().and_then(find);
    if let Some(serving) = serving.filter(|serving| serving.body.get() == Progress::Complete) {
        serving.work(Serving::step_complete);
    }
}

/// The request cannot be answered any more.
pub fn on_gone(id: Id) {
    if let Some(serving) = find(id) {
        serving.cleanup.set(None);
        serving.forget(SendError::Disconnected);
    }
}

/// The request's memory goes: nothing of ours is in nginx's hands any more.
pub fn on_freed(id: Id) {
    let Some(serving) = find(id) else { return };
    serving.forget(SendError::Disconnected);
    if serving.lent.get() {
        serving.link.return_lent();
    }
    registry::remove(id);
}

/// Ends a request that no thread takes.
pub fn refuse(link: &Link, code: Code) {
    if let Some(serving) = find(link.id) {
        serving.finish(code, SendError::Server);
    }
}

impl Serving {
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
                if (waits || self.armed.replace(waits)) && self.request.arm_write() == ERROR {
                    self.finish(ERROR, SendError::Server);
                }
            }
            Step::Finish(code, why) => self.finish(code, why),
        }
    }

    fn step(&self) -> Step {
        loop {
            let taken = self.link.take(self.output.borrow().is_drained());
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
        if self.body.get() == Progress::Reading && self.link.body_waiting() < crate::link::BODY_WINDOW {
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
                let code = self.request.read_client_body(true, Some(entry::on_body_complete));
                if code < crate::ffi::SPECIAL_RESPONSE {
                    // nginx counts one more reader; this request is held already.
                    self.request.release();
                }
                // nginx has set handlers of its own.
                if code == crate::ffi::AGAIN && !self.request.is_unbuffered() {
                    self.request.set_write_handler(Some(entry::on_write));
                    self.body.set(Progress::Complete);
                    return Ok(());
                }
                self.request.set_handlers(Some(entry::on_read), Some(entry::on_write));
                code
            }
        };
        self.advance_body(code)
    }

    fn advance_body(&self, code: Code) -> Result<(), Step> {
        match request_body::advance(self.request, &self.link, code) {
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
                Ok(())
            }
        }
    }

    fn deliver(&self, items: VecDeque<Item>) -> Result<(), Step> {
        let mut end = None;
        for item in items {
            if let Item::Head(head) = item {
                self.send_head(&head)?;
            } else if let Item::End(how) = item {
                end = Some(how);
            } else {
                self.add(item).map_err(|NoMemory| Step::Finish(ERROR, SendError::Server))?;
            }
        }
        match end {
            Some(End::Complete) => Err(Step::Finish(self.complete()?, SendError::Stopping)),
            Some(End::Status(code)) if !self.head_sent.get() => {
                Err(Step::Finish(Code::from(code as i16), SendError::Stopping))
            }
            Some(End::Cut | End::Status(_)) => {
                if !self.head_sent.get() {
                    return Err(Step::Finish(500, SendError::Stopping));
                }
                self.flush()?;
                self.request.reset_at_close();
                Err(Step::Finish(ERROR, SendError::Stopping))
            }
            None => self.flush(),
        }
    }

    fn send_head(&self, head: &shared::wsgi::response::OwnedResponseHead) -> Result<(), Step> {
        if response::fill(self.request, head).is_err() {
            return Err(Step::Finish(ERROR, SendError::Server));
        }
        if self.body.get() == Progress::Untouched {
            self.request.close_if_expecting();
        }
        let code = self.request.send_header();
        if code == ERROR || code > OK {
            return Err(self.failed(code));
        }
        self.head_sent.set(true);
        Ok(())
    }

    fn add(&self, item: Item) -> Result<(), NoMemory> {
        let mut output = self.output.borrow_mut();
        let dropped = self.request.is_header_only();
        match item {
            Item::Data(bytes) if dropped => self.link.sent(bytes.len()),
            Item::Lent(_) if dropped => self.link.return_lent(),
            Item::Data(bytes) => output.add(self.request, bytes)?,
            Item::Lent(lent) => {
                self.lent.set(true);
                output.add_lent(self.request, &lent)?;
            }
            Item::File(..) if dropped => {}
            Item::File(file, from, length) => output.add_file(self.request, file, from, length)?,
            Item::Head(_) | Item::End(_) => {}
        }
        Ok(())
    }

    fn give(&self, last: bool) -> Result<Code, Step> {
        let mut output = self.output.borrow_mut();
        output.close(self.request, last).map_err(|NoMemory| Step::Finish(ERROR, SendError::Server))?;
        Ok(self.request.output(output.chain()))
    }

    fn flush(&self) -> Result<(), Step> {
        if self.request.is_header_only() {
            return Ok(());
        }
        let code = self.give(false)?;
        self.after_output(code)
    }

    fn complete(&self) -> Result<Code, Step> {
        if self.request.is_header_only() { Ok(OK) } else { self.give(true) }
    }

    fn after_output(&self, code: Code) -> Result<(), Step> {
        if code == ERROR || code > OK {
            return Err(self.failed(code));
        }
        let drained = self.output.borrow_mut().update();
        self.link.sent(drained.bytes);
        if drained.lent {
            self.lent.set(false);
            self.link.return_lent();
        }
        Ok(())
    }

    /// Lets go of the request without touching it; `false` when that was done before.
    fn forget(&self, why: SendError) -> bool {
        if self.finished.replace(true) {
            return false;
        }
        self.link.close(why);
        registry::ended();
        event_loop::stay_while_serving();
        true
    }

    /// Ends the request. nginx may free it, and what this serving lent to it, in here.
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
