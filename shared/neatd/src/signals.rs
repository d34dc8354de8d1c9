//! Signals as bytes of a pipe, so that a loop that waits for descriptors sees them. No thread blocks any:
//! children of an application would inherit that.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Has this process meet signals as a new one does, whatever the server that started it blocks or ignores:
/// nginx's master blocks most of them while it reloads, and exec keeps that (execve(2), signal(7)). SIGPIPE
/// stays ignored, as Rust's runtime has it.
pub fn reset_inherited() {
    // No signal is refused: the set is empty, and every number is one of the system's.
    let _ = SigSet::empty().thread_set_mask();
    for number in (1..=libc::SIGRTMAX()).filter(|number| *number != libc::SIGPIPE) {
        // SAFETY: asks for a disposition, and has what is ignored do what it does by default; no handler is
        // replaced.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let asked = libc::sigaction(number, std::ptr::null(), &raw mut action);
            if asked == 0 && action.sa_sigaction == libc::SIG_IGN {
                libc::signal(number, libc::SIG_DFL);
            }
        }
    }
}

extern "C" fn write_down(number: i32) {
    shared::ffi::guard::guard("signal", (), || {
        let errno = nix::errno::Errno::last_raw();
        let byte = [u8::try_from(number).unwrap_or(0)];
        // SAFETY: write is allowed in a handler; a pipe that is full has woken its reader already.
        unsafe { libc::write(PIPE.load(Ordering::Relaxed), byte.as_ptr().cast(), 1) };
        nix::errno::Errno::set_raw(errno);
    });
}

/// Has these signals written into a new pipe, in place of one of before.
///
/// # Errors
/// The system's.
pub fn catch(signals: &[Signal]) -> nix::Result<OwnedFd> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let before = PIPE.swap(write.into_raw_fd(), Ordering::Relaxed);
    if before >= 0 {
        // SAFETY: it was this module's, and no handler writes to it any more.
        let _ = unsafe { libc::close(before) };
    }
    let action = SigAction::new(SigHandler::Handler(write_down), SaFlags::SA_RESTART, SigSet::empty());
    for signal in signals {
        // SAFETY: the handler only writes to a pipe.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(read)
}

/// Has no signal caught any more, in a process that was forked from one that caught them.
pub fn forget() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: asks for a disposition, and takes this module's own handler back.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let asked = libc::sigaction(number, std::ptr::null(), &raw mut action);
            if asked == 0 && action.sa_sigaction == write_down as *const () as usize {
                libc::signal(number, libc::SIG_DFL);
            }
        }
    }
    // The descriptor is the parent's, and was closed or is about to be.
    PIPE.store(-1, Ordering::Relaxed);
}

/// The signals that have come since the last time.
pub fn caught(pipe: &OwnedFd) -> Vec<Signal> {
    let mut bytes = [0; 64];
    let length = read(pipe.as_raw_fd(), &mut bytes);
    let numbers = bytes.iter().take(length).map(|byte| i32::from(*byte));
    numbers.filter_map(|number| Signal::try_from(number).ok()).collect()
}

fn read(descriptor: RawFd, into: &mut [u8]) -> usize {
    // SAFETY: reads into memory of the caller's.
    let read = unsafe { libc::read(descriptor, into.as_mut_ptr().cast(), into.len()) };
    usize::try_from(read).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_blocked_or_ignored_is_not_kept() {
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGCHLD);
        blocked.add(Signal::SIGWINCH);
        blocked.thread_block().unwrap();
        // SAFETY: a signal that nothing here needs.
        unsafe { nix::sys::signal::signal(Signal::SIGWINCH, SigHandler::SigIgn) }.unwrap();
        reset_inherited();
        assert_eq!(SigSet::thread_get_mask().unwrap(), SigSet::empty());
        // SAFETY: as above.
        let before = unsafe { nix::sys::signal::signal(Signal::SIGWINCH, SigHandler::SigDfl) }.unwrap();
        assert_eq!(before, SigHandler::SigDfl);
    }
}
