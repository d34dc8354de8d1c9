//! The workers of a generation, as its warden knows them.

use std::time::Instant;

use nix::unistd::Pid;

/// How far a generation or a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was asked for, or loads, since then.
    Starting(Instant),
    /// It serves.
    Serving,
    /// It was told to finish, and has until then.
    Leaving(Instant),
}

/// A worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its slot on the scoreboard.
    pub slot: usize,
    /// Its number, once it was forked.
    pub pid: Option<Pid>,
    /// How far it has come.
    pub phase: Phase,
    /// When it was asked for.
    pub born: Instant,
    /// How far its own limits are below those of the group, in thousandths: so that workers do not leave
    /// together.
    pub jitter: u32,
    /// Another one is to take its place, and it leaves when that serves.
    pub is_replaced: bool,
    /// Why the warden killed it.
    pub kill_reason: Option<String>,
    /// When its memory was last measured, and how many requests it had served then.
    pub measured: Option<(Instant, u64)>,
    /// How many processes the kernel had killed for want of memory when it was born.
    pub oom_kills: Option<u64>,
}

impl Worker {
    /// A worker that was just asked for.
    pub fn asked_for(slot: usize, jitter: u32, oom_kills: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            slot,
            pid: None,
            phase: Phase::Starting(now),
            born: now,
            jitter,
            is_replaced: false,
            kill_reason: None,
            measured: None,
            oom_kills,
        }
    }

    /// Whether it was told to finish.
    pub const fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving(_))
    }
}

/// The workers of a generation, one for each slot at most.
#[derive(Clone, Debug, Default)]
pub struct Workers(Vec<Worker>);

impl Workers {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The slots that are taken.
    pub fn slots(&self) -> Vec<usize> {
        self.0.iter().map(|worker| worker.slot).collect()
    }

    /// The first of `count` slots that nobody has.
    pub fn free_slot(&self, count: usize) -> Option<usize> {
        (0..count).find(|slot| self.get(*slot).is_none())
    }

    /// The worker of a slot.
    pub fn get(&self, slot: usize) -> Option<&Worker> {
        self.0.iter().find(|worker| worker.slot == slot)
    }

    /// The worker of a slot, to change it.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Worker> {
        self.0.iter_mut().find(|worker| worker.slot == slot)
    }

    /// The slot of a process.
    pub fn slot_of(&self, pid: Pid) -> Option<usize> {
        self.0.iter().find(|worker| worker.pid == Some(pid)).map(|worker| worker.slot)
    }

    /// One more.
    pub fn add(&mut self, worker: Worker) {
        self.0.push(worker);
    }

    /// Takes the worker of a slot off the list.
    pub fn remove(&mut self, slot: usize) -> Option<Worker> {
        let index = self.0.iter().position(|worker| worker.slot == slot)?;
        Some(self.0.swap_remove(index))
    }

    /// Takes a worker that has ended off the list: the one of this slot, if this is its number, or if it
    /// never had one and could not be forked. What is said late of a process must not take its successor off
    /// the list.
    pub fn remove_ended(&mut self, slot: usize, pid: Option<Pid>) -> Option<Worker> {
        self.get(slot).filter(|worker| worker.pid == pid)?;
        self.remove(slot)
    }

    /// Takes those off the list that were asked for and not forked: whoever was to fork them is gone.
    pub fn forget_unforked(&mut self) {
        self.0.retain(|worker| worker.pid.is_some());
    }

    /// How many serve.
    pub fn serving(&self) -> usize {
        self.0.iter().filter(|worker| worker.phase == Phase::Serving).count()
    }

    /// How many serve, or are about to.
    pub fn staying(&self) -> usize {
        self.0.iter().filter(|worker| !worker.is_leaving()).count()
    }

    /// The one that serves and is to leave for a successor.
    pub fn replaced(&self) -> Option<usize> {
        let replaced = |worker: &&Worker| worker.phase == Phase::Serving && worker.is_replaced;
        self.0.iter().find(replaced).map(|worker| worker.slot)
    }

    /// Those that should have left by now.
    pub fn late(&self, now: Instant) -> Vec<usize> {
        let late = |worker: &&Worker| matches!(worker.phase, Phase::Leaving(deadline) if deadline <= now);
        self.0.iter().filter(late).map(|worker| worker.slot).collect()
    }
}

/// Something between 0 and 99, different enough to keep workers from leaving at the same moment.
pub fn jitter(slot: usize, clock: u64) -> u32 {
    let mix = clock.wrapping_mul(0x9E37_79B9) ^ ((slot as u64) << 7);
    u32::try_from(mix.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40).unwrap_or(0) % 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn workers(phases: &[Phase]) -> Workers {
        let with =
            |(slot, phase): (usize, &Phase)| Worker { phase: *phase, ..Worker::asked_for(slot, 0, None) };
        Workers(phases.iter().enumerate().map(with).collect())
    }

    #[test]
    fn workers_are_counted_by_how_far_they_have_come() {
        let now = Instant::now();
        let workers = workers(&[Phase::Starting(now), Phase::Serving, Phase::Leaving(now), Phase::Serving]);
        assert_eq!((workers.serving(), workers.staying()), (2, 3));
        assert_eq!(workers.late(now), [2]);
        assert!(workers.late(now - Duration::from_secs(1)).is_empty());
        assert_eq!(workers.replaced(), None);
    }

    #[test]
    fn a_slot_is_given_once() {
        let mut workers = workers(&[Phase::Serving, Phase::Serving, Phase::Serving]);
        assert_eq!(workers.free_slot(3), None);
        assert_eq!(workers.free_slot(4), Some(3));
        assert_eq!(workers.remove(1).map(|worker| worker.slot), Some(1));
        assert!(workers.remove(1).is_none());
        assert_eq!(workers.free_slot(4), Some(1));
    }

    #[test]
    fn a_late_death_does_not_cost_the_successor_its_place() {
        let mut workers = workers(&[Phase::Serving, Phase::Serving]);
        for worker in &mut workers.0 {
            worker.pid = Some(Pid::from_raw(100 + i32::try_from(worker.slot).unwrap()));
        }
        assert!(workers.remove_ended(1, Some(Pid::from_raw(77))).is_none());
        assert!(workers.remove_ended(0, Some(Pid::from_raw(101))).is_none(), "that is another slot's");
        assert!(workers.remove_ended(1, None).is_none());
        assert_eq!(workers.remove_ended(1, Some(Pid::from_raw(101))).map(|worker| worker.slot), Some(1));
        assert_eq!(workers.serving(), 1);
    }

    #[test]
    fn what_was_never_forked_can_be_forgotten() {
        let mut workers = workers(&[Phase::Starting(Instant::now()), Phase::Serving]);
        workers.0[1].pid = Some(Pid::from_raw(100));
        assert!(workers.clone().remove_ended(0, None).is_some());
        workers.forget_unforked();
        assert_eq!(workers.slots(), [1]);
    }

    #[test]
    fn workers_of_one_moment_have_different_limits() {
        let jitters: std::collections::HashSet<u32> = (0..8).map(|slot| jitter(slot, 123_456)).collect();
        assert!(jitters.len() > 4 && jitters.iter().all(|jitter| *jitter < 100), "{jitters:?}");
    }
}
