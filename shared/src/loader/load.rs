//! Opening libpython and the engine, and the engine's functions as safe methods.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW, Symbol};
use thiserror::Error;

use super::abi::{self, Bytes, EngineConf, EngineEntry, EngineTable, LogTable, Question, Report};
use super::denied::Denied;
use super::locate::Python;
use super::{exchange_table, offer_exchange, offer_source};
use crate::exchange::{Exchange, Source};
use crate::ffi::guard::guard;
use crate::log::Level;

/// The engine's file name; it lies beside the server modules.
pub const ENGINE_FILE: &str = "neat_engine.abi3.so";

/// Why the engine does not run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Another module of the server brought a Python into this process.
    #[error(
        "this process has another Python already, of another module of the server (mod_wsgi, mod_python, mod_passenger?); two \
         cannot share a process: load only one of these modules"
    )]
    OtherPython,
    /// libpython cannot be opened.
    #[error("cannot load \"{path}\": {why}")]
    Library {
        /// What was to be opened.
        path: PathBuf,
        /// What the dynamic linker said.
        why: String,
    },
    /// The library is of another version than its name says.
    #[error("\"{path}\" is Python {found}, where Python 3.{expected} was expected")]
    Version {
        /// The library.
        path: PathBuf,
        /// What it says it is.
        found: String,
        /// The minor version that its home asked for.
        expected: u32,
    },
    /// The library is a build without the GIL, which its name did not say.
    #[error(
        "\"{0}\" is a free-threaded build of Python ({1}), which Neat does not support yet; use a build with the GIL"
    )]
    FreeThreaded(PathBuf, String),
    /// What Python would start without, and with other packages.
    #[error("the Python of \"{program}\" cannot be read: {denied}", program = .0.display(), denied = .1)]
    Denied(PathBuf, Denied),
    /// The engine and the server module are not of one build.
    #[error(
        "\"{path}\" speaks version {found} of the engine's table, this module {expected}; install both from the same build"
    )]
    Table {
        /// The engine's file.
        path: PathBuf,
        /// What the engine speaks.
        found: u32,
        /// What this module speaks.
        expected: u32,
    },
    /// Python did not start.
    #[error("Python 3.{minor} of \"{program}\" did not start: {why}")]
    Start {
        /// The minor version.
        minor: u32,
        /// Its executable.
        program: PathBuf,
        /// What it said.
        why: String,
    },
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
    /// How many processes serve the same application; 0 where the server does not say.
    pub processes: u32,
    /// Whether other processes serve the same application, or may come to (`wsgi.multiprocess`).
    pub multiprocess: bool,
    /// Whether a script that changed is somebody else's affair: the process is replaced.
    pub keeps_scripts: bool,
    /// After how long a thread offers the GIL to others; `None` leaves it to CPython.
    pub switch_interval: Option<Duration>,
    /// How long the load of an application may take before the log says so, and requests for it are refused;
    /// `None` without end.
    pub startup_timeout: Option<Duration>,
    /// Whether such a load is ended where its thread serves no request, too: the thread is the server's.
    pub ends_startup: bool,
    /// Where lines that belong to no request go; called from any thread.
    pub log: fn(Level, &[u8]),
}

