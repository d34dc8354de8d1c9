//! Finding the libpython that a configured home asks for, without running or loading anything.
//!
//! A virtual environment is read, never executed: the server's master process may be root, and what lies in a
//! virtual environment is its owner's.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::build_name::BuildName;
use super::denied::Denied;
use super::owners_file::{self, ReadError};

/// The oldest CPython that the engine runs on, as in 3.9.
pub const OLDEST_MINOR: u32 = 9;

/// A Python that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// The minor version: 11 for CPython 3.11.
    pub minor: u32,
    /// The shared library.
    pub library: PathBuf,
    /// What `sys.executable` is to be; Python finds its prefix, and a virtual environment its packages, from
    /// this path.
    pub program: PathBuf,
    /// What it reads when it starts, beside the library: where it may not, it starts without a word with
    /// other packages.
    pub reads: Vec<PathBuf>,
}

/// Why no Python can be loaded. Each message says what was looked for, where, and what to install or to
/// write.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LocateError {
    /// The home does not exist, or is a file.
    #[error(
        "the Python home \"{0}\" is not a directory; name a virtual environment or a Python installation (the directory above bin/python3)"
    )]
    NotADirectory(PathBuf),
    /// Nothing in it is a Python.
    #[error(
        "\"{0}\" is neither a virtual environment (no pyvenv.cfg) nor a Python installation (no bin/python3)"
    )]
    NoPython(PathBuf),
    /// A virtual environment whose `pyvenv.cfg` lacks what is needed.
    #[error("\"{0}\" has no usable line \"{1} = ...\"; make the virtual environment anew")]
    BadConfig(PathBuf, &'static str),
    /// A virtual environment whose `pyvenv.cfg` is none: it is not read.
    #[error("\"{0}\" {1}; make the virtual environment anew")]
    NotAFile(PathBuf, ReadError),
    /// A virtual environment that was made by another Python than the one that it points to now.
    #[error(
        "the virtual environment \"{home}\" was made for Python 3.{made_for}, but \"{base}\" is Python 3.{found} now; make it anew \
         with: python3.{found} -m venv --upgrade \"{home}\""
    )]
    Mismatch {
        /// The virtual environment.
        home: PathBuf,
        /// The minor version that it was made for.
        made_for: u32,
        /// Where its Python is.
        base: PathBuf,
        /// The minor version that is there now.
        found: u32,
    },
    /// The user may not read what is there.
    #[error("the Python of \"{0}\" cannot be read: {1}")]
    Denied(PathBuf, Denied),
    /// An installation that runs without the GIL (PEP 703), which has another ABI than the engine's.
    #[error(
        "\"{0}\" is a free-threaded build of Python 3.{1}, which Neat does not support yet; use a build with the GIL (python3.{1})"
    )]
    FreeThreaded(PathBuf, u32),
    /// A virtual environment of such a Python.
    #[error(
        "the virtual environment \"{0}\" was made by a free-threaded build of Python 3.{1}, which Neat does not support yet; make it \
         anew by a build with the GIL: python3.{1} -m venv --clear \"{0}\""
    )]
    FreeThreadedEnvironment(PathBuf, u32),
    /// A virtual environment whose Python is gone.
    #[error(
        "the virtual environment \"{home}\" was made by Python 3.{made_for} of \"{base}\", which is not there; install that Python, or \
         make the virtual environment anew"
    )]
    NoBase {
        /// The virtual environment.
        home: PathBuf,
        /// The minor version that it was made for.
        made_for: u32,
        /// Where its Python was.
        base: PathBuf,
    },
    /// A Python before [`OLDEST_MINOR`].
    #[error("\"{0}\" is Python 3.{1}; Neat runs Python 3.9 and newer")]
    TooOld(PathBuf, u32),
    /// A Python 3.x without its shared library.
    #[error(
        "no libpython3.{minor}.so.1.0 for Python 3.{minor} of \"{home}\" (looked in {looked}); install it (Debian and Ubuntu: \
         libpython3.{minor}, Fedora: python3-libs), or build that Python with --enable-shared"
    )]
    NoLibrary {
        /// The home that asked for it.
        home: PathBuf,
        /// Its minor version.
        minor: u32,
        /// The directories that were searched.
        looked: String,
    },
}

