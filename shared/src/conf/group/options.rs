//! What each option changes. That every option of the table changes its own field is tested, since names tie
//! the two together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ProcessGroup;
use crate::vocabulary::group::OptionKind;
use crate::vocabulary::option_value as read;
use crate::vocabulary::value::ValueError;

impl ProcessGroup {
    pub(super) fn apply(&mut self, key: &str, value: &str, kind: OptionKind) -> Result<(), ValueError> {
        match kind {
            OptionKind::Number(low, high) => self.apply_number(key, read::number(key, value, low, high)?),
            OptionKind::Count => self.maximum_requests = read::count(key, value)?,
            OptionKind::Signed(low, high) => self.cpu_priority = Some(read::signed(key, value, low, high)?),
            OptionKind::Time => self.apply_time(key, read::time(key, value)?),
            OptionKind::Grace => self.apply_grace(key, read::grace(key, value)?),
            OptionKind::Wait => self.apply_wait(key, read::wait(key, value)?),
            OptionKind::Size(low, high) => self.apply_size(key, read::size(key, value, low, high)?),
            OptionKind::SoftAndHard(low) => {
                (self.memory_soft, self.memory_hard) = read::soft_and_hard(key, value, low)?;
            }
            OptionKind::Flag => {
                let on = read::flag(key, value)?;
                if key == "preload" { self.preload = on } else { self.server_metrics = on }
            }
            OptionKind::Octal => self.umask = Some(read::octal(key, value)?),
            _ if value.is_empty() => return Err(ValueError::Other(format!("has no value behind {key}="))),
            OptionKind::List => self.supplementary_groups = Some(list(key, value)?),
            OptionKind::Path => self.apply_path(key, absolute(key, value)?)?,
            OptionKind::Paths => {
                self.python_path =
                    value.split(':').map(|part| absolute(key, part)).collect::<Result<_, _>>()?;
            }
            OptionKind::Text | OptionKind::Retired { .. } => self.apply_text(key, value)?,
        }
        Ok(())
    }

    fn apply_number(&mut self, key: &str, number: u64) {
        let small = u32::try_from(number).unwrap_or(u32::MAX);
        match key {
            "processes" => self.processes = Some(small),
            "threads" => self.threads = small,
            "listen-backlog" => self.listen_backlog = small,
            _ => self.queue_size = small,
        }
    }

    fn apply_time(&mut self, key: &str, time: Option<Duration>) {
        match key {
            "queue-timeout" => self.queue_timeout = time,
            "request-timeout" => self.request_timeout = time,
            "startup-timeout" => self.startup_timeout = time,
            "deadlock-timeout" => self.deadlock_timeout = time,
            "inactivity-timeout" => self.inactivity_timeout = time,
            "restart-interval" => self.restart_interval = time,
            _ => self.cpu_time_limit = time,
        }
    }

    fn apply_grace(&mut self, key: &str, time: Duration) {
        match key {
            "interrupt-timeout" => self.interrupt_timeout = time,
            "graceful-timeout" => self.graceful_timeout = time,
            "eviction-timeout" => self.eviction_timeout = time,
            _ => self.shutdown_timeout = time,
        }
    }

    fn apply_wait(&mut self, key: &str, time: Option<Duration>) {
        let Some(time) = time else { return };
        match key {
            "connect-timeout" => self.connect_timeout = time,
            "socket-timeout" => self.socket_timeout = time,
            _ => self.response_socket_timeout = time,
        }
    }

    fn apply_size(&mut self, key: &str, size: Option<u64>) {
        match key {
            "virtual-memory-limit" => self.virtual_memory_limit = size,
            "stack-size" => self.stack_size = size.unwrap_or(self.stack_size),
            "header-buffer-size" => self.header_buffer_size = size.unwrap_or(self.header_buffer_size),
            "response-buffer-size" => self.response_buffer_size = size.unwrap_or(self.response_buffer_size),
            "send-buffer-size" => self.send_buffer_size = size,
            _ => self.receive_buffer_size = size,
        }
    }

    fn apply_path(&mut self, key: &str, path: PathBuf) -> Result<(), ValueError> {
        match key {
            "home" => self.home = Some(path),
            "chroot" => self.chroot = Some(path),
            "python" => {
                self.python_home = Some(home_of_python(&path)?);
                self.python = Some(path);
            }
            "python-home" => self.python_home = Some(path),
            _ => self.python_eggs = Some(path),
        }
        Ok(())
    }

    fn apply_text(&mut self, key: &str, value: &str) -> Result<(), ValueError> {
        let text = value.to_owned();
        match key {
            "user" if text == "root" || text == "#0" => {
                return Err(ValueError::Other(format!(
                    "asks for user={text}, but no application is run as root; name an ordinary user"
                )));
            }
            "user" => self.user = Some(text),
            "group" => self.group = Some(text),
            "lang" => self.lang = text,
            "locale" => self.locale = text,
            "display-name" if text != "%{GROUP}" => self.display_name = text,
            "display-name" => {}
            "switch-interval" => {
                let seconds = text.parse().ok().filter(|seconds| (0.000_001..=1000.0).contains(seconds));
                let allowed = "seconds from 0.000001 to 1000 (CPython's own are 0.005)";
                let seconds = seconds.ok_or_else(|| read::wrong(key, value, allowed))?;
                self.switch_interval = Some(Duration::from_secs_f64(seconds));
            }
            "script-user" => self.script_user = Some(text),
            "script-group" => self.script_group = Some(text),
            _ => self.socket_user = Some(text),
        }
        Ok(())
    }
}

fn list(key: &str, value: &str) -> Result<Vec<String>, ValueError> {
    let words: Vec<String> = value.split(',').map(str::to_owned).collect();
    if words.iter().any(String::is_empty) {
        return Err(read::wrong(key, value, "names with one comma between them and no spaces"));
    }
    Ok(words)
}

fn absolute(key: &str, value: &str) -> Result<PathBuf, ValueError> {
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err(read::wrong(key, value, "an absolute path")) }
}

/// The directory above `bin/python3`.
fn home_of_python(python: &Path) -> Result<PathBuf, ValueError> {
    let home = python.parent().and_then(Path::parent);
    home.map(Path::to_owned).ok_or_else(|| {
        let allowed = "the path of an executable, as in /srv/shop/venv/bin/python3";
        read::wrong("python", &python.display().to_string(), allowed)
    })
}
