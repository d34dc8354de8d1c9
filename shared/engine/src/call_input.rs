//! What is read from an exchange before its application is called, and what is told about it in the log.

#![forbid(unsafe_code)]

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shared::exchange::{Body, Exchange};
use shared::http::key::Key;
use shared::http::packed::get;
use shared::loader::ForeignExchange;

use crate::application::{self, Mount};

/// Whether the request has a body, and the body if it is here already.
pub enum Input {
    /// None.
    Empty,
    /// All of it.
    Memory(Py<PyBytes>),
    /// To be read.
    Stream,
}

/// What is needed of an exchange to call the application.
pub struct CallInput {
    /// The mount, where it is known already, and otherwise its packed entries.
    pub mount: Result<Arc<Mount>, Vec<u8>>,
    /// The request's packed entries.
    pub head: Vec<u8>,
    /// Its body.
    pub input: Input,
}

impl CallInput {
    /// Takes everything in one go, so that no Python code runs while the exchange is locked.
    pub fn of(py: Python<'_>, exchange: &ForeignExchange) -> Self {
        Self {
            mount: application::known(exchange.mount()).ok_or_else(|| exchange.mount().to_vec()),
            head: exchange.head().to_vec(),
            input: match exchange.body() {
                Body::Empty => Input::Empty,
                Body::Memory(body) => Input::Memory(PyBytes::new(py, body).unbind()),
                Body::Stream => Input::Stream,
            },
        }
    }
}

/// Method, path and script, for the log.
pub fn request_line(exchange: &ForeignExchange) -> String {
    let head = |key| get(exchange.head(), key).or_else(|| get(exchange.mount(), key));
    let text = |key| head(key).map(|value| String::from_utf8_lossy(value).into_owned());
    format!(
        "{} {} ({})",
        text(Key::RequestMethod).unwrap_or_default(),
        text(Key::RequestUri).or_else(|| text(Key::PathInfo)).unwrap_or_default(),
        target_of(exchange.head(), exchange.mount()),
    )
}

/// The script or the module that packed entries name.
pub fn target_of(head: &[u8], mount: &[u8]) -> String {
    let find = |key| get(head, key).or_else(|| get(mount, key));
    let target = find(Key::TargetScript).or_else(|| find(Key::TargetModule)).unwrap_or_default();
    String::from_utf8_lossy(target).into_owned()
}
