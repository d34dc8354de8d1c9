//! What holds for the response of a process group and of no other: httpd may respond in its place, as with a
//! CGI script's.

use shared::wsgi::response::ResponseHead;

use crate::exchange::Outcome;

/// The rules of a section of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct GroupResponses {
    /// Whether httpd's own error pages replace the application's (`WSGIErrorOverride`).
    pub error_override: bool,
}

impl GroupResponses {
    /// What httpd responds with instead: its own error page, or, for a 200 with a `Location` that is a path,
    /// what is there (RFC 3875 section 6.2.2, which mod_wsgi keeps to in daemon mode).
    pub fn replacement(self, head: ResponseHead<'_>) -> Option<Outcome> {
        if self.error_override && head.status >= 400 {
            return Some(Outcome::Status(head.status));
        }
        let location = head.fields().find(|(name, _)| name.eq_ignore_ascii_case(b"location"));
        let path = location.map(|(_, value)| value).filter(|value| value.starts_with(b"/"))?;
        (head.status == 200).then(|| Outcome::Redirect(path.to_vec()))
    }
}
