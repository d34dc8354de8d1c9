//! Descriptors that came with the response, until the file frame that each belongs to.

use std::os::fd::OwnedFd;

use shared::wire::WireError;

use super::UpstreamRequest;

/// A range of a file, as it is sent to the client.
pub(super) struct FileRange {
    pub(super) file: OwnedFd,
    pub(super) from: i64,
    pub(super) to: i64,
}

impl UpstreamRequest {
    /// Keeps a descriptor; where there is no connection to be answered over, it is closed.
    pub(super) fn keep_descriptor(&mut self, file: OwnedFd) {
        if let Some(connection) = &mut self.connection {
            connection.files.push_back(file);
        }
    }

    /// The range of a file frame, of the descriptor that came with it. Only a regular file has one.
    pub(super) fn take_file(&mut self, offset: u64, length: u64) -> Result<FileRange, WireError> {
        let wrong = WireError::Descriptor;
        let file =
            self.connection.as_mut().and_then(|connection| connection.files.pop_front()).ok_or(wrong)?;
        let is_regular = std::fs::File::from(file.try_clone().map_err(|_| wrong)?)
            .metadata()
            .is_ok_and(|about| about.is_file());
        if !is_regular {
            return Err(wrong);
        }
        let from = i64::try_from(offset).map_err(|_| wrong)?;
        let to = i64::try_from(offset.saturating_add(length)).map_err(|_| wrong)?;
        Ok(FileRange { file, from, to })
    }
}
