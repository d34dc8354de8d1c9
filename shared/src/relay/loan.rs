//! Bytes of a Python thread that the event loop sends from where they lie.
//!
//! A loan is a value. Wherever it is dropped (in the queue, in the hands of a loop that failed before it came
//! to it, with the chain of buffers that pointed to it) its thread goes on; there is no call that could be
//! forgotten.

use super::channel::Channel;
use super::sync::Arc;

/// Bytes that a thread keeps in place for as long as this value lives.
#[derive(Debug)]
pub struct Lent {
    start: *const u8,
    length: usize,
    channel: Arc<Channel>,
}

// SAFETY: the bytes are only read, and which thread reads them does not matter.
unsafe impl Send for Lent {}

impl Lent {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: [`lend`] does not return, and its borrow of the bytes does not end, before this value is
        // dropped.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    /// How many they are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.channel.return_loan();
    }
}

/// Waits, however [`lend`] is left, until the loan was dropped.
struct Borrow<'a>(&'a Channel);

impl Drop for Borrow<'_> {
    fn drop(&mut self) {
        self.0.wait_for_loan();
    }
}

/// Lends `data` to whomever `give` hands the loan, and waits until nobody has it any more.
pub(super) fn lend<R>(channel: &Arc<Channel>, data: &[u8], give: impl FnOnce(Lent) -> R) -> R {
    // Dropped last: `data` stays borrowed until the loan is gone, also when `give` panics.
    let _borrow = Borrow(channel);
    channel.begin_loan();
    give(Lent { start: data.as_ptr(), length: data.len(), channel: Arc::clone(channel) })
}
