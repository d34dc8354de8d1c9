//! Whether a script of a group has changed since it was loaded (`script-reloading`).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shared::http::key::Key;
use shared::http::packed::get;

/// What tells one version of a script from the next: when it was modified, how long it is, and which file it
/// is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

impl Stamp {
    /// That of a file, unless it is missing.
    pub fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        Some(Self { modified: (about.mtime(), about.mtime_nsec()), size: about.size(), inode: about.ino() })
    }
}

/// What the scripts of a group looked like.
pub type Stamps = HashMap<PathBuf, Stamp>;

/// The scripts of these mounts that are to be watched.
pub fn watched(mounts: &[Vec<u8>]) -> impl Iterator<Item = &Path> {
    let reloading = mounts.iter().filter(|mount| get(mount, Key::ScriptReloading) == Some(b"1"));
    reloading
        .filter_map(|mount| get(mount, Key::TargetScript))
        .map(|script| Path::new(OsStr::from_bytes(script)))
}

/// What `scripts` look like now. One that is gone for a moment, as while it is being replaced, looks as it
/// did `before`.
pub fn stamps<'a>(
    scripts: impl Iterator<Item = &'a Path>,
    before: &Stamps,
    stamp_of: impl Fn(&Path) -> Option<Stamp>,
) -> Stamps {
    scripts
        .filter_map(|path| {
            let stamp = stamp_of(path).or_else(|| before.get(path).copied())?;
            Some((path.to_owned(), stamp))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::http::packed::Packer;

    const OLD: Stamp = Stamp { modified: (1, 0), size: 10, inode: 5 };

    fn seen(before: &Stamps, now: Option<Stamp>) -> Stamps {
        stamps([Path::new("/app.wsgi")].into_iter(), before, |_| now)
    }

    #[test]
    fn each_difference_is_a_change() {
        let before = seen(&Stamps::new(), Some(OLD));
        assert_eq!(before.len(), 1);
        assert_eq!(seen(&before, Some(OLD)), before);
        for now in [
            Stamp { modified: (1, 1), ..OLD },
            Stamp { modified: (0, 0), ..OLD },
            Stamp { size: 11, ..OLD },
            Stamp { inode: 6, ..OLD },
        ] {
            assert_ne!(seen(&before, Some(now)), before, "{now:?}");
        }
    }

    #[test]
    fn a_script_that_is_being_replaced_has_not_changed() {
        let before = seen(&Stamps::new(), Some(OLD));
        assert_eq!(seen(&before, None), before);
        assert_eq!(
            seen(&Stamps::new(), None),
            Stamps::new(),
            "one that never was there is nothing to compare with"
        );
    }

    #[test]
    fn only_scripts_that_ask_for_it_are_watched() {
        let mount = |entries: &[(Key, &[u8])]| {
            let mut packer = Packer::new();
            entries.iter().for_each(|(key, value)| packer.set(*key, value));
            packer.finish().as_bytes().to_vec()
        };
        let mounts = [
            mount(&[(Key::TargetScript, b"/a.wsgi"), (Key::ScriptReloading, b"1")]),
            mount(&[(Key::TargetScript, b"/b.wsgi"), (Key::ScriptReloading, b"0")]),
            mount(&[(Key::TargetModule, b"shop.wsgi"), (Key::ScriptReloading, b"1")]),
        ];
        assert_eq!(watched(&mounts).collect::<Vec<_>>(), [Path::new("/a.wsgi")]);
    }
}
