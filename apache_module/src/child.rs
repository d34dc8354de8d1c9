//! The life of a child: Python is started when it begins, and ended when its threads are gone.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use shared::conf::groups::Choice;
use shared::loader::load::{Engine, LoadError, Start, engine_beside, start};
use shared::loader::locate::{LocateError, locate};
use shared::log::Level;
use shared::wsgi::environ::mount::Mount;
use thiserror::Error;

use crate::conf::{DirectoryConf, ServerConf};
use crate::ffi::{Mpm, Pool, Server, server_user, version};
use crate::{groups, log};

/// How long the threads of an application are waited for when a child ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

static ENGINE: OnceLock<Engine> = OnceLock::new();
/// A static of this module, to find where it lies.
static HERE: u8 = 0;

/// Why applications cannot run.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// There is no Python.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// There is none that the children may read.
    #[error("{0}")]
    Python(String),
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine's file is not where it belongs.
    #[error("the engine \"{0}\" is missing; it has to lie beside mod_neat.so")]
    NoEngine(PathBuf),
    /// Something about a process group.
    #[error("{0}")]
    Group(String),
}

/// The engine of this child, if it runs.
pub fn engine() -> Option<Engine> {
    ENGINE.get().copied()
}

/// The engine's file, which lies beside this module.
///
/// # Errors
/// It does not.
pub fn engine_file() -> Result<PathBuf, ProcessError> {
    let file = engine_beside(&HERE).unwrap_or_default();
    if file.is_file() { Ok(file) } else { Err(ProcessError::NoEngine(file)) }
}

/// Looks whether applications could run, without loading anything.
///
/// # Errors
/// What an administrator has to know before the server starts.
pub fn check(main: Server<'_>) -> Result<(), ProcessError> {
    let Some(conf) = main.conf::<ServerConf>() else { return Ok(()) };
    engine_file()?;
    if groups::needs_embedded(main) {
        conf.process.python(server_user()).map_err(ProcessError::Python)?;
    }
    groups::check(main)
}

/// Whether the configuration keeps applications out of httpd's own processes.
pub fn is_restricted(server: Server<'_>) -> bool {
    server.conf::<ServerConf>().is_some_and(|conf| conf.process.restrict_embedded())
}

/// Starts Python in a child, and sees to its end.
pub fn begin(pool: Pool<'_>, main: Server<'static>) {
    let Some(conf) = main.conf::<ServerConf>() else { return };
    groups::begin(main);
    if !groups::needs_embedded(main) {
        return;
    }
    match launch(conf) {
        Ok(engine) => {
            let _ = ENGINE.set(engine);
            pool.at_end(move || engine.stop(STOP_TIMEOUT));
            preload(engine, main);
        }
        Err(error) => log::to_server(Level::Critical, format!("no application can run: {error}").as_bytes()),
    }
}

fn launch(conf: &ServerConf) -> Result<Engine, ProcessError> {
    let file = engine_file()?;
    let python = locate(conf.process.home())?;
    let mpm = Mpm::query();
    let engine = start(
        &file,
        &Start {
            python: &python,
            path: conf.process.path(),
            server: "apache",
            server_version: version(),
            threads: mpm.threads,
            processes: mpm.processes,
            multiprocess: mpm.processes > 1,
            keeps_scripts: false,
            switch_interval: None,
            startup_timeout: Some(conf.process.startup_timeout()),
            ends_startup: true,
            log: log::to_server,
        },
    )?;
    Ok(engine)
}

/// Loads the scripts of aliases that say where they run, as mod_wsgi does, so that the first request need
/// not.
fn preload(engine: Engine, main: Server<'static>) {
    for server in main.all() {
        let Some(conf) = server.conf::<ServerConf>() else { continue };
        let defaults = server.directory_conf::<DirectoryConf>();
        for alias in conf.aliases.iter().filter(|alias| alias.conf.preload && alias.target.is_file()) {
            let location = defaults.map(|defaults| defaults.location.clone()).unwrap_or_default();
            let group = alias.conf.process_group.as_deref().unwrap_or_else(|| location.process_group());
            if Choice::read(group) != Choice::Embedded {
                continue;
            }
            let callable = alias.conf.callable.as_deref().unwrap_or_else(|| location.callable());
            let packed = Mount::of_script(&alias.target, callable, &location, "").pack();
            // Where this fails the log has the traceback, and the first request tries again.
            let _ = engine.preload(packed.as_bytes());
        }
    }
}
