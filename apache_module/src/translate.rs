//! From a URL to a script (`WSGIScriptAlias`). The rest of httpd treats the script as a file: `<Directory>` and `<Location>` apply.

use std::os::unix::ffi::OsStrExt;

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
    let target = alias.target.as_os_str().as_bytes();
    match &alias.pattern {
        Pattern::Prefix(prefix) => Some([target, behind(uri, prefix)?].concat()),
        Pattern::Expression(expression) => expression.substitute(request.pool(), uri, target),
    }
}

/// What of a path comes behind a prefix that ends where a segment ends. Several slashes count as one, as everywhere in httpd.
fn behind<'u>(uri: &'u [u8], prefix: &[u8]) -> Option<&'u [u8]> {
    let mut rest = uri;
    let mut wanted = prefix;
    while let Some((first, others)) = wanted.split_first() {
        if *first == b'/' {
            rest = slashes(rest)?;
            wanted = slashes(wanted).unwrap_or(others);
        } else {
            rest = rest.strip_prefix(std::slice::from_ref(first))?;
            wanted = others;
        }
    }
    (rest.is_empty() || rest.starts_with(b"/") || prefix.ends_with(b"/")).then_some(rest)
}

/// A path without the slashes that it begins with; `None` where it begins with none.
fn slashes(path: &[u8]) -> Option<&[u8]> {
    let count = path.iter().take_while(|byte| **byte == b'/').count();
    if count == 0 { None } else { path.get(count..) }
}
