//! Daemon mode in httpd: the groups of the configuration, neatd in the parent, and each child's connections
//! to the groups.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use shared::client::Pool;
use shared::conf::groups::{Choice, ChoiceError, Groups, Runs};
use shared::launch::handover::Handover;
use shared::launch::{FILE, LaunchError, Neatd};
use shared::log::Level;
use shared::vocabulary::value::ValueError;
use shared::wsgi::environ::mount::Mount;

use crate::child::{ProcessError, engine_file};
use crate::conf::{DirectoryConf, ServerConf};
use crate::ffi::{Server, main_server_line, run_directory, server_user, startup_line, version};
use crate::log;

/// What the configuration says, anew with each reading of it.
#[derive(Default)]
struct Written {
    groups: Groups,
    /// Every group that was chosen by name, and where.
    chosen: Vec<(String, String)>,
    /// Whether a section asks for the server's own processes, or lets a variable choose.
    asks_for_embedded: bool,
}

static WRITTEN: Mutex<Option<Written>> = Mutex::new(None);
/// neatd, as the parent holds it.
static NEATD: Mutex<Option<Neatd>> = Mutex::new(None);
/// A child's connections to each group.
static POOLS: OnceLock<HashMap<String, Arc<Pool>>> = OnceLock::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets what a configuration said: another is about to be read.
pub fn forget() {
    *lock(&WRITTEN) = None;
}

/// Takes a declaration.
///
/// # Errors
/// What is wrong with it.
pub fn declare(words: &[String], written_at: &str) -> Result<(), ValueError> {
    let warnings = lock(&WRITTEN).get_or_insert_default().groups.declare(words)?;
    for warning in warnings {
        startup_line(
            Level::Warning,
            format!("mod_neat: {written_at}: WSGIDaemonProcess: {warning}").as_bytes(),
        );
    }
    Ok(())
}

/// Notes that a section of the configuration chooses a group.
pub fn note_choice(written: &str, written_at: &str) {
    let mut guard = lock(&WRITTEN);
    let all = guard.get_or_insert_default();
    match Choice::read(written) {
        Choice::Named(name) => all.chosen.push((name, written_at.to_owned())),
        Choice::Embedded | Choice::Variable(_) => all.asks_for_embedded = true,
    }
}

/// Which processes run a request, given what was written: the server's own, or those behind a group's
/// connections.
///
/// # Errors
/// There is no such group, it may not be chosen here, or this child has no connections to it.
pub fn choose(
    written: &str,
    restricted: Option<&[String]>,
    variable: impl FnOnce(&str) -> Option<String>,
) -> Result<Runs<Arc<Pool>>, ChoiceError> {
    let guard = lock(&WRITTEN);
    let none = Groups::default();
    let groups = guard.as_ref().map_or(&none, |written| &written.groups);
    groups.decide(written, restricted, variable)?.try_map(|group| {
        let pool = POOLS.get().and_then(|pools| pools.get(&group.name));
        pool.map(Arc::clone).ok_or_else(|| ChoiceError::NoPool(group.name.clone()))
    })
}

fn prefix(main: Server<'_>) -> PathBuf {
    let run = run_directory();
    main.conf::<ServerConf>().map_or_else(|| run.join("wsgi"), |conf| conf.process.socket_prefix(&run))
}

/// Validates the groups, before the server starts.
///
/// # Errors
/// A sentence for the administrator.
pub fn check(main: Server<'_>) -> Result<(), ProcessError> {
    let guard = lock(&WRITTEN);
    let Some(written) = guard.as_ref() else { return Ok(()) };
    for (name, written_at) in &written.chosen {
        written.groups.find(name).map_err(|error| ProcessError::Group(format!("{written_at}: {error}")))?;
    }
    if !written.groups.is_empty() {
        let neatd = neatd_file()?;
        if !neatd.is_file() {
            return Err(ProcessError::Group(format!(
                "\"{}\" is missing; it has to lie beside mod_neat.so",
                neatd.display()
            )));
        }
    }
    written.groups.check(&prefix(main), server_user()).map_err(ProcessError::Group)
}

