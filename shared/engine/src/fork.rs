//! Whether this process is a copy that the application made with `fork`.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use shared::loader::abi;
use shared::log::Level;

use crate::interpreter::{self, Interpreter};
use crate::{application, threads};

static FORKED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn mark() {
    shared::ffi::guard::guard("fork", (), || {
        FORKED.store(true, Ordering::Relaxed);
        take_signals_back();
    });
}

/// Gives a child the system's own behaviour for signals, in place of the server's handlers and of what its
/// threads block: a child that is terminated has to end. Calls nothing that is not allowed in the child of a
/// process with threads.
fn take_signals_back() {
    for number in 1..32 {
        // SAFETY: all zeroes is the default action with no flags; SIGKILL and SIGSTOP refuse, which changes
        // nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(number, std::ptr::null(), &raw mut action) == 0
                && action.sa_sigaction != libc::SIG_IGN
                && action.sa_sigaction != libc::SIG_DFL
            {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(number, &raw const default, std::ptr::null_mut());
            }
        }
    }
    // SAFETY: an empty set is a whole one.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

thread_local! {
    /// What the thread blocked before it began to fork.
    static BLOCKED: Cell<Option<libc::sigset_t>> = const { Cell::new(None) };
}

/// Holds signals back while the process forks: one that reached the child before it has its handlers off
/// would run the server's.
unsafe extern "C" fn hold_signals() {
    shared::ffi::guard::guard("before fork", (), || {
        // SAFETY: both sets are whole before they are used.
        BLOCKED.set(unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            let held = libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) == 0;
            held.then_some(before)
        });
    });
}

unsafe extern "C" fn let_signals_go() {
    shared::ffi::guard::guard("after fork", (), || {
        if let Some(before) = BLOCKED.take() {
            // SAFETY: the set is the one that was read above.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
        }
    });
}

/// Begins to watch for forks.
pub fn watch_forks() {
    // SAFETY: the functions change flags and signals only, which is allowed in a child of a process with
    // threads.
    unsafe { libc::pthread_atfork(Some(hold_signals), Some(let_signals_go), Some(mark)) };
}

/// Forks a process of the server's own: the pid, 0 in the child, -1 where it failed, and
/// [`abi::HAS_THREADS`].
pub fn fork() -> i32 {
    type Hook = unsafe extern "C" fn();
    let forked = threads::attached(|py| {
        let interpreter = Interpreter::get().ok()?;
        match interpreter.freeze.bind(py).call0().and_then(|others| others.extract::<Vec<String>>()) {
            Ok(others) if others.is_empty() => {}
            Ok(others) => {
                let text = format!(
                    "the application started threads while it was imported, which a process forked from this one would not have: {}",
                    others.join(", ")
                );
                interpreter::log(Level::Notice, text.as_bytes());
                return Some(abi::HAS_THREADS);
            }
            Err(error) => crate::traceback::tell(py, "gc.freeze() failed", &error),
        }
        // SAFETY: CPython's documented hooks around a fork, which take nothing; attached, on its main thread.
        let pid = unsafe {
            let before: Hook = interpreter::symbol(c"PyOS_BeforeFork").ok()?;
            let parent: Hook = interpreter::symbol(c"PyOS_AfterFork_Parent").ok()?;
            let child: Hook = interpreter::symbol(c"PyOS_AfterFork_Child").ok()?;
            before();
            let pid = libc::fork();
            if pid == 0 {
                child()
            } else {
                parent()
            }
            pid
        };
        if pid == 0 {
            // This child is the server's, not the application's.
            FORKED.store(false, Ordering::Relaxed);
            application::forget_mounts();
            let environ = interpreter.environ.bind(py);
            if let Err(error) = environ.set_item("mod_wsgi.server_pid", std::process::id()) {
                crate::traceback::tell(py, "the environ's template cannot be changed", &error);
            }
        }
        Some(pid)
    });
    forked.flatten().unwrap_or(-1)
}

/// Whether the calling process is a child of the server's process. Its copy of an exchange is not its own to
/// use.
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Ends a child without running anything that its parent registered.
pub fn leave(code: i32) -> ! {
    // SAFETY: ends the process, whatever state it is in.
    unsafe { libc::_exit(code) }
}

/// Writes to descriptor 2, which httpd and nginx both let lead to an error log.
pub fn errors_to_descriptor(text: &[u8]) {
    // SAFETY: `text` lives for the call. Nothing can be done where this fails.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}
