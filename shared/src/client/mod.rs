//! A server's side of daemon mode where a thread may wait: the request of an [`Exchange`] goes to a worker,
//! and the worker's response comes back through the same exchange.
//!
//! A [`Pool`] has the connections to one group, each of which carries one exchange at a time, and [`retry`]
//! decides when a request is sent once more. What the frames mean is [`crate::wire::Conversation`]'s.

mod connection;
mod delivery;
mod pool;
pub mod retry;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

use crate::exchange::{Exchange, SendError};
use crate::fault::Fault;
use crate::http::key::Key;
use crate::http::packed::get;
use crate::wire::{Cut, WireError};

use delivery::Delivery;
pub use pool::Pool;
use retry::{Attempt, DEFAULT_TRIES, Retry};

/// Why a worker did not respond.
#[derive(Debug, Error)]
enum ClientError {
    /// Nobody listens, or all that do are busy.
    #[error("its socket \"{path}\" cannot be reached: {why}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        why: Errno,
    },
    /// It took nothing, or said nothing, for too long.
    #[error("its process did not answer within {0} s ({1})")]
    TimedOut(f64, &'static str),
    /// The connection ended in the middle.
    #[error(
        "its process ended the connection before the response was complete; the error log says why it ended"
    )]
    Gone,
    /// It was gone before anything of the request had left.
    #[error("its process has ended")]
    Unsent,
    /// It takes no more requests.
    #[error("its process takes no further request, as did those that were asked before")]
    GoAway,
    /// It does not keep to the protocol.
    #[error("its process sent {0}")]
    Wire(#[from] WireError),
    /// The request's head is too long for the protocol.
    #[error("the request's head is longer than 1 MiB")]
    TooLong,
    /// The server's own client is gone.
    #[error("{0}")]
    Client(SendError),
}

impl ClientError {
    /// What it is called in the table of faults; `None` where nobody is left to be answered.
    const fn fault(&self) -> Option<Fault> {
        Some(match self {
            Self::Connect { .. } | Self::Unsent => Fault::Unreachable,
            Self::TimedOut(..) => Fault::TimedOut,
            Self::Gone => Fault::Gone,
            Self::GoAway => Fault::NotBegun,
            Self::Wire(_) => Fault::Protocol,
            Self::TooLong => Fault::RequestHeadTooLong,
            Self::Client(_) => return None,
        })
    }

    /// Whether another worker may do better.
    const fn is_of_worker(&self) -> bool {
        !matches!(self, Self::TooLong | Self::Client(_))
    }
}

impl Pool {
    /// Has a worker serve a request.
    pub fn serve<X: Exchange>(&self, exchange: &mut X) {
        let head_only = get(exchange.head(), Key::RequestMethod) == Some(b"HEAD");
        let mut delivery = Delivery::new(exchange, self.group());
        let (mut tries, mut given_back) = (1, 0);
        loop {
            let (error, cut, has_waited) = match self.take(tries + given_back > 1) {
                Ok(mut connection) => match connection.serve(&mut delivery, head_only) {
                    Ok(()) => return self.give_back(connection),
                    Err(error) => (error, connection.cut(), false),
                },
                Err(error) => (error, Cut::Unsent, true),
            };
            given_back += u32::from(cut == Cut::NotBegun);
            let attempt = Attempt {
                cut,
                can_resend: error.is_of_worker() && !delivery.body_read(),
                has_waited,
                tries,
                max_tries: DEFAULT_TRIES,
                given_back,
                is_off: false,
            };
            match retry::decide(&attempt) {
                Retry::Free => {}
                Retry::Spend => tries += 1,
                // httpd has no directive that would ask for it.
                Retry::IfConfigured | Retry::Never => return delivery.fail(&error),
            }
        }
    }
}
