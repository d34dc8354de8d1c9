//! The heart: one request, from its exchange to its end.

use std::sync::Arc;

use pyo3::exceptions::{PyAssertionError, PyAttributeError, PySystemExit, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use shared::exchange::SendError;
use shared::loader::ForeignExchange;
use shared::log::Level;

use crate::interpreter::Interpreter;
use crate::native::type_name;
use crate::request::{Refusal, Request, Sent};
use crate::start_response::START_RESPONSE;
use crate::{application, call_input, capsule, environ, errors, file_wrapper, fork, input, traceback};

/// Why a response ends before its time.
enum Fault {
    /// The application raised something, or broke a rule.
    Python(PyErr),
    /// The client or the server is gone.
    Gone(SendError),
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoHead => Self::Python(PyAssertionError::new_err(
                "the application gave a body before it had called start_response()",
            )),
            Refusal::Server(error) => Self::Gone(error),
            Refusal::Full | Refusal::Child => Self::Gone(SendError::Stopping),
        }
    }
}

/// Serves an exchange, from the calling thread, attached.
pub fn serve(py: Python<'_>, exchange: ForeignExchange) {
    let request = Request::enter(exchange);
    let outcome = run(py, &request);
    if fork::is_forked() {
        leave_child(py, outcome.err());
    }
    errors::flush();
    if let Err(fault) = outcome.and_then(|()| request.complete(py).map_err(Fault::from)) {
        fail(py, &request, &fault);
    }
}

/// Ends a request that failed.
fn fail(py: Python<'_>, request: &Request, fault: &Fault) {
    let about = request.request_line(py);
    let status = match fault {
        Fault::Gone(error) => {
            errors::tell(Level::Info, format!("{about}: {error}").as_bytes());
            500
        }
        Fault::Python(error) => match server_status(py, error) {
            Some(status) => {
                errors::tell(Level::Info, format!("{about}: {}", error.value(py)).as_bytes());
                status
            }
            None => {
                traceback::tell(py, &format!("{about}: the application failed"), error);
                500
            }
        },
    };
    // A server that refuses this too has ended the request by itself.
    let _ = request.fail(py, status);
}

/// The status to answer when what the application let go is an error of ours about the request's body or its
/// client, and not a fault of the application.
fn server_status(py: Python<'_>, error: &PyErr) -> Option<u16> {
    let value = error.value(py);
    let ours = value.get_type().getattr("__module__").ok()?.eq("_neat").ok()?;
    if ours { value.getattr("status").ok()?.extract().ok() } else { None }
}

/// Ends a child process of the application's that came back from it, as the interpreter ends a process: with
/// the code of its `SystemExit`, or with 1 after an exception.
fn leave_child(py: Python<'_>, fault: Option<Fault>) -> ! {
    let code = match fault {
        Some(Fault::Python(error)) if error.is_instance_of::<PySystemExit>(py) => exit_code(py, &error),
        Some(Fault::Python(error)) => {
            traceback::tell(py, "a child process of the application failed", &error);
            1
        }
        Some(Fault::Gone(_)) | None => {
            errors::tell(
                Level::Error,
                b"a child process returned into the web server; it should end with os._exit()",
            );
            0
        }
    };
    errors::flush();
    fork::leave(code)
}

fn exit_code(py: Python<'_>, exit: &PyErr) -> i32 {
    let code = exit.value(py).getattr(pyo3::intern!(py, "code")).ok().filter(|code| !code.is_none());
    match code.map(|code| code.extract::<i32>().map_err(|_| code.to_string())) {
        None => 0,
        Some(Ok(code)) => code,
        Some(Err(text)) => {
            errors::tell(Level::Error, text.as_bytes());
            1
        }
    }
}

fn run(py: Python<'_>, request: &Arc<Request>) -> Result<(), Fault> {
    let interpreter = Interpreter::get()?;
    let result = call(py, interpreter, request)?;
    if fork::is_forked() {
        return Ok(());
    }
    let sent = send(py, interpreter, request, &result);
    if let Err(error) = close(py, &result) {
        let about = request.request_line(py);
        traceback::tell(py, &format!("{about}: the close() of the response failed"), &error);
    }
    sent
}

