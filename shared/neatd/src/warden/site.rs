//! What a warden has of the world above it: the configuration, the error log, and, of the supervisor, sockets
//! under the names that servers know.
//!
//! Everything that needs root is asked for here, in a byte each.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use shared::launch::handover::socket_path;
use shared::launch::lifeline::Lifeline;
use shared::log::Level;
use shared::preflight::identity::Identity;

use super::allowance::Allowance;
use super::lines::Line;
use crate::log::Log;
use crate::orders::{Order, Status, Superior, WardenConf};
use crate::sockets::ListenSocket;

/// What a warden has of the world above it.
pub struct Site {
    conf: WardenConf,
    identity: Option<Identity>,
    lifeline: Lifeline,
    log: Log,
    allowance: Allowance,
    superior: Superior,
}

impl Site {
    /// A warden's.
    pub fn new(
        conf: WardenConf,
        identity: Option<Identity>,
        lifeline: Lifeline,
        log: Log,
        superior: Superior,
    ) -> Self {
        Self { conf, identity, lifeline, log, allowance: Allowance::default(), superior }
    }

    /// The configuration.
    pub const fn conf(&self) -> &WardenConf {
        &self.conf
    }

    /// Another configuration holds.
    pub fn configure(&mut self, conf: WardenConf) {
        self.log.change(None, Some(conf.log_level));
        self.conf = conf;
    }

    /// Who the group's processes are, where that could be found out.
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The supervisor.
    pub const fn superior(&mut self) -> &mut Superior {
        &mut self.superior
    }

    /// Whether the supervisor is gone, or has another warden in this one's place.
    pub const fn is_alone(&self) -> bool {
        self.superior.is_gone()
    }

    /// What to wait for of the supervisor; where that is gone, of the server.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.superior.descriptor()
    }

    /// Whether the last process of the server is gone.
    pub fn is_cut(&self) -> bool {
        self.lifeline.is_cut()
    }

    /// What tells a process that the last one of the server is gone.
    pub fn lifeline(&self) -> BorrowedFd<'_> {
        self.lifeline.as_fd()
    }

    /// Says something to the supervisor.
    pub fn tell(&self, status: Status) {
        self.superior.say(status);
    }

    /// Writes a line of this process to the error log.
    pub fn say(&mut self, level: Level, text: &str) {
        self.log.say(level, text);
    }

    /// Writes a line of the group's, unless it has written too many.
    pub fn write(&mut self, line: &Line, group: &str) {
        if self.allowance.take(line.count()) {
            line.write(&mut self.log, group);
        }
    }

    /// Says how many were not written, once some may be again.
    pub fn say_what_was_dropped(&mut self, group: &str) {
        if let Some(count) = self.allowance.dropped() {
            let text = format!("process group {group}: {count} lines were dropped: it writes too many");
            self.log.say(Level::Warning, &text);
        }
    }

    /// The error log.
    pub const fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// The path at which servers find the group.
    pub fn public_path(&self) -> PathBuf {
        socket_path(&self.conf.prefix, &self.conf.spec.conf.name)
    }

    /// A socket for a generation.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn make_socket(&mut self) -> Result<ListenSocket, String> {
        match self.superior.ask(Status::WantsSocket)? {
            (Order::Socket { slot, own_path, clients }, Some(listener)) => {
                Ok(ListenSocket { slot, listener, clients, own_path })
            }
            _ => Err("neatd's supervisor sent no socket".to_owned()),
        }
    }

    /// Has servers find a first generation before it serves, unless another supervisor's does.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn prepare(&mut self, socket: &ListenSocket) -> Result<(), String> {
        self.superior.ask(Status::Prepare(socket.slot)).and_then(|answer| done(&answer.0))
    }

    /// Has servers find a generation.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn publish(&mut self, socket: &ListenSocket) -> Result<(), String> {
        self.superior.ask(Status::Publish(socket.slot)).and_then(|answer| done(&answer.0))
    }

    /// Has a generation's socket removed.
    pub fn remove(&self, slot: usize) {
        self.superior.say(Status::Remove(slot));
    }
}

fn done(answer: &Order) -> Result<(), String> {
    if matches!(answer, Order::Done) {
        Ok(())
    } else {
        Err("neatd's supervisor did something else".to_owned())
    }
}
