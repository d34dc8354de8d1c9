//! C's strings.

use std::ffi::{CStr, c_char};

/// The bytes of a C string; none where it is null.
///
/// # Safety
/// `text` is null or a C string that stays as it is for `'a`.
pub unsafe fn borrowed<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// The bytes with a NUL behind, cut at the first NUL that they have themselves.
pub fn terminated(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let mut text = Vec::with_capacity(end + 1);
    text.extend(bytes.iter().take(end));
    text.push(0);
    text
}
