//! Log lines that wait for the event loop, which alone may write them. They are bounded: an application that
//! prints faster than the server writes loses lines, and is told how many, but takes no memory and never
//! waits (it would wait with the GIL).

/// How much of one request's lines may wait.
pub const REQUEST_LIMIT: usize = 256 * 1024;
/// How much of the process's lines may wait.
pub const PROCESS_LIMIT: usize = 1024 * 1024;

/// Messages with their levels, up to a number of bytes.
#[derive(Debug)]
pub struct LogQueue<L> {
    messages: Vec<(L, Vec<u8>)>,
    bytes: usize,
    dropped: u64,
    limit: usize,
}

impl<L> LogQueue<L> {
    /// An empty queue.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { messages: Vec::new(), bytes: 0, dropped: 0, limit }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message, or counts it as dropped. What is longer than the whole queue may be is cut where
    /// nothing else waits.
    pub fn push(&mut self, level: L, message: &[u8]) {
        let cost = message.len() + size_of::<(L, Vec<u8>)>();
        if !self.messages.is_empty() && self.bytes + cost > self.limit {
            self.dropped += 1;
            return;
        }
        let kept = message.get(..self.limit).unwrap_or(message);
        self.bytes += cost.min(self.limit);
        self.messages.push((level, kept.to_vec()));
    }

    /// Takes what waits. Where messages were dropped the last one says so, with the level `warning`.
    pub fn take(&mut self, warning: L) -> Vec<(L, Vec<u8>)> {
        let mut messages = std::mem::take(&mut self.messages);
        self.bytes = 0;
        match std::mem::take(&mut self.dropped) {
            0 => {}
            dropped => messages.push((
                warning,
                format!("{dropped} log lines were dropped here: they came faster than they were written")
                    .into_bytes(),
            )),
        }
        messages
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let mut queue = LogQueue::new(1000);
        for _ in 0..100 {
            queue.push(3, &[b'x'; 100]);
        }
        let messages = queue.take(4);
        let bytes: usize = messages.iter().map(|(_, message)| message.len()).sum();
        assert!(bytes < 1200, "{bytes} bytes waited");
        let kept = messages.len() - 1;
        let (level, said) = messages.last().unwrap();
        assert_eq!(*level, 4);
        assert!(said.starts_with(format!("{} log lines were dropped", 100 - kept).as_bytes()));
        queue.push(3, b"behind it");
        assert_eq!(queue.take(4), [(3, b"behind it".to_vec())]);
    }

    #[test]
    fn a_long_message_is_cut_and_not_dropped() {
        let mut queue = LogQueue::new(1000);
        queue.push(3, &[b'x'; 5000]);
        assert_eq!(queue.take(4), [(3, vec![b'x'; 1000])]);
        assert!(queue.is_empty());
    }
}
