//! How many lines of the log a group may write: so many at once, and so many each second from then on.
//! A group that writes faster than an administrator can read fills nobody's disk.

use std::time::{Duration, Instant};

/// At once.
const BURST: u32 = 5000;
/// Each second.
const RATE: u32 = 500;

/// What is left of it.
pub struct Allowance {
    left: u32,
    since: Instant,
    dropped: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: BURST, since: Instant::now(), dropped: 0 }
    }
}

impl Allowance {
    /// Whether so many lines may be written now.
    pub fn take(&mut self, lines: u32) -> bool {
        self.take_at(Instant::now(), lines)
    }

    /// How many were not since this was asked last, where one may be written again.
    pub fn dropped(&mut self) -> Option<u64> {
        let dropped = self.dropped;
        if dropped == 0 {
            return None;
        }
        let may = self.take(1);
        self.dropped = if may { 0 } else { dropped };
        may.then_some(dropped)
    }

    fn take_at(&mut self, now: Instant, lines: u32) -> bool {
        let passed = now.saturating_duration_since(self.since).min(Duration::from_secs(60));
        let more = u32::try_from(passed.as_millis() * u128::from(RATE) / 1000).unwrap_or(0);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BURST);
            self.since = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(lines);
        if !may {
            self.dropped = self.dropped.saturating_add(u64::from(lines));
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_written_and_a_flood_is_counted() {
        let mut allowance = Allowance::default();
        let begin = allowance.since;
        assert_eq!((0..BURST + 7).filter(|_| allowance.take_at(begin, 1)).count(), BURST as usize);
        assert_eq!(allowance.dropped, 7);
        let later = begin + Duration::from_secs(1);
        assert_eq!((0..BURST).filter(|_| allowance.take_at(later, 1)).count(), RATE as usize);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!((0..BURST * 2).filter(|_| allowance.take_at(much_later, 1)).count(), BURST as usize);
    }
}
