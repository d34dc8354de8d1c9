//! The one vocabulary: every directive is declared here once, for both servers, with what it takes and where
//! it may stand.
//!
//! The modules build their directive tables from [`DIRECTIVES`], both judge what is written with
//! [`value::parse`], and the reference page is printed from the same table ([`mod@reference`]).

pub mod alias;
pub mod directives;
pub mod group;
pub mod option_value;
pub mod reference;
pub mod upstream;
pub mod value;

use std::ffi::CStr;

pub use directives::DIRECTIVES;

/// What a directive is about. A module turns each into a change of its configuration; most are the same
/// change in both ([`crate::conf::location::LocationConf::apply`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// Mounts an application at a URL (`WSGIScriptAlias`) or in a location (`wsgi_pass`).
    Mount,
    /// Mounts an application at the URLs that a regular expression matches.
    MountMatch,
    /// The name of the callable.
    Callable,
    /// The Python installation or virtual environment.
    PythonHome,
    /// Directories in front of `sys.path`.
    PythonPath,
    /// Python threads per worker.
    Threads,
    /// Whether the server spools a request's body first.
    RequestBuffering,
    /// An extra key of environ.
    Param,
    /// Whether credentials reach environ.
    PassAuthorization,
    /// Whether a changed script is loaded anew.
    ScriptReloading,
    /// Whether request bodies without a length are accepted.
    ChunkedRequest,
    /// Whether files are sent by the kernel.
    EnableSendfile,
    /// Declares a process group.
    DaemonProcess,
    /// Which processes run the application.
    ProcessGroup,
    /// The groups that may be chosen by a variable.
    RestrictProcess,
    /// Whether no application runs in the server's own processes.
    RestrictEmbedded,
    /// How long an application may take to load in the server's own processes.
    StartupTimeout,
    /// How the paths of the groups' sockets begin.
    SocketPrefix,
    /// Whether the server's error pages replace the application's.
    ErrorOverride,
    /// Accepted, so that a configuration of mod_wsgi starts, and without effect.
    Retired {
        /// Why it is not needed, or what to write instead.
        instead: &'static str,
    },
}

/// Where a directive may stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    /// Once for the whole server: httpd's server config outside of virtual hosts, nginx's `http`.
    pub main: bool,
    /// In a virtual host (`<VirtualHost>`, `server`).
    pub server: bool,
    /// In a `<Directory>`, `<Location>`, `<Files>` or `location`.
    pub location: bool,
    /// In a `.htaccess` file (with `AllowOverride FileInfo`).
    pub htaccess: bool,
}

/// What a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `on` or `off`, in any case.
    Flag,
    /// A whole number from the first to the second.
    Number(u32, u32),
    /// One word.
    Word,
    /// One path of the file system.
    Path,
    /// Directories, separated by `:`.
    Paths,
    /// So many words at least, and so many at most; the module reads them.
    Words(u8, u8),
}

/// A directive's name and contexts in one of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// As it is written.
    pub name: &'static CStr,
    /// Where it may stand.
    pub contexts: Contexts,
}

/// A directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directive {
    /// What it is about.
    pub setting: Setting,
    /// In httpd.
    pub apache: Option<Spelling>,
    /// In nginx.
    pub nginx: Option<Spelling>,
    /// What it takes.
    pub kind: Kind,
    /// What it takes, as the reference page writes it.
    pub syntax: &'static str,
    /// What holds where it is not written, in words.
    pub default: &'static str,
    /// One line of documentation.
    pub doc: &'static CStr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_declared_once() {
        let mut names: Vec<_> = DIRECTIVES
            .iter()
            .flat_map(|directive| [directive.apache, directive.nginx])
            .flatten()
            .map(|spelling| spelling.name)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_directive_can_stand_somewhere() {
        for directive in DIRECTIVES {
            for spelling in [directive.apache, directive.nginx].into_iter().flatten() {
                assert_ne!(spelling.contexts, Contexts::default(), "{:?}", spelling.name);
            }
        }
    }
}
