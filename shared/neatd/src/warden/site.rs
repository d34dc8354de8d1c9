//! What a group has of the supervisor: the configuration, the error log, and sockets under the names that
//! servers know.
//!
//! Everything that needs the supervisor's rank goes through here, so that a warden in a process of its own
//! has one place to ask from.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use shared::launch::handover::{GroupSpec, Handover, socket_path};
use shared::launch::lifeline::Lifeline;
use shared::log::Level;

use crate::log::Log;
use crate::sockets::{self, ListenSocket};

/// What a group has of the supervisor.
pub struct Site<'a> {
    conf: &'a Handover,
    lifeline: &'a Lifeline,
    log: &'a mut Log,
}

impl<'a> Site<'a> {
    /// The supervisor's.
    pub fn new(conf: &'a Handover, lifeline: &'a Lifeline, log: &'a mut Log) -> Self {
        Self { conf, lifeline, log }
    }

    /// The configuration.
    pub const fn conf(&self) -> &Handover {
        self.conf
    }

    /// What tells a process that the last one of the server is gone.
    pub fn lifeline(&self) -> BorrowedFd<'_> {
        self.lifeline.as_fd()
    }

    /// Writes a line of this process to the error log.
    pub fn say(&mut self, level: Level, text: &str) {
        self.log.say(level, text);
    }

    /// The error log.
    pub fn log(&mut self) -> &mut Log {
        self.log
    }

    /// The path at which servers find a group.
    pub fn public_path(&self, group: &str) -> PathBuf {
        socket_path(&self.conf.prefix, group)
    }

    /// A socket for a generation of a group.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn make_socket(&self, spec: &GroupSpec, generation: u64) -> Result<ListenSocket, String> {
        sockets::make(self.conf, spec, generation)
    }

    /// Has servers find a first generation before it serves, unless another supervisor's does.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn prepare(&self, own: &Path, public: &Path) -> Result<(), String> {
        let text = |error| format!("the socket \"{}\" cannot be made: {error}", public.display());
        sockets::prepare(own, public).map_err(text)
    }

    /// Has servers find a generation.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn publish(&self, own: &Path, public: &Path) -> Result<(), String> {
        sockets::serve(own, public).map_err(|error| format!("its socket cannot be published: {error}"))
    }

    /// Gives the group's name to another supervisor's generation, where there is one and servers find this
    /// one.
    pub fn hand_back(&self, own: &Path, public: &Path) {
        if sockets::is_same(own, public) {
            sockets::hand_back(public);
        }
    }

    /// Removes a generation's socket.
    pub fn remove(&self, own: &Path, public: &Path) {
        sockets::remove(own, public);
    }
}
