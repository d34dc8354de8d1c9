//! A server module's half of the table: safe [`Exchange`]s and [`Source`]s, offered to the engine as C
//! functions.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;

use super::abi::{Bytes, ExchangeTable, RequestView, ResponseView, SourceTable};
use crate::exchange::{Body, BodyError, End, Exchange, Next, SendError, Source};
use crate::ffi::guard::guard;
use crate::log::Level;
use crate::wsgi::response::ResponseHead;

/// The functions of exchanges of type `X`.
#[must_use]
pub const fn exchange_table<X: Exchange>() -> &'static ExchangeTable {
    const {
        &ExchangeTable {
            view: view::<X>,
            read_body: read_body::<X>,
            send_head: send_head::<X>,
            send: send::<X>,
            send_file: send_file::<X>,
            flush: flush::<X>,
            gone: gone::<X>,
            end: end::<X>,
            log: log::<X>,
            send_is_instant: send_is_instant::<X>,
        }
    }
}

/// Hands an exchange out as a pointer. It comes back, and is dropped, in the table's `end`.
#[must_use]
pub fn offer_exchange<X: Exchange>(exchange: X) -> *mut c_void {
    Box::into_raw(Box::new(exchange)).cast()
}

/// The functions of a source of type `S`.
#[must_use]
pub const fn offer_source<S: Source>() -> &'static SourceTable {
    const { &SourceTable { next: next::<S>, exchange: exchange_table::<S::Exchange>() } }
}

/// Borrows the exchange behind a pointer.
///
/// # Safety
/// `exchange` came from [`offer_exchange`] with the same type, was not ended, and no other call on it is
/// under way: the engine makes one call at a time.
unsafe fn lent<'a, X: Exchange>(exchange: *mut c_void) -> &'a mut X {
    // SAFETY: the caller's promise is the contract of the table.
    unsafe { &mut *exchange.cast::<X>() }
}

unsafe extern "C" fn view<X: Exchange>(exchange: *mut c_void, view: *mut RequestView) {
    guard("exchange view", (), || {
        // SAFETY: the engine keeps the table's contract; `view` is its own, and writable.
        let (exchange, view) = unsafe { (lent::<X>(exchange), &mut *view) };
        let (body_kind, body) = match exchange.body() {
            Body::Empty => (0, Bytes::EMPTY),
            Body::Memory(body) => (1, Bytes::lend(body)),
            Body::Stream => (2, Bytes::EMPTY),
        };
        *view = RequestView {
            mount: Bytes::lend(exchange.mount()),
            head: Bytes::lend(exchange.head()),
            body_kind,
            body,
        };
    });
}

unsafe extern "C" fn read_body<X: Exchange>(
    exchange: *mut c_void,
    into: *mut u8,
    room: usize,
    read: *mut usize,
) -> u32 {
    guard("exchange read_body", BodyError::Server as u32, || {
        // SAFETY: the engine lends `room` initialised bytes at `into`, and `read`, for this call.
        let (exchange, into, read) =
            unsafe { (lent::<X>(exchange), std::slice::from_raw_parts_mut(into, room), &mut *read) };
        match exchange.read_body(into) {
            Ok(count) => {
                *read = count;
                0
            }
            Err(error) => error as u32,
        }
    })
}

fn outcome(result: Result<(), SendError>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(error) => error as u32,
    }
}

unsafe extern "C" fn send_head<X: Exchange>(exchange: *mut c_void, head: *const ResponseView) -> u32 {
    guard("exchange send_head", SendError::Server as u32, || {
        // SAFETY: the engine lends `head`, and what it points to, for this call.
        let (exchange, head, reason, fields) = unsafe {
            let view = &*head;
            (lent::<X>(exchange), view, view.reason.borrow(), view.fields.borrow())
        };
        outcome(exchange.send_head(ResponseHead {
            status: u16::try_from(head.status).unwrap_or(500),
            reason,
            fields,
            length: (head.has_length != 0).then_some(head.length),
        }))
    })
}

unsafe extern "C" fn send<X: Exchange>(exchange: *mut c_void, data: Bytes) -> u32 {
    guard("exchange send", SendError::Server as u32, || {
        // SAFETY: the engine lends `data` for this call.
        let (exchange, data) = unsafe { (lent::<X>(exchange), data.borrow()) };
        outcome(exchange.send(data))
    })
}

unsafe extern "C" fn send_file<X: Exchange>(
    exchange: *mut c_void,
    file: i32,
    offset: u64,
    length: u64,
) -> u32 {
    guard("exchange send_file", SendError::Server as u32, || {
        // SAFETY: the engine keeps the descriptor open for this call.
        let (exchange, file) = unsafe { (lent::<X>(exchange), BorrowedFd::borrow_raw(file)) };
        outcome(exchange.send_file(file, offset, length))
    })
}

unsafe extern "C" fn flush<X: Exchange>(exchange: *mut c_void) -> u32 {
    guard("exchange flush", SendError::Server as u32, || {
        // SAFETY: the table's contract.
        outcome(unsafe { lent::<X>(exchange) }.flush())
    })
}

unsafe extern "C" fn gone<X: Exchange>(exchange: *mut c_void) -> u32 {
    guard("exchange gone", SendError::Server as u32, || {
        // SAFETY: the table's contract.
        outcome(unsafe { lent::<X>(exchange) }.gone().map_or(Ok(()), Err))
    })
}

unsafe extern "C" fn end<X: Exchange>(exchange: *mut c_void, end: u32) {
    guard("exchange end", (), || {
        // SAFETY: `end` is the last call on this pointer, which came from `offer_exchange`.
        let mut exchange = unsafe { Box::from_raw(exchange.cast::<X>()) };
        exchange.end(match end {
            0 => End::Complete,
            1 => End::Cut,
            status => End::Status(u16::try_from(status).unwrap_or(500)),
        });
    });
}

unsafe extern "C" fn log<X: Exchange>(exchange: *mut c_void, level: u32, message: Bytes) {
    guard("exchange log", (), || {
        // SAFETY: the engine lends `message` for this call.
        let (exchange, message) = unsafe { (lent::<X>(exchange), message.borrow()) };
        exchange.log(Level::from_number(level), message);
    });
}

unsafe extern "C" fn send_is_instant<X: Exchange>(exchange: *mut c_void, bytes: usize) -> u32 {
    guard("exchange send_is_instant", 0, || {
        // SAFETY: the table's contract.
        u32::from(unsafe { lent::<X>(exchange) }.send_is_instant(bytes))
    })
}

unsafe extern "C" fn next<S: Source>(source: *const c_void, wait: u32, out: *mut *mut c_void) -> u32 {
    guard("source next", 2, || {
        // SAFETY: the module keeps its source alive while a thread serves from it; `out` is the engine's.
        let (source, out) = unsafe { (&*source.cast::<S>(), &mut *out) };
        match if wait == 0 { source.try_next() } else { source.wait_next() } {
            Next::Exchange(exchange) => {
                *out = offer_exchange(exchange);
                0
            }
            Next::Nothing => 1,
            Next::Closed => 2,
        }
    })
}
