//! A server made of memory: exchanges that write down what the engine does with them, through the real loader
//! and a real Python.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up is to fail")]

use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use shared::conf::location::LocationConf;
use shared::conf::mount::Target;
use shared::exchange::{Body, BodyError, End, Exchange, SendError};
use shared::http::key::Key;
use shared::http::packed::{Packed, Packer};
use shared::loader::load::{self, Engine, Start};
use shared::loader::locate::locate;
use shared::log::Level;
use shared::wsgi::environ::mount::{Mount, Site};
use shared::wsgi::response::ResponseHead;

/// What the engine did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Head(u16, Vec<(String, String)>, Option<u64>),
    Send(Vec<u8>),
    File(Vec<u8>),
    Flush,
    End(End),
    Log(Level, String),
    Read,
}

/// How long a load may take here.
pub const STARTUP_TIMEOUT: Duration = Duration::from_millis(500);

/// Lines that belong to no request.
static SERVER_LOG: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

fn server_log(level: Level, message: &[u8]) {
    SERVER_LOG.lock().unwrap().push((level, String::from_utf8_lossy(message).into_owned()));
}

/// What has been said to the server's log so far.
#[allow(dead_code, reason = "each test binary uses its own part of the rig")]
pub fn server_lines() -> Vec<(Level, String)> {
    SERVER_LOG.lock().unwrap().clone()
}

/// The engine, started once for all tests of a binary.
pub fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    *ENGINE.get_or_init(|| {
        let home = std::env::var_os("NEAT_TEST_PYTHON_HOME").map(PathBuf::from);
        let python = locate(home.as_deref()).expect("a Python with a shared library");
        let file = built_engine();
        let start = Start {
            python: &python,
            path: &path(),
            server: "nginx",
            server_version: [1, 2, 3],
            threads: 4,
            processes: 1,
            multiprocess: false,
            keeps_scripts: false,
            switch_interval: None,
            startup_timeout: Some(STARTUP_TIMEOUT),
            ends_startup: false,
            log: server_log,
        };
        load::start(&file, &start).expect("the engine starts")
    })
}

/// Directories for the front of `sys.path`: `first` has a .pth file that names `beside`.
pub fn path() -> [PathBuf; 2] {
    let directory = |name: &str| script(&format!("{name}/__init__.py"), "").with_file_name("");
    let (first, second, beside) = (directory("first"), directory("second"), directory("beside"));
    script("first/more.pth", beside.to_str().unwrap());
    [first, second]
}

/// The engine as a shared object: cargo builds none for the tests of a package, so that it is asked to here.
fn built_engine() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let profile = executable.ancestors().nth(2).unwrap();
    let release = profile.ends_with("release").then_some("--release");
    let built = std::process::Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "neat-engine", "--target-dir"])
        .arg(profile.parent().unwrap())
        .args(release)
        .status()
        .unwrap();
    assert!(built.success(), "the engine could not be built");
    profile.join("libneat_engine.so")
}

/// A script file of the test's own.
pub fn script(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("neat-engine-{}", std::process::id())).join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

/// A request to an application.
pub struct Call {
    mount: Packed,
    head: Packer,
    body: Option<Vec<Result<Vec<u8>, BodyError>>>,
    memory: Option<Vec<u8>>,
    refuse_after: usize,
    refuses_head: bool,
    instant: bool,
    panic: bool,
    while_reading: Option<Hook>,
    while_sending: Option<Hook>,
}

/// What happens inside of a call to the server.
type Hook = Box<dyn FnMut() + Send>;

#[allow(dead_code, reason = "each test binary uses its own part of the rig")]
impl Call {
    pub fn new(path: &std::path::Path) -> Self {
        Self::with_callable(path, "application")
    }

    pub fn with_callable(path: &std::path::Path, callable: &str) -> Self {
        Self::target(&Target::Script(path.into()), callable)
    }

    pub fn target(target: &Target, callable: &str) -> Self {
        let conf = LocationConf::default();
        let site = Site { software: Some(b"rig/1"), ..Site::default() };
        let mount = Mount::new(target, callable, &conf, "").at(site).pack();
        let mut head = Packer::new();
        head.set(Key::RequestMethod, b"GET");
        head.set(Key::RequestUri, b"/shop/a?b");
        head.set(Key::ScriptName, b"/shop");
        head.set(Key::PathInfo, b"/a");
        head.set(Key::ServerName, b"localhost");
        head.set(Key::ServerPort, b"80");
        head.set(Key::ServerProtocol, b"HTTP/1.1");
        Self {
            mount,
            head,
            body: None,
            memory: None,
            refuse_after: usize::MAX,
            refuses_head: false,
            instant: true,
            panic: false,
            while_reading: None,
            while_sending: None,
        }
    }

    pub fn method(mut self, method: &str) -> Self {
        self.head.set(Key::RequestMethod, method.as_bytes());
        self
    }

    pub fn key(mut self, key: Key, value: &[u8]) -> Self {
        self.head.set(key, value);
        self
    }

    pub fn header(mut self, name: &str, value: &[u8]) -> Self {
        self.head.header(name.as_bytes(), value);
        self
    }

