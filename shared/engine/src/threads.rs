//! Python's thread states on the server's threads.

use std::cell::OnceCell;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::interpreter;

thread_local! {
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
        let id = std::ffi::c_long::try_from(thread).unwrap_or(-1);
        // SAFETY: attached; the class lives as long as Python.
        unsafe { ffi::PyThreadState_SetAsyncExc(id, interpreter.request_timeout.as_ptr()) };
        Ok(stack)
    });
    stack.unwrap_or_else(|error| format!("(its stack cannot be read: {error})"))
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