/// Why a process cannot be forked.
#[derive(Debug, Error)]
pub enum ForkError {
    /// The application has started threads, which would not be in the child. The log has their names.
    #[error("the application has started threads, which a forked process would not have")]
    Threads,
    /// The system refuses it.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// The running engine. There is one in a process.
#[derive(Clone, Copy)]
pub struct Engine {
    table: &'static EngineTable,
}

/// The path of the engine beside the shared object that `of`, any static of the server module, lies in.
#[must_use]
pub fn engine_beside<T>(of: &'static T) -> Option<PathBuf> {
    let mut about = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: dladdr takes any address, and `about` is ours.
    if unsafe { libc::dladdr(std::ptr::from_ref(of).cast(), &raw mut about) } == 0
        || about.dli_fname.is_null()
    {
        return None;
    }
    // SAFETY: the dynamic linker's own string, which lives as long as the object; that is never unloaded (-z
    // nodelete).
    let file = unsafe { CStr::from_ptr(about.dli_fname) };
    let file = Path::new(OsStr::from_bytes(file.to_bytes()));
    Some(file.parent()?.join(ENGINE_FILE))
}

static LOG: std::sync::OnceLock<fn(Level, &[u8])> = std::sync::OnceLock::new();

unsafe extern "C" fn write_log(level: u32, message: Bytes) {
    guard("log", (), || {
        if let Some(log) = LOG.get() {
            // SAFETY: the engine lends `message` for this call.
            log(Level::from_number(level), unsafe { message.borrow() });
        }
    });
}

unsafe extern "C" fn ask<F: Fn() -> bool>(state: *const c_void) -> u32 {
    guard("ask", 0, || {
        // SAFETY: `Engine::interrupt` lends its closure for the call.
        u32::from(unsafe { (*state.cast::<F>())() })
    })
}

unsafe extern "C" fn take_report(state: *mut c_void, message: Bytes) {
    guard("report", (), || {
        // SAFETY: `state` is the String that `start` lends for its call to the engine, and `message` the
        // engine's.
        let (text, message) = unsafe { (&mut *state.cast::<String>(), message.borrow()) };
        text.push_str(&String::from_utf8_lossy(message));
    });
}

/// Opens libpython and the engine's file and starts Python on the calling thread, which becomes its main
/// thread: the one that [`Engine::stop`] has to be called on.
///
/// # Errors
/// A [`LoadError`]. Once Python was started, a second call fails.
pub fn start(engine: &Path, start: &Start<'_>) -> Result<Engine, LoadError> {
    // Python passes over what it may not read: a virtual environment's application would run without its
    // packages.
    if let Some(denied) = start.python.reads.iter().find_map(|path| Denied::reading(path)) {
        return Err(LoadError::Denied(start.python.program.clone(), denied));
    }
    open_python(start.python)?;
    let table = open_engine(engine)?;
    let _ = LOG.set(start.log);
    let program = start.python.program.as_os_str().as_bytes();
    let path: Vec<u8> = start
        .path
        .iter()
        .flat_map(|directory| directory.as_os_str().as_bytes().iter().copied().chain(std::iter::once(0)))
        .collect();
    let conf = EngineConf {
        version: abi::VERSION,
        program: Bytes::lend(program),
        python_path: Bytes::lend(&path),
        server: Bytes::lend(start.server.as_bytes()),
        server_version: start.server_version,
        multithread: u32::from(start.threads > 1),
        multiprocess: u32::from(start.multiprocess),
        threads: start.threads,
        processes: start.processes,
        keeps_scripts: u32::from(start.keeps_scripts),
        switch_interval: start
            .switch_interval
            .map_or(0, |interval| u64::try_from(interval.as_micros()).unwrap_or(u64::MAX)),
        startup_timeout: start
            .startup_timeout
            .map_or(0, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1)),
        ends_startup: u32::from(start.ends_startup),
        log: LogTable { write: write_log },
    };
    let mut why = String::new();
    let report = Report { state: (&raw mut why).cast(), take: take_report };
    // SAFETY: both live for the call.
    match unsafe { (table.start)(&raw const conf, &raw const report) } {
        0 => Ok(Engine { table }),
        _ => Err(LoadError::Start {
            minor: start.python.minor,
            program: start.python.program.clone(),
            why: if why.is_empty() { "no reason was given".to_owned() } else { why },
        }),
    }
}

fn open(path: &Path, flags: i32) -> Result<Library, LoadError> {
    // SAFETY: libpython has no initialisers of its own, and the engine is ours.
    unsafe { Library::open(Some(path), flags) }
        .map_err(|error| LoadError::Library { path: path.to_owned(), why: error.to_string() })
}

fn symbol<T>(library: &Library, path: &Path, name: &[u8]) -> Result<Symbol<T>, LoadError> {
    // SAFETY: each caller names the type that the symbol has in Python's documentation or in `abi`.
    unsafe { library.get(name) }
        .map_err(|error| LoadError::Library { path: path.to_owned(), why: error.to_string() })
}

/// Opens libpython so that the engine and every extension module find its symbols (RTLD_GLOBAL), for as long
/// as the process lives.
fn open_python(python: &Python) -> Result<(), LoadError> {
    // SAFETY: the type of the symbol is not used.
    if unsafe { Library::this().get::<*const c_void>(b"Py_IsInitialized\0") }.is_ok() {
        return Err(LoadError::OtherPython);
    }
    let library = open(&python.library, RTLD_NOW | RTLD_GLOBAL)?;
    let version: Symbol<unsafe extern "C" fn() -> *const c_char> =
        symbol(&library, &python.library, b"Py_GetVersion\0")?;
    // SAFETY: may be called before Python is initialised, and returns a static string.
    let found = unsafe { CStr::from_ptr(version()) }.to_string_lossy().into_owned();
    std::mem::forget(library);
    judge_version(python, &found)
}

