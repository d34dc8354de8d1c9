//! What the workers of a generation show to each other and to the supervisor: a piece of memory that all of
//! them map.
//!
//! Workers write what they do, and everybody else only reads. Nothing that is read is trusted: every number
//! is a hint.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

const WORDS: usize = 30;

/// What a worker shows of itself.
#[repr(C)]
#[derive(Debug, Default)]
pub struct WorkerScore {
    /// Threads that serve nothing now.
    pub idle: AtomicU32,
    /// Requests that wait for a thread.
    pub waiting: AtomicU32,
    /// Requests that have ended.
    pub served: AtomicU64,
    /// When the last request ended, in milliseconds of [`now`].
    pub active: AtomicU64,
    /// When a thread last had the GIL, likewise.
    pub pulse: AtomicU64,
}

impl WorkerScore {
    /// How long ago the last request ended.
    pub fn idle_time(&self) -> Duration {
        Duration::from_millis(now().saturating_sub(self.active.load(Ordering::Relaxed)))
    }

    /// How long ago a thread had the GIL.
    pub fn pulse(&self) -> Duration {
        Duration::from_millis(now().saturating_sub(self.pulse.load(Ordering::Relaxed)))
    }

    /// How many requests have ended.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

/// What a thread of a worker shows of itself.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ThreadScore {
    /// When its request began, in milliseconds of [`now`]; 0 for none. What the thread waits for a client
    /// moves it on.
    pub began: AtomicU64,
    /// When it began to wait for the client, likewise; 0 when it does not.
    pub away: AtomicU64,
    length: AtomicU64,
    text: [AtomicU64; WORDS],
}

impl ThreadScore {
    /// Says which request the thread serves.
    pub fn begin(&self, method: &[u8], target: &[u8]) {
        let mut bytes = [0u8; WORDS * 8];
        let text = method.iter().chain(b" ").chain(target);
        let length = bytes.iter_mut().zip(text).map(|(into, byte)| *into = *byte).count();
        for (word, chunk) in self.text.iter().zip(bytes.chunks_exact(8)).take(length.div_ceil(8)) {
            let chunk = chunk.first_chunk().copied().unwrap_or_default();
            word.store(u64::from_le_bytes(chunk), Ordering::Relaxed);
        }
        self.length.store(length as u64, Ordering::Relaxed);
        self.began.store(now(), Ordering::Release);
    }

    /// Says that the thread waits for the client.
    pub fn leave(&self) {
        self.away.store(now(), Ordering::Release);
    }

    /// Says that it waits no longer.
    pub fn come_back(&self) {
        let since = self.away.swap(0, Ordering::AcqRel);
        if since != 0 {
            self.began.fetch_add(now().saturating_sub(since), Ordering::AcqRel);
        }
    }

    /// Says that the request has ended.
    pub fn end(&self) {
        self.began.store(0, Ordering::Release);
        self.away.store(0, Ordering::Release);
    }

    /// The request and how long it has run, if there is one.
    pub fn request(&self) -> Option<(String, Duration)> {
        let began = self.began.load(Ordering::Acquire);
        if began == 0 {
            return None;
        }
        let length = usize::try_from(self.length.load(Ordering::Relaxed)).unwrap_or(0).min(WORDS * 8);
        let bytes: Vec<u8> = self
            .text
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .take(length)
            .collect();
        let text = String::from_utf8_lossy(&bytes);
        let shown = text.chars().map(|letter| if letter.is_control() { '?' } else { letter });
        Some((shown.collect(), Duration::from_millis(now().saturating_sub(began))))
    }
}

/// Milliseconds of the machine's own clock, the same in every process; never 0.
pub fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let millis = time.map(|time| Duration::from(time).as_millis()).unwrap_or_default();
    u64::try_from(millis).unwrap_or(u64::MAX).max(1)
}

/// The mapped memory of a generation.
pub struct Scoreboard {
    start: NonNull<std::ffi::c_void>,
    slots: usize,
    threads: usize,
}

// SAFETY: everything in it is atomic.
unsafe impl Send for Scoreboard {}
// SAFETY: as above.
unsafe impl Sync for Scoreboard {}

