//! Finding the libpython that a configured home asks for, without running or loading anything.
//!
//! A virtual environment is read, never executed: the server's master process may be root, and what lies in a virtual
//! environment is its owner's.

use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The oldest CPython that the engine runs on, as in 3.9.
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

/// Finds the Python of a home: a virtual environment (it has a `pyvenv.cfg`), an installation's prefix, or, without one, the
/// system's `python3`.
///
/// # Errors
/// A [`LocateError`]; nothing was loaded.
pub fn locate(home: Option<&Path>) -> Result<Python, LocateError> {
    let Some(home) = home else { return system() };
    if !home.is_dir() {
        return Err(LocateError::NotADirectory(home.to_owned()));
    }
    let config = home.join("pyvenv.cfg");
    match fs::read_to_string(&config) {
        Ok(text) => virtual_environment(home, &config, &text),
        Err(_) => installation(home, home),
    }
}

fn system() -> Result<Python, LocateError> {
    let prefix =
        ["/usr", "/usr/local"].map(Path::new).into_iter().find(|prefix| prefix.join("bin/python3").exists());
    installation(prefix.unwrap_or(Path::new("/usr")), Path::new("/usr"))
}

fn installation(prefix: &Path, home: &Path) -> Result<Python, LocateError> {
    let bin = prefix.join("bin");
    let minor = minor_of_bin(&bin).ok_or_else(|| LocateError::NoPython(home.to_owned()))?;
    let named = bin.join(format!("python3.{minor}"));
    let program = if named.exists() { named } else { bin.join("python3") };
    Ok(Python { minor: supported(home, minor)?, library: library(home, prefix, minor)?, program })
}

