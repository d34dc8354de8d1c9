//! environ: a copy of the mount's template, with this request's values (PEP 3333, "environ Variables").

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat};
use shared::http::head::{Name, entries};
use shared::http::key::Key;

use crate::names;

/// A native string of the bytes.
fn native<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len())?;
    // SAFETY: attached; the bytes live for the call.
    unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null()),
        )
    }
}

/// The value of a key: mostly a native string, a float of seconds for a time.
fn value<'py>(py: Python<'py>, key: Key, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if matches!(key, Key::RequestStart | Key::QueueStart) {
        let micros: f64 = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        return Ok(PyFloat::new(py, micros / 1e6).into_any());
    }
    native(py, bytes)
}

/// Sets packed entries in a dictionary; those that steer the engine stay out.
pub fn set(environ: &Bound<'_, PyDict>, packed: &[u8]) -> PyResult<()> {
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
            Name::Other(name) => environ.set_item(native(py, name)?, native(py, bytes)?)?,
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
