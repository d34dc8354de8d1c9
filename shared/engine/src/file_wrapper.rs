//! wsgi.file_wrapper: a file that the application returns goes to the server as a range (PEP 3333, "Optional
//! Platform-Specific File Handling").

use std::os::fd::BorrowedFd;

use pyo3::prelude::*;

use crate::interpreter::Interpreter;

/// A regular file, from the position that the application left it at.
pub struct Range {
    descriptor: i32,
    /// In bytes.
    pub offset: u64,
    /// Up to the file's end, in bytes.
    pub length: u64,
}

impl Range {
    /// The descriptor, which the wrapped file keeps open.
    pub fn file(&self) -> BorrowedFd<'_> {
        // SAFETY: the caller holds the wrapper, and so the file, while it uses this.
        unsafe { BorrowedFd::borrow_raw(self.descriptor) }
    }
}

/// Whether an application's result is a wrapper around a file.
pub fn is_wrapper(interpreter: &Interpreter, result: &Bound<'_, PyAny>) -> bool {
    result.get_type().is(interpreter.file_wrapper.bind(result.py()))
}

/// The range of an application's result, if that is a wrapper around a regular file. Anything else is
/// iterated.
pub fn range_of(interpreter: &Interpreter, result: &Bound<'_, PyAny>) -> PyResult<Option<Range>> {
    let py = result.py();
    if !is_wrapper(interpreter, result) {
        return Ok(None);
    }
    let Some((descriptor, offset)) =
        interpreter.file_of.bind(py).call1((result,))?.extract::<Option<(i32, u64)>>()?
    else {
        return Ok(None);
    };
    let mut about = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat takes any number for a descriptor, and fills `about` when it returns 0.
    let about = unsafe {
        if libc::fstat(descriptor, about.as_mut_ptr()) != 0 {
            return Ok(None);
        }
        about.assume_init()
    };
    if about.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(None);
    }
    // The files of /proc and /sys have other sizes than their content: what takes no room on a disk is read
    // instead.
    if about.st_size == 0 || about.st_blocks == 0 {
        return Ok(None);
    }
    let size = u64::try_from(about.st_size).unwrap_or(0);
    Ok(Some(Range { descriptor, offset, length: size.saturating_sub(offset) }))
}
