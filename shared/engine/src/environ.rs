//! environ: a copy of the mount's template, with this request's values (PEP 3333, "environ Variables").

#![forbid(unsafe_code)]

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat};
use shared::http::key::Key;
use shared::http::length;
use shared::http::packed::{Name, entries};

use crate::{names, native};

/// The value of a key: mostly a native string, a float of seconds for a time.
fn value<'py>(py: Python<'py>, key: Key, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if matches!(key, Key::RequestStart | Key::QueueStart) {
        // Whole until the year 2255, where microseconds outgrow a float's 53 bits.
        #[allow(clippy::cast_precision_loss, reason = "a time of a request, not a count")]
        let micros = length::parse(bytes).unwrap_or(0) as f64;
        return Ok(PyFloat::new(py, micros / 1e6).into_any());
    }
    native::of_bytes(py, bytes)
}

/// Sets packed entries in a dictionary; those that steer the engine stay out.
fn set(environ: &Bound<'_, PyDict>, packed: &[u8]) -> PyResult<()> {
    let py = environ.py();
    for (name, bytes) in entries(packed) {
        match name {
            Name::Common(key) if key.is_control() => {}
            Name::Common(key) => {
                let value = value(py, key, bytes)?;
                match key {
                    Key::ScriptName => environ.set_item(pyo3::intern!(py, "mod_wsgi.script_name"), &value)?,
                    Key::PathInfo => environ.set_item(pyo3::intern!(py, "mod_wsgi.path_info"), &value)?,
                    _ => {}
                }
                match names::of_key(py, key) {
                    Some(name) => environ.set_item(name, value)?,
                    None => environ.set_item(key.name(), value)?,
                }
            }
            Name::Other(name) => {
                environ.set_item(native::of_bytes(py, name)?, native::of_bytes(py, bytes)?)?
            }
        }
    }
    Ok(())
}

/// The template of a mount: what every process says, and what all requests of the mount share.
pub fn template<'py>(base: &Bound<'py, PyDict>, mount: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let template = base.copy()?;
    set(&template, mount)?;
    Ok(template)
}

/// A request's environ.
pub fn build<'py>(
    py: Python<'py>,
    template: &Bound<'py, PyDict>,
    head: &[u8],
    input: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let environ = template.copy()?;
    set(&environ, head)?;
    environ.set_item(pyo3::intern!(py, "wsgi.input"), input)?;
    Ok(environ)
}
