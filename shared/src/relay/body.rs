//! The body of a request that the server has read before a thread takes it, and how a thread reads it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the body is when a thread takes the request.
#[derive(Debug)]
pub enum Body {
    /// There is none.
    Empty,
    /// All of it is here.
    Memory(Vec<u8>),
    /// The server wrote it to a temporary file, or to several places.
    Stored(StoredBody),
    /// It comes through the channel.
    Streamed,
}

/// A body that the server stored, read from its beginning to its end.
#[derive(Debug, Default)]
pub struct StoredBody {
    parts: VecDeque<Part>,
}

#[derive(Debug)]
enum Part {
    Memory { bytes: Vec<u8>, next: usize },
    File { file: File, next: u64, left: u64 },
}

impl StoredBody {
    /// Adds bytes at the end.
    pub fn push_memory(&mut self, bytes: Vec<u8>) {
        self.parts.push_back(Part::Memory { bytes, next: 0 });
    }

    /// Adds a range of a file at the end.
    pub fn push_file(&mut self, file: File, from: u64, length: u64) {
        self.parts.push_back(Part::File { file, next: from, left: length });
    }

    /// Reads the next bytes; 0 is the end.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than it was.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(part) = self.parts.front_mut() {
            let read = part.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            self.parts.pop_front();
        }
        Ok(0)
    }
}

impl Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory { bytes, next } => {
                let read = io::Read::read(&mut bytes.get(*next..).unwrap_or_default(), into)?;
                *next += read;
                Ok(read)
            }
            Self::File { left: 0, .. } => Ok(0),
            Self::File { file, next, left } => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(into.len());
                let read = file.read_at(into.get_mut(..most).unwrap_or_default(), *next)?;
                if read == 0 && most > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *next += read as u64;
                *left -= read as u64;
                Ok(read)
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_of(text: &[u8]) -> io::Result<File> {
        let path = std::env::temp_dir().join(format!("neat-body-{}-{}", std::process::id(), text.len()));
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        std::fs::remove_file(path)?;
        file.write_all(text)?;
        Ok(file)
    }

    fn read_all(body: &mut StoredBody, portion: usize) -> io::Result<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; portion]);
        loop {
            match body.read(&mut buffer)? {
                0 => return Ok(all),
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    #[test]
    fn parts_are_read_one_behind_the_other() {
        for portion in [1, 3, 7, 100] {
            let mut body = StoredBody::default();
            body.push_memory(b"in memory, ".to_vec());
            body.push_memory(Vec::new());
            body.push_file(file_of(b"..in a file...").unwrap(), 2, 9);
            body.push_memory(b", again".to_vec());
            assert_eq!(read_all(&mut body, portion).unwrap(), b"in memory, in a file, again");
        }
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error_and_no_early_end() {
        let mut body = StoredBody::default();
        body.push_file(file_of(b"short").unwrap(), 0, 6);
        assert_eq!(read_all(&mut body, 100).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
