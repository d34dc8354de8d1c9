//! A process group as decided: what `WSGIDaemonProcess` or `wsgi_daemon_process` says, with every default.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vocabulary::group::{self, GROUP_OPTIONS, OptionKind};
use crate::vocabulary::value::ValueError;

/// The longest name of a group, in bytes: it is a part of its socket's path, which has room for 107.
const LONGEST_NAME: usize = 64;

/// A process group. `None` means off, or the server's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is an option of GROUP_OPTIONS, which says what it is")]
pub struct GroupConf {
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
    pub python_home: Option<PathBuf>,
    pub python_path: Vec<PathBuf>,
    pub python_eggs: Option<PathBuf>,
    pub switch_interval: Option<String>,
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

impl GroupConf {
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
            python_home: None,
            python_path: Vec::new(),
            python_eggs: None,
            switch_interval: None,
            preload: true,
            script_user: None,
            script_group: None,
            socket_user: None,
            listen_backlog: 100,
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
                return Err(ValueError::Other(format!("has \"{option}\", which is not option=value")));
            };
            let Some(known) = GROUP_OPTIONS.iter().find(|known| known.name == key) else {
                return Err(ValueError::Other(unknown(key)));
            };
            if seen.contains(&key) {
                return Err(ValueError::Other(format!("has the option {key} twice")));
            }
            seen.push(key);
            if let OptionKind::Retired(instead) = known.kind {
                warnings.push(format!("{key} is accepted, but does nothing: {instead}"));
            } else {
                conf.apply(key, value, known.kind)?;
            }
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

    fn apply(&mut self, key: &str, value: &str, kind: OptionKind) -> Result<(), ValueError> {
        match kind {
            OptionKind::Number(low, high) => self.apply_number(key, group::number(key, value, low, high)?),
            OptionKind::Signed(low, high) => self.cpu_priority = Some(group::signed(key, value, low, high)?),
            OptionKind::Time => self.apply_time(key, group::time(key, value)?),
            OptionKind::Size => self.apply_size(key, group::size(key, value)?),
            OptionKind::SoftAndHard => self.apply_memory(key, value)?,
            OptionKind::Flag => {
                let on = group::flag(key, value)?;
                if key == "preload" { self.preload = on } else { self.server_metrics = on }
            }
            OptionKind::Octal => self.umask = Some(group::octal(key, value)?),
            _ if value.is_empty() => return Err(ValueError::Other(format!("has no value behind {key}="))),
            OptionKind::List => {
                self.supplementary_groups = Some(value.split(',').map(str::to_owned).collect())
            }
            OptionKind::Path => {
                let path = absolute(key, value)?;
                match key {
                    "home" => self.home = Some(path),
                    "chroot" => self.chroot = Some(path),
                    "python" => self.python_home = Some(home_of_python(&path)?),
                    "python-home" => self.python_home = Some(path),
                    _ => self.python_eggs = Some(path),
                }
            }
            OptionKind::Paths => {
                self.python_path =
                    value.split(':').map(|part| absolute(key, part)).collect::<Result<_, _>>()?;
            }
            OptionKind::Text | OptionKind::Retired(_) => self.apply_text(key, value)?,
        }
        Ok(())
    }

    fn apply_number(&mut self, key: &str, number: u64) {
        let small = u32::try_from(number).unwrap_or(u32::MAX);
        match key {
            "processes" => self.processes = Some(small),
            "threads" => self.threads = small,
            "listen-backlog" => self.listen_backlog = small,
            "queue-size" => self.queue_size = small,
            _ => self.maximum_requests = (number > 0).then_some(number),
        }
    }

    fn apply_time(&mut self, key: &str, time: Option<Duration>) {
        // What waits without a limit waits for as long as a server lives.
        let bounded = time.unwrap_or(Duration::from_secs(10 * 365 * 86400));
        match key {
            "connect-timeout" => self.connect_timeout = bounded,
            "socket-timeout" => self.socket_timeout = bounded,
            "response-socket-timeout" => self.response_socket_timeout = bounded,
            "queue-timeout" => self.queue_timeout = time,
            "request-timeout" => self.request_timeout = time,
            "interrupt-timeout" => self.interrupt_timeout = time.unwrap_or_default(),
            "graceful-timeout" => self.graceful_timeout = time.unwrap_or_default(),
            "eviction-timeout" => self.eviction_timeout = time.unwrap_or_default(),
            "shutdown-timeout" => self.shutdown_timeout = time.unwrap_or_default(),
            "startup-timeout" => self.startup_timeout = time,
            "deadlock-timeout" => self.deadlock_timeout = time,
            "inactivity-timeout" => self.inactivity_timeout = time,
            "restart-interval" => self.restart_interval = time,
            _ => self.cpu_time_limit = time,
        }
    }

    fn apply_size(&mut self, key: &str, size: Option<u64>) {
        let default = Self::named("");
        match key {
            "virtual-memory-limit" => self.virtual_memory_limit = size,
            "stack-size" => self.stack_size = size.unwrap_or(default.stack_size).max(64 << 10),
            "header-buffer-size" => self.header_buffer_size = size.unwrap_or(default.header_buffer_size),
            "response-buffer-size" => {
                self.response_buffer_size = size.unwrap_or(default.response_buffer_size)
            }
            "send-buffer-size" => self.send_buffer_size = size,
            _ => self.receive_buffer_size = size,
        }
    }

    fn apply_memory(&mut self, key: &str, value: &str) -> Result<(), ValueError> {
        let (soft, hard) = value.split_once(':').unwrap_or((value, "off"));
        (self.memory_soft, self.memory_hard) = (group::size(key, soft)?, group::size(key, hard)?);
        match (self.memory_soft, self.memory_hard) {
            (Some(soft), Some(hard)) if hard < soft => {
                Err(ValueError::Other(format!("has {key}={value}, whose hard limit is below the soft one")))
            }
            _ => Ok(()),
        }
    }

