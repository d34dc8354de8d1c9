//! Python's start and end, and the objects that every request needs.

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};
use shared::loader::abi::{Bytes, EngineConf, LogTable};
use shared::log::Level;

use crate::{errors, fork, input, names, request};

const SOURCE: &str = include_str!("python/neat.py");

static INTERPRETER: OnceLock<Interpreter> = OnceLock::new();
static LOG: OnceLock<LogTable> = OnceLock::new();
static STOPPED: AtomicBool = AtomicBool::new(false);
static STARTUP_TIMEOUT: OnceLock<Duration> = OnceLock::new();
static ENDS_STARTUP: AtomicBool = AtomicBool::new(false);
static KEEPS_SCRIPTS: AtomicBool = AtomicBool::new(false);
/// The thread state of the thread that started Python, while it does not run.
static MAIN: AtomicPtr<ffi::PyThreadState> = AtomicPtr::new(std::ptr::null_mut());

/// What every request needs of Python.
pub struct Interpreter {
    /// The keys of environ that hold for the whole process.
    pub environ: Py<PyDict>,
    /// `io.BytesIO`.
    pub bytes_io: Py<PyAny>,
    /// Makes the stream of a body that is read as it comes.
    pub open_input: Py<PyAny>,
    /// The class behind `wsgi.file_wrapper`.
    pub file_wrapper: Py<PyAny>,
    /// Tells the descriptor and the position of a wrapped file.
    pub file_of: Py<PyAny>,
    /// Makes the exception for a body that cannot be read.
    pub body_error: Py<PyAny>,
    /// The exception for a block that `write()` cannot send.
    pub send_failed: Py<PyAny>,
    /// The exception for a request whose application is not loaded in time.
    pub not_loaded: Py<PyAny>,
    /// Prints an exception.
    pub format_error: Py<PyAny>,
    /// Loads a script file.
    pub load_script: Py<PyAny>,
    /// Imports a module.
    pub load_module: Py<PyAny>,
    /// Finds the callable in either.
    pub find_callable: Py<PyAny>,
    /// Makes a lock.
    pub lock: Py<PyAny>,
    /// Prints the stack of a thread.
    pub stack_of: Py<PyAny>,
    /// The exception for a request that runs too long.
    pub request_timeout: Py<PyAny>,
    /// Puts everything that is there out of the garbage collector's sight.
    pub freeze: Py<PyAny>,
    shutdown: Py<PyAny>,
}

impl Interpreter {
    /// The running interpreter.
    pub fn get() -> PyResult<&'static Self> {
        INTERPRETER.get().ok_or_else(|| PyRuntimeError::new_err("Python is not running"))
    }
}

/// Whether a script that changed is somebody else's affair.
pub fn keeps_scripts() -> bool {
    KEEPS_SCRIPTS.load(Ordering::Relaxed)
}

/// How long the load of an application may take; `None` without end.
pub fn startup_timeout() -> Option<Duration> {
    STARTUP_TIMEOUT.get().copied()
}

/// Whether a load that takes longer is ended.
pub fn ends_startup() -> bool {
    ENDS_STARTUP.load(Ordering::Relaxed)
}

/// Whether Python has ended, so that no thread may enter it any more.
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::Acquire)
}

/// Writes to the server's log, for what belongs to no request.
pub fn log(level: Level, message: &[u8]) {
    if let Some(log) = LOG.get() {
        // SAFETY: the module's function takes any bytes, for the call.
        unsafe { (log.write)(level as u32, Bytes::lend(message)) };
    }
}

/// Starts Python on the calling thread and leaves it detached.
///
/// # Errors
/// Why it did not start, for the server's log.
pub fn start(conf: &Conf<'_>) -> Result<(), String> {
    if LOG.set(conf.log).is_err() {
        return Err("it was started before in this process".to_owned());
    }
    if conf.raw.startup_timeout > 0 {
        let _ = STARTUP_TIMEOUT.set(Duration::from_millis(conf.raw.startup_timeout));
    }
    ENDS_STARTUP.store(conf.raw.ends_startup != 0, Ordering::Relaxed);
    KEEPS_SCRIPTS.store(conf.raw.keeps_scripts != 0, Ordering::Relaxed);
    shared::ffi::guard::set_panic_sink(|message| log(Level::Critical, message.as_bytes()));
    let handlers = Handlers::save();
    let started = initialise(conf.program);
    handlers.restore();
    started?;
    fork::watch_forks();
    let prepared = Python::attach(|py| {
        prepare(py, conf).map_err(|error| {
            let traceback =
                error.traceback(py).and_then(|traceback| traceback.format().ok()).unwrap_or_default();
            format!("{error}\n{traceback}")
        })
    });
    // Python was told that SIGINT is not its own, and put the default action there.
    handlers.restore();
    // SAFETY: this thread is attached since `initialise`; its state is kept for `stop`.
    MAIN.store(unsafe { ffi::PyEval_SaveThread() }, Ordering::Release);
    prepared
}

