//! The rules of PEP 3333 that can be judged without Python: what environ has, and what a response's head may say.

pub mod environ;
pub mod response;
