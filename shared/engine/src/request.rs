//! One request in the engine's hands: the server's exchange, and how far its response has come.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::prelude::*;
use shared::exchange::{BodyError, Exchange, SendError};
use shared::http::key::Key;
use shared::http::packed::get;
use shared::loader::ForeignExchange;
use shared::log::Level;
use shared::wsgi::response::OwnedResponseHead;
use shared::wsgi::stream::{NoStart, NoStep, Response};

use crate::call_input::{CallInput, request_line};
use crate::fork;

/// How long a send may be and still be made while attached, where the exchange says that it does not wait.
const INSTANT: usize = 32 * 1024;

/// A request. `start_response`, `write` and `wsgi.input` keep it alive; its exchange goes when the response
/// ends.
pub struct Request {
    /// Locked for as long as a call to the server waits, so that a thread which is attached to Python only
    /// tries. Where both are locked, this one is first.
    exchange: Mutex<Option<ForeignExchange>>,
    /// Never locked across a call.
    response: Mutex<Response>,
}

thread_local! {
    /// The request that the calling thread serves.
    static CURRENT: RefCell<Option<Arc<Request>>> = const { RefCell::new(None) };
}

/// What was done with a block of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Taken,
    /// Nothing more is needed: the response has no body (HEAD, 204, 304), or the declared length was reached.
    Enough,
}

/// Why a block was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `start_response` was not called.
    NoHead,
    /// The server said so.
    Server(SendError),
    /// All of the declared length was sent before.
    Full,
    /// The caller is a child process of the application's, and the response its parent's.
    Child,
}

impl From<NoStep> for Refusal {
    fn from(reason: NoStep) -> Self {
        match reason {
            NoStep::Unstarted => Self::NoHead,
            NoStep::Over => Self::Server(SendError::Stopping),
        }
    }
}

/// Why the body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The request is over.
    Over,
    /// The server said so.
    Server(BodyError),
    /// The caller is a child process of the application's, and the body its parent's.
    Child,
}

/// The calling thread's request, until this is dropped.
pub struct Entered {
    request: Arc<Request>,
    /// What the thread serves when this one is done: httpd runs a subrequest while the request around it
    /// sends.
    around: Option<Arc<Request>>,
}

impl Deref for Entered {
    type Target = Arc<Request>;

    fn deref(&self) -> &Arc<Request> {
        &self.request
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.around.take());
        self.request.give_back();
    }
}

impl Request {
    /// A request over an exchange, which becomes the calling thread's current one.
    pub fn enter(exchange: ForeignExchange) -> Entered {
        let request = Arc::new(Self {
            response: Mutex::new(Response::to(get(exchange.head(), Key::RequestMethod).unwrap_or_default())),
            exchange: Mutex::new(Some(exchange)),
        });
        let around = CURRENT.replace(Some(Arc::clone(&request)));
        Entered { request, around }
    }

