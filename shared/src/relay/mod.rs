//! An exchange between a Python thread and a server's event loop: neither waits for the other while it holds
//! a lock, and the event loop never waits at all.
//!
//! A request has two ends. [`thread_side::ThreadSide`] is the [`crate::exchange::Exchange`] that the engine
//! serves, [`channel::LoopEnd`] is what the event loop keeps; between them lies one [`channel::Channel`].
//! Threads announce a channel through the [`queue::LoopQueue`], and the event loop finds the request by its
//! number in the [`registry::Registry`].
//!
//! What this room must never know: a type of nginx. What a server gives are two traits,
//! [`thread_side::EventLoop`] and [`queue::Wake`].
//!
//! Whatever waits here ends: a loan returns itself ([`loan`]), an end that is dropped closes the channel or
//! ends the exchange, and the models in `model.rs` try all interleavings (`RUSTFLAGS="--cfg loom" cargo test
//! -p neat-shared --lib relay --release`).

pub mod body;
pub mod channel;
pub mod item;
#[allow(unsafe_code)]
pub mod loan;
pub mod log_queue;
pub mod queue;
pub mod registry;
pub mod sync;
pub mod thread_side;

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
