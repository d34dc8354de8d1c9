//! What is found, and what is said where nothing can be.

use std::fs;
use std::path::PathBuf;

use super::locate::*;

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
            program: tree.0.join("venv/bin/python"),
            reads: vec![tree.0.join("venv/pyvenv.cfg"), tree.0.join("venv/lib/python3.12")],
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
fn a_python_that_is_gone_is_said_so() {
    let tree = Tree::new("gone").venv(12);
    let error = locate(Some(&tree.0.join("venv"))).unwrap_err();
    assert!(matches!(error, LocateError::NoBase { made_for: 12, .. }), "{error}");
    // There is always a place that was searched.
    let tree = Tree::new("without").python(12).venv(12);
    let error = locate(Some(&tree.0.join("venv"))).unwrap_err().to_string();
    assert!(error.contains(&format!("looked in {}/base/lib, ", tree.0.display())), "{error}");
}

#[test]
fn a_build_without_the_gil_is_not_supported() {
    // As CPython's own `make install` leaves it: python3.13 is one more name of python3.13t.
    let installed = |name: &str| Tree::new(name).python(13).file("base/bin/python3.13t", "");
    let prefix = |tree: &Tree| locate(Some(&tree.0.join("base"))).unwrap_err();
    let shared = installed("nogil").file("base/lib/libpython3.13t.so.1.0", "");
    let fixed = installed("nogil-static").file("base/lib/python3.13t/os.py", "");
    let named = Tree::new("nogil-named").file("base/bin/python3.13t", "");
    std::os::unix::fs::symlink("python3.13t", named.0.join("base/bin/python3")).unwrap();
    for tree in [&shared, &fixed, &named] {
        let error = prefix(tree);
        assert_eq!(error, LocateError::FreeThreaded(tree.0.join("base"), 13));
        assert!(error.to_string().contains("use a build with the GIL (python3.13)"), "{error}");
    }
    // One beside it is what counts where it is there.
    let both = installed("both").file("base/lib/libpython3.13t.so.1.0", "");
    let both = both.file("base/lib/libpython3.13.so.1.0", "");
    assert_eq!(locate(Some(&both.0.join("base"))).unwrap().minor, 13);
}

#[test]
fn a_virtual_environment_of_a_build_without_the_gil_is_not_supported() {
    let said = |tree: &Tree| {
        let error = locate(Some(&tree.0.join("venv"))).unwrap_err();
        assert!(error.to_string().contains("python3.13 -m venv --clear"), "{error}");
        assert_eq!(error, LocateError::FreeThreadedEnvironment(tree.0.join("venv"), 13));
    };
    let config = |tree: &Tree, more: &str| {
        format!("home = {}\nversion = 3.13.5\n{more}", tree.0.join("base/bin").display())
    };
    // Its directory of packages, beside a base that has both.
    let tree = Tree::new("nogil-venv").python(13).file("base/lib/libpython3.13.so.1.0", "");
    let text = config(&tree, "");
    said(&tree.file("venv/pyvenv.cfg", &text).file("venv/lib/python3.13t/x", ""));
    // Its executable's name.
    let tree = Tree::new("nogil-executable").python(13).file("base/lib/libpython3.13.so.1.0", "");
    let text = config(&tree, "executable = /usr/bin/python3.13t\n");
    said(&tree.file("venv/pyvenv.cfg", &text));
    // Its base.
    let tree = Tree::new("nogil-base").file("base/bin/python3.13t", "");
    std::os::unix::fs::symlink("python3.13t", tree.0.join("base/bin/python3")).unwrap();
    let text = config(&tree, "");
    said(&tree.file("venv/pyvenv.cfg", &text));
    let tree = Tree::new("nogil-library").python(13).file("base/lib/libpython3.13t.so.1.0", "");
    let text = config(&tree, "");
    said(&tree.file("venv/pyvenv.cfg", &text));
}

#[test]
fn what_is_no_python_is_refused() {
    let tree = Tree::new("nothing").file("empty/x", "").python(8).file("base/lib/libpython3.8.so.1.0", "");
    let at = |path: &str| locate(Some(&tree.0.join(path))).unwrap_err();
    assert!(matches!(at("missing"), LocateError::NotADirectory(_)));
    assert!(matches!(at("empty"), LocateError::NoPython(_)));
    assert!(matches!(at("base"), LocateError::TooOld(_, 8)));
    let tree = Tree::new("config").file("venv/pyvenv.cfg", "version = 3.12.1\n");
    assert!(matches!(locate(Some(&tree.0.join("venv"))), Err(LocateError::BadConfig(_, "home"))));
}