/// Calls the application.
fn call<'py>(
    py: Python<'py>,
    interpreter: &Interpreter,
    request: &Arc<Request>,
) -> PyResult<Bound<'py, PyAny>> {
    let call_input =
        request.call_input(py).ok_or_else(|| PyAssertionError::new_err("the request is over"))?;
    let mount = match call_input.mount {
        Ok(mount) => mount,
        Err(packed) => application::mount_of(py, &packed)?,
    };
    let application = mount.application(py)?;
    let input = input::open(py, interpreter, request, call_input.input)?;
    let environ = environ::build(py, mount.template.bind(py), &call_input.head, &input)?;
    let start_response = START_RESPONSE.bind(py, Some(&capsule::of_request(py, request)?))?;
    application.call1((environ, start_response))
}

/// Sends what the application returned.
fn send(
    py: Python<'_>,
    interpreter: &Interpreter,
    request: &Request,
    result: &Bound<'_, PyAny>,
) -> Result<(), Fault> {
    if let Some(range) = file_wrapper::range_of(interpreter, result)? {
        request.offer_length(range.length);
        let length = request.room().map_or(range.length, |room| room.min(range.length));
        request.send_file(py, range.file(), range.offset, length)?;
        return Ok(());
    }
    if let Some(only) = only_block(result) {
        let block = block_of(&only)?;
        request.offer_length(block.len() as u64);
        errors::flush();
        request.send_all(py, block)?;
        return Ok(());
    }
    if result.is_none() {
        let message = "the application returned None; it has to return an iterable of bytes";
        return Err(Fault::Python(PyTypeError::new_err(message)));
    }
    for item in result.try_iter()? {
        let item = item?;
        let block = block_of(&item)?;
        let sent = if block.is_empty() { request.skip()? } else { request.send(py, block, true)? };
        // PEP 3333, "Handling the Content-Length Header": what would come behind is not asked for.
        if sent == Sent::Enough {
            break;
        }
    }
    if is_empty_sequence(result) || file_wrapper::is_wrapper(interpreter, result) {
        // Unless a block took the head along.
        request.offer_length(0);
    }
    Ok(request.send_head(py)?)
}

/// The one block of a list or tuple that has one: its length is the response's (PEP 3333, "Handling the
/// Content-Length Header").
fn only_block<'py>(result: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if let Ok(list) = result.cast_exact::<PyList>() {
        return if list.len() == 1 { list.get_item(0).ok() } else { None };
    }
    let tuple = result.cast_exact::<PyTuple>().ok()?;
    if tuple.len() == 1 { tuple.get_item(0).ok() } else { None }
}

fn is_empty_sequence(result: &Bound<'_, PyAny>) -> bool {
    result.cast_exact::<PyList>().is_ok_and(|list| list.is_empty())
        || result.cast_exact::<PyTuple>().is_ok_and(|tuple| tuple.is_empty())
}

fn block_of<'a>(item: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    match item.cast::<PyBytes>() {
        Ok(block) => Ok(block.as_bytes()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "the application's iterable gave {}; each block has to be bytes",
            type_name(item)
        ))),
    }
}

/// Calls `close()` where there is one (PEP 3333, "Specification Details"). Lists and tuples have none, and
/// looking for it is not free.
fn close(py: Python<'_>, result: &Bound<'_, PyAny>) -> PyResult<()> {
    if result.cast_exact::<PyList>().is_ok() || result.cast_exact::<PyTuple>().is_ok() {
        return Ok(());
    }
    match result.getattr(pyo3::intern!(py, "close")) {
        Ok(close) => close.call0().map(drop),
        Err(error) if error.is_instance_of::<PyAttributeError>(py) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Loads the application of a mount ahead of its first request.
pub fn preload(py: Python<'_>, packed: &[u8]) -> bool {
    match application::mount_of(py, packed).and_then(|mount| mount.application(py)) {
        Ok(_) => true,
        Err(error) => {
            let target = call_input::target_of(packed, packed);
            let about = format!(
                "the application {target} could not be loaded at the start; its first request tries again"
            );
            traceback::tell(py, &about, &error);
            false
        }
    }
}

/// A pending exception of ours would end the next call of this thread elsewhere.
pub fn forget_exception(_: Python<'_>) {
    // SAFETY: attached.
    unsafe { ffi::PyErr_Clear() };
}
