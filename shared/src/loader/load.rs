//! Opening libpython and the engine, and the engine's functions as safe methods.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::abi::EngineTable;
use super::locate::Python;
use super::{exchange_table, offer_exchange, offer_source};
use crate::exchange::{Exchange, Source};
use crate::log::Level;

/// The engine's file name; it lies beside the server modules.
pub const ENGINE_FILE: &str = "neat_engine.abi3.so";

/// Why the engine does not run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A placeholder until this is written.
    #[error("{0}")]
    Other(String),
}

/// What the engine is told at its start.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// Which Python.
    pub python: &'a Python,
    /// Directories in front of `sys.path`.
    pub path: &'a [PathBuf],
    /// `nginx` or `apache`.
    pub server: &'a str,
    /// The server's version.
    pub server_version: [u32; 3],
    /// How many threads serve requests in this process.
    pub threads: u32,
    /// Whether other processes serve the same application.
    pub multiprocess: bool,
    /// Where lines that belong to no request go; called from any thread.
    pub log: fn(Level, &[u8]),
}

/// The running engine. There is one in a process.
#[derive(Clone, Copy)]
pub struct Engine {
    table: &'static EngineTable,
}

/// The path of the engine beside the shared object that `symbol` (any function or static of the server module) lies in.
#[must_use]
pub fn engine_beside(symbol: *const c_void) -> Option<PathBuf> {
    let _ = symbol;
    None
}

/// Opens libpython and the engine's file and starts Python on the calling thread, which
/// becomes its main thread: the one that [`Engine::stop`] has to be called on.
///
/// # Errors
/// A [`LoadError`]. Once Python was started, a second call fails.
pub fn start(engine: &Path, start: &Start<'_>) -> Result<Engine, LoadError> {
    let _ = (engine, start);
    Err(LoadError::Other("not written yet".to_owned()))
}

impl Engine {
    /// Loads the application of packed mount entries ahead of its first request. `false` when that failed: the log has the
    /// traceback, and the first request tries again.
    #[must_use]
    pub fn preload(&self, mount: &[u8]) -> bool {
        // SAFETY: the engine runs, and `mount` lives for the call.
        unsafe { (self.table.preload)(super::abi::Bytes::lend(mount)) == 0 }
    }

    /// Serves exchanges from `source` on the calling thread until it is closed.
    pub fn serve<S: Source + Sync>(&self, source: &S) {
        // SAFETY: the engine runs, and `source` outlives the call.
        unsafe { (self.table.serve)(std::ptr::from_ref(source).cast(), offer_source::<S>()) }
    }

    /// Serves one exchange on the calling thread, which keeps its Python thread state for the next one.
    pub fn call<X: Exchange>(&self, exchange: X) {
        // SAFETY: the engine runs; it takes the exchange over.
        unsafe { (self.table.call)(offer_exchange(exchange), exchange_table::<X>()) }
    }

    /// Ends Python: joins the application's threads for at most `patience`, runs atexit functions, flushes its streams. Has
    /// to be called on the thread that started it; afterwards no Python code runs in this process.
    pub fn stop(&self, patience: Duration) {
        // SAFETY: the engine runs.
        unsafe { (self.table.stop)(u32::try_from(patience.as_millis()).unwrap_or(u32::MAX)) }
    }
}