/// Whether an application may have to run in httpd's own processes: with daemon groups only, Python is not
/// loaded there.
pub fn needs_embedded(main: Server<'_>) -> bool {
    if main.conf::<ServerConf>().is_some_and(|conf| conf.process.restrict_embedded()) {
        return false;
    }
    let guard = lock(&WRITTEN);
    let Some(written) = guard.as_ref() else { return true };
    if written.asks_for_embedded || written.chosen.is_empty() {
        return true;
    }
    main.all().any(|server| {
        let outside = server.directory_conf::<DirectoryConf>().map(|conf| conf.location.process_group());
        let aliases = server.conf::<ServerConf>().map(|conf| conf.aliases.as_slice()).unwrap_or_default();
        let is_embedded = Choice::read(outside.unwrap_or_default()) == Choice::Embedded;
        is_embedded && aliases.iter().any(|alias| alias.conf.process_group.is_none())
    })
}

fn neatd_file() -> Result<PathBuf, ProcessError> {
    Ok(engine_file()?.with_file_name(FILE))
}

/// Starts neatd in the parent, or tells it about a new configuration.
///
/// # Errors
/// A sentence for the administrator.
pub fn launch(main: Server<'_>) -> Result<(), ProcessError> {
    let mut guard = lock(&WRITTEN);
    let Some(written) = guard.as_mut().filter(|written| !written.groups.is_empty()) else {
        // Its workers leave when the last child that knows them is gone.
        *lock(&NEATD) = None;
        return Ok(());
    };
    load_ahead(main, &mut written.groups);
    let conf = Handover {
        server: "apache".to_owned(),
        server_version: version(),
        prefix: prefix(main),
        server_user: server_user(),
        error_log: main.error_log(),
        log_level: main.log_level(),
        engine: engine_file()?,
        groups: written.groups.specs().to_vec(),
    };
    let mut neatd = lock(&NEATD);
    let text = |error: LaunchError| ProcessError::Group(error.to_string());
    if let Some(running) = neatd.as_mut() {
        match running.renew(&conf) {
            Ok(()) => return Ok(()),
            Err(error) => {
                let why = format!("mod_neat: neatd is gone and is started anew: {error}");
                main_server_line(Level::Error, why.as_bytes());
                return running.launch_anew(&neatd_file()?, &conf).map_err(text);
            }
        }
    }
    *neatd = Some(Neatd::launch(&neatd_file()?, &conf).map_err(text)?);
    Ok(())
}

/// Has each group load the scripts that are known to be its own.
fn load_ahead(main: Server<'_>, groups: &mut Groups) {
    for server in main.all() {
        let Some(conf) = server.conf::<ServerConf>() else { continue };
        let defaults = server.directory_conf::<DirectoryConf>();
        let location = defaults.map(|defaults| defaults.location.clone()).unwrap_or_default();
        for alias in conf.aliases.iter().filter(|alias| alias.target.is_file()) {
            let written = alias.conf.process_group.as_deref().unwrap_or_else(|| location.process_group());
            let Choice::Named(name) = Choice::read(written) else { continue };
            let callable = alias.conf.callable.as_deref().unwrap_or_else(|| location.callable());
            let packed = Mount::of_script(&alias.target, callable, &location, &name).pack();
            groups.load_ahead(&name, packed.as_bytes());
        }
    }
}

/// Makes room for a child's connections, and lets go of what only the parent may tell neatd something
/// through.
pub fn begin(main: Server<'_>) {
    if let Some(neatd) = lock(&NEATD).as_mut() {
        neatd.forget();
    }
    let guard = lock(&WRITTEN);
    let Some(written) = guard.as_ref() else { return };
    let prefix = prefix(main);
    let pools = written
        .groups
        .specs()
        .iter()
        .map(|spec| (spec.conf.name.clone(), Arc::new(Pool::new(&prefix, &spec.conf))));
    if POOLS.set(pools.collect()).is_err() {
        log::to_server(Level::Error, b"a child of httpd began twice");
    }
}
