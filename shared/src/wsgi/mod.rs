//! The rules of PEP 3333 that hold without Python: what environ has, what a response's head may say, and how
//! far a response is.

pub mod environ;
pub mod response;
pub mod stream;
