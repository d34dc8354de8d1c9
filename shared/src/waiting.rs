//! What waits for a thread, and which of it is next: one rule for both modes.
//!
//! In turn, but for requests that nobody waits for any more, which are not begun: their clients gave up, and
//! whoever still waits would wait for them. Where clients are seen to give up, turns would serve each of them
//! just when he is about to: the one who waits longest is the next to go. So the newest is served first until
//! the queue was empty once, and as many are served as without the overload.

use std::collections::VecDeque;

/// A queue of requests.
#[derive(Debug)]
pub struct Waiting<X> {
    queue: VecDeque<X>,
    /// Somebody gave up since the queue was empty.
    impatient: bool,
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<X> {
    /// This one.
    pub next: Option<X>,
    /// Nobody waits for these any more.
    pub abandoned: Vec<X>,
}

impl<X> Default for Waiting<X> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), impatient: false }
    }
}

impl<X> Waiting<X> {
    /// Adds one that has just come.
    pub fn push(&mut self, request: X) {
        self.queue.push_back(request);
    }

    /// Puts one back that has waited longest.
    pub fn put_back(&mut self, request: X) {
        self.queue.push_front(request);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The one that has waited longest.
    #[must_use]
    pub fn oldest(&self) -> Option<&X> {
        self.queue.front()
    }

    /// Takes the one that has waited longest.
    pub fn take_oldest(&mut self) -> Option<X> {
        self.queue.pop_front()
    }

    /// Takes the next one. `is_abandoned` says of a request that nobody waits for it any more.
    pub fn take(&mut self, is_abandoned: impl Fn(&X) -> bool) -> Taken<X> {
        let mut abandoned = Vec::new();
        while self.queue.front().is_some_and(&is_abandoned) {
            self.impatient = true;
            abandoned.extend(self.queue.pop_front());
        }
        let mut next = None;
        while next.is_none() && self.impatient && !self.queue.is_empty() {
            next = self.queue.pop_back();
            abandoned.extend(next.take_if(|request| is_abandoned(request)));
        }
        let next = next.or_else(|| self.queue.pop_front());
        self.impatient &= !self.queue.is_empty();
        Taken { next, abandoned }
    }

    /// Takes all out that nobody waits for any more.
    #[must_use]
    pub fn sweep(&mut self, is_abandoned: impl Fn(&X) -> bool) -> Vec<X> {
        let (abandoned, kept): (Vec<X>, Vec<X>) = self.queue.drain(..).partition(is_abandoned);
        self.impatient |= !abandoned.is_empty();
        self.queue = kept.into();
        abandoned
    }

    /// Takes all out.
    pub fn drain(&mut self) -> impl Iterator<Item = X> {
        self.queue.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Negative numbers have given up.
    fn queue(requests: &[i32]) -> Waiting<i32> {
        let mut waiting = Waiting::default();
        requests.iter().for_each(|request| waiting.push(*request));
        waiting
    }

    fn take(waiting: &mut Waiting<i32>) -> (Option<i32>, Vec<i32>) {
        let Taken { next, abandoned } = waiting.take(|request| *request < 0);
        (next, abandoned)
    }

    #[test]
    fn whoever_waits_patiently_is_served_in_turn() {
        let mut waiting = queue(&[1, 2, 3]);
        for expected in [Some(1), Some(2), Some(3), None] {
            assert_eq!(take(&mut waiting), (expected, vec![]));
        }
    }

    #[test]
    fn what_nobody_waits_for_is_not_begun() {
        assert_eq!(take(&mut queue(&[-1, -2])), (None, vec![-1, -2]));
        assert_eq!(take(&mut queue(&[-1, 2])), (Some(2), vec![-1]));
    }

    #[test]
    fn where_clients_give_up_the_newest_is_served_until_the_queue_was_empty() {
        let mut waiting = queue(&[-1, 2, 3, -4]);
        assert_eq!(take(&mut waiting), (Some(3), vec![-1, -4]));
        waiting.push(5);
        assert_eq!(take(&mut waiting), (Some(5), vec![]));
        assert_eq!(take(&mut waiting), (Some(2), vec![]));
        [6, 7].into_iter().for_each(|request| waiting.push(request));
        assert_eq!(take(&mut waiting), (Some(6), vec![]));
    }

    #[test]
    fn a_sweep_leaves_the_others_in_their_order() {
        let mut waiting = queue(&[1, -2, 3]);
        assert_eq!(waiting.sweep(|request| *request < 0), [-2]);
        assert_eq!((waiting.oldest(), waiting.len()), (Some(&1), 2));
        assert_eq!(take(&mut waiting), (Some(3), vec![]), "somebody gave up");
    }

    /// Each instant ten requests come, one is served, and everybody gives up after twenty instants.
    #[test]
    fn ten_times_the_capacity_is_served_at_capacity() {
        let mut waiting: Waiting<u32> = Waiting::default();
        let mut in_time = 0;
        for now in 0..1000 {
            (0..10).for_each(|_| waiting.push(now));
            let taken = waiting.take(|came| now - came > 20);
            // It takes an instant to serve.
            in_time += u32::from(taken.next.is_some_and(|came| now + 1 - came <= 20));
        }
        assert!(in_time >= 970, "{in_time} of 1000");
    }
}
