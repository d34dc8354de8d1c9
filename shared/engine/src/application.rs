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

/// Applications by what they are loaded from: a script that is mounted twice is loaded once.
type Applications = HashMap<(Target, String), Arc<Application>>;

static APPLICATIONS: Mutex<Option<Applications>> = Mutex::new(None);

/// What is known of a mount.
pub struct Mount {
    /// The keys of environ that all its requests share.
    pub template: Py<PyDict>,
    application: Arc<Application>,
    reloading: bool,
}

/// An application, loaded or not.
struct Application {
    target: Target,
    callable: String,
    /// One per application: one that is slow to import holds up its own requests only.
    lock: Py<PyAny>,
    loaded: Mutex<Option<Loaded>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
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
    Ok(keep(&MOUNTS, packed.into(), mount))
}

/// Puts a value into a table, unless another thread was first; what is in the table is the answer.
fn keep<K: Eq + Hash, V>(table: &Mutex<Option<HashMap<K, Arc<V>>>>, key: K, value: Arc<V>) -> Arc<V> {
    let mut table = unpoisoned(table);
    let entries = table.get_or_insert_with(HashMap::new);
    let forgotten = (entries.len() >= MOST_MOUNTS).then(|| std::mem::take(entries));
    let kept = Arc::clone(entries.entry(key).or_insert_with(|| Arc::clone(&value)));
    drop(table);
    // Python objects go outside of the lock: their destructors may run anything.
    drop((forgotten, value));
    kept
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
        let callable = text(Key::CallableObject).unwrap_or_else(|| "application".to_owned());
        let application = Application {
            target: target.clone(),
            callable: callable.clone(),
            lock: interpreter.lock.bind(py).call0()?.unbind(),
            loaded: Mutex::new(None),
        };
        Ok(Self {
            template: environ::template(interpreter.environ.bind(py), packed)?.unbind(),
            application: keep(&APPLICATIONS, (target, callable), Arc::new(application)),
            reloading: get(packed, Key::ScriptReloading) == Some(b"1"),
        })
    }

    /// The application, loaded if it is not, and loaded anew if its script changed.
    ///
    /// # Errors
    /// What the script raised. The next request tries again.
    pub fn application<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let application = &self.application;
        let stamp = if self.reloading { application.stamp() } else { None };
        if let Some(callable) = application.current(py, stamp) {
            return Ok(callable);
        }
        let lock = application.lock.bind(py);
        lock.call_method0("acquire")?;
        let loaded = application.current(py, stamp).map_or_else(|| application.load(py), Ok);
        lock.call_method0("release")?;
        loaded
    }
}

impl Application {
    fn stamp(&self) -> Option<Stamp> {
        let Target::Script(path) = &self.target else { return None };
        let about = std::fs::metadata(path).ok()?;
        Some(Stamp {
            seconds: about.mtime(),
            nanoseconds: about.mtime_nsec(),
            size: about.size(),
            inode: about.ino(),
        })
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
