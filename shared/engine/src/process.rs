//! Whether this process is a copy that the application made with `fork`.

use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn mark() {
    shared::ffi::guard::guard("fork", (), || FORKED.store(true, Ordering::Relaxed));
}

/// Begins to watch for forks.
pub fn watch_forks() {
    // SAFETY: `mark` only sets a flag, which is allowed in a child of a process with threads.
    unsafe { libc::pthread_atfork(None, None, Some(mark)) };
}

/// Whether the calling process is a child of the server's process. Its copy of an exchange is not its own to use.
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Ends a child that came back from the application, as if it were the server's process.
pub fn leave_child() -> ! {
    errors_to_descriptor(b"a child process returned into the web server; it should end with os._exit()\n");
    // SAFETY: ends the process without running anything of the parent's.
    unsafe { libc::_exit(0) }
}

/// Writes to descriptor 2, which httpd and nginx both let lead to an error log.
pub fn errors_to_descriptor(text: &[u8]) {
    // SAFETY: `text` lives for the call. Nothing can be done where this fails.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}
