//! The application of a mount: loading it, loading it anew, and keeping it.

#![forbid(unsafe_code)]

use std::cell::RefCell;
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
use shared::http::key::Key;
use shared::http::packed::get;

use crate::environ;
use crate::interpreter::{self, Interpreter};
use crate::startup::Startup;

/// More mounts than this (each request of httpd's AddHandler may name another script) begin the table anew.
const MAX_MOUNTS: usize = 4096;

/// Mounts by their packed entries.
type Mounts = HashMap<Box<[u8]>, Arc<Mount>>;

static MOUNTS: Mutex<Option<Mounts>> = Mutex::new(None);

/// Modules by what they are loaded from: a script that is mounted twice is loaded once, whatever is called in
/// it.
type Modules = HashMap<Target, Arc<Module>>;

static MODULES: Mutex<Option<Modules>> = Mutex::new(None);

thread_local! {
    /// The mount of the thread's last request, which mostly is the next one's too.
    static LAST: RefCell<Option<Arc<Mount>>> = const { RefCell::new(None) };
}

/// What is known of a mount.
pub struct Mount {
    /// The keys of environ that all its requests share.
    pub template: Py<PyDict>,
    packed: Box<[u8]>,
    module: Arc<Module>,
    callable: String,
    reloading: bool,
}

/// A module with applications in it, loaded or not.
struct Module {
    target: Target,
    /// One per module: one that is slow to import holds up its own requests only.
    lock: Py<PyAny>,
    /// Guarded by `lock`, but for those who wait.
    startup: Startup,
    loaded: Mutex<Option<Loaded>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Target {
    Script(PathBuf),
    Module(String),
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Script(path) => path.display().fmt(formatter),
            Self::Module(name) => formatter.write_str(name),
        }
    }
}

struct Loaded {
    module: Py<PyAny>,
    stamp: Option<Stamp>,
    /// What was found in it so far, by name. A factory is called once.
    applications: Vec<(String, Py<PyAny>)>,
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
    let last = LAST.with_borrow(Clone::clone).filter(|last| *last.packed == *packed);
    if last.is_some() {
        return last;
    }
    let mount = unpoisoned(&MOUNTS).as_ref()?.get(packed).map(Arc::clone)?;
    let before = LAST.replace(Some(Arc::clone(&mount)));
    drop(before);
    Some(mount)
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

/// Forgets the mounts, whose templates speak of another process; what was loaded stays.
pub fn forget_mounts() {
    let forgotten = unpoisoned(&MOUNTS).take();
    let last = LAST.take();
    drop((forgotten, last));
}

/// Puts a value into a table, unless another thread was first; what is in the table is the answer.
fn keep<K: Eq + Hash, V>(table: &Mutex<Option<HashMap<K, Arc<V>>>>, key: K, value: Arc<V>) -> Arc<V> {
    let mut table = unpoisoned(table);
    let entries = table.get_or_insert_with(HashMap::new);
    let forgotten = (entries.len() >= MAX_MOUNTS).then(|| std::mem::take(entries));
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
        let module = Module {
            target: target.clone(),
            lock: interpreter.lock.bind(py).call0()?.unbind(),
            startup: Startup::default(),
            loaded: Mutex::new(None),
        };
        Ok(Self {
            template: environ::template(interpreter.environ.bind(py), packed)?.unbind(),
            packed: packed.into(),
            module: keep(&MODULES, target, Arc::new(module)),
            callable,
            reloading: get(packed, Key::ScriptReloading) == Some(b"1") && !interpreter::keeps_scripts(),
        })
    }

    /// The application, loaded if it is not, and loaded anew if its script changed.
    ///
    /// # Errors
    /// What the script raised. The next request tries again.
    pub fn application<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let module = &self.module;
        let stamp = if self.reloading { module.stamp() } else { None };
        if let Some(application) = module.application(py, stamp, &self.callable) {
            return Ok(application);
        }
        let _held = Held::take(module.lock.bind(py), &module.startup)?;
        if let Some(application) = module.application(py, stamp, &self.callable) {
            return Ok(application);
        }
        let _under_way = module.startup.begin(py, &module.target.to_string());
        module.find_application(py, stamp, &self.callable)
    }
}

/// A lock of Python's, held until this is dropped.
struct Held<'a, 'py>(&'a Bound<'py, PyAny>);

impl<'a, 'py> Held<'a, 'py> {
    fn take(lock: &'a Bound<'py, PyAny>, startup: &Startup) -> PyResult<Self> {
        loop {
            // threading.TIMEOUT_MAX is as long as that, at least.
            let patience = startup.patience().map_or(-1.0, |left| left.as_secs_f64().min(4e6));
            if lock.call_method1("acquire", (true, patience))?.is_truthy()? {
                return Ok(Self(lock));
            }
            // Whoever loaded it may have given way to somebody else.
            if startup.patience().is_some_and(|left| left.is_zero()) {
                return Err(PyErr::from_value(Interpreter::get()?.not_loaded.bind(lock.py()).call0()?));
            }
        }
    }
}

impl Drop for Held<'_, '_> {
    fn drop(&mut self) {
        // It is held, so that there is nothing to fail.
        let _ = self.0.call_method0("release");
    }
}

impl Module {
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

    /// Looks into what is loaded. A script that is gone for a moment, as while it is being replaced, is no
    /// reason to lose the application.
    fn if_current<R>(&self, stamp: Option<Stamp>, look: impl FnOnce(&Loaded) -> Option<R>) -> Option<R> {
        let loaded = unpoisoned(&self.loaded);
        loaded.as_ref().filter(|loaded| stamp.is_none() || stamp == loaded.stamp).and_then(look)
    }

    fn application<'py>(
        &self,
        py: Python<'py>,
        stamp: Option<Stamp>,
        name: &str,
    ) -> Option<Bound<'py, PyAny>> {
        self.if_current(stamp, |loaded| {
            let found = loaded.applications.iter().find(|(known, _)| known == name);
            found.map(|(_, application)| application.bind(py).clone())
        })
    }

    fn find_application<'py>(
        &self,
        py: Python<'py>,
        stamp: Option<Stamp>,
        name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let module = match self.if_current(stamp, |loaded| Some(loaded.module.bind(py).clone())) {
            Some(module) => module,
            None => self.load(py)?,
        };
        let application = Interpreter::get()?.find_callable.bind(py).call1((module, name))?;
        if let Some(loaded) = unpoisoned(&self.loaded).as_mut() {
            loaded.applications.push((name.to_owned(), application.clone().unbind()));
        }
        Ok(application)
    }

    fn load<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let interpreter = Interpreter::get()?;
        let stamp = self.stamp();
        let module = match &self.target {
            // As a str: pyo3 makes a pathlib.Path of a PathBuf.
            Target::Script(path) => {
                interpreter.load_script.bind(py).call1((path.as_os_str(), module_name(path)))?
            }
            Target::Module(name) => interpreter.load_module.bind(py).call1((name,))?,
        };
        let loaded = Loaded { module: module.clone().unbind(), stamp, applications: Vec::new() };
        let before = unpoisoned(&self.loaded).replace(loaded);
        drop(before);
        Ok(module)
    }
}

/// A name in `sys.modules` that no other script has.
fn module_name(path: &PathBuf) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("_neat_{:016x}", hasher.finish())
}
