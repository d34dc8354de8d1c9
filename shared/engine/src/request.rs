//! One request in the engine's hands: the server's exchange, and how far its response has come.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shared::exchange::{Body, BodyError, End, Exchange, SendError};
use shared::http::head::get;
use shared::http::key::Key;
use shared::http::length::Budget;
use shared::loader::ForeignExchange;
use shared::log::Level;
use shared::wsgi::response::OwnedResponseHead;

use crate::application::{self, Mount};
use crate::process;

/// How long a send may be and still be made while attached, where the exchange says that it does not wait.
const INSTANT: usize = 32 * 1024;

/// A request. `start_response`, `write` and `wsgi.input` keep it alive; its exchange goes when the response ends.
pub struct Request {
    inner: Mutex<Inner>,
}

struct Inner {
    exchange: Option<ForeignExchange>,
    head: Option<OwnedResponseHead>,
    head_sent: bool,
    is_head: bool,
    budget: Budget,
}

thread_local! {
    /// The request that the calling thread serves.
    static CURRENT: RefCell<Option<Arc<Request>>> = const { RefCell::new(None) };
}

/// What was done with a block of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way, or was dropped by a declared length.
    Taken,
    /// The response has no body (HEAD, 204, 304); no more is needed.
    NoBody,
}

/// Why a block was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `start_response` was not called.
    NoHead,
    /// The server said so.
    Server(SendError),
}

impl Request {
    /// A request over an exchange, which becomes the calling thread's current one.
    pub fn enter(exchange: ForeignExchange) -> Arc<Self> {
        let is_head = get(exchange.head(), Key::RequestMethod) == Some(b"HEAD");
        let request = Arc::new(Self {
            inner: Mutex::new(Inner {
                exchange: Some(exchange),
                head: None,
                head_sent: false,
                is_head,
                budget: Budget::new(None),
            }),
        });
        CURRENT.set(Some(Arc::clone(&request)));
        request
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the exchange while attached; `None` when the request is over. Nothing in it may block.
    pub fn with_exchange<R>(&self, work: impl FnOnce(&ForeignExchange) -> R) -> Option<R> {
        self.lock().exchange.as_ref().map(work)
    }

    /// Whether the head has been handed to the server.
    pub fn head_sent(&self) -> bool {
        self.lock().head_sent
    }

    /// Whether `start_response` was called.
    pub fn has_head(&self) -> bool {
        self.lock().head.is_some()
    }

    /// Takes the head from `start_response`; it stays here until there is something to send with it.
    pub fn set_head(&self, head: OwnedResponseHead) {
        self.lock().head = Some(head);
    }

    /// The length that the application declared, if it called `start_response`.
    pub fn declared_length(&self) -> Option<u64> {
        self.lock().head.as_ref().and_then(OwnedResponseHead::length)
    }

    /// Says how long the body is, where the application did not.
    pub fn offer_length(&self, length: u64) {
        let mut inner = self.lock();
        if let Some(head) = inner.head.as_mut().filter(|head| head.length().is_none() && head.has_body()) {
            head.set_length(length);
        }
    }

    /// Reads the body, detached.
    pub fn read_body(&self, py: Python<'_>, into: &mut [u8]) -> Result<usize, Option<BodyError>> {
        py.detach(|| self.lock().exchange.as_mut().ok_or(None)?.read_body(into).map_err(Some))
    }

    /// Sends the head, if it has not left yet, and a block. With `flush` the block is on its way when this returns.
    pub fn send(&self, py: Python<'_>, block: &[u8], flush: bool) -> Result<Sent, Refusal> {
        self.with_room(py, block.len(), |inner| inner.send(block, flush))
    }

    /// Sends the head and the whole body, and ends the exchange.
    pub fn send_all(&self, py: Python<'_>, block: &[u8]) -> Result<Sent, Refusal> {
        self.with_room(py, block.len(), |inner| {
            let sent = inner.send(block, false);
            if sent.is_ok() {
                inner.complete();
            }
            sent
        })
    }

    /// Sends the head and a range of a file, detached.
    pub fn send_file(
        &self,
        py: Python<'_>,
        file: std::os::fd::BorrowedFd<'_>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, Refusal> {
        py.detach(|| self.lock().send_file(file, offset, length))
    }

    /// Sends the head, where no block came that would have taken it along.
    pub fn send_head(&self, py: Python<'_>) -> Result<(), Refusal> {
        self.with_room(py, 0, Inner::send_head)
    }

    /// Ends a response whose blocks have all been sent: complete, or cut where it is shorter than declared.
    pub fn complete(&self, py: Python<'_>) {
        self.finish(py, Inner::complete);
    }

    /// Ends a response that failed: with a status of the server's own, or cut when the head has left.
    pub fn fail(&self, py: Python<'_>, status: u16) {
        self.finish(py, |inner| inner.end(if inner.head_sent { End::Cut } else { End::Status(status) }));
    }

    fn finish(&self, py: Python<'_>, end: impl FnOnce(&mut Inner) + Send) {
        py.detach(|| end(&mut self.lock()));
    }

    /// Runs `work` attached where it does not wait, and detached otherwise. Another thread may hold the lock while it waits, so
    /// that it is only tried while attached.
    fn with_room<R: Send>(
        &self,
        py: Python<'_>,
        bytes: usize,
        work: impl FnOnce(&mut Inner) -> R + Send,
    ) -> R {
        if bytes <= INSTANT {
            if let Ok(mut inner) = self.inner.try_lock() {
                if inner.exchange.as_ref().is_none_or(|exchange| exchange.send_is_instant(bytes)) {
                    return work(&mut inner);
                }
            }
        }
        py.detach(|| work(&mut self.lock()))
    }

    /// Writes to the server's error log with the request's context; `false` when the request is over.
    pub fn log(&self, level: Level, message: &[u8]) -> bool {
        match self.inner.try_lock() {
            Ok(inner) => inner.exchange.as_ref().map(|exchange| exchange.log(level, message)).is_some(),
            Err(_) => false,
        }
    }

    /// Ends the request for the calling thread, and for whoever still holds on to it.
    pub fn leave(&self) {
        CURRENT.set(None);
        if let Some(exchange) = self.lock().exchange.take() {
            if process::is_forked() {
                // The child's copy: the parent ends the real one.
                std::mem::forget(exchange);
            }
        }
    }
}

/// The request that the calling thread serves.
pub fn current() -> Option<Arc<Request>> {
    CURRENT.with_borrow(Clone::clone)
}

impl Inner {
    fn send_head(&mut self) -> Result<(), Refusal> {
        if self.head_sent {
            return Ok(());
        }
        let head = self.head.as_ref().ok_or(Refusal::NoHead)?;
        let exchange = self.exchange.as_mut().ok_or(Refusal::Server(SendError::Stopping))?;
        self.head_sent = true;
        let view = head.view();
        self.budget = Budget::new(if head.has_body() && !self.is_head { view.length } else { None });
        exchange.send_head(view).map_err(Refusal::Server)
    }