    pub fn named(mut self, name: &str, value: &[u8]) -> Self {
        self.head.set_named(name.as_bytes(), value);
        self
    }

    /// The body as the server reads it, part by part; after an error nothing comes.
    pub fn stream(mut self, parts: Vec<Result<Vec<u8>, BodyError>>) -> Self {
        self.body = Some(parts);
        self
    }

    pub fn memory(mut self, body: &[u8]) -> Self {
        self.memory = Some(body.to_vec());
        self
    }

    /// The client goes away after so many sends.
    pub fn refuse_after(mut self, sends: usize) -> Self {
        self.refuse_after = sends;
        self
    }

    /// The server refuses the head.
    pub fn refusing_the_head(mut self) -> Self {
        self.refuses_head = true;
        self
    }

    /// Every send may wait, as in httpd.
    pub fn blocking(mut self) -> Self {
        self.instant = false;
        self
    }

    /// The server's half has a fault.
    pub fn panicking(mut self) -> Self {
        self.panic = true;
        self
    }

    /// Each read of the body does this before it returns.
    pub fn while_reading(mut self, hook: impl FnMut() + Send + 'static) -> Self {
        self.while_reading = Some(Box::new(hook));
        self
    }

    /// Each send does this before it returns.
    pub fn while_sending(mut self, hook: impl FnMut() + Send + 'static) -> Self {
        self.while_sending = Some(Box::new(hook));
        self
    }

    pub fn run(self) -> Vec<Act> {
        let (exchange, acted) = self.exchange();
        engine().call(exchange);
        acted.iter().collect()
    }

    /// The exchange, and what will have been done with it.
    pub fn exchange(self) -> (Recorded, Receiver<Act>) {
        let (acts, acted) = channel();
        let mut parts = self.body;
        if let Some(parts) = &mut parts {
            parts.reverse();
        }
        let exchange = Recorded {
            mount: self.mount,
            head: self.head.finish(),
            parts,
            memory: self.memory,
            left: self.refuse_after,
            refuses_head: self.refuses_head,
            instant: self.instant,
            panic: self.panic,
            while_reading: self.while_reading,
            while_sending: self.while_sending,
            acts,
        };
        (exchange, acted)
    }
}

/// An exchange that writes down what is done with it.
pub struct Recorded {
    mount: Packed,
    head: Packed,
    /// Reversed.
    parts: Option<Vec<Result<Vec<u8>, BodyError>>>,
    memory: Option<Vec<u8>>,
    left: usize,
    refuses_head: bool,
    instant: bool,
    panic: bool,
    while_reading: Option<Hook>,
    while_sending: Option<Hook>,
    acts: Sender<Act>,
}

impl Recorded {
    fn act(&self, act: Act) {
        let _ = self.acts.send(act);
    }

    fn count(&mut self) -> Result<(), SendError> {
        assert!(!self.panic, "a fault in the server's half");
        self.left = self.left.checked_sub(1).ok_or(SendError::Disconnected)?;
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

impl Exchange for Recorded {
    fn mount(&self) -> &[u8] {
        self.mount.as_bytes()
    }

    fn head(&self) -> &[u8] {
        self.head.as_bytes()
    }

    fn body(&self) -> Body<'_> {
        match (&self.memory, &self.parts) {
            (Some(body), _) => Body::Memory(body),
            (None, Some(_)) => Body::Stream,
            (None, None) => Body::Empty,
        }
    }

    fn read_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
        self.act(Act::Read);
        if let Some(hook) = &mut self.while_reading {
            hook();
        }
        let Some(part) = self.parts.as_mut().and_then(Vec::pop) else { return Ok(0) };
        let part = part?;
        let count = part.len().min(into.len());
        into[..count].copy_from_slice(&part[..count]);
        if count < part.len() {
            self.parts.as_mut().unwrap().push(Ok(part[count..].to_vec()));
        }
        Ok(count)
    }

    fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), SendError> {
        if self.refuses_head {
            return Err(SendError::Server);
        }
        let fields = head.fields().map(|(name, value)| (text(name), text(value))).collect();
        self.act(Act::Head(head.status, fields, head.length));
        Ok(())
    }

    fn send(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.count()?;
        self.act(Act::Send(data.to_vec()));
        if let Some(hook) = &mut self.while_sending {
            hook();
        }
        Ok(())
    }

    fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SendError> {
        self.count()?;
        let file = std::fs::File::from(file.try_clone_to_owned().unwrap());
        let mut data = vec![0; usize::try_from(length).unwrap()];
        file.read_exact_at(&mut data, offset).unwrap();
        self.act(Act::File(data));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SendError> {
        self.act(Act::Flush);
        Ok(())
    }

    fn gone(&self) -> Option<SendError> {
        (self.left == 0).then_some(SendError::Disconnected)
    }

    fn end(&mut self, end: End) {
        self.act(Act::End(end));
    }

    fn log(&self, level: Level, message: &[u8]) {
        self.act(Act::Log(level, String::from_utf8_lossy(message).into_owned()));
    }

    fn send_is_instant(&self, _: usize) -> bool {
        self.instant
    }
}
