//! What ps shows of a worker: it is forked, so that its arguments are those of its zygote, which left room
//! for this.

use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// Finds out where the arguments lie, as long as /proc can be seen.
pub fn prepare() {
    let _ = arguments();
}

/// Writes over this process's arguments, as far as they reach.
pub fn set(title: &str) {
    let bytes: Vec<u8> = title.bytes().filter(|byte| *byte >= b' ').collect();
    if let Some((start, length)) = arguments() {
        let used = bytes.len().min(length.saturating_sub(1));
        // SAFETY: the kernel says that the arguments lie there; Rust's own copies of them are elsewhere, and
        // nobody else writes.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, used);
            std::ptr::write_bytes(start.add(used), 0, length - used);
        }
    }
    set_name(title);
}

/// Says that this process is of another rank than the one it was forked from, whose name is as long.
pub fn set_rank(rank: &str) {
    const BEGIN: usize = "neatd: ".len();
    if let Some((start, _)) = arguments().filter(|(_, length)| *length > BEGIN + rank.len()) {
        // SAFETY: within the arguments, as for `set`.
        unsafe { std::ptr::copy_nonoverlapping(rank.as_ptr(), start.add(BEGIN), rank.len()) };
    }
}

/// What top and killall show, at most 15 bytes of it (prctl(2), PR_SET_NAME): else it is the last part of
/// /proc/self/exe.
pub fn set_name(name: &str) {
    let bytes = name.bytes().filter(|byte| *byte >= b' ');
    let short: Vec<u8> = bytes.take(15).chain(std::iter::once(0)).collect();
    // SAFETY: a C string of at most 16 bytes, which is copied.
    unsafe { libc::prctl(libc::PR_SET_NAME, short.as_ptr()) };
}

/// Where the arguments lie in this process's memory, as /proc/self/stat says (proc(5), fields 48 and 49).
fn arguments() -> Option<(*mut u8, usize)> {
    static FOUND: OnceLock<Option<(usize, usize)>> = OnceLock::new();
    // Where they lie does not change, and a process that has changed its root directory may have no /proc.
    FOUND.get_or_init(find_arguments).map(|(start, length)| (start as *mut u8, length))
}

fn find_arguments() -> Option<(usize, usize)> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(45);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    let known = std::env::args_os().map(|argument| argument.as_bytes().len() + 1).sum::<usize>();
    let length = end.checked_sub(start)?;
    // What the kernel says has to be what the process was started with.
    (start != 0 && length == known).then_some((start, length))
}
