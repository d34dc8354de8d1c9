//! A mount as decided: which application, under which name, and the entries that all its requests share.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::conf::location::LocationConf;
use crate::http::key::Key;
use crate::http::packed::{Packed, Packer};

/// What an application is loaded from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A script file.
    Script(PathBuf),
    /// A dotted module on `sys.path`.
    Module(String),
}

/// Why a target cannot be mounted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Neither a path nor `module:callable`.
    #[error(
        "\"{0}\" is neither an absolute path of a script (/srv/app.wsgi, or /srv/app.wsgi:callable) nor a module and its \
         callable (package.module:callable)"
    )]
    Form(String),
    /// Not something that Python can look up.
    #[error("\"{0}\" does not name a callable; that is a name, a dotted name, or either with () behind it")]
    Callable(String),
}

/// Reads `file.wsgi[:callable]` or `package.module:callable` (`wsgi_pass`).
///
/// # Errors
/// A [`TargetError`] that says which form was expected.
pub fn parse_target(written: &str) -> Result<(Target, Option<String>), TargetError> {
    let (target, callable) = match written.rsplit_once(':') {
        Some((target, callable)) if !callable.contains('/') => (target, Some(callable)),
        _ => (written, None),
    };
    if let Some(callable) = callable {
        check_callable(callable)?;
    }
    let owned = callable.map(str::to_owned);
    if target.starts_with('/') {
        return Ok((Target::Script(PathBuf::from(target)), owned));
    }
    if owned.is_some() && is_dotted(target) {
        return Ok((Target::Module(target.to_owned()), owned));
    }
    Err(TargetError::Form(written.to_owned()))
}

/// Judges the name of a callable: dotted, and with `()` behind it for a factory.
///
/// # Errors
/// [`TargetError::Callable`].
pub fn check_callable(name: &str) -> Result<(), TargetError> {
    if is_dotted(name.strip_suffix("()").unwrap_or(name)) {
        Ok(())
    } else {
        Err(TargetError::Callable(name.to_owned()))
    }
}

fn is_dotted(name: &str) -> bool {
    name.split('.').all(|part| {
        let mut letters = part.chars();
        letters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
            && letters.all(|letter| letter == '_' || letter.is_alphanumeric())
    })
}

/// Packs the entries that every request of a mount shares: the target, the callable and the settings that the engine reads,
/// and whatever constant keys of environ the server adds through `more`. `group` is the process group; empty for the server's own
/// processes.
#[must_use]
pub fn pack(
    target: &Target,
    callable: &str,
    conf: &LocationConf,
    group: &str,
    more: impl FnOnce(&mut Packer),
) -> Packed {
    let mut head = Packer::new();
    match target {
        Target::Script(path) => {
            head.set(Key::TargetScript, path_bytes(path));
            head.set(Key::ScriptFilename, path_bytes(path));
        }
        Target::Module(module) => head.set(Key::TargetModule, module.as_bytes()),
    }
    head.set(Key::CallableObject, callable.as_bytes());
    head.set(Key::ScriptReloading, if conf.script_reloading() { b"1" } else { b"0" });
    head.set(Key::ProcessGroup, group.as_bytes());
    head.set(Key::ApplicationGroup, b"");
    head.set(Key::RequestHandler, b"wsgi-script");
    more(&mut head);
    head.finish()
}

fn path_bytes(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_script_or_a_module_with_its_callable() {
        let script = |path: &str| Target::Script(path.into());
        assert_eq!(parse_target("/srv/a.wsgi"), Ok((script("/srv/a.wsgi"), None)));
        assert_eq!(parse_target("/srv/a.wsgi:app"), Ok((script("/srv/a.wsgi"), Some("app".into()))));
        assert_eq!(parse_target("/srv:1/a.wsgi"), Ok((script("/srv:1/a.wsgi"), None)));
        assert_eq!(
            parse_target("shop.web:create_app()"),
            Ok((Target::Module("shop.web".into()), Some("create_app()".into())))
        );
        for wrong in ["a.wsgi", "", "shop.web", "shop web:app", "1shop:app", "shop:"] {
            assert!(parse_target(wrong).is_err(), "{wrong:?}");
        }
        assert!(matches!(parse_target("/srv/a.wsgi:a-b"), Err(TargetError::Callable(_))));
    }

    #[test]
    fn the_packed_entries_say_what_to_load() {
        let packed = pack(&Target::Script("/a.wsgi".into()), "app", &LocationConf::default(), "", |head| {
            head.set(Key::ServerSoftware, b"x");
        });
        assert_eq!(packed.get(Key::TargetScript), Some(&b"/a.wsgi"[..]));
        assert_eq!(packed.get(Key::CallableObject), Some(&b"app"[..]));
        assert_eq!(packed.get(Key::ScriptReloading), Some(&b"1"[..]));
        assert_eq!(packed.get(Key::ServerSoftware), Some(&b"x"[..]));
    }
}
