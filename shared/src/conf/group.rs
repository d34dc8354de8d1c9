//! A process group as decided: what `WSGIDaemonProcess` or `wsgi_daemon_process` says, with every default.

mod options;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vocabulary::group::{GROUP_OPTIONS, OptionKind};
use crate::vocabulary::value::ValueError;

/// The longest name of a group, in bytes: it is a part of its socket's path, which has room for 107.
const MAX_NAME: usize = 64;

/// A process group. `None` means off, or the server's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is an option of GROUP_OPTIONS, which says what it is")]
pub struct ProcessGroup {
    pub name: String,
    pub processes: Option<u32>,
    pub threads: u32,
    pub user: Option<String>,
    pub group: Option<String>,
    pub supplementary_groups: Option<Vec<String>>,
    pub umask: Option<u32>,
    pub home: Option<PathBuf>,
    pub chroot: Option<PathBuf>,
    pub lang: String,
    pub locale: String,
    pub display_name: String,
    /// The executable, where one was named; `python_home` is the installation that it belongs to.
    pub python: Option<PathBuf>,
    pub python_home: Option<PathBuf>,
    pub python_path: Vec<PathBuf>,
    pub python_eggs: Option<PathBuf>,
    pub switch_interval: Option<Duration>,
    pub preload: bool,
    pub script_user: Option<String>,
    pub script_group: Option<String>,
    pub socket_user: Option<String>,
    pub listen_backlog: u32,
    pub connect_timeout: Duration,
    pub socket_timeout: Duration,
    pub response_socket_timeout: Duration,
    pub queue_timeout: Option<Duration>,
    pub queue_size: u32,
    pub request_timeout: Option<Duration>,
    pub interrupt_timeout: Duration,
    pub graceful_timeout: Duration,
    pub eviction_timeout: Duration,
    pub shutdown_timeout: Duration,
    pub startup_timeout: Option<Duration>,
    pub deadlock_timeout: Option<Duration>,
    pub inactivity_timeout: Option<Duration>,
    pub restart_interval: Option<Duration>,
    pub maximum_requests: Option<u64>,
    pub cpu_time_limit: Option<Duration>,
    pub cpu_priority: Option<i32>,
    pub memory_soft: Option<u64>,
    pub memory_hard: Option<u64>,
    pub virtual_memory_limit: Option<u64>,
    pub stack_size: u64,
    pub header_buffer_size: u64,
    pub response_buffer_size: u64,
    pub send_buffer_size: Option<u64>,
    pub receive_buffer_size: Option<u64>,
    pub server_metrics: bool,
}

impl ProcessGroup {
    /// A group with every default.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let seconds = Duration::from_secs;
        Self {
            name: name.to_owned(),
            processes: None,
            threads: 5,
            user: None,
            group: None,
            supplementary_groups: None,
            umask: None,
            home: None,
            chroot: None,
            lang: "C.UTF-8".to_owned(),
            locale: "C.UTF-8".to_owned(),
            display_name: format!("(wsgi:{name})"),
            python: None,
            python_home: None,
            python_path: Vec::new(),
            python_eggs: None,
            switch_interval: None,
            preload: true,
            script_user: None,
            script_group: None,
            socket_user: None,
            listen_backlog: 4096,
            connect_timeout: seconds(15),
            socket_timeout: seconds(60),
            response_socket_timeout: seconds(60),
            queue_timeout: Some(seconds(45)),
            queue_size: 1000,
            request_timeout: Some(seconds(60)),
            interrupt_timeout: seconds(5),
            graceful_timeout: seconds(15),
            eviction_timeout: seconds(15),
            shutdown_timeout: seconds(5),
            startup_timeout: Some(seconds(15)),
            deadlock_timeout: Some(seconds(60)),
            inactivity_timeout: None,
            restart_interval: None,
            maximum_requests: None,
            cpu_time_limit: None,
            cpu_priority: None,
            memory_soft: None,
            memory_hard: None,
            virtual_memory_limit: None,
            stack_size: 8 << 20,
            header_buffer_size: 32 << 10,
            response_buffer_size: 64 << 10,
            send_buffer_size: None,
            receive_buffer_size: None,
            server_metrics: false,
        }
    }

    /// Reads a name and `option=value` words; the second part of the answer are warnings.
    ///
    /// # Errors
    /// A sentence that says which option is wrong, what was given and what is allowed.
    pub fn parse(words: &[String]) -> Result<(Self, Vec<String>), ValueError> {
        let [name, options @ ..] = words else { return Err(ValueError::Empty) };
        check_name(name)?;
        let mut conf = Self::named(name);
        let (mut seen, mut warnings) = (Vec::new(), Vec::new());
        for option in options {
            let Some((key, value)) = option.split_once('=') else {
                return Err(ValueError::Other(format!(
                    "has \"{option}\", which is not option=value (no spaces around the =)"
                )));
            };
            let Some(known) = GROUP_OPTIONS.iter().find(|known| known.name == key) else {
                return Err(ValueError::Other(unknown(key)));
            };
            if seen.contains(&key) {
                return Err(ValueError::Other(format!("has the option {key} twice")));
            }
            seen.push(key);
            if let OptionKind::Retired { instead } = known.kind {
                warnings.push(format!("{key} is accepted, but does nothing: {instead}"));
            } else {
                conf.apply(key, value, known.kind)?;
            }
        }
        if seen.contains(&"python") && seen.contains(&"python-home") {
            return Err(ValueError::Other(
                "has both python= and python-home=, which say the same in two ways; leave one out".to_owned(),
            ));
        }
        Ok((conf, warnings))
    }

    /// How many processes.
    #[must_use]
    pub fn process_count(&self) -> u32 {
        self.processes.unwrap_or(1)
    }

    /// `wsgi.multiprocess`: true as soon as `processes` was written, as mod_wsgi has it.
    #[must_use]
    pub fn is_multiprocess(&self) -> bool {
        self.processes.is_some()
    }
}

fn check_name(name: &str) -> Result<(), ValueError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let usable = !name.is_empty()
        && name.len() <= MAX_NAME
        && name.chars().all(allowed)
        && !name.starts_with('.')
        && name != "embedded";
    if usable {
        return Ok(());
    }
    Err(ValueError::Other(format!(
        "takes the name of a process group first: up to {MAX_NAME} letters, digits, \"_\", \".\" and \"-\", and not \
         \"embedded\"; \"{name}\" is none"
    )))
}

fn unknown(key: &str) -> String {
    let needed = GROUP_OPTIONS.iter().filter(|known| !matches!(known.kind, OptionKind::Retired { .. }));
    let mut names: Vec<(f64, &str)> =
        needed.map(|known| (strsim::jaro_winkler(known.name, key), known.name)).collect();
    names.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let close: Vec<&str> =
        names.into_iter().filter(|(likeness, _)| *likeness > 0.75).map(|(_, name)| name).take(3).collect();
    if close.is_empty() {
        format!("has the unknown option \"{key}\"; conf-examples/DIRECTIVES.md has a list of them")
    } else {
        format!("has the unknown option \"{key}\"; did you mean {}?", close.join(", "))
    }
}
