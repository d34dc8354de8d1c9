//! Python's thread states on the server's threads.

use std::cell::{Cell, OnceCell};
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::interpreter;

/// How often something was raised in a thread.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// How often when the thread last looked.
    static SEEN: Cell<u64> = const { Cell::new(0) };
    static KEPT: OnceCell<Kept> = const { OnceCell::new() };
}

/// A thread state that outlives the requests of its thread: making one costs more than all the rest of a
/// short request.
struct Kept(ffi::PyGILState_STATE);

impl Kept {
    fn new() -> Self {
        // SAFETY: Python runs. The thread state made here is kept because its count is not given back before
        // `drop`.
        unsafe {
            let state = ffi::PyGILState_Ensure();
            ffi::PyEval_SaveThread();
            Self(state)
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if interpreter::is_stopped() {
            return;
        }
        // SAFETY: Python runs still; the first release gives back the count of this entry and stays attached,
        // the second that of `new`, and with it the thread state.
        unsafe {
            ffi::PyGILState_Ensure();
            ffi::PyGILState_Release(ffi::PyGILState_STATE::PyGILState_LOCKED);
            ffi::PyGILState_Release(self.0);
        }
    }
}

/// Raises RequestTimeout in a serving thread, and says where it was.
pub fn interrupt(py: Python<'_>, thread: u64) -> String {
    let stack = interpreter::Interpreter::get().and_then(|interpreter| {
        let stack: String = interpreter.stack_of.bind(py).call1((thread,))?.extract()?;
        raise(py, thread, &interpreter.request_timeout);
        Ok(stack)
    });
    stack.unwrap_or_else(|error| format!("(its stack cannot be read: {error})"))
}

/// Raises an exception in another thread.
pub fn raise(_: Python<'_>, thread: u64, class: &Py<PyAny>) {
    let id = std::ffi::c_long::try_from(thread).unwrap_or(-1);
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: attached; the class lives as long as Python.
    unsafe { ffi::PyThreadState_SetAsyncExc(id, class.as_ptr()) };
}

/// Forgets what was raised in this thread for a request that ended before Python looked at it: it is not
/// meant for the next one. Attached, so that nothing can be raised meanwhile.
pub fn forget_interrupt(_: Python<'_>) {
    let interrupts = INTERRUPTS.load(Ordering::Relaxed);
    if SEEN.replace(interrupts) != interrupts {
        // SAFETY: attached; no exception clears what is pending.
        unsafe {
            let id = std::ffi::c_long::try_from(own_id()).unwrap_or(-1);
            ffi::PyThreadState_SetAsyncExc(id, std::ptr::null_mut());
        }
    }
}

/// What Python calls the calling thread.
pub fn own_id() -> u64 {
    // SAFETY: names the calling thread.
    unsafe { libc::pthread_self() as u64 }
}

/// Runs `work` attached to Python. The calling thread keeps its thread state for the next time.
pub fn attached<R>(work: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    if interpreter::is_stopped() {
        return None;
    }
    KEPT.with(|kept| {
        kept.get_or_init(Kept::new);
    });
    Some(Python::attach(work))
}