    fn has_body(&self) -> bool {
        !self.is_head && self.head.as_ref().is_none_or(OwnedResponseHead::has_body)
    }

    fn send(&mut self, block: &[u8], flush: bool) -> Result<Sent, Refusal> {
        self.send_head()?;
        if !self.has_body() {
            return Ok(Sent::NoBody);
        }
        let admitted = usize::try_from(self.budget.admit(block.len() as u64)).unwrap_or(usize::MAX);
        let block = block.get(..admitted).unwrap_or(block);
        let exchange = self.exchange.as_mut().ok_or(Refusal::Server(SendError::Stopping))?;
        if !block.is_empty() {
            exchange.send(block).map_err(Refusal::Server)?;
        }
        if flush {
            exchange.flush().map_err(Refusal::Server)?;
        }
        Ok(Sent::Taken)
    }

    fn send_file(
        &mut self,
        file: std::os::fd::BorrowedFd<'_>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, Refusal> {
        self.send_head()?;
        if !self.has_body() {
            return Ok(Sent::NoBody);
        }
        let admitted = self.budget.admit(length);
        let exchange = self.exchange.as_mut().ok_or(Refusal::Server(SendError::Stopping))?;
        exchange.send_file(file, offset, admitted).map_err(Refusal::Server)?;
        Ok(Sent::Taken)
    }

    fn complete(&mut self) {
        let (missing, dropped) = (self.budget.missing(), self.budget.dropped());
        if let Some(exchange) = &self.exchange {
            if dropped > 0 {
                let text = format!(
                    "the application sent {dropped} bytes more than its Content-Length; they were dropped"
                );
                exchange.log(Level::Warning, text.as_bytes());
            }
            if missing > 0 {
                let text = format!(
                    "the application sent {missing} bytes less than its Content-Length; the connection is cut"
                );
                exchange.log(Level::Error, text.as_bytes());
            }
        }
        self.end(if missing > 0 { End::Cut } else { End::Complete });
    }

    fn end(&mut self, end: End) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.end(end);
        }
    }
}

/// What is told about a request in the log: method, path and script.
pub fn described(exchange: &ForeignExchange) -> String {
    let head = |key| get(exchange.head(), key).or_else(|| get(exchange.mount(), key));
    let text = |key| head(key).map(|value| String::from_utf8_lossy(value).into_owned());
    format!(
        "{} {} ({})",
        text(Key::RequestMethod).unwrap_or_default(),
        text(Key::RequestUri).or_else(|| text(Key::PathInfo)).unwrap_or_default(),
        target_of(exchange.head(), exchange.mount()),
    )
}

/// The script or the module that packed entries name.
pub fn target_of(head: &[u8], mount: &[u8]) -> String {
    let find = |key| get(head, key).or_else(|| get(mount, key));
    let target = find(Key::TargetScript).or_else(|| find(Key::TargetModule)).unwrap_or_default();
    String::from_utf8_lossy(target).into_owned()
}

/// Whether the request has a body, and the body if it is here already.
pub enum Input {
    /// None.
    Empty,
    /// All of it.
    Memory(Py<PyBytes>),
    /// To be read.
    Stream,
}

/// What is needed of an exchange to call the application.
pub struct Opening {
    /// The mount, where it is known already, and otherwise its packed entries.
    pub mount: Result<Arc<Mount>, Vec<u8>>,
    /// The request's packed entries.
    pub head: Vec<u8>,
    /// Its body.
    pub input: Input,
}

impl Opening {
    /// Takes everything in one go, so that no Python code runs while the exchange is locked.
    pub fn of(py: Python<'_>, exchange: &ForeignExchange) -> Self {
        Self {
            mount: application::known(exchange.mount()).ok_or_else(|| exchange.mount().to_vec()),
            head: exchange.head().to_vec(),
            input: match exchange.body() {
                Body::Empty => Input::Empty,
                Body::Memory(body) => Input::Memory(PyBytes::new(py, body).unbind()),
                Body::Stream => Input::Stream,
            },
        }
    }
}