impl Scoreboard {
    const fn stride(threads: usize) -> usize {
        size_of::<WorkerScore>() + threads * size_of::<ThreadScore>()
    }

    /// How many bytes the memory has to have.
    pub const fn size(slots: usize, threads: usize) -> usize {
        slots * Self::stride(threads) + 1
    }

    /// Memory that this process and those forked from it share. No descriptor leads to it, by which somebody
    /// could make it shorter.
    ///
    /// # Errors
    /// The system's.
    pub fn new(slots: usize, threads: usize) -> nix::Result<Self> {
        let length = NonZeroUsize::new(Self::size(slots, threads)).ok_or(nix::Error::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: new memory, as long as that, which is only used through atomics.
        let start = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) }?;
        Ok(Self { start, slots, threads })
    }

    /// The same memory in a process that was forked from the one that has it.
    ///
    /// # Safety
    /// This process was forked, and drops only one of the two.
    pub unsafe fn inherited(&self) -> Self {
        Self { start: self.start, slots: self.slots, threads: self.threads }
    }

    /// What the worker of a slot shows.
    pub fn score(&self, slot: usize) -> &WorkerScore {
        let slot = slot.min(self.slots.saturating_sub(1));
        // SAFETY: within the mapping, which lasts as long as this; zeroes and anything else are valid
        // atomics.
        unsafe { self.start.byte_add(slot * Self::stride(self.threads)).cast().as_ref() }
    }

    /// What the threads of a slot's worker show.
    pub fn threads(&self, slot: usize) -> &[ThreadScore] {
        let slot = slot.min(self.slots.saturating_sub(1));
        let offset = slot * Self::stride(self.threads) + size_of::<WorkerScore>();
        // SAFETY: as for `score`.
        unsafe { std::slice::from_raw_parts(self.start.byte_add(offset).cast().as_ptr(), self.threads) }
    }

    /// Whether a thread of a slot's worker serves a request.
    pub fn is_busy(&self, slot: usize) -> bool {
        self.threads(slot).iter().any(|thread| thread.began.load(Ordering::Relaxed) != 0)
    }

    /// How many workers there is room for.
    pub const fn len(&self) -> usize {
        self.slots
    }

    /// What the workers wait for, all together.
    pub fn waiting(&self) -> usize {
        (0..self.slots).map(|slot| self.score(slot).waiting.load(Ordering::Relaxed) as usize).sum()
    }

    /// Makes a slot as if nobody had been in it.
    pub fn clear(&self, slot: usize) {
        let score = self.score(slot);
        score.idle.store(0, Ordering::Relaxed);
        score.waiting.store(0, Ordering::Relaxed);
        score.served.store(0, Ordering::Relaxed);
        score.active.store(now(), Ordering::Relaxed);
        score.pulse.store(now(), Ordering::Relaxed);
        self.threads(slot).iter().for_each(ThreadScore::end);
    }
}

impl Drop for Scoreboard {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and whatever refers to it borrows from this.
        let _ = unsafe { munmap(self.start, Self::size(self.slots, self.threads)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scoreboard_is_unmapped_with_its_generation() {
        let board = Scoreboard::new(64, 64).unwrap();
        let address = format!("{:x}-", board.start.as_ptr() as usize);
        let is_mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().any(|line| line.starts_with(&address))
        };
        assert!(is_mapped());
        drop(board);
        assert!(!is_mapped());
    }

    #[test]
    fn a_slot_says_which_request_runs() {
        let board = Scoreboard::new(3, 2).unwrap();
        board.clear(2);
        assert_eq!(board.threads(2)[1].request(), None);
        board.threads(2)[1].begin(b"GET", format!("/{}", "x".repeat(500)).as_bytes());
        let (text, _) = board.threads(2)[1].request().unwrap();
        assert!(text.starts_with("GET /xxx") && text.len() == WORDS * 8, "{text}");
        board.threads(2)[1].end();
        assert_eq!(board.threads(2)[1].request(), None);
        board.score(0).waiting.store(3, Ordering::Relaxed);
        assert_eq!(board.waiting(), 3);
    }
}
