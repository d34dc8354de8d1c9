//! What an application is loaded from, and under which name. What its requests share is in
//! [`crate::wsgi::environ::mount`].

use std::path::PathBuf;

use thiserror::Error;

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

/// Validates the name of a callable: dotted, and with `()` behind it for a factory.
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
}
