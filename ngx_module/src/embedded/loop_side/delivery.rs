//! What a thread sends, on its way into nginx's output: the head, blocks, files, and how the response ends.
#![deny(unsafe_code)]

use std::collections::VecDeque;

use shared::exchange::{End, SendError};
use shared::relay::item::Item;
use shared::wsgi::response::OwnedResponseHead;

use super::{LoopSide, Step, find};
use crate::embedded::output::NoMemory;
use crate::embedded::request_body::Progress;
use crate::embedded::response;
use crate::ffi::{Code, ERROR, OK};

impl LoopSide {
    pub(super) fn deliver(&self, items: VecDeque<Item>) -> Result<(), Step> {
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

    fn send_head(&self, head: &OwnedResponseHead) -> Result<(), Step> {
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
            Item::Data(bytes) if dropped => self.end.sent(bytes.len()),
            Item::Lent(_) | Item::File(..) if dropped => {}
            Item::Data(bytes) => output.add(self.request, bytes)?,
            // Sent in its place among others, the loan would last until those are done, which may need the
            // thread.
            Item::Lent(lent) if self.held.get() || self.request.may_have_fragments() => {
                output.add(self.request, self.end.copy(lent))?;
            }
            Item::Lent(lent) => output.add_lent(self.request, lent)?,
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

    pub(super) fn flush(&self) -> Result<(), Step> {
        if self.request.is_header_only() {
            return Ok(());
        }
        let code = self.give(false)?;
        self.after_output(code)
    }

    fn complete(&self) -> Result<Code, Step> {
        if self.request.is_header_only() { Ok(OK) } else { self.give(true) }
    }

    pub(super) fn after_output(&self, code: Code) -> Result<(), Step> {
        if code == ERROR || code > OK {
            return Err(self.failed(code));
        }
        self.collect();
        // All requests of a connection share one queue to the client, so that this may have sent what another
        // one lent.
        let mut fragment = self.request;
        while let Some(page) = fragment.parent() {
            if let Some(side) = page.id().and_then(find) {
                side.collect();
            }
            fragment = page;
        }
        Ok(())
    }

    /// Takes back what nginx has sent.
    pub(super) fn collect(&self) {
        if let Ok(mut output) = self.output.try_borrow_mut() {
            self.end.sent(output.update());
        }
    }
}
