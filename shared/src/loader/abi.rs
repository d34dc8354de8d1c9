//! The table between a server module and the engine: plain C, versioned, the same for every Python.
//!
//! A server module and the engine are two shared objects, each with a copy of this crate. A panic of one is
//! foreign to the other and could not be caught there, so both directions guard themselves
//! ([`crate::ffi::guard`]). The half that a module offers is `module_side.rs`, the half that the engine uses
//! is `engine_side.rs`; nobody else touches these pointers.

use std::ffi::c_void;

/// Raised with every change of a type in this file, of [`crate::http::key::Key`]'s order, or of what a call
/// means. The engine refuses to start under another version.
pub const VERSION: u32 = 5;

/// What [`EngineTable::fork`] answers where the application has started threads: they would not be in the
/// child.
pub const HAS_THREADS: i32 = -2;

/// The engine's one exported symbol, an [`EngineEntry`].
pub const ENTRY: &[u8] = b"neat_engine_v1\0";

/// The type of the engine's exported symbol. The table lives as long as the process.
pub type EngineEntry = unsafe extern "C" fn() -> *const EngineTable;

/// A borrowed run of bytes. It lives as long as the call that it is handed to, or as the type that hands it
/// out says.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Bytes {
    /// Never null where `length` is not 0.
    pub start: *const u8,
    /// In bytes.
    pub length: usize,
}

impl Bytes {
    /// No bytes.
    pub const EMPTY: Self = Self { start: std::ptr::null(), length: 0 };

    /// Lends `bytes`.
    #[must_use]
    pub const fn lend(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// What was lent is still there, unchanged, for as long as `'a`.
    #[must_use]
    pub const unsafe fn borrow<'a>(self) -> &'a [u8] {
        if self.start.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: not null, and the caller keeps the lender's promise.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// What the engine can do. Every function is guarded on the engine's side.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EngineTable {
    /// [`VERSION`] of the engine.
    pub version: u32,
    /// Starts Python on the calling thread, which becomes its main thread. 0 when it runs; otherwise `report`
    /// was told why.
    pub start: unsafe extern "C" fn(conf: *const EngineConf, report: *const Report) -> u32,
    /// Loads the application of packed mount entries ahead of its first request. 0 when it is loaded;
    /// otherwise the traceback is in the log, and the first request tries again.
    pub preload: unsafe extern "C" fn(mount: Bytes) -> u32,
    /// Serves exchanges from a source on the calling thread until the source is closed.
    pub serve: unsafe extern "C" fn(source: *const c_void, table: *const SourceTable),
    /// Serves one exchange on the calling thread, which keeps its Python thread state for the next one.
    pub call: unsafe extern "C" fn(exchange: *mut c_void, table: *const ExchangeTable),
    /// Forks the calling process, which has to be in the thread that started Python, with no other thread of
    /// Python's in it: the child's pid, 0 in the child, -1 where it failed, [`HAS_THREADS`].
    pub fork: unsafe extern "C" fn() -> i32,
    /// Returns when the calling thread has had the GIL.
    pub pulse: unsafe extern "C" fn(),
    /// Tells `report` the stack of a serving thread (its pthread_t as a number) and raises RequestTimeout in
    /// it. Waits for the GIL, and asks the question when it has it: nothing is done where the answer is no.
    pub interrupt: unsafe extern "C" fn(thread: u64, question: *const Question, report: *const Report),
    /// Ends Python on the thread that started it: joins the application's threads for at most `patience_ms`,
    /// runs atexit functions, flushes its streams. After this no Python code runs.
    pub stop: unsafe extern "C" fn(patience_ms: u32),
}

/// What the engine is told at its start. Lives for the call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EngineConf {
    /// [`VERSION`] of the server module.
    pub version: u32,
    /// What `sys.executable` is to be: the python of the installation or of the virtual environment.
    pub program: Bytes,
    /// Directories to put in front of `sys.path`, each ended by a NUL.
    pub python_path: Bytes,
    /// `nginx` or `apache`.
    pub server: Bytes,
    /// The server's version, three numbers.
    pub server_version: [u32; 3],
    /// `wsgi.multithread`.
    pub multithread: u32,
    /// `wsgi.multiprocess`.
    pub multiprocess: u32,
    /// How many threads serve requests in this process.
    pub threads: u32,
    /// How many processes serve the same application; 0 where the server does not say.
    pub processes: u32,
    /// Whether a script that changed is somebody else's affair: the process is replaced.
    pub keeps_scripts: u32,
    /// Microseconds after which a thread offers the GIL to others (`sys.setswitchinterval`); 0 leaves it to
    /// CPython.
    pub switch_interval: u64,
    /// Milliseconds after which an application that is still being loaded is said to be, and requests for it
    /// are refused; 0 for never.
    pub startup_timeout: u64,
    /// Whether such a load is ended, though it is in a thread that serves no request.
    pub ends_startup: u32,
    /// Where lines that belong to no request go.
    pub log: LogTable,
}

/// The server's own log, for what belongs to no request. May be called from any thread.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct LogTable {
    /// Writes a line of a [`crate::log::Level`].
    pub write: unsafe extern "C" fn(level: u32, message: Bytes),
}

/// A question that is asked during a call.
#[repr(C)]
pub struct Question {
    /// Handed back to `ask`.
    pub state: *const c_void,
    /// Whether it is so; 0 for no.
    pub ask: unsafe extern "C" fn(state: *const c_void) -> u32,
}

/// Takes an error message during a call.
#[repr(C)]
pub struct Report {
    /// Handed back to `take`.
    pub state: *mut c_void,
    /// Takes the message.
    pub take: unsafe extern "C" fn(state: *mut c_void, message: Bytes),
}

/// How an exchange looks at its beginning. Everything lent lives until the exchange's `end`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RequestView {
    /// [`crate::exchange::Exchange::mount`].
    pub mount: Bytes,
    /// [`crate::exchange::Exchange::head`].
    pub head: Bytes,
    /// 0 for no body, 1 for a body in memory, 2 for one that is streamed.
    pub body_kind: u32,
    /// The body in memory.
    pub body: Bytes,
}

