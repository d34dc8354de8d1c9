//! wsgi.input: the standard library's streams over the request's body (PEP 3333, "Input and Error Streams").

use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::call_input::Input;
use crate::capsule::{self, Method, function};
use crate::interpreter::Interpreter;
use crate::request::{Request, Unread};

/// The largest part that is read at once.
const LARGEST_READ: usize = 256 * 1024;

pub static READ: Method =
    Method::new(c"_read", read, c"Reads the next part of a request's body; b'' is its end.");

/// The stream for a request.
pub fn open<'py>(
    py: Python<'py>,
    interpreter: &Interpreter,
    request: &Arc<Request>,
    input: Input,
) -> PyResult<Bound<'py, PyAny>> {
    match input {
        Input::Empty => interpreter.bytes_io.bind(py).call0(),
        Input::Memory(body) => interpreter.bytes_io.bind(py).call1((body,)),
        Input::Stream => interpreter.open_input.bind(py).call1((capsule::of_request(py, request)?,)),
    }
}

unsafe extern "C" fn read(_: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    function("wsgi.input read", |py| {
        // SAFETY: CPython hands over a tuple that lives for the call.
        let arguments = unsafe { Borrowed::from_ptr(py, arguments) };
        let arguments = arguments.cast::<PyTuple>()?;
        let capsule = arguments.get_item(0)?;
        // SAFETY: `capsule` lives as long as the borrow of the request.
        let request = unsafe { capsule::request(py, capsule.as_ptr()) }?;
        let room = arguments.get_item(1)?.extract::<usize>()?.min(LARGEST_READ);
        let mut buffer = vec![0; room];
        let count = match request.read_body(py, &mut buffer) {
            Ok(count) => count,
            Err(Unread::Over) => {
                return Err(PyValueError::new_err("wsgi.input was read after the request had ended"));
            }
            Err(Unread::Child) => {
                return Err(PyOSError::new_err("wsgi.input belongs to the process that forked this one"));
            }
            Err(Unread::Server(error)) => {
                let interpreter = Interpreter::get()?;
                let error = interpreter.body_error.bind(py).call1((error.status(), error.to_string()))?;
                return Err(PyErr::from_value(error));
            }
        };
        Ok(PyBytes::new(py, buffer.get(..count).unwrap_or(&buffer)).into_ptr())
    })
}
