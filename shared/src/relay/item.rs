//! What a thread puts into a channel, and what the loop takes out of it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::loan::Lent;
use crate::exchange::End;
use crate::log::Level;
use crate::wsgi::response::OwnedResponseHead;

/// A part of the response, on its way to the loop.
#[derive(Debug)]
pub enum Item {
    /// The head.
    Head(OwnedResponseHead),
    /// Bytes.
    Data(Vec<u8>),
    /// Bytes that the thread keeps in place until they are sent.
    Lent(Lent),
    /// A part of a file: from where on, and how much.
    File(OwnedFd, u64, u64),
    /// Nothing more comes.
    End(End),
}

/// What the loop takes at once. Whatever becomes of it, no thread waits for it: a loan that is dropped is
/// returned.
#[derive(Debug, Default)]
pub struct Taken {
    /// Parts of the response, in order.
    pub items: VecDeque<Item>,
    /// Lines for the log.
    pub logs: Vec<(Level, Vec<u8>)>,
    /// Whether the thread waits for the body.
    pub wants_body: bool,
}
