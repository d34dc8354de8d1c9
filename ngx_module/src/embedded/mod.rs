//! Embedded mode: Python in a worker of nginx.
//!
//! [`worker`] starts and ends the threads. A request has two sides with a channel between them
//! (`shared::relay`): a Python thread has one, [`loop_side`] is nginx's. [`queue`] is how threads reach the
//! event loop. [`response`] and [`output`] give the response to nginx's filters, [`request_body`] takes the
//! body from nginx.

pub mod loop_side;
pub mod output;
pub mod queue;
pub mod request_body;
pub mod response;
pub mod worker;
