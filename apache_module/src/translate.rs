//! From a URL to a script (`WSGIScriptAlias`). The rest of httpd treats the script as a file: `<Directory>`
//! and `<Location>` apply.

#![deny(unsafe_code)]

use std::os::unix::ffi::OsStrExt;

use shared::http::target;

use crate::conf::{Alias, Pattern, ServerConf};
use crate::ffi::Request;

/// The handler's name, mod_wsgi's own.
pub const HANDLER: &std::ffi::CStr = c"wsgi-script";

/// Leads a request to the script of the first alias that matches; `false` where none does.
pub fn translate(request: Request<'_>) -> bool {
    let Some(conf) = request.server().conf::<ServerConf>() else { return false };
    let Some(uri) = request.uri().filter(|uri| uri.starts_with(b"/")) else { return false };
    for alias in &conf.aliases {
        if let Some(filename) = filename(request, alias, uri) {
            request.lead_to(&filename, HANDLER);
            request.set_note(alias);
            return true;
        }
    }
    false
}

fn filename(request: Request<'_>, alias: &Alias, uri: &[u8]) -> Option<Vec<u8>> {
    let script = alias.target.as_os_str().as_bytes();
    match &alias.pattern {
        Pattern::Prefix(prefix) => Some([script, target::behind_alias(uri, prefix)?].concat()),
        Pattern::Expression(expression) => expression.substitute(request.pool(), uri, script),
    }
}
