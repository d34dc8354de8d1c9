//! Which files of a worker's a server sends by itself.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::statfs::fstatfs;

use super::decode::WireError;

/// File systems whose files are no bytes at rest: a read of them asks the kernel, or a process of anybody's,
/// for something, and may wait, or say what the server's own rights show. linux/magic.h has the numbers, and
/// those of the file systems that nix has no name for.
const NOT_AT_REST: [u32; 20] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0xcafe_4a11, // bpf
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x4249_4e4d, // binfmt_misc
    0x1980_0202, // mqueue
    0x6e73_6673, // nsfs
    0x5049_4446, // pidfs
    0x1cd1,      // devpts
    0x0187,      // autofs
    0x6573_5546, // fuse: the process behind it is whoever mounted it
];

/// Refuses what is not a regular file of a file system that keeps bytes, or has less than the range: a worker
/// is trusted with the bytes of a file, not with what a read of a device, a FIFO or one of the kernel's own
/// files would do to the server's process.
pub(super) fn regular(file: OwnedFd, offset: u64, length: u64) -> Result<OwnedFd, WireError> {
    let file = File::from(file);
    let about = file.metadata().map_err(|_| WireError::Descriptor)?;
    let is_within = offset.checked_add(length).is_some_and(|end| end <= about.len());
    let is_sent = about.is_file() && is_within && is_at_rest(file.as_fd());
    if is_sent { Ok(file.into()) } else { Err(WireError::NotInFile) }
}

/// Whether a file's bytes lie somewhere. A worker reads any other itself.
#[must_use]
pub fn is_at_rest(file: BorrowedFd<'_>) -> bool {
    let Ok(about) = fstatfs(file) else { return false };
    // The type of the number is another one on each kind of processor, and so is its sign.
    u32::try_from(about.filesystem_type().0 & 0xffff_ffff).is_ok_and(|magic| !NOT_AT_REST.contains(&magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(path: &str, length: u64) -> Result<(), WireError> {
        regular(File::open(path).unwrap().into(), 0, length).map(|_| ())
    }

    #[test]
    fn a_file_at_rest_is_sent() {
        assert_eq!(sent(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), 10), Ok(()));
    }

    #[test]
    fn a_file_of_the_kernels_is_not_whatever_size_it_says() {
        // Of 0 bytes, as its metadata says, and of a page.
        assert_eq!(sent("/proc/self/status", 0), Err(WireError::NotInFile));
        let of_sysfs = "/sys/kernel/uevent_seqnum";
        if std::path::Path::new(of_sysfs).exists() {
            assert_eq!(sent(of_sysfs, 1), Err(WireError::NotInFile));
        }
    }
}