/// A response's head. Lives for the call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ResponseView {
    /// From 200 to 999.
    pub status: u32,
    /// Whether `length` says something.
    pub has_length: u32,
    /// In bytes.
    pub length: u64,
    /// The reason phrase.
    pub reason: Bytes,
    /// The packed fields.
    pub fields: Bytes,
}

/// An [`crate::exchange::Exchange`] as functions. Each takes the exchange's pointer first. Numbers that say
/// how a call went are 0 for success and otherwise a `BodyError` or a `SendError`.
#[repr(C)]
pub struct ExchangeTable {
    /// Describes the request.
    pub view: unsafe extern "C" fn(exchange: *mut c_void, view: *mut RequestView),
    /// Reads the body; the number of bytes goes to `read`.
    pub read_body:
        unsafe extern "C" fn(exchange: *mut c_void, into: *mut u8, room: usize, read: *mut usize) -> u32,
    /// Takes the head.
    pub send_head: unsafe extern "C" fn(exchange: *mut c_void, head: *const ResponseView) -> u32,
    /// Takes a part of the body.
    pub send: unsafe extern "C" fn(exchange: *mut c_void, data: Bytes) -> u32,
    /// Takes a file range.
    pub send_file: unsafe extern "C" fn(exchange: *mut c_void, file: i32, offset: u64, length: u64) -> u32,
    /// Sends what was taken.
    pub flush: unsafe extern "C" fn(exchange: *mut c_void) -> u32,
    /// Whether nothing can be sent any more: 0 as far as is known it can.
    pub gone: unsafe extern "C" fn(exchange: *mut c_void) -> u32,
    /// Ends the exchange and takes its pointer back: 0 complete, 1 cut, otherwise the status to answer.
    pub end: unsafe extern "C" fn(exchange: *mut c_void, end: u32),
    /// Logs a line with the request's context.
    pub log: unsafe extern "C" fn(exchange: *mut c_void, level: u32, message: Bytes),
    /// Whether a send of so many bytes does not wait.
    pub send_is_instant: unsafe extern "C" fn(exchange: *mut c_void, bytes: usize) -> u32,
}

/// A [`crate::exchange::Source`] as functions.
#[repr(C)]
pub struct SourceTable {
    /// Puts the next exchange into `out`: 0 there is one, 1 nothing now, 2 closed. Waits for one where `wait`
    /// is not 0.
    pub next: unsafe extern "C" fn(source: *const c_void, wait: u32, out: *mut *mut c_void) -> u32,
    /// How to talk to the exchanges of this source.
    pub exchange: *const ExchangeTable,
}
