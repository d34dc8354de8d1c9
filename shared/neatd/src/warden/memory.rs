//! What the kernel says about memory: how much a process takes, and whether any ran out of it.

use std::path::Path;

use nix::unistd::Pid;

/// The proportional set size of a process, in bytes (proc(5), smaps_rollup).
pub fn memory_of(pid: Pid) -> Option<u64> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// How many processes of this system the kernel has killed for want of memory so far (proc(5), vmstat).
pub fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// What ended a process with a SIGKILL that was not ours, given the kernel's count from when it was born.
pub fn cause_of_kill(before: Option<u64>) -> &'static str {
    explain(before, oom_kills())
}

const fn explain(before: Option<u64>, now: Option<u64>) -> &'static str {
    match (before, now) {
        (Some(before), Some(now)) if now > before => {
            "was ended by SIGKILL, most likely by the kernel for want of memory: it has killed a process since this one began, and its \
             own log says which (dmesg)"
        }
        (Some(_), Some(_)) => "was ended by SIGKILL, neither by Neat nor by the kernel for want of memory",
        _ => {
            "was ended by SIGKILL, not by Neat: by the kernel for want of memory (dmesg says so then), or by somebody's kill -9"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_memory() {
        assert!(memory_of(Pid::this()).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(memory_of(Pid::from_raw(i32::MAX)), None);
    }

    #[test]
    fn a_kill_is_told_from_want_of_memory() {
        assert!(explain(Some(3), Some(4)).contains("most likely by the kernel"));
        assert!(explain(Some(3), Some(3)).contains("neither"));
        assert!(explain(None, Some(3)).contains("kill -9"));
    }
}