/// Finds the Python of a home: a virtual environment (it has a `pyvenv.cfg`), an installation's prefix, or,
/// without one, the system's `python3`.
///
/// # Errors
/// A [`LocateError`]; nothing was loaded.
pub fn locate(home: Option<&Path>) -> Result<Python, LocateError> {
    let Some(home) = home else { return system() };
    match fs::metadata(home) {
        Ok(about) if about.is_dir() => {}
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(unreadable(home, home).unwrap_or_else(|| LocateError::NotADirectory(home.to_owned())));
        }
        _ => return Err(LocateError::NotADirectory(home.to_owned())),
    }
    let config = home.join("pyvenv.cfg");
    match owners_file::read(&config) {
        Ok(text) => virtual_environment(home, &config, &text),
        Err(ReadError::System(ErrorKind::PermissionDenied)) => {
            unreadable(home, &config).map_or_else(|| installation(home, home), Err)
        }
        Err(ReadError::System(_)) => installation(home, home),
        Err(why) => Err(LocateError::NotAFile(config, why)),
    }
}

/// The error for what cannot be read although it is there.
fn unreadable(home: &Path, path: &Path) -> Option<LocateError> {
    Denied::reading(path).map(|denied| LocateError::Denied(home.to_owned(), denied))
}

fn system() -> Result<Python, LocateError> {
    let prefix =
        ["/usr", "/usr/local"].map(Path::new).into_iter().find(|prefix| prefix.join("bin/python3").exists());
    installation(prefix.unwrap_or(Path::new("/usr")), Path::new("/usr"))
}

fn installation(prefix: &Path, home: &Path) -> Result<Python, LocateError> {
    let bin = prefix.join("bin");
    let Some(name) = name_in_bin(&bin) else {
        return Err(
            unreadable(home, &bin.join("python3")).unwrap_or_else(|| LocateError::NoPython(home.to_owned()))
        );
    };
    let minor = supported(home, name.minor)?;
    let free_threaded = || LocateError::FreeThreaded(home.to_owned(), minor);
    if name.free_threaded {
        return Err(free_threaded());
    }
    let named = bin.join(name.to_string());
    let program = if named.exists() { named } else { bin.join("python3") };
    Ok(Python {
        minor,
        library: library(home, prefix, minor, free_threaded)?,
        program,
        reads: standard_library(prefix, minor),
    })
}

fn virtual_environment(home: &Path, config: &Path, text: &str) -> Result<Python, LocateError> {
    let base = value(text, "home").ok_or_else(|| LocateError::BadConfig(config.to_owned(), "home"))?;
    let base = Path::new(base);
    // venv writes `version`, virtualenv and uv write `version_info`.
    let made_for = value(text, "version")
        .or_else(|| value(text, "version_info"))
        .and_then(minor_of_version)
        .ok_or_else(|| LocateError::BadConfig(config.to_owned(), "version"))?;
    let free_threaded = || LocateError::FreeThreadedEnvironment(home.to_owned(), made_for);
    let gil = BuildName { minor: made_for, free_threaded: false };
    if is_free_threaded_environment(home, text, gil) {
        return Err(free_threaded());
    }
    if let Some(found) = name_in_bin(base) {
        if found != gil && !base.join(gil.to_string()).exists() {
            if found.minor == made_for {
                return Err(free_threaded());
            }
            return Err(LocateError::Mismatch {
                home: home.to_owned(),
                made_for,
                base: base.to_owned(),
                found: found.minor,
            });
        }
    }
    if let Some(found) = other_library_directory(home, made_for) {
        return Err(LocateError::Mismatch {
            home: home.to_owned(),
            made_for: found,
            base: base.to_owned(),
            found: made_for,
        });
    }
    let prefix = base.parent().unwrap_or(Path::new("/"));
    supported(home, made_for)?;
    if let Some(error) = unreadable(home, prefix) {
        return Err(error);
    }
    if !prefix.exists() {
        return Err(LocateError::NoBase { home: home.to_owned(), made_for, base: base.to_owned() });
    }
    let mut reads = vec![config.to_owned()];
    reads.extend(Some(home.join("lib").join(gil.to_string())).filter(|directory| directory.is_dir()));
    reads.extend(standard_library(prefix, made_for));
    Ok(Python {
        minor: made_for,
        library: library(home, prefix, made_for, free_threaded)?,
        program: home.join("bin/python"),
        reads,
    })
}

