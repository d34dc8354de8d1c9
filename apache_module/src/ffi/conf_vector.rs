//! httpd's vectors of configurations, in which every module has a slot of its own.

use std::ffi::c_int;

use httpd_sys::ap_conf_vector_t;

/// This module's number, once httpd has given it one.
pub fn module_index() -> c_int {
    // SAFETY: httpd writes it when it loads the module, before any other call.
    unsafe { crate::entry::wsgi_module.module_index }
}

/// This module's slot in a vector, if there is a vector.
///
/// # Safety
/// `vector` is null or a vector of httpd's, which has a slot for each loaded module; ours holds a `T` or
/// null.
pub unsafe fn slot<T>(vector: *mut ap_conf_vector_t) -> Option<*mut *mut T> {
    let index = usize::try_from(module_index()).ok()?;
    if vector.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { vector.cast::<*mut T>().add(index) })
}
