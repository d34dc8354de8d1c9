//! Reading a request's body from httpd's input filters.

use httpd_sys::{AP_FILTER_ERROR, HTTP_REQUEST_ENTITY_TOO_LARGE, HTTP_REQUEST_TIME_OUT};
use shared::exchange::BodyError;

use crate::ffi::{Brigade, Kind, Request};

/// `APR_TIMEUP`: nothing came for as long as `Timeout` allows.
const TIME_UP: i32 = 70007;
/// `APR_INCOMPLETE`, `APR_EOF`: the connection ended inside of the body.
const ENDED: [i32; 2] = [70008, 70014];

/// The body of a request.
pub struct RequestBody<'r> {
    brigade: Brigade<'r>,
    ended: bool,
    failed: Option<BodyError>,
    /// A filter has responded already in our place.
    filter_responded: bool,
}

impl<'r> RequestBody<'r> {
    /// The body of `request`, of which nothing was read yet.
    pub fn new(request: Request<'r>) -> Self {
        Self { brigade: request.brigade(), ended: false, failed: None, filter_responded: false }
    }

    /// Reads the next part; 0 is the end. httpd answers `Expect: 100-continue` in its own filter when it is
    /// first asked.
    ///
    /// # Errors
    /// A body that does not come whole fails, and goes on failing.
    pub fn read(&mut self, request: Request<'r>, into: &mut [u8]) -> Result<usize, BodyError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut count = 0;
        if let Err(status) = self.fill(request, into, &mut count) {
            let error = self.error_of(request, status);
            self.failed = Some(error);
            if count == 0 {
                return Err(error);
            }
        }
        Ok(count)
    }

    /// Whether a filter has sent a response of its own.
    pub fn has_filter_responded(&self) -> bool {
        self.filter_responded
    }

    /// Waits for something, and takes what else is at hand: httpd gives one chunk at a time, however small,
    /// and each time around may cost a round through a process of a group.
    fn fill(&mut self, request: Request<'r>, into: &mut [u8], count: &mut usize) -> Result<(), i32> {
        let mut has_more = true;
        while !self.ended && *count < into.len() {
            let taken = self.brigade.read_first(|bytes| {
                let room = into.get_mut(*count..).unwrap_or_default();
                let taken = bytes.len().min(room.len());
                if let (Some(to), Some(from)) = (room.get_mut(..taken), bytes.get(..taken)) {
                    to.copy_from_slice(from);
                }
                *count += taken;
                taken
            })?;
            match taken {
                Some(Kind::End) => self.ended = true,
                Some(Kind::Data) => has_more = true,
                None if !has_more => break,
                None => {
                    let waits = *count == 0;
                    has_more = waits;
                    match self.brigade.fill(request.input_filters(), into.len() - *count, waits) {
                        Err(libc::EAGAIN) if !waits => break,
                        filled => filled?,
                    }
                    // A filter that finds the body bad ends the response instead of us. Where the head was
                    // out already it reports no error, and what came so far would be taken for the whole.
                    if request.is_response_ended() {
                        return Err(AP_FILTER_ERROR);
                    }
                }
            }
        }
        Ok(())
    }

    fn error_of(&mut self, request: Request<'r>, status: i32) -> BodyError {
        match status {
            // As `ap_map_http_request_error` has them.
            TIME_UP | libc::ETIMEDOUT => BodyError::TimedOut,
            libc::ENOSPC => BodyError::TooLarge,
            AP_FILTER_ERROR => {
                self.filter_responded = true;
                match request.status() {
                    HTTP_REQUEST_ENTITY_TOO_LARGE => BodyError::TooLarge,
                    HTTP_REQUEST_TIME_OUT => BodyError::TimedOut,
                    _ => BodyError::Malformed,
                }
            }
            status if ENDED.contains(&status) || request.is_aborted() || is_reset(status) => {
                BodyError::Disconnected
            }
            status => {
                let reason = format!("reading the request body failed with APR's status {status}");
                request.log(shared::log::Level::Error, reason.as_bytes());
                BodyError::Server
            }
        }
    }
}

/// Whether a status is the system's word for a connection that is gone.
pub fn is_reset(status: i32) -> bool {
    matches!(status, libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED | libc::ENOTCONN)
}
