//! The application of a mount: loading it, loading it anew, and keeping it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shared::http::head::get;
use shared::http::key::Key;

use crate::environ;
use crate::interpreter::Interpreter;

/// More mounts than this (each request of httpd's AddHandler may name another script) begin the table anew.
const MOST_MOUNTS: usize = 4096;

/// Mounts by their packed entries.
type Mounts = HashMap<Box<[u8]>, Arc<Mount>>;

static MOUNTS: Mutex<Option<Mounts>> = Mutex::new(None);

/// What is known of a mount.
pub struct Mount {
    /// The keys of environ that all its requests share.
    pub template: Py<PyDict>,
    target: Target,
    callable: String,
    reloading: bool,
    /// One per mount: an application that is slow to import holds up its own requests only.
    lock: Py<PyAny>,
    loaded: Mutex<Option<Loaded>>,
}

enum Target {
    Script(PathBuf),
    Module(String),
}

struct Loaded {
    application: Py<PyAny>,
    stamp: Option<Stamp>,
}

/// What tells one version of a script from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    seconds: i64,
    nanoseconds: i64,
    size: u64,
    inode: u64,
}

/// The mount of packed entries, if it is known. Runs no Python.
pub fn known(packed: &[u8]) -> Option<Arc<Mount>> {
    unpoisoned(&MOUNTS).as_ref()?.get(packed).map(Arc::clone)
}

/// The mount of packed entries, made if it is not known.
///
/// # Errors
/// Python's, when the template cannot be made.
pub fn mount_of(py: Python<'_>, packed: &[u8]) -> PyResult<Arc<Mount>> {
    if let Some(mount) = known(packed) {
        return Ok(mount);
    }
    let mount = Arc::new(Mount::new(py, packed)?);
    let mut mounts = unpoisoned(&MOUNTS);
    let table = mounts.get_or_insert_with(HashMap::new);
    let forgotten = (table.len() >= MOST_MOUNTS).then(|| std::mem::take(table));
    let mount = Arc::clone(table.entry(packed.into()).or_insert(mount));
    drop(mounts);
    // Python objects go outside of the lock: their destructors may run anything.
    drop(forgotten);
    Ok(mount)
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mount {
    fn new(py: Python<'_>, packed: &[u8]) -> PyResult<Self> {
        let interpreter = Interpreter::get()?;
        let text = |key| get(packed, key).map(|value| String::from_utf8_lossy(value).into_owned());
        let target = match (get(packed, Key::TargetScript), text(Key::TargetModule)) {
            (Some(script), _) => Target::Script(PathBuf::from(OsStr::from_bytes(script))),
            (None, Some(module)) => Target::Module(module),
            (None, None) => {
                return Err(PyRuntimeError::new_err("the server did not say which application to run"));
            }
        };
        Ok(Self {
            template: environ::template(interpreter.environ.bind(py), packed)?.unbind(),
            target,
            callable: text(Key::CallableObject).unwrap_or_else(|| "application".to_owned()),
            reloading: get(packed, Key::ScriptReloading) == Some(b"1"),
            lock: interpreter.lock.bind(py).call0()?.unbind(),
            loaded: Mutex::new(None),
        })
    }

    /// The application, loaded if it is not, and loaded anew if its script changed.
    ///
    /// # Errors
    /// What the script raised. The next request tries again.
    pub fn application<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stamp = self.stamp();
        if let Some(application) = self.current(py, stamp) {
            return Ok(application);
        }
        let lock = self.lock.bind(py);
        lock.call_method0("acquire")?;
        let loaded = self.current(py, stamp).map_or_else(|| self.load(py), Ok);
        lock.call_method0("release")?;
        loaded
    }

    fn stamp(&self) -> Option<Stamp> {
        match &self.target {
            Target::Script(path) if self.reloading => {
                let about = std::fs::metadata(path).ok()?;
                Some(Stamp {
                    seconds: about.mtime(),
                    nanoseconds: about.mtime_nsec(),
                    size: about.size(),
                    inode: about.ino(),
                })
            }
            _ => None,
        }
    }

    fn current<'py>(&self, py: Python<'py>, stamp: Option<Stamp>) -> Option<Bound<'py, PyAny>> {
        let loaded = unpoisoned(&self.loaded);
        let loaded = loaded.as_ref()?;
        // A script that is gone for a moment, as while it is being replaced, is no reason to lose the application.
        (stamp.is_none() || stamp == loaded.stamp).then(|| loaded.application.bind(py).clone())
    }

    fn load<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let interpreter = Interpreter::get()?;
        let stamp = self.stamp();
        let module = match &self.target {
            Target::Script(path) => interpreter.load_script.bind(py).call1((path, module_name(path)))?,
            Target::Module(name) => interpreter.load_module.bind(py).call1((name,))?,
        };
        let application = interpreter.find_callable.bind(py).call1((module, &self.callable))?;
        let loaded = Loaded { application: application.clone().unbind(), stamp };
        let before = unpoisoned(&self.loaded).replace(loaded);
        drop(before);
        Ok(application)
    }
}

/// A name in `sys.modules` that no other script has.
fn module_name(path: &PathBuf) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("_neat_{:016x}", hasher.finish())
}
