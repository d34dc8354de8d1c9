//! What a generation's processes write to standard output and standard error: a pipe to their warden, which
//! makes lines of the log of it. No descriptor of the server's terminal, journal or log reaches them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};

use super::lines::Line;

/// The longest line; a longer one becomes several.
const MAX_LINE: usize = 4096;
/// So much is read at a time, so that one group's output does not hold up its warden.
const READ_SIZE: usize = 16 * 1024;

/// The reading end.
pub struct Output {
    pipe: OwnedFd,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

impl Output {
    /// A new one, and the end that is written to.
    ///
    /// # Errors
    /// The system's.
    pub fn pipe() -> nix::Result<(Self, OwnedFd)> {
        let (pipe, writing) = pipe2(OFlag::O_CLOEXEC)?;
        // Of this end alone: who writes may wait.
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((Self { pipe, begun: Vec::new() }, writing))
    }

    /// What to wait for.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Hands on the lines that have come; `false` when nobody writes any more.
    pub fn read(&mut self, pid: u32, mut write: impl FnMut(&Line)) -> bool {
        let mut bytes = [0; READ_SIZE];
        let length = match read(&self.pipe, &mut bytes) {
            Ok(0) => 0,
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return true,
            Err(_) => 0,
        };
        for byte in bytes.iter().take(length) {
            if *byte != b'\n' {
                self.begun.push(*byte);
            }
            if *byte == b'\n' || self.begun.len() >= MAX_LINE {
                write(&Line::written(pid, &self.begun));
                self.begun.clear();
            }
        }
        if length == 0 && !self.begun.is_empty() {
            write(&Line::written(pid, &self.begun));
        }
        length != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(output: &mut Output) -> (Vec<String>, bool) {
        let mut found = Vec::new();
        let is_open = output.read(7, |line| found.push(line.text().to_owned()));
        (found, is_open)
    }

    #[test]
    fn what_is_written_comes_in_lines() {
        let (mut output, writing) = Output::pipe().unwrap();
        assert_eq!(lines(&mut output), (vec![], true));
        nix::unistd::write(&writing, b"one\ntw").unwrap();
        assert_eq!(lines(&mut output), (vec!["one".to_owned()], true));
        nix::unistd::write(&writing, &[b"o\n".as_slice(), &[b'x'; MAX_LINE + 1]].concat()).unwrap();
        let (found, _) = lines(&mut output);
        assert_eq!((found.len(), found[0].as_str(), found[1].len()), (2, "two", MAX_LINE));
        drop(writing);
        assert_eq!(lines(&mut output), (vec!["x".to_owned()], false));
    }
}
