//! The documentation of environ's keys, each once: who asks for it, when it is there, what it says.

use std::fmt::Write;

/// Which text says what a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// PEP 3333, "environ Variables".
    Pep3333,
    /// RFC 3875 (CGI/1.1), the section.
    Rfc3875(&'static str),
    /// mod_wsgi's documentation of its own keys; Neat has them in both servers.
    ModWsgi,
    /// The variables that httpd gives to CGI programs, and nginx's `fastcgi_params`.
    Servers,
}

/// When a key is in environ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In every request.
    Always,
    /// As the words say.
    Where(&'static str),
}

/// A key of environ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvironKey {
    /// As it stands in environ; `HTTP_*` for all that begin so.
    pub name: &'static str,
    /// Which text says what it means.
    pub rule: Rule,
    /// When it is there.
    pub presence: Presence,
    /// What it says.
    pub doc: &'static str,
}

const fn key(name: &'static str, rule: Rule, presence: Presence, doc: &'static str) -> EnvironKey {
    EnvironKey { name, rule, presence, doc }
}

/// Every key, in the order of the page.
pub const KEYS: &[EnvironKey] = {
    use Presence::{Always, Where};
    use Rule::{ModWsgi, Pep3333, Rfc3875, Servers};
    &[
        key("REQUEST_METHOD", Rfc3875("4.1.12"), Always, "the method"),
        key(
            "SCRIPT_NAME",
            Rfc3875("4.1.13"),
            Always,
            "the decoded path up to the application; empty at the root",
        ),
        key("PATH_INFO", Rfc3875("4.1.5"), Always, "the decoded path behind SCRIPT_NAME; may be empty"),
        key("QUERY_STRING", Rfc3875("4.1.7"), Always, "what stands behind the question mark; may be empty"),
        key(
            "CONTENT_TYPE",
            Rfc3875("4.1.3"),
            Where("the request has the field"),
            "the type of the request's body",
        ),
        key(
            "CONTENT_LENGTH",
            Rfc3875("4.1.2"),
            Where("the length of the body is known before it is read"),
            "the length of the request's body in bytes",
        ),
        key(
            "SERVER_NAME",
            Rfc3875("4.1.14"),
            Always,
            "the configured name of the server where it names one host, otherwise the host that was asked for",
        ),
        key("SERVER_PORT", Rfc3875("4.1.15"), Always, "the port, as a str"),
        key("SERVER_PROTOCOL", Rfc3875("4.1.16"), Always, "the protocol of the request, as in HTTP/1.1"),
        key("SERVER_SOFTWARE", Rfc3875("4.1.17"), Always, "the server and its version"),
        key("GATEWAY_INTERFACE", Rfc3875("4.1.4"), Always, "CGI/1.1, for programs that ask for it"),
        key("REMOTE_ADDR", Rfc3875("4.1.8"), Always, "the client's address"),
        key("REMOTE_HOST", Rfc3875("4.1.9"), Where("httpd has looked it up"), "the client's name"),
        key("REMOTE_PORT", Servers, Always, "the client's port, as a str"),
        key("REMOTE_USER", Rfc3875("4.1.11"), Where("the server has authenticated the client"), "who it is"),
        key("AUTH_TYPE", Rfc3875("4.1.1"), Where("the server has authenticated the client"), "how"),
        key(
            "PATH_TRANSLATED",
            Rfc3875("4.1.6"),
            Where("a parameter sets it"),
            "PATH_INFO as a path of the file system",
        ),
        key("REQUEST_URI", Servers, Always, "the request target as the client sent it"),
        key("REQUEST_SCHEME", Servers, Always, "http or https, as the connection to the server is"),
        key("HTTPS", Servers, Where("the connection is encrypted, or httpd's variable says so"), "on"),
        key("SERVER_ADDR", Servers, Always, "the address that the client connected to"),
        key("SERVER_ADMIN", Servers, Where("httpd's ServerAdmin is set"), "who answers for the server"),
        key("DOCUMENT_ROOT", Servers, Always, "the directory that the server serves files from"),
        key("CONTEXT_PREFIX", Servers, Where("the server is httpd"), "the URL prefix of an Alias"),
        key("CONTEXT_DOCUMENT_ROOT", Servers, Where("the server is httpd"), "the directory of that Alias"),
        key("SCRIPT_FILENAME", Servers, Where("the application is in a script"), "the path of the script"),
        key(
            "HTTP_*",
            Rfc3875("4.1.18"),
            Where("the request has the field"),
            "a header field; those of the same name are joined with commas (Cookie with semicolons)",
        ),
        key("wsgi.version", Pep3333, Always, "(1, 0)"),
        key("wsgi.url_scheme", Pep3333, Always, "http or https"),
        key("wsgi.input", Pep3333, Always, "the request's body, a binary file"),
        key("wsgi.errors", Pep3333, Always, "the server's error log, a text file"),
        key("wsgi.multithread", Pep3333, Always, "whether other threads may call the application at once"),
        key("wsgi.multiprocess", Pep3333, Always, "whether other processes may"),
        key("wsgi.run_once", Pep3333, Always, "False"),
        key("wsgi.file_wrapper", Pep3333, Always, "wraps a file that the server is to send"),
        key("wsgi.input_terminated", ModWsgi, Always, "True: wsgi.input ends where the body ends"),
        key("apache.version", ModWsgi, Where("the server is httpd"), "its version, three numbers"),
        key("nginx.version", ModWsgi, Where("the server is nginx"), "its version, three numbers"),
        key("mod_wsgi.version", ModWsgi, Always, "the version of mod_wsgi that Neat stands for"),
        key("mod_wsgi.process_group", ModWsgi, Always, "the process group; empty for the server's processes"),
        key("mod_wsgi.application_group", ModWsgi, Always, "empty: the main interpreter"),
        key("mod_wsgi.callable_object", ModWsgi, Always, "the application's name in its script or module"),
        key("mod_wsgi.request_handler", ModWsgi, Always, "wsgi-script"),
        key("mod_wsgi.script_name", ModWsgi, Always, "SCRIPT_NAME as the server gave it"),
        key("mod_wsgi.path_info", ModWsgi, Always, "PATH_INFO as the server gave it"),
        key("mod_wsgi.mount_point", ModWsgi, Always, "where the application is mounted"),
        key(
            "mod_wsgi.listener_host",
            ModWsgi,
            Always,
            "the address that is listened on; empty for every address of the machine",
        ),
        key("mod_wsgi.listener_port", ModWsgi, Always, "the port that is listened on, as a str"),
        key("mod_wsgi.server_pid", ModWsgi, Always, "the number of this process"),
        key("mod_wsgi.request_id", ModWsgi, Where("httpd logs the request with one"), "httpd's %{L}"),
        key("mod_wsgi.connection_id", ModWsgi, Always, "the number of the connection, as a str"),
        key("mod_wsgi.request_start", ModWsgi, Always, "when the request came, a float of seconds"),
        key(
            "mod_wsgi.queue_start",
            ModWsgi,
            Where("the server is nginx"),
            "when it was passed on to wait for a thread, a float of seconds",
        ),
    ]
};

/// The table as a page, in Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from("| key | source | present | meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        let rule = match key.rule {
            Rule::Pep3333 => "PEP 3333".to_owned(),
            Rule::Rfc3875(section) => format!("RFC 3875 section {section}"),
            Rule::ModWsgi => "mod_wsgi".to_owned(),
            Rule::Servers => "the servers".to_owned(),
        };
        let presence = match key.presence {
            Presence::Always => "always".to_owned(),
            Presence::Where(condition) => format!("where {condition}"),
        };
        let _ = writeln!(page, "| `{}` | {rule} | {presence} | {} |", key.name, key.doc);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::key::Key;

    #[test]
    fn every_key_is_documented_once() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for key in Key::ALL.iter().filter(|key| !key.is_control() && !key.name().starts_with("HTTP_")) {
            assert!(names.contains(&key.name()), "{} has no documentation", key.name());
        }
    }

    #[test]
    fn the_page_has_a_line_for_each_key() {
        assert_eq!(page().lines().count(), KEYS.len() + 2);
        assert!(page().contains("| `PATH_INFO` | RFC 3875 section 4.1.5 | always |"));
    }
}
