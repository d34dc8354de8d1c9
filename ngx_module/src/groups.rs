//! Daemon mode in nginx: the groups of the configuration, and neatd beside the master.

use std::sync::{Arc, Mutex, PoisonError};

use shared::conf::groups::Runs;
use shared::fault::Fault;
use shared::launch::handover::Handover;
use shared::launch::{FILE, Neatd};
use shared::log::Level;

use crate::conf::{Group, LocConf, MainConf, engine_file};
use crate::ffi::Code;
use crate::ffi::cycle::{self, Cycle};
use crate::ffi::request::Request;
use crate::group_address::{GroupAddress, prefix_beside, socket_prefix};
use crate::{fault, log};

const INTERNAL_SERVER_ERROR: Code = 500;

/// neatd, as the master holds it: over reloads, and until the last of its workers is gone.
static NEATD: Mutex<Option<Neatd>> = Mutex::new(None);

/// Judges the groups, while the configuration is read.
///
/// # Errors
/// A sentence for the administrator.
pub fn check(main: &MainConf) -> Result<(), String> {
    if main.groups.is_empty() {
        return Ok(());
    }
    let neatd = engine_file()?.with_file_name(FILE);
    if !neatd.is_file() {
        return Err(format!(
            "\"{}\" is missing: it has to lie beside ngx_http_wsgi_module.so",
            neatd.display()
        ));
    }
    main.groups.check(&socket_prefix(main), main.server_user)
}

/// Lets go, in a process that the master forked, of what only the master may tell neatd something through.
pub fn let_go() {
    if cycle::is_child() {
        let mut neatd = NEATD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(neatd) = neatd.as_mut() {
            neatd.forget();
        }
    }
}

/// Which processes run a request.
///
/// # Errors
/// A status, of which the log says why.
pub fn choose(request: &Request, conf: &LocConf) -> Result<Runs<Arc<GroupAddress>>, Code> {
    let value = match &conf.group {
        Group::Embedded => return restricted(request),
        Group::Named(upstream) => return Ok(Runs::Group(Arc::clone(upstream))),
        Group::Variable(value) => value.evaluate(request).ok_or(INTERNAL_SERVER_ERROR)?,
    };
    let Some(main) = request.main_conf() else { return Err(INTERNAL_SERVER_ERROR) };
    let value = String::from_utf8_lossy(value);
    match main.groups.chosen_by_variable(&value, conf.settings.restrict_process()) {
        Ok(Runs::Embedded) => restricted(request),
        Ok(Runs::Group(group)) => Ok(Runs::Group(Arc::new(GroupAddress::of(main, group)))),
        Err(error) => Err(fault::report(*request, error.fault(), &error.to_string())),
    }
}

fn restricted(request: &Request) -> Result<Runs<Arc<GroupAddress>>, Code> {
    if request.main_conf().is_some_and(|main| main.process.restrict_embedded()) {
        let why = "wsgi_restrict_embedded is on, and no process group is chosen for this request";
        return Err(fault::report(*request, Fault::Restricted, why));
    }
    Ok(Runs::Embedded)
}

/// Starts neatd, or tells it about a new configuration. What fails is logged; requests are answered with 503
/// then.
pub fn launch(cycle: Cycle<'_>) {
    if cycle::is_testing() {
        return;
    }
    let mut daemons = NEATD.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(main) = cycle.main_conf().filter(|main| !main.groups.is_empty()) else {
        // Its workers leave when the last worker of nginx that knows them is gone.
        *daemons = None;
        return;
    };
    let prefix = socket_prefix(main);
    if prefix != prefix_beside(main, &cycle.pid_path()) {
        let why = "the directive \"pid\" has to stand before \"http\" to say where the sockets of process groups are";
        log::process(Level::Warning, format!("{why}: they are at \"{}...\"", prefix.display()).as_bytes());
    }
    let (error_log, log_level) = cycle.error_log();
    let engine = match engine_file() {
        Ok(engine) => engine,
        Err(why) => return log::emergency(&why),
    };
    let neatd = engine.with_file_name(FILE);
    let conf = Handover {
        server: "nginx".to_owned(),
        server_version: cycle::VERSION,
        prefix,
        server_user: main.server_user,
        error_log,
        log_level,
        engine,
        groups: main.groups.specs().to_vec(),
    };
    if let Some(running) = daemons.as_mut() {
        match running.renew(&conf) {
            Ok(()) => return,
            Err(error) => {
                let why = format!("neatd is gone and is started anew: {error}");
                log::process(Level::Error, why.as_bytes());
                if let Err(error) = running.launch_anew(&neatd, &conf) {
                    log::emergency(&error.to_string());
                }
                return;
            }
        }
    }
    match Neatd::launch(&neatd, &conf) {
        Ok(launched) => *daemons = Some(launched),
        Err(error) => log::emergency(&error.to_string()),
    }
}
