//! start_response and write (PEP 3333, "The start_response() Callable").

use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use shared::wsgi::response::OwnedResponseHead;
use shared::wsgi::stream::NoStart;

use crate::capsule::{self, Method, function};
use crate::interpreter::Interpreter;
use crate::native::{bytes_of, type_name};
use crate::request::Refusal;

pub static START_RESPONSE: Method = Method::with_keywords(
    c"start_response",
    start_response,
    c"start_response(status, headers, exc_info=None) -> write (PEP 3333)",
);
static WRITE: Method =
    Method::new(c"write", write, c"write(bytes): sends a block of the response's body (PEP 3333)");

unsafe extern "C" fn start_response(
    owner: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    function("start_response", |py| {
        // SAFETY: CPython hands over a tuple, and a dict or null, that live for the call; `owner` is our
        // capsule.
        let (owner, arguments, keywords, request) = unsafe {
            (
                Borrowed::from_ptr(py, owner),
                Borrowed::from_ptr(py, arguments),
                Bound::from_borrowed_ptr_or_opt(py, keywords),
                capsule::request(py, owner)?,
            )
        };
        let (status, headers, exc_info) =
            read_arguments(&*arguments.cast::<PyTuple>()?, keywords.as_ref().map(Bound::cast).transpose()?)?;
        match (request.may_start(exc_info.is_some()), exc_info) {
            (Ok(()), _) => {}
            (Err(NoStart::HeadSent), Some(exc_info)) => return Err(raised(&exc_info)?),
            (Err(reason), _) => return Err(PyAssertionError::new_err(reason.to_string())),
        }
        request.start(head_of(&status, &headers)?);
        Ok(WRITE.bind(py, Some(&owner))?.into_ptr())
    })
}

type Arguments<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

fn read_arguments<'py>(
    arguments: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Arguments<'py>> {
    let named = |name: &str| keywords.map_or(Ok(None), |keywords| keywords.get_item(name));
    let count = arguments.len() + keywords.map_or(0, PyDictMethods::len);
    let at = |index: usize, name: &str| {
        if index < arguments.len() { arguments.get_item(index).map(Some) } else { named(name) }
    };
    match (at(0, "status")?, at(1, "headers")?, at(2, "exc_info")?) {
        (Some(status), Some(headers), exc_info) if count == 2 + usize::from(exc_info.is_some()) => {
            let exc_info = exc_info.filter(|exc_info| !exc_info.is_none());
            match exc_info.as_ref().map(|exc_info| exc_info.cast::<PyTuple>().map(PyTupleMethods::len)) {
                None | Some(Ok(3)) => Ok((status, headers, exc_info)),
                Some(_) => Err(PyTypeError::new_err(
                    "exc_info has to be what sys.exc_info() gives: a tuple of three",
                )),
            }
        }
        _ => Err(PyTypeError::new_err(
            "start_response() takes a status, a list of headers and optionally exc_info",
        )),
    }
}

/// The exception of an `exc_info` tuple, to be raised again: it is too late to answer in another way.
fn raised(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let exc_info = exc_info.cast::<PyTuple>()?;
    let error = exc_info.get_item(1)?;
    error.call_method1("with_traceback", (exc_info.get_item(2)?,)).map(PyErr::from_value)
}

fn head_of(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<OwnedResponseHead> {
    let refused = |violation: shared::wsgi::response::Violation| PyValueError::new_err(violation.to_string());
    let mut head = OwnedResponseHead::new(&bytes_of("the status", status)?).map_err(refused)?;
    let headers = headers.cast_exact::<PyList>().map_err(|_| {
        PyTypeError::new_err(format!("the headers have to be a list of tuples, not {}", type_name(headers)))
    })?;
    for header in headers.iter() {
        let pair = header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2).ok_or_else(|| {
            PyTypeError::new_err(format!(
                "a header has to be a tuple of a name and a value, not {}",
                type_name(&header)
            ))
        })?;
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        head.add(&bytes_of("a header's name", &name)?, &bytes_of("a header's value", &value)?)
            .map_err(refused)?;
    }
    Ok(head)
}

unsafe extern "C" fn write(owner: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
    function("write", |py| {
        // SAFETY: CPython hands over a tuple that lives for the call; `owner` is our capsule.
        let (arguments, request) =
            unsafe { (Borrowed::from_ptr(py, arguments), capsule::request(py, owner)?) };
        let arguments = arguments.cast::<PyTuple>()?;
        let block = match arguments.len() {
            1 => arguments.get_item(0)?,
            count => {
                return Err(PyTypeError::new_err(format!(
                    "write() takes one block of bytes, not {count} arguments"
                )));
            }
        };
        let block = block
            .cast::<PyBytes>()
            .map_err(|_| PyTypeError::new_err(format!("write() takes bytes, not {}", type_name(&block))))?;
        match request.write(py, block.as_bytes()) {
            Ok(()) => Ok(py.None().into_ptr()),
            Err(Refusal::NoHead) => Err(PyAssertionError::new_err("write() before start_response()")),
            Err(Refusal::Full) => Err(PyValueError::new_err(
                "write() goes on behind the end of the body: all of the declared Content-Length was sent",
            )),
            Err(Refusal::Server(error)) => send_failed(py, &error.to_string()),
            Err(Refusal::Child) => {
                send_failed(py, "the response belongs to the process that forked this one")
            }
        }
    })
}

fn send_failed<R>(py: Python<'_>, why: &str) -> PyResult<R> {
    let kind = Interpreter::get()?.send_failed.bind(py);
    Err(PyErr::from_value(kind.call1((why,))?))
}
