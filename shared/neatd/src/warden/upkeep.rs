//! Keeping a group's workers to their number and their limits, whatever becomes of them.

use std::time::Instant;

use nix::unistd::Pid;
use shared::log::Level;

use super::deaths::{Circumstances, Consequence, Death, Obituary, consequence};
use super::generation::Generation;
use super::group::Group;
use super::limits::{Excess, excess, is_memory_due};
use super::memory::oom_kills;
use super::site::Site;
use super::workers::Phase;
use crate::children::{self, Wait};

impl Group {
    /// A worker has ended, or could not be forked.
    pub(super) fn has_died(
        &mut self,
        site: &mut Site,
        number: u64,
        slot: usize,
        pid: Option<Pid>,
        death: Death,
    ) {
        let (name, wanted, is_next) = (self.name().to_owned(), self.wanted(), self.is_next(number));
        let has_cpu_limit = self.spec.conf.cpu_time_limit.is_some();
        let Some(generation) = self.generation(number) else { return };
        let Some(worker) = generation.workers.remove_ended(slot, pid) else { return };
        let obituary = Obituary {
            death,
            pid: pid.map(Pid::as_raw),
            was_leaving: worker.is_leaving(),
            kill_reason: worker.kill_reason,
            requests: generation.requests_of(slot),
            oom_kills: (worker.oom_kills, oom_kills()),
        };
        // What it said is waiting or idle counts no longer.
        generation.board.clear(slot);
        if let Some(line) = obituary.line(&name, has_cpu_limit) {
            site.say(Level::Error, &line);
        }
        let circumstances = Circumstances {
            is_next,
            is_leaving: obituary.was_expected() || matches!(generation.phase, Phase::Leaving(_)),
            // What it served may have ended it before it came to say that it serves.
            has_served: worker.phase == Phase::Serving || !obituary.requests.is_empty(),
            age: worker.born.elapsed(),
            early_deaths: generation.early_deaths,
        };
        match consequence(&circumstances) {
            Consequence::Nothing => {}
            Consequence::GiveUp => self.give_up_next(site, ENDED_EARLY),
            Consequence::Replace { pause, early_deaths } => {
                generation.early_deaths = early_deaths;
                generation.next_fork = (!pause.is_zero()).then(|| Instant::now() + pause);
                if is_next {
                    if !generation.fork() {
                        self.give_up_next(site, ENDED_EARLY);
                    }
                } else {
                    generation.fill(wanted);
                }
            }
        }
    }

    /// A child of this process has ended: a zygote, or a worker whose zygote is gone. `false` when it is none
    /// of the group's.
    pub fn has_ended(&mut self, site: &mut Site, pid: Pid, death: Death) -> bool {
        // What it said before it ended comes first.
        self.recv(site);
        let mut found = None;
        for generation in self.generations() {
            if generation.zygote == Some(pid) {
                generation.zygote = None;
                generation.workers.forget_unforked();
                found = Some((generation.number, None, generation.phase));
            } else if let Some(slot) = generation.workers.slot_of(pid) {
                found = Some((generation.number, Some(slot), generation.phase));
            }
        }
        match found {
            None => return false,
            Some((number, Some(slot), _)) => self.has_died(site, number, slot, Some(pid), death),
            Some((number, None, phase)) => {
                self.adopt_workers(site, number);
                if !matches!(phase, Phase::Leaving(_)) {
                    self.has_lost_zygote(site, number, pid, death);
                }
            }
        }
        true
    }

    /// A zygote is gone, and its workers are this process's children now; those that are not have ended,
    /// whether it came to say so or not.
    fn adopt_workers(&mut self, site: &mut Site, number: u64) {
        let Some(generation) = self.generation(number) else { return };
        let pids: Vec<_> = generation.workers.iter().filter_map(|one| Some((one.slot, one.pid?))).collect();
        for (slot, pid) in pids {
            let Some(generation) = self.generation(number) else { return };
            let death = match children::reap(Wait::Ended(pid)) {
                Ok(None) => {
                    generation.signal_again(slot);
                    continue;
                }
                Ok(Some((_, death))) => death,
                Err(_) => Death::Unknown,
            };
            self.has_died(site, number, slot, Some(pid), death);
        }
    }

    fn has_lost_zygote(&mut self, site: &mut Site, number: u64, zygote: Pid, death: Death) {
        let why = format!("its zygote {zygote} {}", death.describe(false));
        if self.is_next(number) {
            return self.give_up_next(site, &why);
        }
        let text = format!(
            "process group {}: {why}; its processes go on serving until a new generation is ready",
            self.name()
        );
        site.say(Level::Error, &text);
        self.renew(site);
    }

    /// Holds the workers to their number and to the group's limits.
    pub(super) fn keep_workers(&mut self, site: &mut Site) {
        let wanted = self.wanted();
        if let Some(current) = &mut self.current {
            if current.next_fork.is_some_and(|due| due <= Instant::now()) {
                current.next_fork = None;
            }
            current.fill(wanted);
        }
        // A zygote that is to fork hundreds may not have been told of all of them at once.
        if let Some(next) = self.next.as_mut().filter(|next| next.is_loaded) {
            next.fork_all(wanted);
        }
        // Whoever finishes its requests may take no more memory than before.
        let generations = self.current.iter().chain(&self.old);
        let numbers: Vec<u64> = generations.map(|generation| generation.number).collect();
        for number in numbers {
            self.hold_to_limits(site, number);
        }
    }

    fn hold_to_limits(&mut self, site: &mut Site, number: u64) {
        let conf = self.spec.conf.clone();
        let Some(generation) = self.generation(number) else { return };
        let mut replaced = Vec::new();
        for slot in generation.workers.slots() {
            let Some(worker) = generation.workers.get(slot) else { continue };
            let mut sample = generation.sample(worker);
            let last = worker.measured.map(|(when, served)| (when.elapsed(), served));
            if !matches!(sample.phase, Phase::Starting(_)) && is_memory_due(&conf, &sample, last) {
                sample.memory = generation.measure(slot, sample.served);
            }
            match excess(&conf, &sample) {
                Some(Excess::Kill(why)) => generation.kill(slot, why),
                Some(Excess::Replace(why)) => replaced.push((slot, why)),
                None => {}
            }
        }
        for (slot, why) in replaced {
            self.replace(site, number, slot, &why);
        }
    }
}

/// Why a generation does not come to serve.
const ENDED_EARLY: &str = "a process of it ended before all of them served";

impl Generation {
    /// Forks a worker where one is missing and may be forked.
    fn fill(&mut self, wanted: usize) {
        if self.next_fork.is_none() && self.workers.staying() < wanted {
            self.fork();
        }
    }
}
