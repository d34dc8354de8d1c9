//! How long to wait before something that keeps failing is tried again.

use std::time::Duration;

/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(125);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Loading an application costs a processor seconds, where a fork costs it milliseconds: its first pause is
/// this step's, a second.
pub const LOADING_STEP: u32 = 4;

/// The pause before the next try of what has failed `failures` times in a row: none before the first, then an
/// eighth of a second, twice as long after each further failure, at most half a minute.
///
/// What counts as a failure, and when the count begins anew, is the caller's to say: a supervisor or a worker
/// that lived for a while was well. Callers whose users would rather have a try too many cap the pause
/// further down.
pub fn backoff(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        _ => FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(MAX_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let expected =
            [0, 125, 250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].map(Duration::from_millis);
        for (failures, pause) in (0..).zip(expected) {
            assert_eq!(backoff(failures), pause, "after {failures}");
        }
        assert_eq!(backoff(u32::MAX), MAX_PAUSE);
    }

    #[test]
    fn a_load_is_tried_again_after_a_second() {
        assert_eq!(backoff(LOADING_STEP), Duration::from_secs(1));
    }
}
