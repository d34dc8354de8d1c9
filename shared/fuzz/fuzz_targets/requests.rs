//! What a server sends, as a worker reads it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::wire::decode::Side;

#[path = "../check.rs"]
mod check;

fuzz_target!(|input: &[u8]| check::check(Side::Server, input));
