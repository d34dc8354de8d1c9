//! The name that CPython gives its executables and directories: `python3.13`, and `python3.13t` without the
//! GIL (PEP 703).

use std::fmt;

/// A minor version and its kind of build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildName {
    /// The minor version: 13 for CPython 3.13.
    pub minor: u32,
    /// Whether it is a build without the GIL, which has an ABI of its own.
    pub free_threaded: bool,
}

impl BuildName {
    /// Reads a file's name; `None` where it has no minor version of Python 3.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        let version = name.strip_prefix("python3.")?.split('.').next()?;
        let (number, free_threaded) =
            version.strip_suffix('t').map_or((version, false), |number| (number, true));
        Some(Self { minor: number.parse().ok()?, free_threaded })
    }
}

impl fmt::Display for BuildName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "python3.{}{}", self.minor, if self.free_threaded { "t" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_t_behind_the_version_is_a_build_without_the_gil() {
        for (name, minor, free_threaded) in [("python3.9", 9, false), ("python3.13t", 13, true)] {
            let read = BuildName::read(name).unwrap();
            assert_eq!((read.minor, read.free_threaded), (minor, free_threaded));
            assert_eq!(read.to_string(), name);
        }
        for name in ["python", "python3", "python2.7", "python3.13-config", "python3.13t-config", "pip3.13"] {
            assert_eq!(BuildName::read(name), None, "{name}");
        }
    }
}
