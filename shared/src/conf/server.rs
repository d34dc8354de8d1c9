//! What was written about the interpreter of the server's processes.

use std::path::PathBuf;
use std::time::Duration;

use crate::loader::locate::{Python, locate};
use crate::preflight::directories::check_embedded_python;
use crate::vocabulary::Setting;
use crate::vocabulary::value::Value;

/// The settings of the process, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerConf {
    home: Option<PathBuf>,
    path: Vec<PathBuf>,
    threads: Option<u32>,
    restrict_embedded: bool,
    startup_timeout: Option<u32>,
    socket_prefix: Option<String>,
}

impl ServerConf {
    /// Takes a setting; `false` where it is not one of the process's, or its value not of the kind that it
    /// takes.
    pub fn apply(&mut self, setting: Setting, value: &Value) -> bool {
        match (setting, value) {
            (Setting::PythonHome, Value::Path(home)) => self.home = Some(home.clone()),
            (Setting::PythonPath, Value::Paths(path)) => self.path.clone_from(path),
            (Setting::Threads, Value::Number(threads)) => self.threads = Some(*threads),
            (Setting::RestrictEmbedded, Value::Flag(on)) => self.restrict_embedded = *on,
            (Setting::StartupTimeout, Value::Number(seconds)) => self.startup_timeout = Some(*seconds),
            (Setting::SocketPrefix, Value::Word(prefix)) => self.socket_prefix = Some(prefix.clone()),
            (Setting::Retired { .. }, _) => {}
            _ => return false,
        }
        true
    }

    /// The Python installation or virtual environment; `None` for the system's.
    #[must_use]
    pub fn home(&self) -> Option<&std::path::Path> {
        self.home.as_deref()
    }

    /// The Python of the server's own processes, and that they may read it; `server` is their user, where the
    /// server is root.
    ///
    /// # Errors
    /// A sentence for the administrator.
    pub fn python(&self, server: Option<(u32, u32)>) -> Result<Python, String> {
        let python = locate(self.home()).map_err(|error| error.to_string())?;
        check_embedded_python(&python, server).map_err(|denied| {
            let home = self.home().unwrap_or(&python.program).display();
            format!("the Python of \"{home}\" cannot be read by the server's processes: {denied}, or name another home")
        })?;
        Ok(python)
    }

    /// Directories in front of `sys.path`.
    #[must_use]
    pub fn path(&self) -> &[PathBuf] {
        &self.path
    }

    /// Whether no application may run in the server's own processes.
    #[must_use]
    pub const fn restrict_embedded(&self) -> bool {
        self.restrict_embedded
    }

    /// How long an application may take to load.
    #[must_use]
    pub fn startup_timeout(&self) -> Duration {
        Duration::from_secs(self.startup_timeout.unwrap_or(15).into())
    }

    /// How the paths of the groups' sockets begin, given the directory for files of the running server.
    #[must_use]
    pub fn socket_prefix(&self, run_directory: &std::path::Path) -> PathBuf {
        run_directory.join(self.socket_prefix.as_deref().unwrap_or("wsgi"))
    }

    /// Python threads per worker.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads.unwrap_or(16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn sockets_are_in_the_run_directory_unless_the_prefix_says_where() {
        let run = Path::new("/run/server");
        let prefix = |written: &str| {
            let mut conf = ServerConf::default();
            assert!(conf.apply(Setting::SocketPrefix, &Value::Word(written.into())));
            conf.socket_prefix(run)
        };
        assert_eq!(ServerConf::default().socket_prefix(run), Path::new("/run/server/wsgi"));
        assert_eq!(prefix("sock/shop"), Path::new("/run/server/sock/shop"));
        assert_eq!(prefix("/var/run/wsgi"), Path::new("/var/run/wsgi"));
    }

    #[test]
    fn embedded_requests_are_refused_only_where_it_is_written() {
        let mut conf = ServerConf::default();
        assert!(!conf.restrict_embedded());
        assert!(conf.apply(Setting::RestrictEmbedded, &Value::Flag(true)));
        assert!(conf.restrict_embedded());
    }

    #[test]
    fn what_is_retired_changes_nothing() {
        const RETIRED: Setting = Setting::Retired { instead: "" };
        let mut conf = ServerConf::default();
        assert!(conf.apply(RETIRED, &Value::Word("flock".into())));
        assert!(conf.apply(RETIRED, &Value::Flag(true)));
        assert!(!conf.apply(Setting::ProcessGroup, &Value::Word("shop".into())));
        assert_eq!(conf, ServerConf::default());
    }
}
