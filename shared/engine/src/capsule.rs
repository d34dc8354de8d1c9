//! Rust values in Python's hands: a capsule, and built-in functions over it.

use std::ffi::{CStr, c_void};
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::request::Request;
use shared::ffi::guard::guard;

const NAME: &CStr = c"neat.request";

/// A capsule that keeps the request alive.
pub fn of_request<'py>(py: Python<'py>, request: &Arc<Request>) -> PyResult<Bound<'py, PyAny>> {
    let pointer = Arc::into_raw(Arc::clone(request)).cast_mut().cast::<c_void>();
    // SAFETY: attached; the capsule owns one count of the Arc, which `release` gives back.
    unsafe {
        let capsule = ffi::PyCapsule_New(pointer, NAME.as_ptr(), Some(release));
        if capsule.is_null() {
            drop(Arc::from_raw(pointer.cast::<Request>()));
        }
        Bound::from_owned_ptr_or_err(py, capsule)
    }
}

unsafe extern "C" fn release(capsule: *mut ffi::PyObject) {
    guard("capsule release", (), || {
        // SAFETY: Python destroys a capsule of ours once; the pointer is the Arc that it was made with.
        unsafe {
            let pointer = ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr());
            if !pointer.is_null() {
                drop(Arc::from_raw(pointer.cast::<Request>()));
            }
        }
    });
}

/// The request of a capsule.
///
/// # Safety
/// `capsule` is a living Python object, and stays so for as long as `'a`.
pub unsafe fn request<'a>(py: Python<'_>, capsule: *mut ffi::PyObject) -> PyResult<&'a Request> {
    // SAFETY: PyCapsule_GetPointer judges the object by its name; the capsule's count keeps the request
    // alive.
    unsafe {
        let pointer = ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr());
        if pointer.is_null() { Err(PyErr::fetch(py)) } else { Ok(&*pointer.cast::<Request>()) }
    }
}

/// A built-in function's definition, in the form that CPython wants: it lives as long as the process.
#[repr(transparent)]
pub struct Method(ffi::PyMethodDef);

// SAFETY: never written to after it is made.
unsafe impl Sync for Method {}

/// How CPython calls a built-in function: with its owner and a tuple of arguments.
pub type Function = unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> *mut ffi::PyObject;
/// The same, with a dictionary of keywords or null behind.
pub type FunctionWithKeywords =
    unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject, *mut ffi::PyObject) -> *mut ffi::PyObject;

impl Method {
    /// A function that takes a tuple of arguments.
    pub const fn new(name: &'static CStr, function: Function, doc: &'static CStr) -> Self {
        Self(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
            ml_flags: ffi::METH_VARARGS,
            ml_doc: doc.as_ptr(),
        })
    }

    /// A function that takes keywords too.
    pub const fn with_keywords(
        name: &'static CStr,
        function: FunctionWithKeywords,
        doc: &'static CStr,
    ) -> Self {
        Self(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionWithKeywords: function },
            ml_flags: ffi::METH_VARARGS | ffi::METH_KEYWORDS,
            ml_doc: doc.as_ptr(),
        })
    }

    /// A Python function with `owner` as its first argument.
    pub fn bind<'py>(
        &'static self,
        py: Python<'py>,
        owner: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let owner = owner.map_or(std::ptr::null_mut(), Bound::as_ptr);
        // SAFETY: attached; the definition is static and CPython only reads it.
        unsafe {
            let function =
                ffi::PyCFunction_NewEx((&raw const self.0).cast_mut(), owner, std::ptr::null_mut());
            Bound::from_owned_ptr_or_err(py, function)
        }
    }
}

/// Runs a built-in function's body: what it returns becomes a new reference, an error becomes Python's, and a
/// panic a RuntimeError.
pub fn function(
    name: &'static str,
    body: impl FnOnce(Python<'_>) -> PyResult<*mut ffi::PyObject>,
) -> *mut ffi::PyObject {
    Python::attach(|py| {
        let outcome = guard(name, None, || Some(body(py)));
        let error = match outcome {
            Some(Ok(object)) => return object,
            Some(Err(error)) => error,
            None => {
                pyo3::exceptions::PyRuntimeError::new_err("a fault of Neat; the server's error log has more")
            }
        };
        error.restore(py);
        std::ptr::null_mut()
    })
}
