//! What a group's limits say of one of its workers: a table of rules over what was measured.

use std::time::Duration;

use shared::conf::group::ProcessGroup;

use super::workers::Phase;

/// How often the memory of a process that serves nothing is measured: the kernel counts page by page.
const IDLE_MEASURE: Duration = Duration::from_secs(5);

/// What was measured of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How far it has come.
    pub phase: Phase,
    /// How long it has lived.
    pub age: Duration,
    /// How long no thread of it has had the GIL.
    pub pulse: Duration,
    /// How many requests have ended.
    pub served: u64,
    /// Whether it serves one now.
    pub is_busy: bool,
    /// Since when none has ended.
    pub idle: Duration,
    /// How much memory it takes, where that was measured ([`is_memory_due`]).
    pub memory: Option<u64>,
    /// How far its own limits are below those of the group, in thousandths: so that workers do not leave
    /// together.
    pub jitter: u32,
}

/// What a worker over a limit has coming, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Another one takes its place while it finishes its requests.
    Replace(String),
    /// It is killed.
    Kill(String),
}

/// Whether a worker's memory is to be measured, given when that was done last and how many requests it had
/// served then.
pub fn is_memory_due(conf: &ProcessGroup, sample: &Sample, last: Option<(Duration, u64)>) -> bool {
    let is_limited = conf.memory_soft.or(conf.memory_hard).is_some();
    let has_moved = last.is_none_or(|(ago, served)| served != sample.served || ago > IDLE_MEASURE);
    is_limited && (sample.is_busy || has_moved)
}

