//! The response's body, on its way into httpd's output filters.

use std::os::fd::BorrowedFd;

use shared::exchange::SendError;

use crate::ffi::{Brigade, FileSending, Request};
use crate::request_body::is_reset;

/// A block up to this size, in bytes, is copied and leaves together with the end of the response, or with the
/// next flush.
const MAX_COPIED: usize = 8 * 1024;
/// The most that is held back, in bytes.
const MAX_HELD: usize = 64 * 1024;
/// `APR_TIMEUP`.
const TIME_UP: i32 = 70007;

/// What has not been passed on yet.
pub struct Output<'r> {
    brigade: Brigade<'r>,
    held: usize,
}

impl<'r> Output<'r> {
    /// The output of `request`.
    pub fn new(request: Request<'r>) -> Self {
        Self { brigade: request.brigade(), held: 0 }
    }

    /// Takes a block.
    ///
    /// # Errors
    /// The client or the server is gone.
    pub fn send(&mut self, request: Request<'r>, data: &[u8]) -> Result<(), SendError> {
        if data.len() <= MAX_COPIED && self.held + data.len() <= MAX_HELD {
            self.brigade.add_copy(data);
            self.held += data.len();
            return Ok(());
        }
        self.held = 0;
        let passed = self.brigade.pass_borrowed(request.output_filters(), data, false);
        passed.map_err(|status| send_error(request, status))
    }

    /// Takes a range of a file.
    ///
    /// # Errors
    /// The client or the server is gone, or the file cannot be sent.
    pub fn send_file(
        &mut self,
        request: Request<'r>,
        file: BorrowedFd<'_>,
        offset: u64,
        length: u64,
        sending: FileSending,
    ) -> Result<(), SendError> {
        if length == 0 {
            return Ok(());
        }
        if let Err(error) = self.brigade.add_file(file, offset, length, sending) {
            request.log(shared::log::Level::Error, format!("the file cannot be sent: {error}").as_bytes());
            return Err(SendError::Server);
        }
        self.pass(request)
    }

    /// Has everything sent.
    ///
    /// # Errors
    /// The client or the server is gone.
    pub fn flush(&mut self, request: Request<'r>) -> Result<(), SendError> {
        self.brigade.add_flush();
        self.pass(request)
    }

    /// Passes the end of a whole response on.
    pub fn end(&mut self, request: Request<'r>) {
        self.brigade.add_end();
        let _ = self.pass(request);
    }

    /// Passes on that the response is not whole.
    pub fn cut(&mut self, request: Request<'r>) {
        request.close_connection();
        // Before the head has left httpd would send nothing at all, or a page of its own in HTTP/2.
        let _ = self.flush(request);
        self.brigade.add_cut();
        self.brigade.add_end();
        let _ = self.pass(request);
    }

    fn pass(&mut self, request: Request<'r>) -> Result<(), SendError> {
        self.held = 0;
        let passed = self.brigade.pass(request.output_filters());
        passed.map_err(|status| send_error(request, status))?;
        if request.is_aborted() { Err(SendError::Disconnected) } else { Ok(()) }
    }
}

fn send_error(request: Request<'_>, status: i32) -> SendError {
    if status == TIME_UP {
        SendError::TimedOut
    } else if request.is_aborted() || is_reset(status) {
        SendError::Disconnected
    } else {
        SendError::Server
    }
}
