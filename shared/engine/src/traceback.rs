//! An exception as text for the log.

#![forbid(unsafe_code)]

use pyo3::prelude::*;
use shared::log::Level;

use crate::errors;
use crate::interpreter::Interpreter;

/// The traceback of an exception, as Python prints it.
pub fn text(py: Python<'_>, error: &PyErr) -> String {
    let formatted = Interpreter::get()
        .and_then(|interpreter| {
            interpreter.format_error.bind(py).call1((error.value(py), error.traceback(py)))
        })
        .and_then(|text| text.extract::<String>());
    formatted.map_or_else(
        |_| format!("{}: (its traceback could not be printed)", error.get_type(py)),
        |text| text.trim_end().to_owned(),
    )
}

/// Logs an exception in one message: what it was about, then the traceback.
pub fn tell(py: Python<'_>, about: &str, error: &PyErr) {
    errors::tell(Level::Error, format!("{about}\n{}", text(py, error)).as_bytes());
}
