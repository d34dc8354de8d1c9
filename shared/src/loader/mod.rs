//! From a configured Python to a running engine: [`locate`] finds the libpython, [`load`] opens it and the engine,
//! [`abi`] is the table over which they talk.

pub mod abi;
pub mod build_name;
pub mod denied;
mod foreign;
pub mod load;
pub mod locate;
#[cfg(test)]
mod locate_tests;
mod offered;

pub use foreign::{ForeignExchange, ForeignSource, foreign_exchange, foreign_source};
pub use offered::{exchange_table, offer_exchange, offer_source};
