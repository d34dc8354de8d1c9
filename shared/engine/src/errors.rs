//! wsgi.errors, print and logging: lines of the server's error log, with the context of the request that the
//! writing thread serves.

use std::cell::RefCell;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use shared::log::Level;

use crate::capsule::{Method, function};
use crate::fork;
use crate::interpreter;
use crate::request;

/// A line that is longer leaves in parts.
const MAX_LINE: usize = 64 * 1024;

thread_local! {
    /// What this thread wrote behind its last line break.
    static PARTIAL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub static WRITE: Method =
    Method::new(c"_write", write, c"Writes text to the server's error log, line by line.");
pub static LOG: Method =
    Method::new(c"_log", log, c"Writes one record of a level to the server's error log.");

unsafe extern "C" fn write(_: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    function("wsgi.errors write", |py| {
        // SAFETY: CPython hands over a tuple that lives for the call.
        let arguments = unsafe { Borrowed::from_ptr(py, arguments) };
        let text: Bound<'_, PyBytes> = arguments.cast::<PyTuple>()?.get_item(0)?.cast_into()?;
        take(text.as_bytes());
        Ok(py.None().into_ptr())
    })
}

unsafe extern "C" fn log(_: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    function("log", |py| {
        // SAFETY: CPython hands over a tuple that lives for the call.
        let arguments = unsafe { Borrowed::from_ptr(py, arguments) };
        let arguments = arguments.cast::<PyTuple>()?;
        let level: u32 = arguments.get_item(0)?.extract()?;
        let text: Bound<'_, PyBytes> = arguments.get_item(1)?.cast_into()?;
        tell(Level::from_number(level), text.as_bytes());
        Ok(py.None().into_ptr())
    })
}

fn take(text: &[u8]) {
    PARTIAL.with_borrow_mut(|partial| {
        partial.extend_from_slice(text);
        let whole = match partial.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if partial.len() > MAX_LINE => partial.len(),
            None => return,
        };
        let rest = partial.split_off(whole);
        let lines = std::mem::replace(partial, rest);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            tell(Level::Error, line);
        }
    });
}

/// Writes what the calling thread left without a line break; at the end of its request.
pub fn flush() {
    let rest = PARTIAL.with_borrow_mut(std::mem::take);
    if !rest.is_empty() {
        tell(Level::Error, &rest);
    }
}

/// Writes to the log of the calling thread's request, or else to the server's.
pub fn tell(level: Level, message: &[u8]) {
    if fork::is_forked() {
        fork::errors_to_descriptor(&[message, b"\n"].concat());
        return;
    }
    let told = request::current().is_some_and(|request| request.log(level, message));
    if !told {
        interpreter::log(level, message);
    }
}
