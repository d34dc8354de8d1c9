//! From a configured Python to a running engine: [`locate`] finds the libpython, [`load`] opens it and the engine,
//! [`abi`] is the table over which they talk.

pub mod abi;
mod foreign;
pub mod load;
pub mod locate;
mod offered;

pub use foreign::{ForeignExchange, ForeignSource, foreign_exchange, foreign_source};
pub use offered::{exchange_table, offer_exchange, offer_source};
