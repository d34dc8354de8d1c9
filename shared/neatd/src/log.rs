//! The server's error log, as the supervisor writes to it: in the server's own form, and reopened when it was
//! rotated.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use chrono::{DateTime, Local};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use shared::log::{Escaping, Level, lines};

/// The longest line, and the most of one message: a traceback has room.
const MAX_LINE: usize = 4096;
const MAX_LINES: usize = 500;

/// The log.
pub struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
    level: Level,
    is_nginx: bool,
}

impl Log {
    /// A log at a path, or on standard error.
    pub fn new(path: Option<PathBuf>, level: u32, server: &str) -> Self {
        Self { path, file: None, level: Level::from_number(level), is_nginx: server == "nginx" }
    }

    /// A log that was opened by somebody else, who sees to it when it is rotated.
    pub fn with_file(file: File, level: u32, server: &str) -> Self {
        Self { path: None, file: Some(file), level: Level::from_number(level), is_nginx: server == "nginx" }
    }

    /// Has it that another level counts, or another file is the log.
    pub fn change(&mut self, file: Option<File>, level: Option<u32>) {
        self.file = file.or_else(|| self.file.take());
        self.level = level.map_or(self.level, Level::from_number);
    }

    /// The file, where it can be opened; opened anew where it was rotated.
    pub fn file(&mut self) -> Option<&File> {
        self.reopen();
        self.file.as_ref()
    }

    /// Whether another file lies in its place: it was rotated. Where none does, whoever rotates it is about
    /// to make one.
    pub fn is_rotated(&self) -> bool {
        let inode = |about: std::fs::Metadata| (about.dev(), about.ino());
        let lies_there = self.path.as_ref().and_then(|path| std::fs::metadata(path).ok()).map(inode);
        let open = self.file.as_ref().and_then(|file| file.metadata().ok()).map(inode);
        open.is_some() && lies_there.is_some() && lies_there != open
    }

    /// What becomes readable when a file is made in its directory, so that nobody has to look all the time.
    pub fn watch(&self) -> Option<Inotify> {
        let directory = self.path.as_ref()?.parent()?;
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
        inotify.add_watch(directory, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO).ok()?;
        Some(inotify)
    }

    /// Lets go of the standard streams that the server was started with, which whoever started it may read to
    /// their end: what is still written to standard error, as by a panic, goes to the log. Without a file
    /// standard error is the log.
    pub fn detach(&mut self) {
        let Some(file) = self.file().and_then(|file| file.try_clone().ok()) else { return };
        if let Ok(null) = File::open("/dev/null") {
            let _ = dup2_stdin(&null);
        }
        let _ = dup2_stdout(&file);
        let _ = dup2_stderr(&file);
    }

    /// Writes a line of this process.
    pub fn say(&mut self, level: Level, text: &str) {
        self.line(level, std::process::id(), "", text);
    }

    /// Writes what a process says: a line for each of its own, none of which is anything but text. What is
    /// said of a process, `label`, stands before each.
    pub fn line(&mut self, level: Level, pid: u32, label: &str, text: &str) {
        if level > self.level {
            return;
        }
        self.reopen();
        let shown = lines(text.as_bytes(), MAX_LINE, Escaping::Control);
        for line in shown.iter().take(MAX_LINES) {
            self.write(level, pid, &format!("{label}{}", String::from_utf8_lossy(line)));
        }
        if let Some(more) = shown.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
            self.write(level, pid, &format!("{label}{more} further lines of this message were dropped"));
        }
    }

    fn write(&mut self, level: Level, pid: u32, text: &str) {
        let line = if self.is_nginx {
            nginx_line(Local::now(), level, pid, text)
        } else {
            httpd_line(Local::now(), level, pid, text)
        };
        // One write, so that lines of several processes do not mix.
        let written = self.file.as_mut().map(|file| file.write_all(line.as_bytes()));
        if !matches!(written, Some(Ok(()))) {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    /// Opens the file anew when another one lies in its place: it was rotated.
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        let inode = |about: std::fs::Metadata| (about.dev(), about.ino());
        // A link of the administrator's is followed.
        let is_roots_link =
            std::fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink() && about.uid() == 0);
        let target = if is_roots_link { std::fs::canonicalize(path).ok() } else { None };
        let path = target.as_ref().unwrap_or(path);
        let lies_there = std::fs::symlink_metadata(path).ok().map(inode);
        let open = self.file.as_ref().and_then(|file| file.metadata().ok()).map(inode);
        if open.is_none() || lies_there.is_some() && lies_there != open {
            // Whoever may write to the directory could put a link there, or a FIFO that nobody reads.
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
            let mut options = OpenOptions::new();
            let opened = options.append(true).create(true).mode(0o640).custom_flags(flags).open(path);
            let is_regular = |file: &File| file.metadata().is_ok_and(|about| about.is_file());
            self.file = opened.ok().filter(is_regular).or_else(|| self.file.take());
        }
    }
}

fn nginx_line(time: DateTime<Local>, level: Level, pid: u32, text: &str) -> String {
    format!("{} [{}] {pid}#0: {text}\n", time.format("%Y/%m/%d %H:%M:%S"), level.name())
}

fn httpd_line(time: DateTime<Local>, level: Level, pid: u32, text: &str) -> String {
    format!("[{}] [wsgi:{}] [pid {pid}] {text}\n", time.format("%a %b %d %H:%M:%S%.6f %Y"), level.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_log_is_opened_anew() {
        let directory = std::env::temp_dir().join(format!("neat-log-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (path, moved) = (directory.join("error.log"), directory.join("error.log.1"));
        let mut log = Log::new(Some(path.clone()), Level::Notice as u32, "nginx");
        log.say(Level::Notice, "one");
        std::fs::rename(&path, &moved).unwrap();
        std::fs::write(&path, "").unwrap();
        log.line(Level::Error, 7, "", "two");
        log.say(Level::Info, "three");
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert!(read(&moved).ends_with(": one\n"), "{}", read(&moved));
        assert!(read(&path).ends_with("[error] 7#0: two\n"), "{}", read(&path));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_message_cannot_pass_for_a_line_of_another_process() {
        let path = std::env::temp_dir().join(format!("neat-forged-{}.log", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut log = Log::new(Some(path.clone()), Level::Notice as u32, "nginx");
        log.line(Level::Error, 7, "group: ", "one\n2026/11/21 14:50:09 [emerg] 1#1: two\r\x1b[2J");
        log.line(Level::Error, 7, "group: ", &"x\n".repeat(MAX_LINES + 7));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.lines().all(|line| line.contains("[error] 7#0: group: ")), "{text}");
        assert!(text.lines().any(|line| line.ends_with("[emerg] 1#1: two\\x0d\\x1b[2J")), "{text}");
        assert_eq!(text.lines().count(), 2 + MAX_LINES + 1);
        assert!(text.ends_with(": group: 7 further lines of this message were dropped\n"), "{text}");
    }
}
