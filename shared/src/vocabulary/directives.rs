//! Every directive of both servers.

use super::{Contexts, Directive, Kind, Setting, Spelling};

const MAIN: Contexts = Contexts { main: true, server: false, location: false, htaccess: false };
const MAIN_SERVER: Contexts = Contexts { main: true, server: true, location: false, htaccess: false };
const MAIN_SERVER_LOCATION: Contexts = Contexts { main: true, server: true, location: true, htaccess: false };
const LOCATION: Contexts = Contexts { main: false, server: false, location: true, htaccess: false };
const EVERYWHERE: Contexts = Contexts { main: true, server: true, location: true, htaccess: true };

const fn spelt(name: &'static std::ffi::CStr, contexts: Contexts) -> Option<Spelling> {
    Some(Spelling { name, contexts })
}

/// Every directive, in the order of the reference page.
pub const DIRECTIVES: &[Directive] = &[
    Directive {
        setting: Setting::Mount,
        apache: spelt(c"WSGIScriptAlias", MAIN_SERVER),
        nginx: spelt(c"wsgi_pass", LOCATION),
        kind: Kind::Words(1, 8),
        syntax: "httpd: url-path file-or-directory [option=value...]; \
                 nginx: file.wsgi[:callable] or package.module:callable",
        default: "none",
        doc: c"mounts a WSGI application: at a URL path in httpd, at its location in nginx",
    },
    Directive {
        setting: Setting::MountMatch,
        apache: spelt(c"WSGIScriptAliasMatch", MAIN_SERVER),
        nginx: None,
        kind: Kind::Words(2, 8),
        syntax: "regex file-or-directory [option=value...]",
        default: "none",
        doc: c"mounts a WSGI application at the URL paths that a regular expression matches; $1 to $9 stand for its groups",
    },
    Directive {
        setting: Setting::Callable,
        apache: spelt(c"WSGICallableObject", EVERYWHERE),
        nginx: spelt(c"wsgi_callable", MAIN_SERVER_LOCATION),
        kind: Kind::Word,
        syntax: "name, dotted.name or factory()",
        default: "application",
        doc: c"the application's name in its script or module; a name that ends with () is called once to make it",
    },
    Directive {
        setting: Setting::ScriptReloading,
        apache: spelt(c"WSGIScriptReloading", EVERYWHERE),
        nginx: spelt(c"wsgi_script_reloading", MAIN_SERVER_LOCATION),
        kind: Kind::Flag,
        syntax: "on|off",
        default: "on",
        doc: c"whether a script file whose modification time changed is loaded anew by the next request",
    },
    Directive {
        setting: Setting::PassAuthorization,
        apache: spelt(c"WSGIPassAuthorization", EVERYWHERE),
        nginx: spelt(c"wsgi_pass_authorization", MAIN_SERVER_LOCATION),
        kind: Kind::Flag,
        syntax: "on|off",
        default: "off",
        doc: c"whether the request's credentials reach the application as HTTP_AUTHORIZATION",
    },
    Directive {
        setting: Setting::ChunkedRequest,
        apache: spelt(c"WSGIChunkedRequest", EVERYWHERE),
        nginx: spelt(c"wsgi_chunked_request", MAIN_SERVER_LOCATION),
        kind: Kind::Flag,
        syntax: "on|off",
        default: "on",
        doc: c"whether request bodies in chunks, without a length, are accepted; otherwise they are answered with 411",
    },
    Directive {
        setting: Setting::RequestBuffering,
        apache: None,
        nginx: spelt(c"wsgi_request_buffering", MAIN_SERVER_LOCATION),
        kind: Kind::Flag,
        syntax: "on|off",
        default: "on",
        doc: c"whether nginx reads the whole request body before a Python thread is taken, or hands it on as it comes",
    },
    Directive {
        setting: Setting::Param,
        apache: None,
        nginx: spelt(c"wsgi_param", MAIN_SERVER_LOCATION),
        kind: Kind::Words(2, 3),
        syntax: "NAME value [if_not_empty]",
        default: "none",
        doc: c"a further key of environ; the value may have variables",
    },
    Directive {
        setting: Setting::EnableSendfile,
        apache: spelt(c"WSGIEnableSendfile", EVERYWHERE),
        nginx: None,
        kind: Kind::Flag,
        syntax: "on|off",
        default: "as EnableSendfile says",
        doc: c"whether files of wsgi.file_wrapper are sent by the kernel; nginx has its own directive sendfile for that",
    },
    Directive {
        setting: Setting::PythonHome,
        apache: spelt(c"WSGIPythonHome", MAIN),
        nginx: spelt(c"wsgi_python_home", MAIN),
        kind: Kind::Path,
        syntax: "directory",
        default: "the system's python3",
        doc: c"the Python installation or the virtual environment of the server's processes",
    },
    Directive {
        setting: Setting::PythonPath,
        apache: spelt(c"WSGIPythonPath", MAIN),
        nginx: spelt(c"wsgi_python_path", MAIN),
        kind: Kind::Paths,
        syntax: "directory[:directory...]",
        default: "none",
        doc: c"directories to put in front of sys.path; their .pth files are honoured",
    },
    Directive {
        setting: Setting::Threads,
        apache: None,
        nginx: spelt(c"wsgi_threads", MAIN),
        kind: Kind::Number(1, 1024),
        syntax: "number",
        default: "16",
        doc: c"Python threads per nginx worker; httpd's threads are those of its MPM",
    },
    Directive {
        setting: Setting::DaemonProcess,
        apache: spelt(c"WSGIDaemonProcess", MAIN_SERVER),
        nginx: spelt(c"wsgi_daemon_process", MAIN),
        kind: Kind::Words(1, 64),
        syntax: "name [option=value...]",
        default: "none",
        doc: c"declares a process group: supervised processes of its own, with their own user, Python and limits",
    },
    Directive {
        setting: Setting::ProcessGroup,
        apache: spelt(c"WSGIProcessGroup", MAIN_SERVER_LOCATION),
        nginx: spelt(c"wsgi_process_group", MAIN_SERVER_LOCATION),
        kind: Kind::Word,
        syntax: "name|embedded|%{GLOBAL}|%{ENV:variable}|$variable",
        default: "embedded",
        doc: c"which processes run the application: those of a declared group, or the server's own",
    },
    Directive {
        setting: Setting::RestrictProcess,
        apache: spelt(c"WSGIRestrictProcess", MAIN_SERVER_LOCATION),
        nginx: spelt(c"wsgi_restrict_process", MAIN_SERVER_LOCATION),
        kind: Kind::Words(1, 64),
        syntax: "name...",
        default: "every declared group",
        doc: c"the process groups that a variable may choose",
    },
    Directive {
        setting: Setting::RestrictEmbedded,
        apache: spelt(c"WSGIRestrictEmbedded", MAIN),
        nginx: spelt(c"wsgi_restrict_embedded", MAIN),
        kind: Kind::Flag,
        syntax: "on|off",
        default: "off",
        doc: c"whether no application may run in the server's own processes, which then never load Python",
    },
    Directive {
        setting: Setting::StartupTimeout,
        apache: spelt(c"WSGIStartupTimeout", MAIN),
        nginx: spelt(c"wsgi_startup_timeout", MAIN),
        kind: Kind::Number(1, 86400),
        syntax: "seconds",
        default: "15",
        doc: c"how long an application may take to load in the server's own processes before the log says where it is, \
               and requests for it get 503 instead of waiting; a load in a thread that serves requests is ended after \
               four times as long; process groups have the option startup-timeout",
    },
    Directive {
        setting: Setting::SocketPrefix,
        apache: spelt(c"WSGISocketPrefix", MAIN),
        nginx: spelt(c"wsgi_socket_prefix", MAIN),
        kind: Kind::Word,
        syntax: "path",
        default: "wsgi, in the directory of the server's pid file",
        doc: c"how the paths of the process groups' sockets begin",
    },
    Directive {
        setting: Setting::ErrorOverride,
        apache: spelt(c"WSGIErrorOverride", EVERYWHERE),
        nginx: spelt(c"wsgi_intercept_errors", MAIN_SERVER_LOCATION),
        kind: Kind::Flag,
        syntax: "on|off",
        default: "off",
        doc: c"whether the server's own error pages replace responses of a process group with a status of 400 or more",
    },
    Directive {
        setting: Setting::Retired { instead: "processes take connections without a mutex" },
        apache: spelt(c"WSGIAcceptMutex", MAIN),
        nginx: None,
        kind: Kind::Word,
        syntax: "any",
        default: "none",
        doc: c"accepted for configurations of mod_wsgi, without effect",
    },
    Directive {
        setting: Setting::Retired { instead: "the path of a socket stays the same" },
        apache: spelt(c"WSGISocketRotation", MAIN),
        nginx: None,
        kind: Kind::Flag,
        syntax: "on|off",
        default: "off",
        doc: c"accepted for configurations of mod_wsgi, without effect",
    },
];
