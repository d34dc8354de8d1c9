//! What a warden that died has left: its zygotes and workers, which are this process's children then. They
//! serve until another warden's generation does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::{children, sockets};

/// Whose, and until when it may live.
struct Orphan {
    group: String,
    deadline: Option<Instant>,
}

/// All of them.
#[derive(Default)]
pub struct Orphans(BTreeMap<Pid, Orphan>);

impl Orphans {
    /// A process of this group's has ended: its own children are this process's now, all that is not
    /// `known`.
    pub fn adopt(&mut self, group: &str, deadline: Option<Instant>, known: &[Pid]) {
        for pid in children::all().into_iter().filter(|pid| !known.contains(pid)) {
            if let Entry::Vacant(place) = self.0.entry(pid) {
                place.insert(Orphan { group: group.to_owned(), deadline });
                if deadline.is_some() {
                    children::signal(pid, Signal::SIGTERM);
                }
            }
        }
    }

    /// One may have ended: whose it was, and until when what it leaves may live.
    pub fn remove(&mut self, pid: Pid) -> Option<(String, Option<Instant>)> {
        self.0.remove(&pid).map(|orphan| (orphan.group, orphan.deadline))
    }

    /// Has those of a group finish their requests and end.
    pub fn end(&mut self, group: &str, timeout: Duration) {
        for (pid, orphan) in self.0.iter_mut().filter(|(_, orphan)| orphan.group == group) {
            if orphan.deadline.is_none() {
                orphan.deadline = Some(Instant::now() + timeout);
                children::signal(*pid, Signal::SIGTERM);
            }
        }
    }

    /// Kills those that had their time.
    pub fn enforce(&self) {
        let is_late = |orphan: &Orphan| orphan.deadline.is_some_and(|deadline| deadline <= Instant::now());
        for (pid, _) in self.0.iter().filter(|(_, orphan)| is_late(orphan)) {
            children::signal(*pid, Signal::SIGKILL);
        }
    }

    /// The groups that have some.
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self.0.values().map(|orphan| orphan.group.clone()).collect();
        groups.dedup();
        groups
    }
}

/// A warden that another one has taken the place of.
pub struct Retired {
    /// Its group.
    pub name: String,
    /// How many sockets were bound for it, whose names are taken.
    pub count: u64,
    /// Its process.
    pub pid: Option<Pid>,
    /// Its sockets, which go when it has ended.
    pub sockets: Vec<PathBuf>,
    /// The name that servers know, which may lead to one of them.
    pub public: PathBuf,
}

impl Retired {
    /// It has ended.
    pub fn remove_sockets(&self) {
        self.sockets.iter().for_each(|own| sockets::remove(own, &self.public));
    }
}
