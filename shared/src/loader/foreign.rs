//! The engine's half of the table: a server module's functions, as a safe [`Exchange`] and a safe [`Source`].

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::abi::{Bytes, ExchangeTable, RequestView, ResponseView, SourceTable};
use crate::exchange::{Body, BodyError, End, Exchange, Next, SendError, Source};
use crate::log::Level;
use crate::wsgi::response::ResponseHead;

/// An exchange of the other side. One that is dropped without an end is answered with 500, or cut.
#[derive(Debug)]
pub struct ForeignExchange {
    exchange: *mut c_void,
    table: &'static ExchangeTable,
    view: RequestView,
    head_sent: bool,
    ended: bool,
}

impl std::fmt::Debug for ExchangeTable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ExchangeTable")
    }
}

impl std::fmt::Debug for RequestView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RequestView")
    }
}

// SAFETY: an exchange may be used by any one thread at a time; its implementations are handed between threads by design.
unsafe impl Send for ForeignExchange {}

/// Takes over an exchange that was handed to the engine.
///
/// # Safety
/// `exchange` belongs to `table`, was not ended, and is nobody else's from here on. `table` lives as long as the process.
#[must_use]
pub unsafe fn foreign_exchange(exchange: *mut c_void, table: *const ExchangeTable) -> ForeignExchange {
    let mut view = RequestView { mount: Bytes::EMPTY, head: Bytes::EMPTY, body_kind: 0, body: Bytes::EMPTY };
    // SAFETY: the caller's promise; `view` is ours.
    let table = unsafe {
        let table = &*table;
        (table.view)(exchange, &raw mut view);
        table
    };
    ForeignExchange { exchange, table, view, head_sent: false, ended: false }
}

fn sent(number: u32) -> Result<(), SendError> {
    match number {
        0 => Ok(()),
        error => Err(SendError::from_number(error)),
    }
}

impl Exchange for ForeignExchange {
    fn mount(&self) -> &[u8] {
        // SAFETY: lent until `end`, which needs `&mut self`.
        unsafe { self.view.mount.borrow() }
    }

    fn head(&self) -> &[u8] {
        // SAFETY: as for `mount`.
        unsafe { self.view.head.borrow() }
    }

    fn body(&self) -> Body<'_> {
        match self.view.body_kind {
            0 => Body::Empty,
            // SAFETY: as for `mount`.
            1 => Body::Memory(unsafe { self.view.body.borrow() }),
            _ => Body::Stream,
        }
    }

    fn read_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
        if self.ended {
            return Err(BodyError::Stopping);
        }
        let mut read = 0;
        // SAFETY: not ended; `into` and `read` live for the call.
        let number =
            unsafe { (self.table.read_body)(self.exchange, into.as_mut_ptr(), into.len(), &raw mut read) };
        match number {
            0 => Ok(read.min(into.len())),
            error => Err(BodyError::from_number(error)),
        }
    }

    fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), SendError> {
        if self.ended {
            return Err(SendError::Stopping);
        }
        self.head_sent = true;
        let view = ResponseView {
            status: head.status.into(),
            has_length: head.length.is_some().into(),
            length: head.length.unwrap_or(0),
            reason: Bytes::lend(head.reason),
            fields: Bytes::lend(head.fields),
        };
        // SAFETY: not ended; `view` and what it lends live for the call.
        sent(unsafe { (self.table.send_head)(self.exchange, &raw const view) })
    }

    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        if self.ended {
            return Err(SendError::Stopping);
        }
        // SAFETY: not ended; `data` lives for the call.
        sent(unsafe { (self.table.send)(self.exchange, Bytes::lend(data)) })
    }

    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SendError> {
        if self.ended {
            return Err(SendError::Stopping);
        }
        // SAFETY: not ended; the descriptor is open for the call.
        sent(unsafe { (self.table.send_file)(self.exchange, file.as_raw_fd(), offset, length) })
    }

    fn flush(&mut self) -> Result<(), SendError> {
        if self.ended {
            return Err(SendError::Stopping);
        }
        // SAFETY: not ended.
        sent(unsafe { (self.table.flush)(self.exchange) })
    }

    fn end(&mut self, end: End) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.view = RequestView { mount: Bytes::EMPTY, head: Bytes::EMPTY, body_kind: 0, body: Bytes::EMPTY };
        let number = match end {
            End::Complete => 0,
            End::Cut => 1,
            End::Status(status) => u32::from(status.max(200)),
        };
        // SAFETY: the first and only end, and no call follows it: each checks `ended`.
        unsafe { (self.table.end)(self.exchange, number) };
    }

    fn log(&self, level: Level, message: &[u8]) {
        if self.ended {
            return;
        }
        // SAFETY: not ended; `message` lives for the call.
        unsafe { (self.table.log)(self.exchange, level as u32, Bytes::lend(message)) };
    }

    fn send_is_instant(&self, bytes: usize) -> bool {
        // SAFETY: not ended.
        !self.ended && unsafe { (self.table.send_is_instant)(self.exchange, bytes) } != 0
    }
}

impl Drop for ForeignExchange {
    fn drop(&mut self) {
        self.end(if self.head_sent { End::Cut } else { End::Status(500) });
    }
}

/// A source of the other side.
#[derive(Clone, Copy)]
pub struct ForeignSource {
    source: *const c_void,
    table: &'static SourceTable,
}

/// Takes over a source that was handed to the engine.
///
/// # Safety
/// `source` belongs to `table` and lives until it said that it is closed. `table` lives as long as the process.
#[must_use]
pub unsafe fn foreign_source(source: *const c_void, table: *const SourceTable) -> ForeignSource {
    // SAFETY: the caller's promise.
    ForeignSource { source, table: unsafe { &*table } }
}

impl ForeignSource {
    fn next(self, wait: u32) -> Next<ForeignExchange> {
        let mut exchange = std::ptr::null_mut();
        // SAFETY: the source is alive, as promised to `foreign_source`; an exchange that it yields is ours.
        unsafe {
            match (self.table.next)(self.source, wait, &raw mut exchange) {
                0 => Next::Exchange(foreign_exchange(exchange, self.table.exchange)),
                1 => Next::Nothing,
                _ => Next::Closed,
            }
        }
    }
}

impl Source for ForeignSource {
    type Exchange = ForeignExchange;

    fn try_next(&self) -> Next<ForeignExchange> {
        self.next(0)
    }

    fn wait_next(&self) -> Next<ForeignExchange> {
        self.next(1)
    }
}