fn virtual_environment(home: &Path, config: &Path, text: &str) -> Result<Python, LocateError> {
    let base = value(text, "home").ok_or_else(|| LocateError::BadConfig(config.to_owned(), "home"))?;
    let base = Path::new(base);
    // venv writes `version`, virtualenv and uv write `version_info`.
    let made_for = value(text, "version")
        .or_else(|| value(text, "version_info"))
        .and_then(minor_of_version)
        .ok_or_else(|| LocateError::BadConfig(config.to_owned(), "version"))?;
    if let Some(found) = minor_of_bin(base) {
        if found != made_for && !base.join(format!("python3.{made_for}")).exists() {
            return Err(LocateError::Mismatch {
                home: home.to_owned(),
                made_for,
                base: base.to_owned(),
                found,
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
    Ok(Python {
        minor: supported(home, made_for)?,
        library: library(home, prefix, made_for)?,
        program: home.join("bin/python"),
    })
}

/// The version whose packages a virtual environment has, where it has none for `minor`.
fn other_library_directory(home: &Path, minor: u32) -> Option<u32> {
    let lib = home.join("lib");
    if lib.join(format!("python3.{minor}")).exists() {
        return None;
    }
    fs::read_dir(lib).ok()?.flatten().find_map(|entry| minor_of_name(&entry.file_name().to_string_lossy()))
}

fn supported(home: &Path, minor: u32) -> Result<u32, LocateError> {
    if minor < OLDEST_MINOR { Err(LocateError::TooOld(home.to_owned(), minor)) } else { Ok(minor) }
}

fn library(home: &Path, prefix: &Path, minor: u32) -> Result<PathBuf, LocateError> {
    let file = format!("libpython3.{minor}.so.1.0");
    let mut directories = library_directories(prefix);
    // A Python elsewhere than in the system's directories that has no shared library of its own was built without one; the
    // system's of the same version is another build, with other packages.
    if matches!(prefix.to_str(), Some("/" | "/usr" | "/usr/local")) {
        for system in ["/usr", "/usr/local", "/"] {
            directories.extend(library_directories(Path::new(system)));
        }
    }
    let found = directories.iter().map(|directory| directory.join(&file)).find(|path| path.exists());
    found.ok_or_else(|| LocateError::NoLibrary {
        home: home.to_owned(),
        minor,
        looked: directories
            .iter()
            .map(|directory| directory.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    })
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
    directories.retain(|directory| directory.is_dir());
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

/// The minor version that a name such as `python3.11` says.
pub(crate) fn minor_of_name(name: &str) -> Option<u32> {
    minor_of_version(name.strip_prefix("python")?)
}

/// The minor version of the `python3` in a directory: what it is a link to, or else the one versioned name beside it.
fn minor_of_bin(bin: &Path) -> Option<u32> {
    let python = bin.join("python3");
    let resolved = fs::canonicalize(&python).ok()?;
    let direct = resolved.file_name().and_then(|name| minor_of_name(&name.to_string_lossy()));
    direct.or_else(|| {
        fs::read_dir(bin)
            .ok()?
            .flatten()
            .find_map(|entry| minor_of_name(&entry.file_name().to_string_lossy()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of the test's own, removed when it is dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("neat-locate-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }

        fn file(self, path: &str, text: &str) -> Self {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn python(self, minor: u32) -> Self {
            let tree = self.file(&format!("base/bin/python3.{minor}"), "");
            std::os::unix::fs::symlink(format!("python3.{minor}"), tree.0.join("base/bin/python3")).unwrap();
            tree
        }

        fn venv(self, minor: u32) -> Self {
            let base = self.0.join("base/bin");
            let text = format!("home = {}\nversion = 3.{minor}.7\n", base.display());
            self.file("venv/pyvenv.cfg", &text).file(&format!("venv/lib/python3.{minor}/x"), "")
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_virtual_environment_names_its_pythons_library() {
        let tree = Tree::new("venv").python(12).file("base/lib/libpython3.12.so.1.0", "").venv(12);
        let python = locate(Some(&tree.0.join("venv"))).unwrap();
        assert_eq!(
            python,
            Python {
                minor: 12,
                library: tree.0.join("base/lib/libpython3.12.so.1.0"),
                program: tree.0.join("venv/bin/python")
            }
        );
    }

    #[test]
    fn an_installation_is_a_home_as_well() {
        let tree = Tree::new("prefix").python(10).file("base/lib/libpython3.10.so.1.0", "");
        let python = locate(Some(&tree.0.join("base"))).unwrap();
        assert_eq!((python.minor, python.program), (10, tree.0.join("base/bin/python3.10")));
    }

    #[test]
    fn a_virtual_environment_of_another_python_names_both_versions() {
        let tree = Tree::new("mismatch").python(12).file("base/lib/libpython3.12.so.1.0", "").venv(11);
        let error = locate(Some(&tree.0.join("venv"))).unwrap_err().to_string();
        assert!(error.contains("Python 3.11") && error.contains("Python 3.12"), "{error}");
    }

    #[test]
    fn packages_of_another_python_name_both_versions() {
        let tree = Tree::new("packages").python(12).file("base/lib/libpython3.12.so.1.0", "");
        let text = format!("home = {}\nversion_info = 3.12.1.final.0\n", tree.0.join("base/bin").display());
        let tree = tree.file("venv/pyvenv.cfg", &text).file("venv/lib/python3.9/x", "");
        let error = locate(Some(&tree.0.join("venv"))).unwrap_err().to_string();
        assert!(error.contains("Python 3.9") && error.contains("Python 3.12"), "{error}");
    }

    #[test]
    fn a_python_without_a_shared_library_says_what_to_install() {
        let tree = Tree::new("static").python(12).venv(12);
        let error = locate(Some(&tree.0.join("venv"))).unwrap_err();
        assert!(matches!(error, LocateError::NoLibrary { minor: 12, .. }));
        assert!(error.to_string().contains("libpython3.12"));
    }

    #[test]
    fn what_is_no_python_is_refused() {
        let tree =
            Tree::new("nothing").file("empty/x", "").python(8).file("base/lib/libpython3.8.so.1.0", "");
        let at = |path: &str| locate(Some(&tree.0.join(path))).unwrap_err();
        assert!(matches!(at("missing"), LocateError::NotADirectory(_)));
        assert!(matches!(at("empty"), LocateError::NoPython(_)));
        assert!(matches!(at("base"), LocateError::TooOld(_, 8)));
        let tree = Tree::new("config").file("venv/pyvenv.cfg", "version = 3.12.1\n");
        assert!(matches!(locate(Some(&tree.0.join("venv"))), Err(LocateError::BadConfig(_, "home"))));
    }
}
