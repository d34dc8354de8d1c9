//! From a configured Python to a running engine: [`locate`] finds the libpython, [`load`] opens it and the
//! engine, [`abi`] is the table over which they talk.

pub mod abi;
pub mod build_name;
pub mod denied;
mod engine_side;
pub mod load;
pub mod locate;
#[cfg(test)]
mod locate_tests;
mod module_side;
mod owners_file;

pub use engine_side::{ForeignExchange, ForeignSource, foreign_exchange, foreign_source};
pub use module_side::{exchange_table, offer_exchange, offer_source};