/// What the engine is told at its start, in Rust's types.
pub struct Conf<'a> {
    /// The python executable.
    pub program: &'a [u8],
    /// Directories for the front of `sys.path`, each ended by a NUL.
    pub python_path: &'a [u8],
    /// `nginx` or `apache`.
    pub server: &'a str,
    /// What the module said.
    pub raw: EngineConf,
    /// Where lines that belong to no request go.
    pub log: LogTable,
}

/// PyStatus of CPython: the same four fields from 3.8 on.
#[repr(C)]
struct Status {
    kind: c_int,
    function: *const c_char,
    message: *const c_char,
    exit_code: c_int,
}

/// PyConfig is not part of the stable ABI: room enough for every version's, which is never looked into.
#[repr(C, align(16))]
struct Config([u8; 8192]);

fn initialise(program: &[u8]) -> Result<(), String> {
    type Init = unsafe extern "C" fn(*mut Config);
    type SetArguments = unsafe extern "C" fn(*mut Config, isize, *const *const c_char) -> Status;
    type Start = unsafe extern "C" fn(*const Config) -> Status;

    let program = CString::new(program).map_err(|_| "its path has a NUL".to_owned())?;
    let arguments = [program.as_ptr()];
    let mut config = Config([0; 8192]);
    // SAFETY: the signatures are those of CPython's PyConfig API (PEP 587), which has kept them since 3.8;
    // `config` is larger than any version's structure.
    unsafe {
        let init: Init = symbol(c"PyConfig_InitPythonConfig")?;
        let set: SetArguments = symbol(c"PyConfig_SetBytesArgv")?;
        let start: Start = symbol(c"Py_InitializeFromConfig")?;
        let clear: Init = symbol(c"PyConfig_Clear")?;
        init(&raw mut config);
        let mut status = set(&raw mut config, 1, arguments.as_ptr());
        if status.kind == 0 {
            status = start(&raw const config);
        }
        clear(&raw mut config);
        validate(&status)
    }
}

/// A function of libpython.
///
/// # Safety
/// `F` is the function's type.
pub unsafe fn symbol<F: Copy>(name: &std::ffi::CStr) -> Result<F, String> {
    // SAFETY: `name` ends with a NUL; libpython was opened for all to see.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if found.is_null() {
        return Err(format!("libpython has no {}", name.to_string_lossy()));
    }
    // SAFETY: a function pointer is as large as a pointer, and the caller names its type.
    Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&found) })
}

/// # Safety
/// The strings of `status` are CPython's.
unsafe fn validate(status: &Status) -> Result<(), String> {
    if status.kind == 0 {
        return Ok(());
    }
    if status.message.is_null() {
        return Err(format!("it left with exit code {}", status.exit_code));
    }
    // SAFETY: the caller's promise.
    Err(unsafe { std::ffi::CStr::from_ptr(status.message) }.to_string_lossy().into_owned())
}

/// The dispositions of all signals: the server's, which Python's start would change (SIGPIPE, SIGXFSZ,
/// SIGINT).
struct Handlers(Vec<(c_int, libc::sigaction)>);

impl Handlers {
    fn save() -> Self {
        let read = |number| {
            let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
            // SAFETY: reads the disposition into `action`, which is whole when 0 is returned.
            unsafe {
                (libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) == 0)
                    .then(|| (number, action.assume_init()))
            }
        };
        Self((1..32).filter_map(read).collect())
    }

    fn restore(&self) {
        for (number, action) in &self.0 {
            // SAFETY: puts back what was read from the kernel; SIGKILL and SIGSTOP refuse, which changes
            // nothing.
            unsafe { libc::sigaction(*number, action, std::ptr::null_mut()) };
        }
    }
}

