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

// SAFETY: an exchange may be used by any one thread at a time; its implementations are handed between threads
// by design.
unsafe impl Send for ForeignExchange {}

/// Takes over an exchange that was handed to the engine.
///
/// # Safety
/// `exchange` belongs to `table`, was not ended, and is nobody else's from here on. `table` lives as long as
/// the process.
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

    fn gone(&self) -> Option<SendError> {
        if self.ended {
            return Some(SendError::Stopping);
        }
        // SAFETY: not ended.
        sent(unsafe { (self.table.gone)(self.exchange) }).err()
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

// SAFETY: a source is made to be asked by many threads (`Engine::serve` wants it `Sync`).
unsafe impl Send for ForeignSource {}
// SAFETY: as above.
unsafe impl Sync for ForeignSource {}

/// Takes over a source that was handed to the engine.
///
/// # Safety
/// `source` belongs to `table` and lives until it said that it is closed. `table` lives as long as the
/// process.
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::loader::{exchange_table, offer_exchange};
    use crate::wsgi::response::OwnedResponseHead;

    /// Writes down what is asked of it.
    struct Noted {
        notes: Sender<String>,
        body: &'static [u8],
    }

    impl Noted {
        fn note(&self, text: String) -> Result<(), SendError> {
            self.notes.send(text).map_err(|_| SendError::Disconnected)
        }
    }

    impl Exchange for Noted {
        fn mount(&self) -> &[u8] {
            b"mount"
        }
        fn head(&self) -> &[u8] {
            b"head"
        }
        fn body(&self) -> Body<'_> {
            if self.body.is_empty() { Body::Stream } else { Body::Memory(self.body) }
        }
        fn read_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
            into.first_mut().map_or(Err(BodyError::TooLarge), |first| {
                *first = b'x';
                Ok(1)
            })
        }
        fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), SendError> {
            let fields: Vec<_> = head.fields().map(|(name, value)| (name.len(), value.len())).collect();
            self.note(format!("head {} {:?} {fields:?} {:?}", head.status, head.reason, head.length))
        }
        fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
            assert!(data != b"panic", "a fault in the module");
            self.note(format!("send {data:?}"))
        }
        fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SendError> {
            self.note(format!("file {} {offset} {length}", file.as_raw_fd()))
        }
        fn flush(&mut self) -> Result<(), SendError> {
            Err(SendError::TimedOut)
        }
        fn gone(&self) -> Option<SendError> {
            self.body.is_empty().then_some(SendError::Disconnected)
        }
        fn end(&mut self, end: End) {
            let _ = self.note(format!("end {end:?}"));
        }
        fn log(&self, level: Level, message: &[u8]) {
            let _ = self.note(format!("log {level:?} {message:?}"));
        }
        fn send_is_instant(&self, bytes: usize) -> bool {
            bytes < 10
        }
    }

    fn through_the_table(body: &'static [u8], work: impl FnOnce(&mut ForeignExchange)) -> Vec<String> {
        let (notes, noted) = channel();
        let offered = offer_exchange(Noted { notes, body });
        // SAFETY: just offered, with the table of its type.
        let mut exchange = unsafe { foreign_exchange(offered, exchange_table::<Noted>()) };
        work(&mut exchange);
        drop(exchange);
        noted.iter().collect()
    }

    #[test]
    fn everything_arrives_on_the_other_side() {
        let notes = through_the_table(b"body", |exchange| {
            assert_eq!((exchange.mount(), exchange.head()), (&b"mount"[..], &b"head"[..]));
            assert_eq!(exchange.body(), Body::Memory(b"body"));
            let mut buffer = [0; 4];
            assert_eq!((exchange.read_body(&mut buffer), buffer[0]), (Ok(1), b'x'));
            assert_eq!(exchange.read_body(&mut []), Err(BodyError::TooLarge));
            let mut head = OwnedResponseHead::new(b"201 Made").unwrap();
            head.add(b"A", b"bc").unwrap();
            head.set_length(3);
            exchange.send_head(head.view()).unwrap();
            exchange.send(b"abc").unwrap();
            assert_eq!(exchange.flush(), Err(SendError::TimedOut));
            assert_eq!(exchange.gone(), None);
            exchange.log(Level::Warning, b"w");
            assert!(exchange.send_is_instant(9) && !exchange.send_is_instant(10));
            exchange.end(End::Complete);
            assert_eq!(exchange.send(b"late"), Err(SendError::Stopping));
            assert_eq!(exchange.gone(), Some(SendError::Stopping));
            assert_eq!(exchange.mount(), b"");
        });
        assert_eq!(
            notes,
            [
                "head 201 [77, 97, 100, 101] [(1, 2)] Some(3)",
                "send [97, 98, 99]",
                "log Warning [119]",
                "end Complete"
            ]
        );
    }

    #[test]
    fn an_exchange_that_is_forgotten_is_ended_all_the_same() {
        assert_eq!(through_the_table(b"", |_| ()), ["end Status(500)"]);
        let notes = through_the_table(b"", |exchange| {
            assert_eq!(exchange.gone(), Some(SendError::Disconnected));
            exchange.send_head(OwnedResponseHead::new(b"200 OK").unwrap().view()).unwrap();
        });
        assert_eq!(notes.last().map(String::as_str), Some("end Cut"));
    }

    #[test]
    fn a_panic_stays_on_its_side() {
        let notes = through_the_table(b"", |exchange| {
            assert_eq!(exchange.send(b"panic"), Err(SendError::Server));
        });
        assert_eq!(notes, ["end Status(500)"]);
    }
}
