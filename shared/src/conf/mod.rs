//! Configuration in two stages: as written ([`location`], [`alias`], [`server`]), and what they lead to
//! ([`mount`]).

pub mod alias;
pub mod group;
pub mod groups;
pub mod location;
pub mod mount;
pub mod server;

use crate::loader::locate::locate;
use crate::vocabulary::Setting;
use crate::vocabulary::value::{Value, ValueError};

/// Validates what a value means, where its form is right: that a name can be a callable's, that a home has a
/// Python that can be loaded. Called while the directive is read, so that the server can say which file and
/// line it is about.
///
/// # Errors
/// What is wrong and what to do, for the administrator.
pub fn validate(setting: Setting, value: &Value) -> Result<(), ValueError> {
    match (setting, value) {
        (Setting::Callable, Value::Word(name)) => {
            mount::check_callable(name).map_err(|error| ValueError::Other(format!("is wrong: {error}")))
        }
        (Setting::PythonHome, Value::Path(home)) => locate(Some(home))
            .map(drop)
            .map_err(|error| ValueError::Other(format!("cannot be used: {error}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_without_a_python_is_refused_where_it_is_written() {
        let error = validate(Setting::PythonHome, &Value::Path("/no/such/python".into())).unwrap_err();
        assert!(error.to_string().contains("/no/such/python"), "{error}");
        assert!(validate(Setting::Callable, &Value::Word("web.app".into())).is_ok());
        assert!(validate(Setting::Callable, &Value::Word("a-b".into())).is_err());
        assert!(validate(Setting::PassAuthorization, &Value::Flag(true)).is_ok());
    }
}