    fn apply_text(&mut self, key: &str, value: &str) -> Result<(), ValueError> {
        let text = value.to_owned();
        match key {
            "user" if text == "root" || text == "#0" => return Err(ValueError::Other(root_is_refused())),
            "user" => self.user = Some(text),
            "group" => self.group = Some(text),
            "lang" => self.lang = text,
            "locale" => self.locale = text,
            "display-name" if text != "%{GROUP}" => self.display_name = text,
            "display-name" => {}
            "switch-interval" => {
                let read = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 1000.0);
                read.ok_or_else(|| {
                    ValueError::Other(format!(
                        "has {key}={value}, but {key} takes seconds (CPython's own are 0.005)"
                    ))
                })?;
                self.switch_interval = Some(text);
            }
            "script-user" => self.script_user = Some(text),
            "script-group" => self.script_group = Some(text),
            _ => self.socket_user = Some(text),
        }
        Ok(())
    }
}

fn root_is_refused() -> String {
    "asks for user=root, but no application is run as root; name an ordinary user".to_owned()
}

fn check_name(name: &str) -> Result<(), ValueError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let usable = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.chars().all(allowed)
        && !name.starts_with('.')
        && name != "embedded";
    if usable {
        return Ok(());
    }
    Err(ValueError::Other(format!(
        "takes the name of a process group first: up to {LONGEST_NAME} letters, digits, \"_\", \".\" and \"-\", and not \
         \"embedded\"; \"{name}\" is none"
    )))
}

fn absolute(key: &str, value: &str) -> Result<PathBuf, ValueError> {
    let path = PathBuf::from(value);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(ValueError::Other(format!("has {key}={value}, but {key} takes an absolute path")))
}

/// The directory above `bin/python3`.
fn home_of_python(python: &std::path::Path) -> Result<PathBuf, ValueError> {
    let home = python.parent().and_then(std::path::Path::parent);
    home.map(std::path::Path::to_owned).ok_or_else(|| {
        ValueError::Other(format!(
            "has python={}, but python takes the path of an executable as in /srv/shop/venv/bin/python3",
            python.display()
        ))
    })
}

fn unknown(key: &str) -> String {
    let mut names: Vec<(f64, &str)> =
        GROUP_OPTIONS.iter().map(|known| (strsim::jaro_winkler(known.name, key), known.name)).collect();
    names.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let close: Vec<&str> =
        names.into_iter().filter(|(likeness, _)| *likeness > 0.75).map(|(_, name)| name).take(3).collect();
    if close.is_empty() {
        format!("has the unknown option \"{key}\"")
    } else {
        format!("has the unknown option \"{key}\"; did you mean {}?", close.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<GroupConf, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        GroupConf::parse(&words).map(|(conf, _)| conf).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        assert_eq!(parse("shop").unwrap(), GroupConf::named("shop"));
        let conf = parse("shop processes=1 threads=15").unwrap();
        assert_eq!((conf.process_count(), conf.threads, conf.is_multiprocess()), (1, 15, true));
        assert!(!GroupConf::named("shop").is_multiprocess());
    }

    #[test]
    fn values_are_read_by_their_kind() {
        let conf = parse(
            "shop user=ada umask=0027 home=/srv memory-limit=256m:1g request-timeout=2m queue-timeout=off \
             python=/srv/venv/bin/python3 python-path=/a:/b maximum-requests=500 cpu-priority=-5 preload=off",
        )
        .unwrap();
        assert_eq!(
            (conf.umask, conf.memory_soft, conf.memory_hard),
            (Some(0o27), Some(256 << 20), Some(1 << 30))
        );
        assert_eq!((conf.request_timeout, conf.queue_timeout), (Some(Duration::from_secs(120)), None));
        assert_eq!(conf.python_home, Some(PathBuf::from("/srv/venv")));
        assert_eq!((conf.python_path.len(), conf.cpu_priority, conf.preload), (2, Some(-5), false));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        for (line, part) in [
            ("shop processes=0", "from 1 to 1024"),
            ("shop threads=x", "threads=x"),
            ("shop user=root", "root"),
            ("shop home=srv", "absolute"),
            ("shop treads=5", "threads"),
            ("shop threads=1 threads=2", "twice"),
            ("shop threads", "option=value"),
            ("sh/op", "name"),
            ("embedded", "name"),
            ("shop umask=9", "octal"),
            ("shop request-timeout=fast", "seconds"),
            ("shop memory-limit=2g:1g", "below"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn every_option_can_be_written() {
        for option in GROUP_OPTIONS {
            let value = match option.kind {
                OptionKind::Flag => "on",
                OptionKind::Path | OptionKind::Paths => "/srv/x/y",
                OptionKind::Number(low, _) => &low.to_string(),
                OptionKind::Text if option.name == "switch-interval" => "0.01",
                OptionKind::Text | OptionKind::List => "word",
                _ => "7",
            };
            parse(&format!("shop {}={value}", option.name)).unwrap();
        }
    }

    #[test]
    fn it_travels_as_json() {
        let conf = parse("shop user=ada request-timeout=1.5 memory-limit=1m").unwrap();
        let text = serde_json::to_string(&conf).unwrap();
        assert_eq!(serde_json::from_str::<GroupConf>(&text).unwrap(), conf);
    }

    proptest! {
        #[test]
        fn no_words_panic(words in proptest::collection::vec("[a-z=:#0-9.%{}-]{0,20}", 0..5)) {
            let _ = GroupConf::parse(&words);
        }
    }
}