    fn exchange(&self) -> MutexGuard<'_, Option<ForeignExchange>> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free_exchange(&self) -> Option<MutexGuard<'_, Option<ForeignExchange>>> {
        match self.exchange.try_lock() {
            Ok(exchange) => Some(exchange),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn response(&self) -> MutexGuard<'_, Response> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is needed to call the application, before anybody else knows the request.
    pub fn call_input(&self, py: Python<'_>) -> Option<CallInput> {
        self.free_exchange()?.as_ref().map(|exchange| CallInput::of(py, exchange))
    }

    /// Method, path and script, for the log.
    pub fn request_line(&self, py: Python<'_>) -> String {
        let about = match self.free_exchange() {
            Some(exchange) => exchange.as_ref().map(request_line),
            None => py.detach(|| self.exchange().as_ref().map(request_line)),
        };
        about.unwrap_or_default()
    }

    /// Whether `start_response` may be called, before its head is looked at.
    pub fn may_start(&self, has_exc_info: bool) -> Result<(), NoStart> {
        self.response().may_start(has_exc_info)
    }

    /// Takes the head from `start_response`.
    pub fn start(&self, head: OwnedResponseHead) {
        self.response().start(head);
    }

    /// How much of the body the declared length leaves room for; `None` where none was declared.
    pub fn room(&self) -> Option<u64> {
        self.response().room()
    }

    /// Says how long the body is, where the application did not.
    pub fn offer_length(&self, length: u64) {
        self.response().offer_length(length);
    }

    /// Reads the body, detached.
    pub fn read_body(&self, py: Python<'_>, into: &mut [u8]) -> Result<usize, Unread> {
        if fork::is_forked() {
            return Err(Unread::Child);
        }
        py.detach(|| self.exchange().as_mut().ok_or(Unread::Over)?.read_body(into).map_err(Unread::Server))
    }

    /// Sends the head, if it has not left yet, and a block. With `flush` the block is on its way when this
    /// returns.
    pub fn send(&self, py: Python<'_>, block: &[u8], flush: bool) -> Result<Sent, Refusal> {
        self.with_room(py, block.len(), |exchange| self.pass_block(exchange, block, flush))
    }

    /// The same for `write()`, which is refused where all of the declared length was sent before.
    pub fn write(&self, py: Python<'_>, block: &[u8]) -> Result<(), Refusal> {
        if !block.is_empty() && self.response().is_full() {
            return Err(Refusal::Full);
        }
        self.send(py, block, true).map(drop)
    }

    /// Takes note of a block without content: nothing is sent for it, so that the server is asked whether
    /// there is still a client.
    pub fn skip(&self) -> Result<Sent, Refusal> {
        if fork::is_forked() {
            return Err(Refusal::Child);
        }
        // Whoever has the exchange sends something, and is told.
        let gone = self.free_exchange().and_then(|exchange| exchange.as_ref().and_then(Exchange::gone));
        gone.map_or(Ok(()), |gone| Err(Refusal::Server(gone)))?;
        Ok(if self.response().is_whole() { Sent::Enough } else { Sent::Taken })
    }

    /// Sends the head and the whole body, and ends the exchange.
    pub fn send_all(&self, py: Python<'_>, block: &[u8]) -> Result<Sent, Refusal> {
        self.with_room(py, block.len(), |exchange| {
            let sent = self.pass_block(exchange, block, false)?;
            self.pass_end(exchange);
            Ok(sent)
        })
    }

    /// Sends the head and a range of a file, detached.
    pub fn send_file(
        &self,
        py: Python<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        length: u64,
    ) -> Result<(), Refusal> {
        if fork::is_forked() {
            return Err(Refusal::Child);
        }
        py.detach(|| self.pass_file(&mut self.exchange(), file, offset, length))
    }

    /// Sends the head, where no block came that would have taken it along.
    pub fn send_head(&self, py: Python<'_>) -> Result<(), Refusal> {
        self.send(py, &[], false).map(drop)
    }

    /// Ends a response whose blocks have all been sent: complete, or cut where it is shorter than declared.
    pub fn complete(&self, py: Python<'_>) -> Result<(), Refusal> {
        self.with_room(py, 0, |exchange| {
            self.pass_end(exchange);
            Ok(())
        })
    }

    /// Ends a response that failed: with a status of the server's own, or cut when the head has left.
    pub fn fail(&self, py: Python<'_>, status: u16) -> Result<(), Refusal> {
        self.with_room(py, 0, |exchange| {
            if let Some(mut exchange) = exchange.take() {
                exchange.end(self.response().fail(status));
            }
            Ok(())
        })
    }

    /// Runs `work` attached where it does not wait, and detached otherwise. Another thread may hold the lock
    /// while it waits, so that it is only tried while attached.
    fn with_room<R: Send>(
        &self,
        py: Python<'_>,
        bytes: usize,
        work: impl FnOnce(&mut Option<ForeignExchange>) -> Result<R, Refusal> + Send,
    ) -> Result<R, Refusal> {
        if fork::is_forked() {
            return Err(Refusal::Child);
        }
        if bytes <= INSTANT {
            if let Some(mut exchange) = self.free_exchange() {
                if exchange.as_ref().is_none_or(|exchange| exchange.send_is_instant(bytes)) {
                    return work(&mut exchange);
                }
            }
        }
        py.detach(|| work(&mut self.exchange()))
    }

    /// Writes to the server's error log with the request's context; `false` when the request is over.
    pub fn log(&self, level: Level, message: &[u8]) -> bool {
        let exchange = self.free_exchange();
        let exchange = exchange.as_ref().and_then(|exchange| exchange.as_ref());
        exchange.map(|exchange| exchange.log(level, message)).is_some()
    }

    /// Ends the request for whoever still holds on to it.
    fn give_back(&self) {
        if fork::is_forked() {
            // The child's copy: the parent ends the real one.
            std::mem::forget(self.free_exchange().and_then(|mut exchange| exchange.take()));
        } else {
            drop(self.exchange().take());
        }
    }

    /// Takes the next step of the response, and hands over the head where it is time for that. Says how many
    /// of the next `length` bytes follow; `None` where the response has no body.
    fn step(&self, exchange: &mut Option<ForeignExchange>, length: u64) -> Result<Option<u64>, Refusal> {
        let step = self.response().block(length)?;
        if let Some(head) = step.head {
            open(exchange)?.send_head(head.view()).map_err(|error| self.lose(error))?;
        }
        Ok(step.admitted)
    }

    /// The head, or a part of the body, did not leave.
    fn lose(&self, error: SendError) -> Refusal {
        self.response().lose();
        Refusal::Server(error)
    }

    fn pass_block(
        &self,
        exchange: &mut Option<ForeignExchange>,
        block: &[u8],
        flush: bool,
    ) -> Result<Sent, Refusal> {
        let Some(admitted) = self.step(exchange, block.len() as u64)? else {
            // Nobody would tell the writer otherwise.
            return open(exchange)?.gone().map_or(Ok(Sent::Enough), |gone| Err(Refusal::Server(gone)));
        };
        let block = block.get(..usize::try_from(admitted).unwrap_or(usize::MAX)).unwrap_or(block);
        let exchange = open(exchange)?;
        if !block.is_empty() {
            exchange.send(block).map_err(|error| self.lose(error))?;
        }
        if flush {
            exchange.flush().map_err(|error| self.lose(error))?;
        }
        Ok(if self.response().is_whole() { Sent::Enough } else { Sent::Taken })
    }

    fn pass_file(
        &self,
        exchange: &mut Option<ForeignExchange>,
        file: BorrowedFd<'_>,
        offset: u64,
        length: u64,
    ) -> Result<(), Refusal> {
        match self.step(exchange, length)? {
            Some(0) | None => Ok(()),
            Some(admitted) => {
                open(exchange)?.send_file(file, offset, admitted).map_err(|error| self.lose(error))
            }
        }
    }

    fn pass_end(&self, exchange: &mut Option<ForeignExchange>) {
        let Some(mut exchange) = exchange.take() else { return };
        let ending = self.response().complete();
        if let Some(mismatch) = ending.mismatch {
            exchange.log(mismatch.level(), mismatch.to_string().as_bytes());
        }
        exchange.end(ending.end);
    }
}

/// The request that the calling thread serves.
pub fn current() -> Option<Arc<Request>> {
    CURRENT.with_borrow(Clone::clone)
}

fn open(exchange: &mut Option<ForeignExchange>) -> Result<&mut ForeignExchange, Refusal> {
    exchange.as_mut().ok_or(Refusal::Server(SendError::Stopping))
}
