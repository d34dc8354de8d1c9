//! What a zygote does for the application: its environment, whose the scripts are, Python, and the import.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use shared::conf::group::ProcessGroup;
use shared::http::key::Key;
use shared::http::packed::get;
use shared::loader::load::{self, Engine, Start};
use shared::loader::locate::locate;
use shared::preflight::identity::{self, Identity, IdentityError};

use crate::control::ZygoteConf;
use crate::reports;

/// What the application finds in its environment (PATH is there already).
pub fn set_environment(group: &ProcessGroup, identity: &Identity) {
    let set = |name: &str, value: &OsStr| {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var(name, value) };
    };
    set("LANG", group.lang.as_ref());
    set("LC_ALL", group.locale.as_ref());
    if let Some(eggs) = &group.python_eggs {
        set("PYTHON_EGG_CACHE", eggs.as_os_str());
    }
    if let Some(name) = &identity.name {
        set("USER", name.as_ref());
        set("LOGNAME", name.as_ref());
    }
    if let Some(home) = &identity.home {
        set("HOME", home.as_os_str());
    }
}

/// `script-user` and `script-group`: whose the scripts, and the directories that they are in, have to be.
///
/// # Errors
/// A sentence for the log.
pub fn check_scripts(conf: &ZygoteConf) -> Result<(), String> {
    let group = &conf.group;
    if group.script_user.is_none() && group.script_group.is_none() {
        return Ok(());
    }
    let wrong = |error: IdentityError| format!("script-{error}");
    let owner = group.script_user.as_deref().map(identity::user).transpose().map_err(wrong)?;
    let owners = group.script_group.as_deref().map(identity::group).transpose().map_err(wrong)?;
    for mount in &conf.mounts {
        let Some(script) = get(mount, Key::TargetScript) else { continue };
        let script = Path::new(OsStr::from_bytes(script));
        for path in [Some(script), script.parent()].into_iter().flatten() {
            let about =
                std::fs::metadata(path).map_err(|error| format!("\"{}\": {error}", path.display()))?;
            let wrong_user = owner.as_ref().is_some_and(|(uid, _)| about.uid() != uid.as_raw());
            let wrong_group = owners.is_some_and(|gid| about.gid() != gid.as_raw());
            if wrong_user || wrong_group || about.mode() & 0o002 != 0 {
                return Err(format!(
                    "\"{}\" is owned by user {} and group {} with mode {:o}: script-user and script-group ask for another \
                     owner, and nobody else may write to it",
                    path.display(),
                    about.uid(),
                    about.gid(),
                    about.mode() & 0o7777
                ));
            }
        }
    }
    Ok(())
}

/// Starts Python and loads the application; gives what could not be loaded.
///
/// # Errors
/// A sentence for the log.
pub fn start_python(conf: &ZygoteConf) -> Result<(Engine, Vec<String>), String> {
    let group = &conf.group;
    let python = locate(group.python_home.as_deref()).map_err(|error| error.to_string())?;
    let mut path = group.python_path.clone();
    path.extend(group.home.clone());
    let start = Start {
        python: &python,
        path: &path,
        server: &conf.server,
        server_version: conf.server_version,
        threads: group.threads,
        processes: group.process_count(),
        multiprocess: group.is_multiprocess(),
        keeps_scripts: true,
        switch_interval: group.switch_interval,
        // Before the warden ends the process: its stack is gone then.
        startup_timeout: group.startup_timeout.map(|timeout| timeout * 4 / 5),
        ends_startup: false,
        log: reports::log,
    };
    let engine = load::start(&conf.engine, &start).map_err(|error| error.to_string())?;
    let failed = conf.mounts.iter().filter(|mount| !engine.preload(mount));
    let failed = failed.map(|mount| target(mount)).collect();
    Ok((engine, failed))
}

/// The script or the module of packed entries.
fn target(mount: &[u8]) -> String {
    let target = get(mount, Key::TargetScript).or_else(|| get(mount, Key::TargetModule));
    String::from_utf8_lossy(target.unwrap_or_default()).into_owned()
}