/// Judges what `Py_GetVersion` says: version and build, as in `3.13.5 experimental free-threading build
/// (main, ...)`.
fn judge_version(python: &Python, found: &str) -> Result<(), LoadError> {
    let version = found.split_whitespace().next().unwrap_or_default().to_owned();
    if found.contains("free-threading build") {
        return Err(LoadError::FreeThreaded(python.library.clone(), version));
    }
    if version.starts_with(&format!("3.{}.", python.minor)) {
        return Ok(());
    }
    Err(LoadError::Version { path: python.library.clone(), found: version, expected: python.minor })
}

fn open_engine(path: &Path) -> Result<&'static EngineTable, LoadError> {
    let library = open(path, RTLD_NOW | RTLD_LOCAL)?;
    let entry: Symbol<EngineEntry> = symbol(&library, path, abi::ENTRY)?;
    // SAFETY: the engine's table lives as long as the process: the library is never closed.
    let table = unsafe { &*entry() };
    std::mem::forget(library);
    if table.version == abi::VERSION {
        Ok(table)
    } else {
        Err(LoadError::Table { path: path.to_owned(), found: table.version, expected: abi::VERSION })
    }
}

impl Engine {
    /// Loads the application of packed mount entries ahead of its first request. `false` when that failed:
    /// the log has the traceback, and the first request tries again.
    #[must_use]
    pub fn preload(&self, mount: &[u8]) -> bool {
        // SAFETY: the engine runs, and `mount` lives for the call.
        unsafe { (self.table.preload)(Bytes::lend(mount)) == 0 }
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

    /// Forks this process: the child's pid, `None` in the child. Has to be called on the thread that started
    /// Python.
    ///
    /// # Errors
    /// [`ForkError`].
    pub fn fork(&self) -> Result<Option<u32>, ForkError> {
        // SAFETY: the engine runs.
        match unsafe { (self.table.fork)() } {
            0 => Ok(None),
            abi::HAS_THREADS => Err(ForkError::Threads),
            pid => u32::try_from(pid).map(Some).map_err(|_| std::io::Error::last_os_error().into()),
        }
    }

    /// Returns when the calling thread has had the GIL.
    pub fn pulse(&self) {
        // SAFETY: the engine runs.
        unsafe { (self.table.pulse)() }
    }

    /// Raises `RequestTimeout` in a serving thread and says where that was. Waits for the GIL, which may take
    /// as long as the thread needs to end its request and to begin another: `is_meant` says, when no thread
    /// of Python's can go on, whether it still serves what is meant. `None` where it does not.
    #[must_use]
    pub fn interrupt<F: Fn() -> bool>(&self, thread: u64, is_meant: &F) -> Option<String> {
        let mut stack = String::new();
        let report = Report { state: (&raw mut stack).cast(), take: take_report };
        let question = Question { state: std::ptr::from_ref(is_meant).cast(), ask: ask::<F> };
        // SAFETY: the engine runs; the question and the report live for the call.
        unsafe { (self.table.interrupt)(thread, &raw const question, &raw const report) };
        (!stack.is_empty()).then_some(stack)
    }

    /// Ends Python: joins the application's threads for at most `patience`, runs atexit functions, flushes
    /// its streams. Has to be called on the thread that started it; afterwards no Python code runs in this
    /// process.
    pub fn stop(&self, patience: Duration) {
        // SAFETY: the engine runs.
        unsafe { (self.table.stop)(u32::try_from(patience.as_millis()).unwrap_or(u32::MAX)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_looked_for_beside_the_module() {
        let found = engine_beside(&LOG).unwrap();
        assert_eq!(found.file_name(), Some(OsStr::new(ENGINE_FILE)));
        assert_eq!(found.parent(), std::env::current_exe().unwrap().parent());
    }

    fn python(library: &str) -> Python {
        Python { minor: 13, library: library.into(), program: "/nowhere/python".into(), reads: vec![] }
    }

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let error = open_python(&python("/nowhere/libpython3.13.so.1.0")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/libpython3.13.so.1.0"), "{error}");
    }

    #[test]
    fn a_library_that_is_another_than_its_name_says_is_refused() {
        let judge = |found: &str| {
            judge_version(&python("/lib/libpython3.13.so.1.0"), found).map_err(|error| error.to_string())
        };
        assert_eq!(judge("3.13.5 (main, Nov 21 2026, 17:29:41) [GCC 12.2.0]"), Ok(()));
        assert_eq!(judge("3.13.0+ (heads/3.13:1, Nov 21 2026)"), Ok(()));
        assert!(judge("3.1.3 (main)").unwrap_err().contains("where Python 3.13 was expected"));
        for found in ["3.13.5 experimental free-threading build (main)", "3.13.5 free-threading build (main)"]
        {
            let error = judge(found).unwrap_err();
            assert!(error.contains("free-threaded build of Python (3.13.5)"), "{error}");
        }
    }
}
