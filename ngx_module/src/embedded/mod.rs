//! Embedded mode: Python in a worker of nginx.
//!
//! [`worker`] starts and ends the threads. Each request has two halves, `thread_side` for a Python thread and [`loop_side`] for
//! nginx, with `channel` between them; `queue` is the only way from the threads to the event loop. [`response`] and `output` give the
//! response to nginx's filters, [`request_body`] takes the body from nginx.

pub mod channel;
pub mod loop_side;
pub mod output;
pub mod queue;
pub mod registry;
pub mod request_body;
pub mod response;
pub mod thread_side;
pub mod worker;
