//! The threads are played one by one.

use super::*;

fn idle(led: bool, count: u32) -> Threads<u32> {
    let mut threads = Threads::new(led);
    (0..count).for_each(|number| threads.sleep(&Runner::new(), number));
    threads
}

fn wake(thread: Option<u32>, watch: bool) -> Wake<u32> {
    Wake { thread, watch }
}

#[test]
fn the_first_request_wakes_the_most_recent_thread_and_the_next_one_the_watch() {
    let mut threads = idle(true, 3);
    assert_eq!(threads.arrived(), wake(Some(2), false));
    assert_eq!(
        threads.arrived(),
        wake(None, true),
        "one runs and may take it; a slice later it is looked at"
    );
    assert_eq!(threads.arrived(), wake(None, false), "the watch is awake");
}

#[test]
fn a_request_that_finds_every_thread_busy_wakes_nobody() {
    let mut threads = idle(true, 1);
    assert_eq!(threads.arrived(), wake(Some(0), false));
    assert_eq!(threads.arrived(), wake(None, false));
}

#[test]
fn a_woken_thread_is_counted_once() {
    let mut threads = idle(true, 1);
    let runner = Runner::new();
    assert_eq!(threads.arrived().thread, Some(0));
    threads.woken(&runner, |thread| *thread == 0);
    assert!(!threads.begin(&runner), "somebody leads");
    assert_eq!(threads.running, 1);
    threads.sleep(&runner, 0);
    assert_eq!((threads.running, threads.idle()), (0, 1));
}

#[test]
fn a_spurious_wake_up_counts_for_nothing() {
    let mut threads = Threads::new(true);
    let runner = Runner::new();
    threads.sleep(&runner, 7);
    threads.woken(&runner, |thread| *thread == 7);
    assert_eq!((threads.running, threads.idle()), (0, 0));
    threads.end(&runner);
    assert_eq!(threads.turns, 0);
}

#[test]
fn the_last_one_that_leaves_has_another_take_what_waits() {
    let mut threads = idle(true, 2);
    let (one, other) = (Runner::new(), Runner::new());
    let _ = (threads.begin(&one), threads.begin(&other));
    assert_eq!(threads.leave(&one, 1), Some(wake(None, false)), "another one runs");
    assert_eq!(threads.leave(&other, 1), Some(wake(Some(1), false)));
    assert_eq!(threads.leave(&other, 1), None, "it is away already");
    threads.come_back(&one);
    assert_eq!(threads.leave(&one, 0), Some(wake(None, false)), "nothing waits");
}

#[test]
fn who_leaves_while_nobody_leads_is_followed_at_once() {
    let mut threads = idle(false, 2);
    let (one, other) = (Runner::new(), Runner::new());
    assert!(threads.begin(&one), "nobody leads: the watch has an eye on it");
    assert!(!threads.begin(&other));
    assert_eq!(threads.leave(&one, 0), Some(wake(Some(1), false)));
    assert!(threads.lead());
    assert!(!threads.lead());
    assert_eq!(threads.leave(&other, 0), Some(wake(None, false)));
}

#[test]
fn slices_wake_more_and_more_threads_while_nothing_ends() {
    let mut threads = idle(true, 20);
    let mut slices = Slices::default();
    let woken: Vec<usize> = (0..5)
        .map(|_| {
            slices.begin(&threads);
            slices.end(&mut threads, 20).len()
        })
        .collect();
    assert_eq!(woken, [1, 2, 4, 8, 5]);
}

#[test]
fn a_request_that_ends_within_the_slice_keeps_others_asleep() {
    let mut threads = idle(true, 4);
    let runner = Runner::new();
    let _ = threads.begin(&runner);
    let mut slices = Slices::default();
    slices.begin(&threads);
    assert_eq!(slices.end(&mut threads, 9).len(), 1);
    slices.begin(&threads);
    threads.end(&runner);
    assert!(!slices.is_stuck(&threads));
    assert!(slices.end(&mut threads, 9).is_empty());
    slices.begin(&threads);
    assert_eq!(slices.end(&mut threads, 9).len(), 1, "the burst begins anew");
}

#[test]
fn no_more_threads_are_woken_than_requests_wait() {
    let mut threads = idle(true, 9);
    let mut slices = Slices::default();
    slices.begin(&threads);
    assert_eq!(slices.end(&mut threads, 3).len(), 1);
    assert_eq!(slices.end(&mut threads, 1).len(), 1);
}

#[test]
fn one_thread_is_wanted_while_nobody_leads() {
    let mut threads = idle(false, 9);
    let mut slices = Slices::default();
    slices.begin(&threads);
    assert_eq!(slices.end(&mut threads, 0).len(), 1);
    let runner = Runner::new();
    assert!(threads.lead_and_wait(&runner));
    assert!(!slices.is_stuck(&threads), "that somebody leads is a turn");
    slices.begin(&threads);
    assert!(slices.end(&mut threads, 0).is_empty());
}

#[test]
fn the_watch_sleeps_after_quiet_slices_only() {
    let mut threads = idle(true, 1);
    let mut slices = Slices::default();
    for _ in 0..QUIET_SLICES - 1 {
        slices.begin(&threads);
        assert!(slices.end(&mut threads, 0).is_empty());
    }
    assert!(!slices.are_quiet());
    slices.keep_on();
    for _ in 0..QUIET_SLICES {
        assert!(!slices.are_quiet());
        slices.begin(&threads);
        assert!(slices.end(&mut threads, 0).is_empty());
    }
    assert!(slices.are_quiet());
}

#[test]
fn closing_wakes_everybody() {
    let mut threads = idle(true, 3);
    assert_eq!(threads.close(), [0, 1, 2]);
    assert!(threads.is_closed() && threads.none_idle());
    assert_eq!(threads.arrived(), wake(None, false));
}
