//! What a warden that died has left: its zygotes and workers, which are this process's children then. They
//! serve until another warden's generation does.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, Uid};

use crate::{children, sockets};

/// Whose, and until when it may live.
struct Orphan {
    group: String,
    deadline: Option<Instant>,
}

/// What a process that has ended has left behind.
pub struct Left {
    /// Whose it is.
    pub group: String,
    /// Of which user it is, where that is known.
    pub user: Option<Uid>,
    /// Until when it may live; as long as nothing else serves where there is no such time.
    pub deadline: Option<Instant>,
}

/// All of them.
#[derive(Default)]
pub struct Orphans(BTreeMap<Pid, Orphan>);

impl Orphans {
    /// A process of this group's has ended: its own children are this process's now, all of its user's that
    /// are not `known`. What another user's process left is that one's group's, whenever it came.
    pub fn adopt(&mut self, left: &Left, known: &BTreeSet<Pid>) {
        for pid in children::all().into_iter().filter(|pid| !known.contains(pid)) {
            let Entry::Vacant(place) = self.0.entry(pid) else { continue };
            if left.user.is_some_and(|user| !children::is_of_user(pid, user)) {
                continue;
            }
            place.insert(Orphan { group: left.group.clone(), deadline: left.deadline });
            if let Some(deadline) = left.deadline {
                let is_late = deadline <= Instant::now();
                children::signal(pid, if is_late { Signal::SIGKILL } else { Signal::SIGTERM });
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
    /// Its sockets, which go when it has ended and another generation serves.
    pub sockets: Vec<PathBuf>,
    /// The name that servers know, which may lead to one of them.
    pub public: PathBuf,
    /// Of which user it is.
    pub user: Option<Uid>,
    /// When it is to be gone, once another generation serves, or everything ends.
    pub deadline: Option<Instant>,
}

impl Retired {
    /// Has it finish its requests and end, in so much time.
    pub fn end(&mut self, timeout: Duration) {
        self.deadline.get_or_insert(Instant::now() + timeout);
        self.pid.map(|pid| children::signal(pid, Signal::SIGTERM));
    }

    /// Kills it when it had its time.
    pub fn enforce(&self) {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.pid.map(|pid| children::signal(pid, Signal::SIGKILL));
        }
    }

    /// It has ended, and is not needed any more.
    pub fn remove_sockets(&self) {
        self.sockets.iter().for_each(|own| sockets::remove(own, &self.public));
    }
}
