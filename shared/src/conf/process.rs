//! What was written about the interpreter of the server's processes.

use std::path::PathBuf;

use crate::vocabulary::Setting;
use crate::vocabulary::value::Value;

/// The settings of the process, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessConf {
    home: Option<PathBuf>,
    path: Vec<PathBuf>,
    threads: Option<u32>,
}

impl ProcessConf {
    /// Takes a setting; `false` where it is not one of the process's, or its value not of the kind that it takes.
    pub fn apply(&mut self, setting: Setting, value: &Value) -> bool {
        match (setting, value) {
            (Setting::PythonHome, Value::Path(home)) => self.home = Some(home.clone()),
            (Setting::PythonPath, Value::Paths(path)) => self.path.clone_from(path),
            (Setting::Threads, Value::Number(threads)) => self.threads = Some(*threads),
            _ => return false,
        }
        true
    }

    /// The Python installation or virtual environment; `None` for the system's.
    #[must_use]
    pub fn home(&self) -> Option<&std::path::Path> {
        self.home.as_deref()
    }

    /// Directories in front of `sys.path`.
    #[must_use]
    pub fn path(&self) -> &[PathBuf] {
        &self.path
    }

    /// Python threads per worker.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads.unwrap_or(16)
    }
}
