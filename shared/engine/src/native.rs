//! Native strings: a `str` whose characters are bytes (PEP 3333, "A Note On String Types").

use std::borrow::Cow;
use std::ffi::c_char;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

unsafe extern "C" {
    // Exported by every CPython since 3.3, and part of the stable ABI since 3.10: pyo3 leaves it out for 3.9.
    fn PyUnicode_AsUTF8AndSize(text: *mut ffi::PyObject, size: *mut ffi::Py_ssize_t) -> *const c_char;
}

/// The `str` of bytes.
pub fn of_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len())?;
    // SAFETY: attached; the bytes live for the call.
    unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null()),
        )
    }
}

/// The bytes of a `str`.
///
/// # Errors
/// A message about `what`, where the object is no `str` or has characters that are no bytes.
pub fn bytes_of<'a>(what: &str, text: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    let text = text
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("{what} has to be a str, not {}", type_name(text))))?;
    if let Some(ascii) = ascii(text) {
        return Ok(Cow::Borrowed(ascii));
    }
    // SAFETY: attached, and `text` is a str.
    let encoded: PyResult<Bound<'_, PyAny>> =
        unsafe { Bound::from_owned_ptr_or_err(text.py(), ffi::PyUnicode_AsLatin1String(text.as_ptr())) };
    match encoded {
        Ok(encoded) => Ok(Cow::Owned(encoded.cast::<PyBytes>()?.as_bytes().to_vec())),
        Err(_) => Err(PyValueError::new_err(format!(
            "{what} has characters beyond latin-1: {}",
            text.repr().map_or_else(|_| String::new(), |repr| repr.to_string())
        ))),
    }
}

/// The characters of a `str` that has only ASCII: CPython keeps those as they are, so that nothing is copied.
fn ascii<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    let mut size = 0;
    // SAFETY: attached, and `text` is a str. It keeps the bytes for as long as it lives, and never changes.
    let utf8 = unsafe {
        let start = PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut size);
        if start.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        std::slice::from_raw_parts(start.cast::<u8>(), usize::try_from(size).ok()?)
    };
    utf8.is_ascii().then_some(utf8)
}

/// What an object is, for a message about it.
pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string())
}
