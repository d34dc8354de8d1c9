//! What was written in a location, a directory, a virtual host: the settings that are inherited, the same for
//! both servers.

use crate::vocabulary::Setting;
use crate::vocabulary::value::Value;

/// The settings of a context, as written. `None` where nothing was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationConf {
    callable: Option<String>,
    script_reloading: Option<bool>,
    pass_authorization: Option<bool>,
    chunked_request: Option<bool>,
    request_buffering: Option<bool>,
    enable_sendfile: Option<bool>,
    process_group: Option<String>,
    restrict_process: Option<Vec<String>>,
    error_override: Option<bool>,
}

impl LocationConf {
    /// Takes a setting; `false` where it is not one of a location's, or its value not of the kind that it
    /// takes.
    pub fn apply(&mut self, setting: Setting, value: &Value) -> bool {
        match (setting, value) {
            (Setting::Callable, Value::Word(name)) => self.callable = Some(name.clone()),
            (Setting::ScriptReloading, Value::Flag(on)) => self.script_reloading = Some(*on),
            (Setting::PassAuthorization, Value::Flag(on)) => self.pass_authorization = Some(*on),
            (Setting::ChunkedRequest, Value::Flag(on)) => self.chunked_request = Some(*on),
            (Setting::RequestBuffering, Value::Flag(on)) => self.request_buffering = Some(*on),
            (Setting::EnableSendfile, Value::Flag(on)) => self.enable_sendfile = Some(*on),
            (Setting::ProcessGroup, Value::Word(name)) => self.process_group = Some(name.clone()),
            (Setting::RestrictProcess, Value::Words(names)) => self.restrict_process = Some(names.clone()),
            (Setting::ErrorOverride, Value::Flag(on)) => self.error_override = Some(*on),
            _ => return false,
        }
        true
    }

    /// These settings, with those of `outer` where nothing was written.
    #[must_use]
    pub fn merge(&self, outer: &Self) -> Self {
        Self {
            callable: self.callable.clone().or_else(|| outer.callable.clone()),
            script_reloading: self.script_reloading.or(outer.script_reloading),
            pass_authorization: self.pass_authorization.or(outer.pass_authorization),
            chunked_request: self.chunked_request.or(outer.chunked_request),
            request_buffering: self.request_buffering.or(outer.request_buffering),
            enable_sendfile: self.enable_sendfile.or(outer.enable_sendfile),
            process_group: self.process_group.clone().or_else(|| outer.process_group.clone()),
            restrict_process: self.restrict_process.clone().or_else(|| outer.restrict_process.clone()),
            error_override: self.error_override.or(outer.error_override),
        }
    }

    /// The application's name in its script.
    #[must_use]
    pub fn callable(&self) -> &str {
        self.callable.as_deref().unwrap_or("application")
    }

    /// Whether a changed script is loaded anew.
    #[must_use]
    pub fn script_reloading(&self) -> bool {
        self.script_reloading.unwrap_or(true)
    }

    /// Whether credentials reach environ.
    #[must_use]
    pub fn pass_authorization(&self) -> bool {
        self.pass_authorization.unwrap_or(false)
    }

    /// Whether request bodies without a length are accepted.
    #[must_use]
    pub fn chunked_request(&self) -> bool {
        self.chunked_request.unwrap_or(true)
    }

    /// Whether the server spools a request's body first.
    #[must_use]
    pub fn request_buffering(&self) -> bool {
        self.request_buffering.unwrap_or(true)
    }

    /// Which processes run the application, as written; the server's own where nothing was.
    #[must_use]
    pub fn process_group(&self) -> &str {
        self.process_group.as_deref().unwrap_or_default()
    }

    /// The groups that a variable may choose; `None` for all.
    #[must_use]
    pub fn restrict_process(&self) -> Option<&[String]> {
        self.restrict_process.as_deref()
    }

    /// Whether the server's own error pages replace the application's.
    #[must_use]
    pub fn error_override(&self) -> bool {
        self.error_override.unwrap_or(false)
    }

    /// Whether files are sent by the kernel; `None` where the server's own setting holds.
    #[must_use]
    pub fn enable_sendfile(&self) -> Option<bool> {
        self.enable_sendfile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_inside_wins_and_the_rest_is_inherited() {
        let mut outer = LocationConf::default();
        assert!(outer.apply(Setting::Callable, &Value::Word("app".into())));
        assert!(outer.apply(Setting::PassAuthorization, &Value::Flag(true)));
        let mut inner = LocationConf::default();
        assert!(inner.apply(Setting::PassAuthorization, &Value::Flag(false)));
        let merged = inner.merge(&outer);
        assert_eq!((merged.callable(), merged.pass_authorization()), ("app", false));
    }

    #[test]
    fn the_process_group_is_inherited_like_everything_else() {
        let mut outer = LocationConf::default();
        assert_eq!(
            (outer.process_group(), outer.restrict_process(), outer.error_override()),
            ("", None, false)
        );
        assert!(outer.apply(Setting::ProcessGroup, &Value::Word("shop".into())));
        assert!(outer.apply(Setting::RestrictProcess, &Value::Words(vec!["shop".into()])));
        assert!(outer.apply(Setting::ErrorOverride, &Value::Flag(true)));
        let mut inner = LocationConf::default();
        assert_eq!(inner.merge(&outer), outer);
        assert!(inner.apply(Setting::ProcessGroup, &Value::Word("embedded".into())));
        assert!(inner.apply(Setting::RestrictProcess, &Value::Words(vec!["till".into()])));
        assert!(inner.apply(Setting::ErrorOverride, &Value::Flag(false)));
        let merged = inner.merge(&outer);
        assert_eq!((merged.process_group(), merged.error_override()), ("embedded", false));
        // The inner list replaces the outer one, as in mod_wsgi.
        assert_eq!(merged.restrict_process(), Some(&["till".to_owned()][..]));
    }

    #[test]
    fn what_is_not_a_locations_is_left_to_the_module() {
        let mut conf = LocationConf::default();
        assert!(!conf.apply(Setting::Threads, &Value::Number(3)));
        assert!(!conf.apply(Setting::Callable, &Value::Flag(true)));
        assert_eq!(conf, LocationConf::default());
    }
}