/// What a free-threaded Python leaves in the virtual environments that it makes: its packages' directory, or
/// (since 3.11) its own name as their `executable`.
fn is_free_threaded_environment(home: &Path, text: &str, gil: BuildName) -> bool {
    let free_threaded = BuildName { free_threaded: true, ..gil };
    let lib = home.join("lib");
    if lib.join(gil.to_string()).exists() {
        return false;
    }
    let executable = value(text, "executable").and_then(|path| Path::new(path).file_name());
    lib.join(free_threaded.to_string()).exists()
        || executable.and_then(|name| BuildName::read(&name.to_string_lossy())) == Some(free_threaded)
}

/// The directory of the standard library, where it is to be seen.
fn standard_library(prefix: &Path, minor: u32) -> Vec<PathBuf> {
    let directories = ["lib", "lib64"].map(|lib| prefix.join(lib).join(format!("python3.{minor}")));
    directories.into_iter().filter(|directory| directory.is_dir()).collect()
}

/// The version whose packages a virtual environment has, where it has none for `minor`.
fn other_library_directory(home: &Path, minor: u32) -> Option<u32> {
    let lib = home.join("lib");
    if lib.join(format!("python3.{minor}")).exists() {
        return None;
    }
    fs::read_dir(lib)
        .ok()?
        .flatten()
        .find_map(|entry| BuildName::read(&entry.file_name().to_string_lossy()).map(|name| name.minor))
}

fn supported(home: &Path, minor: u32) -> Result<u32, LocateError> {
    if minor < OLDEST_MINOR { Err(LocateError::TooOld(home.to_owned(), minor)) } else { Ok(minor) }
}

fn library(
    home: &Path,
    prefix: &Path,
    minor: u32,
    free_threaded: impl FnOnce() -> LocateError,
) -> Result<PathBuf, LocateError> {
    let mut directories = library_directories(prefix);
    // A Python elsewhere than in the system's directories that has no shared library of its own was built
    // without one; the system's of the same version is another build, with other packages.
    let is_systems = matches!(prefix.to_str(), Some("/" | "/usr" | "/usr/local"));
    if is_systems {
        for system in ["/usr", "/usr/local", "/"] {
            directories.extend(library_directories(Path::new(system)));
        }
    }
    let find =
        |file: &str| directories.iter().map(|directory| directory.join(file)).find(|path| path.exists());
    if let Some(found) = find(&format!("libpython3.{minor}.so.1.0")) {
        return Ok(found);
    }
    let has_standard_library =
        |name: BuildName| ["lib", "lib64"].iter().any(|lib| prefix.join(lib).join(name.to_string()).is_dir());
    let is_free_threaded = find(&format!("libpython3.{minor}t.so.1.0")).is_some()
        || has_standard_library(BuildName { minor, free_threaded: true })
            && !has_standard_library(BuildName { minor, free_threaded: false });
    // Such a build has its own names for what it has, and `python3.13` as one more for its executable. The
    // system's directories may have both builds.
    if !is_systems && is_free_threaded {
        return Err(free_threaded());
    }
    if let Some(error) = directories.iter().find_map(|directory| unreadable(home, directory)) {
        return Err(error);
    }
    let mut looked: Vec<String> = Vec::new();
    for directory in directories.iter().map(|directory| directory.display().to_string()) {
        if !looked.contains(&directory) {
            looked.push(directory);
        }
    }
    Err(LocateError::NoLibrary { home: home.to_owned(), minor, looked: looked.join(", ") })
}

/// The library directories below a prefix, with Debian's per-architecture ones.
fn library_directories(prefix: &Path) -> Vec<PathBuf> {
    let lib = prefix.join("lib");
    let mut directories = vec![lib.clone(), prefix.join("lib64")];
    let architectures = fs::read_dir(&lib).into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(std::env::consts::ARCH) && name.contains("-linux-")
    });
    directories.extend(architectures.map(|entry| entry.path()));
    directories
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim().eq_ignore_ascii_case(key).then(|| value.trim())
    })
}

fn minor_of_version(version: &str) -> Option<u32> {
    let mut parts = version.split('.');
    if parts.next()? != "3" {
        return None;
    }
    parts.next()?.parse().ok()
}

/// The name of the `python3` in a directory: what it is a link to, or else the one versioned name beside it.
fn name_in_bin(bin: &Path) -> Option<BuildName> {
    let resolved = fs::canonicalize(bin.join("python3")).ok()?;
    let direct = resolved.file_name().and_then(|name| BuildName::read(&name.to_string_lossy()));
    direct.or_else(|| {
        let names = fs::read_dir(bin).ok()?.flatten();
        let found = names.filter_map(|entry| BuildName::read(&entry.file_name().to_string_lossy()));
        found.min_by_key(|name| name.free_threaded)
    })
}