/// The first limit that a worker has passed.
pub fn excess(conf: &ProcessGroup, sample: &Sample) -> Option<Excess> {
    if let Phase::Starting(_) = sample.phase {
        let is_late = conf.startup_timeout.is_some_and(|limit| sample.age > limit);
        return is_late.then(|| Excess::Kill("it did not start in time (startup-timeout)".to_owned()));
    }
    // While Python ends nobody takes the GIL, and that has an end of its own.
    let serves = sample.phase == Phase::Serving;
    if serves && conf.deadlock_timeout.is_some_and(|limit| sample.pulse > limit) {
        let seconds = sample.pulse.as_secs();
        return Some(Excess::Kill(format!(
            "no thread of it could take the GIL for {seconds} s (deadlock-timeout)"
        )));
    }
    // Whoever finishes its requests may take no more memory than before.
    if let Some((used, limit)) = sample.memory.zip(conf.memory_hard).filter(|(used, limit)| used > limit) {
        return Some(Excess::Kill(format!("it takes {used} bytes of memory (memory-limit, hard: {limit})")));
    }
    if let Some((used, limit)) = sample.memory.zip(conf.memory_soft).filter(|(used, limit)| used > limit) {
        return Some(Excess::Replace(format!(
            "it takes {used} bytes of memory (memory-limit, soft: {limit})"
        )));
    }
    let served = sample.served;
    let most = conf.maximum_requests.map(|most| most - most * u64::from(sample.jitter) / 1000);
    if most.is_some_and(|most| served >= most) {
        return Some(Excess::Replace(format!("it has served {served} requests (maximum-requests)")));
    }
    let longest = conf.restart_interval.map(|most| most - most.mul_f64(f64::from(sample.jitter) / 1000.0));
    if longest.is_some_and(|longest| sample.age > longest) {
        return Some(Excess::Replace("its time is over (restart-interval)".to_owned()));
    }
    let is_inactive = !sample.is_busy && served > 0;
    if is_inactive && conf.inactivity_timeout.is_some_and(|limit| sample.idle > limit) {
        let seconds = sample.idle.as_secs();
        return Some(Excess::Replace(format!("it had no request for {seconds} s (inactivity-timeout)")));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn group(options: &[&str]) -> ProcessGroup {
        let words: Vec<String> = ["shop"].iter().chain(options).map(|&word| word.to_owned()).collect();
        ProcessGroup::parse(&words).unwrap().0
    }

    fn sample() -> Sample {
        Sample {
            phase: Phase::Serving,
            age: Duration::from_secs(60),
            pulse: Duration::ZERO,
            served: 5,
            is_busy: false,
            idle: Duration::from_secs(1),
            memory: None,
            jitter: 0,
        }
    }

    #[test]
    fn each_limit_is_held() {
        let seconds = Duration::from_secs;
        let starting = Phase::Starting(Instant::now());
        let leaving = Phase::Leaving(Instant::now());
        let kill = |word| Some((true, word));
        let replace = |word| Some((false, word));
        let all = sample();
        type Row<'a> = (&'a str, Sample, Option<(bool, &'a str)>);
        let table: &[Row<'_>] = &[
            (
                "startup-timeout=9",
                Sample { phase: starting, age: seconds(10), ..all },
                kill("startup-timeout"),
            ),
            ("startup-timeout=9", Sample { phase: starting, age: seconds(9), ..all }, None),
            (
                "memory-limit=1m:2m",
                Sample { phase: starting, age: seconds(1), memory: Some(9_999_999), ..all },
                None,
            ),
            ("deadlock-timeout=3", Sample { pulse: seconds(4), ..all }, kill("(deadlock-timeout)")),
            ("deadlock-timeout=3", Sample { pulse: seconds(3), ..all }, None),
            ("deadlock-timeout=3", Sample { pulse: seconds(4), phase: leaving, ..all }, None),
            (
                "memory-limit=1m:2m",
                Sample { memory: Some(2_097_153), ..all },
                kill("2097153 bytes of memory (memory-limit, hard: 2097152)"),
            ),
            ("memory-limit=1m:2m", Sample { memory: Some(2_097_153), phase: leaving, ..all }, kill("hard")),
            (
                "memory-limit=1m:2m",
                Sample { memory: Some(2_097_152), ..all },
                replace("(memory-limit, soft: 1048576)"),
            ),
            ("memory-limit=1m:2m", Sample { memory: Some(1_048_576), ..all }, None),
            ("memory-limit=1m:2m", all, None),
            ("maximum-requests=5", all, replace("it has served 5 requests (maximum-requests)")),
            ("maximum-requests=6", all, None),
            ("maximum-requests=6", Sample { jitter: 200, ..all }, replace("maximum-requests")),
            ("restart-interval=60", Sample { age: seconds(61), ..all }, replace("(restart-interval)")),
            ("restart-interval=60", all, None),
            ("restart-interval=60", Sample { jitter: 50, ..all }, replace("(restart-interval)")),
            (
                "inactivity-timeout=2",
                Sample { idle: seconds(3), ..all },
                replace("for 3 s (inactivity-timeout)"),
            ),
            ("inactivity-timeout=2", Sample { idle: seconds(3), is_busy: true, ..all }, None),
            ("inactivity-timeout=2", Sample { idle: seconds(3), served: 0, ..all }, None),
        ];
        for (options, sample, expected) in table {
            let found = excess(&group(&[options]), sample);
            let found = found.as_ref().map(|excess| match excess {
                Excess::Kill(why) => (true, why.as_str()),
                Excess::Replace(why) => (false, why.as_str()),
            });
            let fits = match (found, expected) {
                (Some((killed, why)), Some((kill, word))) => killed == *kill && why.contains(word),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(fits, "{options} {sample:?}: {found:?}");
        }
    }

    #[test]
    fn memory_is_measured_where_something_may_have_changed() {
        let limited = group(&["memory-limit=1m:2m"]);
        let (just, long_ago) = (Duration::from_secs(1), IDLE_MEASURE + Duration::from_secs(1));
        assert!(is_memory_due(&limited, &sample(), None));
        assert!(!is_memory_due(&limited, &sample(), Some((just, 5))));
        assert!(is_memory_due(&limited, &sample(), Some((just, 4))));
        assert!(is_memory_due(&limited, &sample(), Some((long_ago, 5))));
        assert!(is_memory_due(&limited, &Sample { is_busy: true, ..sample() }, Some((just, 5))));
        assert!(!is_memory_due(&group(&[]), &sample(), None));
    }
}
