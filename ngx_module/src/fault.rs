//! What nginx answers in place of a response: the rows of `shared::fault`, as nginx has them.

#![deny(unsafe_code)]

use shared::fault::{Fault, Reply};

use crate::ffi::Code;
use crate::ffi::request::Request;
use crate::ffi::response_headers::HeaderField;
use crate::log;

/// Logs why a request is not served, and says when it may come back. The status is left to the caller.
pub fn report(request: Request, fault: Fault, why: &str) -> Code {
    let Reply { status, level, retry_after } = fault.reply();
    log::request(request, level, why.as_bytes());
    if retry_after > 0 {
        request.add_header(HeaderField::Other, b"Retry-After", retry_after.to_string().as_bytes());
    }
    status as Code
}
