//! The response's body on its way through nginx's filters: what they hold, and what can be used again.
#![deny(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use shared::relay::loan::Lent;

use crate::ffi::chain::Piece;
use crate::ffi::request::Request;

/// nginx has no memory.
#[derive(Debug)]
pub struct NoMemory;

/// The pieces of a response, of which nginx keeps the first ones and we the others.
#[derive(Debug, Default)]
pub struct Output {
    /// Given to nginx, and not wholly sent.
    busy: VecDeque<Piece>,
    /// Not given to nginx yet.
    fresh: Vec<Piece>,
    /// To be used again.
    free: Vec<Piece>,
}

impl Output {
    /// Whether nginx holds nothing of it.
    pub fn is_drained(&self) -> bool {
        self.busy.is_empty()
    }

    fn piece(&mut self, request: Request) -> Result<Piece, NoMemory> {
        self.free.pop().or_else(|| Piece::new(request)).ok_or(NoMemory)
    }

    /// Adds bytes.
    pub fn add(&mut self, request: Request, bytes: Vec<u8>) -> Result<(), NoMemory> {
        let mut piece = self.piece(request)?;
        piece.fill(bytes);
        self.fresh.push(piece);
        Ok(())
    }

    /// Adds bytes that a thread keeps in place until the piece is used again or dropped.
    pub fn add_lent(&mut self, request: Request, lent: Lent) -> Result<(), NoMemory> {
        let mut piece = self.piece(request)?;
        piece.fill_lent(lent);
        self.fresh.push(piece);
        Ok(())
    }

    /// Adds a part of a file.
    pub fn add_file(
        &mut self,
        request: Request,
        file: OwnedFd,
        from: u64,
        length: u64,
    ) -> Result<(), NoMemory> {
        let mut piece = self.piece(request)?;
        if !piece.fill_file(request, file, from, length) {
            return Err(NoMemory);
        }
        self.fresh.push(piece);
        Ok(())
    }

    /// Closes what was added: it is to be flushed, or it is the response's last. Without anything added this
    /// is said by an empty piece.
    pub fn close(&mut self, request: Request, last: bool) -> Result<(), NoMemory> {
        if self.fresh.is_empty() {
            let empty = self.piece(request)?;
            self.fresh.push(empty);
        }
        if let Some(piece) = self.fresh.last_mut() {
            if last {
                piece.set_last(request);
            } else {
                piece.set_flush();
            }
        }
        Ok(())
    }

    /// Links what was added, for nginx. It counts as busy from here on, wherever nginx is with it.
    pub fn chain(&mut self) -> Option<&Piece> {
        let first = self.busy.len();
        let mut next: Option<Piece> = None;
        for mut piece in self.fresh.drain(..).rev() {
            piece.set_next(next.as_ref());
            if let Some(next) = next.replace(piece) {
                self.busy.insert(first, next);
            }
        }
        if let Some(head) = next {
            self.busy.insert(first, head);
        }
        self.busy.get(first)
    }

    /// Takes back what nginx has sent; how many bytes of it count against the window.
    pub fn update(&mut self) -> usize {
        let mut sent = 0;
        while self.busy.front().is_some_and(|piece| piece.left() == 0) {
            let Some(mut piece) = self.busy.pop_front() else { break };
            // Where the response waits for another one nginx keeps a piece without bytes, too, which looks as
            // if it were sent: filled again, it would be there twice. A response has two of them at most.
            if piece.is_special() {
                continue;
            }
            sent += piece.clear();
            self.free.push(piece);
        }
        sent
    }

    /// Returns what is lent, although nginx may still point to it: for a process that sends nothing any more.
    pub fn return_loans(&mut self) {
        self.busy.iter_mut().chain(&mut self.fresh).for_each(Piece::return_loan);
    }
}
