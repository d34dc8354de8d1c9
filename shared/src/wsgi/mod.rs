//! The rules of PEP 3333 that can be judged without Python: what a response's head may say.

pub mod response;
