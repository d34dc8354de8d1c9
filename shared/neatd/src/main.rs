//! neatd: the processes that run Python for nginx and httpd in daemon mode.
//!
//! A keeper, which only starts the supervisor anew; the supervisor, which knows every process group; for each
//! group a warden, which is the group's user from here on; for each generation of a group a zygote, which
//! starts Python and loads the application; and the workers that it forks. What passes through: requests of
//! the server's connections into `Exchange`s for the engine. What this room must never know: a type of nginx,
//! httpd or Python.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod children;
#[allow(unsafe_code)]
mod clients;
mod control;
#[allow(unsafe_code)]
mod keeper;
mod log;
mod orders;
#[allow(unsafe_code)]
mod privileges;
mod procfs;
mod reports;
#[allow(unsafe_code)]
mod signals;
mod sockets;
#[allow(unsafe_code)]
mod supervisor;
#[allow(unsafe_code)]
mod title;
mod warden;
mod worker;
#[allow(unsafe_code)]
mod zygote;

use nix::sys::stat::{Mode, umask};
use shared::launch;

/// What files of an application are made with, unless its group says otherwise (`umask=`): nginx's own mask
/// is 0 once it is a daemon.
const UMASK: u32 = 0o022;

fn main() {
    signals::reset_inherited();
    title::set_name("neatd");
    umask(Mode::from_bits_truncate(UMASK));
    let title = std::env::args().next().unwrap_or_default();
    let is_handed = launch::is_open(launch::LIFELINE) && launch::is_open(launch::CONF);
    let code = match title.strip_prefix("neatd: ") {
        Some("keeper") if is_handed => keeper::live(),
        Some("supervisor") if is_handed => supervisor::live(),
        Some(role) if is_handed && role.starts_with("warden ") => {
            // SAFETY: the supervisor hands these over, and nothing was opened before.
            #[allow(unsafe_code)]
            let handed = [3, 4, 5, 6, 7].map(|number| unsafe { launch::take(number) });
            warden::live(handed)
        }
        _ => {
            eprintln!(
                "neatd is started by the module of nginx or of httpd when its configuration declares a process group \
                 (wsgi_daemon_process, WSGIDaemonProcess); there is nothing to start by hand."
            );
            2
        }
    };
    // Whatever Python or a library registered for the end of a process has been run, or is not to be.
    // SAFETY: ends the process.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code)
    }
}
