//! What the kernel says about memory: how much a process takes, and how many it has killed for want of it.

use std::path::Path;

use nix::unistd::Pid;

use crate::procfs;

/// The proportional set size of a process, in bytes (proc(5), smaps_rollup).
pub fn memory_of(pid: Pid) -> Option<u64> {
    let text = procfs::read(&Path::new(&pid.to_string()).join("smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// How many processes of this system the kernel has killed for want of memory so far (proc(5), vmstat).
pub fn oom_kills() -> Option<u64> {
    let text = procfs::read(Path::new("vmstat"))?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_memory() {
        assert!(memory_of(Pid::this()).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(memory_of(Pid::from_raw(i32::MAX)), None);
    }
}
