//! The engine's functions, as the table has them. Each is guarded.

use std::ffi::c_void;

use shared::exchange::{Next, Source};
use shared::ffi::guard::guard;
use shared::loader::abi::{
    Bytes, EngineConf, EngineTable, ExchangeTable, Question, Report, SourceTable, VERSION,
};
use shared::loader::{foreign_exchange, foreign_source};

use crate::{fork, interpreter, serve, threads};

static TABLE: EngineTable =
    EngineTable { version: VERSION, start, preload, serve: serve_source, call, fork, pulse, interrupt, stop };

/// The engine's one exported symbol.
#[unsafe(no_mangle)]
pub extern "C" fn neat_engine_v1() -> *const EngineTable {
    guard("neat_engine_v1", std::ptr::null(), || &raw const TABLE)
}

unsafe extern "C" fn start(conf: *const EngineConf, report: *const Report) -> u32 {
    guard("engine start", 1, || {
        // SAFETY: the module lends both, and what they point to, for this call.
        let (raw, report) = unsafe { (*conf, &*report) };
        // SAFETY: as above.
        let (program, python_path, server) =
            unsafe { (raw.program.borrow(), raw.python_path.borrow(), raw.server.borrow()) };
        let started = if raw.version == VERSION {
            let server = std::str::from_utf8(server).unwrap_or("server");
            interpreter::start(&interpreter::Conf { program, python_path, server, raw, log: raw.log })
        } else {
            Err(format!(
                "the server module speaks version {} of the engine's table, the engine {VERSION}",
                raw.version
            ))
        };
        match started {
            Ok(()) => 0,
            Err(why) => {
                // SAFETY: `state` is the module's own, handed back as the table says.
                unsafe { (report.take)(report.state, Bytes::lend(why.as_bytes())) };
                1
            }
        }
    })
}

unsafe extern "C" fn preload(mount: Bytes) -> u32 {
    guard("engine preload", 1, || {
        // SAFETY: the module lends the bytes for this call.
        let mount = unsafe { mount.borrow() };
        u32::from(threads::attached(|py| serve::preload(py, mount)) != Some(true))
    })
}

unsafe extern "C" fn serve_source(source: *const c_void, table: *const SourceTable) {
    guard("engine serve", (), || {
        // SAFETY: the module keeps the source alive until this returns.
        let source = unsafe { foreign_source(source, table) };
        threads::attached(|py| {
            loop {
                let next = match source.try_next() {
                    Next::Nothing => py.detach(|| source.wait_next()),
                    next => next,
                };
                match next {
                    Next::Exchange(exchange) => {
                        threads::forget_interrupt(py);
                        guard("engine request", (), || serve::serve(py, exchange));
                        serve::forget_exception(py);
                    }
                    Next::Nothing => {}
                    Next::Closed => return,
                }
            }
        });
    });
}

unsafe extern "C" fn call(exchange: *mut c_void, table: *const ExchangeTable) {
    guard("engine call", (), || {
        // SAFETY: the module hands the exchange over; dropped without an end it is answered.
        let exchange = unsafe { foreign_exchange(exchange, table) };
        threads::attached(|py| {
            guard("engine request", (), || serve::serve(py, exchange));
            serve::forget_exception(py);
        });
    });
}

unsafe extern "C" fn fork() -> i32 {
    guard("engine fork", -1, fork::fork)
}

unsafe extern "C" fn pulse() {
    guard("engine pulse", (), || {
        threads::attached(|_| ());
    });
}

unsafe extern "C" fn interrupt(thread: u64, question: *const Question, report: *const Report) {
    guard("engine interrupt", (), || {
        // SAFETY: the module lends the question for this call, and `state` is its own.
        let is_meant = || unsafe { ((*question).ask)((*question).state) != 0 };
        let stack = threads::attached(|py| is_meant().then(|| threads::interrupt(py, thread)));
        let Some(stack) = stack.flatten() else { return };
        // SAFETY: the module lends the report for this call, and `state` is its own.
        unsafe { ((*report).take)((*report).state, Bytes::lend(stack.as_bytes())) };
    });
}

unsafe extern "C" fn stop(patience_ms: u32) {
    guard("engine stop", (), || interpreter::stop(patience_ms));
}
