//! Access control lists, which let in whom a directory's mode keeps out.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether a directory has a list of its own (`setfacl -m u:name:x`). Who is in it is not looked at: the
/// kernel will say.
pub(super) fn has_access_list(directory: &Path) -> bool {
    let Ok(path) = CString::new(directory.as_os_str().as_bytes()) else { return false };
    // SAFETY: both strings end with a zero and live as long as the call; with a size of 0 nothing is written.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), c"system.posix_acl_access".as_ptr(), std::ptr::null_mut(), 0)
    };
    length > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_directories_have_none() {
        assert!(!has_access_list(Path::new("/usr")));
        assert!(!has_access_list(Path::new("/no/such/directory")));
    }
}
