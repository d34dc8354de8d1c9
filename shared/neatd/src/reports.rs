//! What a zygote or a worker tells its warden, without waiting for it.
//!
//! Facts are few and none may be lost: the warden goes by them, so that one that does not fit is kept and
//! sent later. Lines of the log may be many and go over a socket of their own; those that do not fit are
//! counted.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shared::log::Level;

use crate::control::{self, Report};
use crate::warden::lines::Line;

/// How long a process that ends waits for its last facts to leave.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// This process's.
static REPORTS: OnceLock<Reports> = OnceLock::new();

/// Where a process's facts and lines go.
struct Reports {
    facts: OwnedFd,
    lines: OwnedFd,
    /// Facts that did not fit, the oldest first.
    waiting: Mutex<VecDeque<Vec<u8>>>,
    /// Lines that did not fit since the last one that did.
    dropped: AtomicU64,
}

/// Has this process report to these sockets. The first call counts: forked workers inherit it.
pub fn start(facts: OwnedFd, lines: OwnedFd) {
    let _ = REPORTS.set(Reports::new(facts, lines));
}

/// Reports a fact.
pub fn send(report: &Report) {
    if let Some(reports) = REPORTS.get() {
        reports.send(report);
    }
}

/// Writes a line that belongs to no request; to standard error where nobody is left to read it.
pub fn log(level: Level, text: &[u8]) {
    let line = Line::new(level, text);
    if !REPORTS.get().is_some_and(|reports| reports.log(&line)) {
        // Which may be nobody's, too: that is no reason to end a request.
        let _ = writeln!(std::io::stderr(), "{}", line.text());
    }
}

/// Sends the facts that wait. What to wait for where some still do: room to send.
pub fn flush() -> Option<PollFd<'static>> {
    let reports = REPORTS.get()?;
    reports.flush().then(|| PollFd::new(reports.facts(), PollFlags::POLLOUT))
}

/// Lets go of facts that wait: in a forked process they are those of its zygote, which sends them itself.
pub fn forget() {
    if let Some(reports) = REPORTS.get() {
        reports.lock().clear();
    }
}

/// This process is about to end: waits a little for the facts that wait.
pub fn finish() {
    let deadline = Instant::now() + FINISH_TIMEOUT;
    while let Some(room) = flush() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero()
            || poll(&mut [room], PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) == Ok(0)
        {
            return;
        }
    }
}

impl Reports {
    const fn new(facts: OwnedFd, lines: OwnedFd) -> Self {
        Self { facts, lines, waiting: Mutex::new(VecDeque::new()), dropped: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        // No code of others runs under the lock, so that a poisoned queue is still a whole one.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self) -> BorrowedFd<'_> {
        self.facts.as_fd()
    }

    fn send(&self, report: &Report) {
        self.lock().extend(control::encode(&report.clone().shortened()));
        self.flush();
    }

    /// Sends what waits; `true` when some still does.
    fn flush(&self) -> bool {
        let mut waiting = self.lock();
        while let Some(fact) = waiting.front() {
            match control::send(&self.facts, fact) {
                // One that can never be sent must not hold up the others; where the warden is gone nobody is
                // left to go by it.
                Ok(()) | Err(Errno::EMSGSIZE | Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => {
                    waiting.pop_front();
                }
                Err(_) => return true,
            }
        }
        false
    }

    /// Sends a line; `false` when nobody is left to read it.
    fn log(&self, line: &Line) -> bool {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let is_sent = match dropped {
            0 => Ok(()),
            _ => {
                let text =
                    format!("{dropped} lines were dropped: they came faster than they could be written");
                self.send_line(&Line::new(Level::Warning, text.as_bytes()))
            }
        };
        match is_sent.and_then(|()| self.send_line(line)) {
            Ok(()) => true,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => {
                let lost = if is_sent.is_ok() { 1 } else { dropped.saturating_add(1) };
                self.dropped.fetch_add(lost, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }

    fn send_line(&self, line: &Line) -> nix::Result<()> {
        control::encode(line).map_or(Ok(()), |bytes| control::send(&self.lines, &bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{MAX_FACT, MAX_LINE, Received, recv};

    fn reports() -> (Reports, OwnedFd, OwnedFd) {
        let ((facts, theirs), (lines, read)) = (control::pair().unwrap(), control::pair().unwrap());
        (Reports::new(facts, lines), theirs, read)
    }

    fn fact(slot: usize) -> Report {
        Report::Unable { why: format!("{slot:0>2000}") }
    }

    #[test]
    fn a_fact_that_does_not_fit_is_sent_later_and_in_its_turn() {
        let (reports, theirs, _lines) = reports();
        let mut count = 0;
        while reports.lock().len() < 3 {
            reports.send(&fact(count));
            count += 1;
        }
        assert!(count > 3 && reports.flush());
        for number in 0..count {
            assert_eq!(recv(&theirs, MAX_FACT), Received::Message(fact(number)));
            reports.flush();
        }
        assert!(!reports.flush());
        assert_eq!(recv::<Report>(&theirs, MAX_FACT), Received::Nothing);
    }

    #[test]
    fn lines_do_not_take_the_room_of_facts() {
        let (reports, theirs, read) = reports();
        let line = Line::new(Level::Error, &[b'x'; 9000]);
        while reports.dropped.load(Ordering::Relaxed) < 5 {
            assert!(reports.log(&line));
        }
        reports.send(&fact(1));
        assert_eq!(recv(&theirs, MAX_FACT), Received::Message(fact(1)));
        while let Received::Message(read) = recv::<Line>(&read, MAX_LINE) {
            assert_eq!(read, line);
        }
        assert!(reports.log(&line));
        let Received::Message(said) = recv::<Line>(&read, MAX_LINE) else {
            panic!("nothing was said of what was dropped")
        };
        assert!(said.text().starts_with("5 lines were dropped"), "{}", said.text());
        assert_eq!(recv(&read, MAX_LINE), Received::Message(line));
    }

    #[test]
    fn nothing_waits_for_a_warden_that_is_gone() {
        let (reports, theirs, read) = reports();
        drop((theirs, read));
        reports.send(&fact(1));
        assert!(!reports.flush());
        assert!(!reports.log(&Line::new(Level::Error, b"text")));
    }
}
