//! Finding the libpython that a configured home asks for, without running anything.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// The oldest CPython that the engine runs on.
pub const OLDEST_MINOR: u32 = 9;

/// A Python that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// The minor version: 11 for CPython 3.11.
    pub minor: u32,
    /// The shared library.
    pub library: PathBuf,
    /// What `sys.executable` is to be; Python finds its prefix, and a virtual environment its packages, from this path.
    pub program: PathBuf,
}

/// Why no Python can be loaded. Each message says what was looked for, where, and what to install or to write.
#[derive(Debug, Error)]
pub enum LocateError {
    /// A placeholder until the search is written.
    #[error("{0}")]
    Other(String),
}

/// Finds the Python of a home: a virtual environment (`pyvenv.cfg`), an installation's prefix, or, without one, the system's
/// `python3`.
///
/// # Errors
/// A [`LocateError`]; nothing was loaded.
pub fn locate(home: Option<&Path>) -> Result<Python, LocateError> {
    let _ = home;
    Err(LocateError::Other("not written yet".to_owned()))
}
