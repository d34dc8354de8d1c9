//! The Python strings that are needed at every request, made once.

#![forbid(unsafe_code)]

use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::types::PyString;
use shared::http::key::Key;

static KEYS: OnceLock<Vec<Py<PyString>>> = OnceLock::new();

/// Makes the strings. Called once, when Python starts.
pub fn prepare(py: Python<'_>) {
    let _ = KEYS.set(Key::ALL.iter().map(|key| PyString::intern(py, key.name()).unbind()).collect());
}

/// The Python string of a numbered key.
pub fn of_key(py: Python<'_>, key: Key) -> Option<&Bound<'_, PyString>> {
    KEYS.get()?.get(key as usize).map(|name| name.bind(py))
}
