//! Reading a small file that belongs to somebody else, where this process may be root: whatever its owner
//! puts there costs an error, and never a wait, nor much memory, nor a line of a file that only root reads.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use thiserror::Error;

/// No file of this kind is larger.
const MAX_SIZE: u64 = 64 * 1024;

/// Why a file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The last part of its path leads elsewhere, which may be where its owner may not read.
    #[error("is a link, and is not followed")]
    Link,
    /// A FIFO would be waited for, and a device never ends.
    #[error("is not a regular file")]
    NotRegular,
    /// It is none of the small files that are read this way.
    #[error("is larger than 64 KiB")]
    TooLarge,
    /// It is not text.
    #[error("is not UTF-8")]
    NotText,
    /// The system's.
    #[error("cannot be read: {0}")]
    System(ErrorKind),
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ELOOP) => Self::Link,
            _ => Self::System(error.kind()),
        }
    }
}

/// What a small regular file holds.
///
/// # Errors
/// A [`ReadError`].
pub fn read(path: &Path) -> Result<String, ReadError> {
    // A FIFO that nobody writes to is opened at once this way (fifo(7)), and no terminal becomes this
    // process's.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(ReadError::NotRegular);
    }
    let mut bytes = Vec::new();
    // What grows while it is read ends there, too.
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(ReadError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| ReadError::NotText)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::preflight::tree::Tree;

    #[test]
    fn a_regular_file_is_read_and_nothing_else_is() {
        let tree = Tree::new("owners-file");
        let path = |name: &str| tree.0.join(name);
        std::fs::write(path("file"), "home = /usr/bin\n").unwrap();
        assert_eq!(read(&path("file")).as_deref(), Ok("home = /usr/bin\n"));
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(read(&path("fifo")), Err(ReadError::NotRegular));
        symlink("/dev/zero", path("link")).unwrap();
        assert_eq!(read(&path("link")), Err(ReadError::Link));
        assert_eq!(read(&tree.0), Err(ReadError::NotRegular));
        assert_eq!(read(Path::new("/dev/zero")), Err(ReadError::NotRegular));
        assert_eq!(read(&path("none")), Err(ReadError::System(ErrorKind::NotFound)));
    }

    #[test]
    fn a_large_file_is_not_read_to_its_end() {
        let tree = Tree::new("owners-large");
        let path = tree.0.join("large");
        std::fs::File::create(&path).unwrap().set_len(MAX_SIZE).unwrap();
        assert!(read(&path).is_ok());
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&path), Err(ReadError::TooLarge));
    }
}
