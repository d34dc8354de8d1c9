//! What the processes of a group report, and what becomes of it.

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use shared::log::Level;

use super::group::Group;
use super::lines::Line;
use super::site::Site;
use super::workers::Phase;
use crate::control::Report;

impl Group {
    /// Takes what its processes report.
    pub fn recv(&mut self, site: &mut Site) {
        let name = self.name().to_owned();
        let mut received = Vec::new();
        for generation in self.generations() {
            // A fact is taken after the lines that came before it: they are read after it.
            received.extend(generation.recv_facts().into_iter().map(|fact| (generation.number, fact)));
            generation.recv_lines(|line| site.write(line, &name));
            generation.recv_output(|line| site.write(line, &name));
        }
        site.say_what_was_dropped(&name);
        for (number, report) in received {
            self.take(site, number, report);
        }
    }

    fn take(&mut self, site: &mut Site, number: u64, report: Report) {
        match report.in_one_line() {
            Report::Unable { why } if self.is_next(number) => self.give_up_next(site, &why),
            Report::Unable { why } => {
                let name = self.name().to_owned();
                site.write(
                    &Line::new(Level::Error, format!("a process cannot start: {why}").as_bytes()),
                    &name,
                );
            }
            Report::Ready { failed } => self.is_loaded(site, number, failed),
            Report::Threaded { slot } => self.has_threads(site, number, slot),
            Report::Forked { slot, pid } => self.has_forked(number, slot, Pid::from_raw(pid)),
            Report::Serving { slot, failed } => self.serves(site, number, slot, failed),
            Report::Replace { slot, why } => self.replace(site, number, slot, &why),
            Report::Died { slot, pid, death } => {
                self.has_died(site, number, slot, pid.map(Pid::from_raw), death)
            }
        }
    }

    /// Whether a generation with these targets missing is better than what there is.
    fn is_acceptable(&self, failed: &[String]) -> bool {
        match &self.current {
            _ if failed.is_empty() => true,
            Some(current) => failed.iter().all(|target| current.failed.contains(target)),
            None => failed.len() < self.spec.mounts.len(),
        }
    }

    /// A zygote has loaded the application, but for what failed.
    fn is_loaded(&mut self, site: &mut Site, number: u64, failed: Vec<String>) {
        if !self.is_next(number) {
            return;
        }
        if !self.is_acceptable(&failed) {
            return self.give_up_next(site, &not_loaded(&failed));
        }
        let wanted = self.wanted();
        if let Some(next) = &mut self.next {
            next.failed = failed;
            next.is_loaded = true;
            next.fork_all(wanted);
        }
    }

    /// A worker has a number.
    fn has_forked(&mut self, number: u64, slot: usize, pid: Pid) {
        let Some(generation) = self.generation(number) else { return };
        // Any process of the group can say this: a number that is known stays.
        let Some(worker) = generation.workers.get_mut(slot).filter(|one| one.pid.is_none()) else { return };
        // 0, 1 and negative numbers are more than a process (kill(2), waitpid(2)).
        if pid.as_raw() <= 1 {
            return;
        }
        worker.pid = Some(pid);
        // It was killed, or told to leave, before it could be.
        if worker.kill_reason.is_some() {
            generation.signal(pid, Signal::SIGKILL);
        } else if worker.is_leaving() {
            generation.signal(pid, Signal::SIGTERM);
        }
    }

    /// A worker takes requests.
    fn serves(&mut self, site: &mut Site, number: u64, slot: usize, failed: Vec<String>) {
        let is_acceptable = !self.is_next(number) || self.is_acceptable(&failed);
        if let Some(generation) = self.generation(number) {
            if let Some(worker) = generation.workers.get_mut(slot) {
                if matches!(worker.phase, Phase::Starting(_)) {
                    worker.phase = Phase::Serving;
                }
            }
            if !failed.is_empty() {
                generation.failed.clone_from(&failed);
            }
        }
        if !is_acceptable {
            return self.give_up_next(site, &not_loaded(&failed));
        }
        let wanted = self.wanted();
        if self.is_next(number) {
            if self.next.as_ref().is_some_and(|next| next.workers.serving() >= wanted) {
                self.take_over(site);
            }
            return;
        }
        // A worker that was replaced leaves now that its successor serves.
        let timeout = self.spec.conf.graceful_timeout;
        if let Some(generation) = self.generation(number) {
            if generation.workers.serving() > wanted {
                if let Some(slot) = generation.workers.replaced() {
                    generation.dismiss(slot, timeout);
                }
            }
        }
    }

    /// A zygote cannot be forked: the application is imported in each process from now on.
    fn has_threads(&mut self, site: &mut Site, number: u64, slot: usize) {
        if let Some(generation) = self.generation(number) {
            generation.workers.remove(slot);
        }
        if self.is_next(number) && std::mem::replace(&mut self.may_preload, false) {
            let name = self.name();
            let text = format!(
                "process group {name}: each process imports the application itself, as with preload=off"
            );
            site.say(Level::Notice, &text);
            self.renew(site);
        }
    }

    /// Has another worker take a worker's place.
    pub(super) fn replace(&mut self, site: &mut Site, number: u64, slot: usize, why: &str) {
        let name = self.name().to_owned();
        let timeout = self.spec.conf.graceful_timeout;
        let Some(generation) = self.generation(number) else { return };
        let is_serving = generation.phase == Phase::Serving;
        let Some(worker) = generation.workers.get_mut(slot) else { return };
        let is_killed = worker.kill_reason.is_some();
        if !is_serving || worker.is_replaced || is_killed || worker.phase != Phase::Serving {
            return;
        }
        // Marked: it leaves when its successor serves.
        worker.is_replaced = true;
        let pid = worker.pid.map_or(0, Pid::as_raw);
        site.say(Level::Notice, &format!("process group {name}: process {pid} is replaced: {why}"));
        if !generation.fork() {
            generation.dismiss(slot, timeout);
        }
    }
}

fn not_loaded(failed: &[String]) -> String {
    format!("{} could not be loaded, see the traceback above", failed.join(", "))
}
