//! Bytes of a Python thread that nginx sends from where they lie.

/// Where they lie. The thread that lends them waits until the loop says that nginx is done with them (see
/// [`crate::embedded::channel::Link::lend`]), so that they stay where they are for as long as this value is in use.
#[derive(Debug)]
pub struct Lent {
    start: *const u8,
    length: usize,
}

// SAFETY: the bytes are only read, and the lender waits for the end of it; which thread reads them does not matter.
unsafe impl Send for Lent {}

impl Lent {
    /// Notes where `data` lies. Lending is safe only with the wait that [`crate::embedded::channel::Link::lend`] makes.
    pub fn new(data: &[u8]) -> Self {
        Self { start: data.as_ptr(), length: data.len() }
    }

    /// In bytes.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// For the buffer that points there.
    pub(super) const fn start(&self) -> *const u8 {
        self.start
    }
}
