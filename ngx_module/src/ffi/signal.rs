//! Signals in a worker that has threads.
//!
//! nginx's handlers set a flag and rely on `epoll_wait` being interrupted; a signal that the kernel gives to
//! another thread does not do that. Blocking signals in those threads is no way out: their children would
//! inherit the mask. So each handler is wrapped: off the main thread the signal is sent on to it.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t};
use nix::unistd::{Pid, gettid};

use super::zeroed::Zeroed;

/// The signals that nginx handles (`src/os/unix/ngx_process.c`); SIGCHLD is the applications'.
const SIGNALS: [c_int; 9] = [
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGALRM,
    libc::SIGINT,
    libc::SIGIO,
];

static WORKER: AtomicI32 = AtomicI32::new(0);
static ORIGINAL: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];

type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

fn current(signal: c_int) -> Option<libc::sigaction> {
    let mut action = libc::sigaction::zeroed();
    // SAFETY: the kernel fills a sigaction.
    let code = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    (code == 0).then_some(action)
}

fn set(signal: c_int, action: &libc::sigaction) {
    // SAFETY: `action` is whole; a handler in it is one that the process had, or ours.
    unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) };
}

/// Runs `start`, which may change how SIGXFSZ and SIGPIPE are handled, and puts that back (Python's start
/// does).
pub fn keeping<R>(start: impl FnOnce() -> R) -> R {
    let kept = [libc::SIGXFSZ, libc::SIGPIPE].map(|signal| (signal, current(signal)));
    let result = start();
    for (signal, action) in kept {
        if let Some(action) = action {
            set(signal, &action);
        }
    }
    result
}

/// Wraps nginx's handlers with `handler`, and leaves SIGCHLD to the applications: nginx's handler would reap
/// their children.
pub fn wrap(handler: Handler) {
    WORKER.store(Pid::this().as_raw(), Ordering::Relaxed);
    // All zeroes: the default.
    set(libc::SIGCHLD, &libc::sigaction::zeroed());
    for signal in SIGNALS {
        let Some(mut action) = current(signal) else { continue };
        if action.sa_sigaction == libc::SIG_DFL || action.sa_sigaction == libc::SIG_IGN {
            continue;
        }
        if let Some(original) = ORIGINAL.get(signal as usize) {
            original.store(action.sa_sigaction, Ordering::Relaxed);
            action.sa_sigaction = handler as usize;
            action.sa_flags |= libc::SA_SIGINFO | libc::SA_RESTART;
            set(signal, &action);
        }
    }
}

/// Handles a signal: on the main thread as nginx does, on another by sending it on; in a child that an
/// application forked as a process does that has no handler, since nginx's would make it immune.
///
/// # Safety
/// The kernel handed these over.
pub unsafe fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let own = Pid::this().as_raw();
    if own != WORKER.load(Ordering::Relaxed) {
        // SAFETY: both are allowed in a signal handler.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    if !on_main_thread() {
        // SAFETY: allowed in a signal handler, as is every system call.
        unsafe { libc::syscall(libc::SYS_tgkill, own, own, signal) };
        return;
    }
    let original = ORIGINAL.get(signal as usize).map_or(0, |original| original.load(Ordering::Relaxed));
    if original != 0 {
        // SAFETY: a handler of nginx's with three arguments (nginx sets SA_SIGINFO), and the kernel's own.
        unsafe { std::mem::transmute::<usize, Handler>(original)(signal, info, context) };
    }
}

/// Whether the calling thread is the process's first, which runs nginx's loop.
pub fn on_main_thread() -> bool {
    gettid() == Pid::this()
}

/// Makes `exit` leave at once from here on: threads of Python still run, and destructors would pull the
/// ground from under them.
pub fn leave_without_destructors(leave: extern "C" fn()) {
    // SAFETY: atexit takes any function.
    unsafe { libc::atexit(leave) };
}

/// Leaves.
pub fn leave() -> ! {
    // SAFETY: nothing of this process is needed any more; nginx itself ends with status 0 here.
    unsafe { libc::_exit(0) }
}
