//! The response's head, from the engine's fields to nginx's.
#![deny(unsafe_code)]

use shared::wsgi::response::OwnedResponseHead;

use crate::embedded::output::NoMemory;
use crate::ffi::request::Request;
use crate::ffi::response_headers::HeaderField;

/// Fills in the head. What nginx's own upstream does with such a header is done with it here.
///
/// # Errors
/// nginx has no memory.
pub fn fill(request: Request, head: &OwnedResponseHead) -> Result<(), NoMemory> {
    let view = head.view();
    if !request.set_status(view.status, view.reason) {
        return Err(NoMemory);
    }
    request.set_content_length(view.length);
    for (name, value) in view.fields() {
        if name.eq_ignore_ascii_case(b"content-type") {
            let (essence, charset) = charset(value);
            if !request.set_content_type(value, essence, charset) {
                return Err(NoMemory);
            }
            continue;
        }
        let field = field_of(name, value);
        if field == HeaderField::LastModified {
            request.set_last_modified_time(value);
        }
        if !request.add_header(field, name, value) {
            return Err(NoMemory);
        }
    }
    Ok(())
}

fn field_of(name: &[u8], value: &[u8]) -> HeaderField {
    const FIELDS: &[(&[u8], HeaderField)] = &[
        (b"server", HeaderField::Server),
        (b"date", HeaderField::Date),
        (b"content-encoding", HeaderField::ContentEncoding),
        (b"location", HeaderField::Location),
        (b"refresh", HeaderField::Refresh),
        (b"last-modified", HeaderField::LastModified),
        (b"content-range", HeaderField::ContentRange),
        (b"accept-ranges", HeaderField::AcceptRanges),
        (b"www-authenticate", HeaderField::WwwAuthenticate),
        (b"expires", HeaderField::Expires),
        (b"etag", HeaderField::Etag),
        (b"cache-control", HeaderField::CacheControl),
        (b"link", HeaderField::Link),
    ];
    let field = FIELDS
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map_or(HeaderField::Other, |(_, field)| *field);
    // nginx would make a path in its field into a whole URL: it is the application's to say which.
    if field == HeaderField::Location && value.starts_with(b"/") { HeaderField::Other } else { field }
}

/// Where the charset of a content type stands, and how long the type is without its parameters if it has one
/// (`ngx_http_upstream_copy_content_type`).
fn charset(value: &[u8]) -> (usize, Option<std::ops::Range<usize>>) {
    let mut from = 0;
    while let Some(found) = value.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b';')) {
        let semicolon = from + found;
        let rest = value.get(semicolon + 1..).unwrap_or_default();
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        let name = semicolon + 1 + spaces;
        if value.get(name..name + 8).is_some_and(|name| name.eq_ignore_ascii_case(b"charset=")) {
            let quote = usize::from(value.get(name + 8) == Some(&b'"'));
            let start = name + 8 + quote;
            let end = value.len() - usize::from(value.ends_with(b"\"") && value.len() > start);
            return (semicolon, Some(start..end));
        }
        from = semicolon + 1;
    }
    (value.len(), None)
}