fn prepare(py: Python<'_>, conf: &Conf<'_>) -> PyResult<()> {
    names::prepare(py);
    let module = PyModule::new(py, "_neat")?;
    for (name, method) in [("_write", &errors::WRITE), ("_log", &errors::LOG), ("_read", &input::READ)] {
        module.setattr(name, method.bind(py, None)?)?;
    }
    let builtins = py.import("builtins")?;
    let code = builtins.getattr("compile")?.call1((SOURCE, "<neat>", "exec"))?;
    builtins.getattr("exec")?.call1((code, module.dict()))?;

    let directories: Vec<String> = conf
        .python_path
        .split(|byte| *byte == 0)
        .filter(|directory| !directory.is_empty())
        .map(|directory| String::from_utf8_lossy(directory).into_owned())
        .collect();
    let log = module.getattr("configure")?.call1((directories,))?;

    if conf.raw.switch_interval > 0 {
        let seconds = Duration::from_micros(conf.raw.switch_interval).as_secs_f64();
        py.import("sys")?.getattr("setswitchinterval")?.call1((seconds,))?;
    }

    let environ = PyDict::new(py);
    environ.set_item("wsgi.version", (1, 0))?;
    environ.set_item("wsgi.url_scheme", "http")?;
    environ.set_item("wsgi.errors", &log)?;
    environ.set_item("wsgi.multithread", conf.raw.multithread != 0)?;
    environ.set_item("wsgi.multiprocess", conf.raw.multiprocess != 0)?;
    environ.set_item("wsgi.run_once", false)?;
    environ.set_item("wsgi.input_terminated", true)?;
    environ.set_item("wsgi.file_wrapper", module.getattr("FileWrapper")?)?;
    environ.set_item("mod_wsgi.version", VERSION)?;
    environ.set_item("mod_wsgi.server_pid", std::process::id())?;
    environ.set_item(format!("{}.version", conf.server), <(u32, u32, u32)>::from(conf.raw.server_version))?;
    for key in ["SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"] {
        environ.set_item(key, "")?;
    }
    let find = |name: &str| module.getattr(name).map(Bound::unbind);
    let interpreter = Interpreter {
        environ: environ.unbind(),
        bytes_io: py.import("io")?.getattr("BytesIO")?.unbind(),
        open_input: find("open_input")?,
        file_wrapper: find("FileWrapper")?,
        file_of: find("file_of")?,
        body_error: find("body_error")?,
        send_failed: find("SendFailed")?,
        not_loaded: find("NotLoaded")?,
        format_error: find("format_error")?,
        load_script: find("load_script")?,
        load_module: find("load_module")?,
        find_callable: find("find_callable")?,
        stack_of: find("stack_of")?,
        request_timeout: find("RequestTimeout")?,
        freeze: find("freeze")?,
        lock: py.import("threading")?.getattr("RLock")?.unbind(),
        shutdown: find("shutdown")?,
    };
    let _ = INTERPRETER.set(interpreter);
    Ok(())
}

/// Neat's version, for middleware that asks for mod_wsgi's.
const VERSION: (u32, u32, u32) = (6, 0, 0);

/// Ends Python on the thread that started it; the GIL is never given back, so that no Python code runs behind
/// the server's back while the process ends.
///
/// In the middle of a request (httpd's prefork MPM ends a child from a signal handler) and in a child of the
/// application nothing is done: the thread holds the GIL already, and the interpreter is in no state to be
/// ended.
pub fn stop(patience_ms: u32) {
    if fork::is_forked() || request::current().is_some() {
        return;
    }
    let main = MAIN.swap(std::ptr::null_mut(), Ordering::AcqRel);
    if main.is_null() {
        return;
    }
    // SAFETY: the state that `start` saved, on the same thread.
    unsafe { ffi::PyEval_RestoreThread(main) };
    Python::attach(|py| {
        let done = Interpreter::get()
            .and_then(|interpreter| interpreter.shutdown.bind(py).call1((f64::from(patience_ms) / 1000.0,)));
        if let Err(error) = done {
            log(Level::Error, format!("at the end of Python: {error}").as_bytes());
        }
        errors::flush();
        STOPPED.store(true, Ordering::Release);
    });
}
