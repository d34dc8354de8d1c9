//! httpd's regular expressions.

use std::ffi::CString;

use httpd_sys::{AP_REG_EXTENDED, ap_pregcomp, ap_pregsub, ap_regex_t, ap_regexec, ap_regmatch_t};

use super::Pool;
use super::text::borrowed;

/// `AP_MAX_REG_MATCH`: `$0` to `$9`.
const GROUPS: usize = 10;

/// A compiled expression, which lives as long as the configuration.
#[derive(Clone, Copy)]
pub struct Regex(*mut ap_regex_t);

// SAFETY: the expression is compiled once and only matched afterwards, which httpd itself does from many
// threads.
unsafe impl Send for Regex {}
// SAFETY: as above.
unsafe impl Sync for Regex {}

impl Regex {
    /// Compiles an expression into the configuration's pool; `None` where it is none.
    pub fn compile(pool: Pool<'_>, expression: &str) -> Option<Self> {
        let expression = CString::new(expression).ok()?;
        // SAFETY: pool and text live for the call.
        let compiled = unsafe { ap_pregcomp(pool.raw(), expression.as_ptr(), AP_REG_EXTENDED) };
        (!compiled.is_null()).then_some(Self(compiled))
    }

    /// The template with its `$1` to `$9` replaced by the groups, if the subject matches.
    pub fn substitute(self, pool: Pool<'_>, subject: &[u8], template: &[u8]) -> Option<Vec<u8>> {
        let subject = CString::new(subject).ok()?;
        let template = CString::new(template).ok()?;
        // SAFETY: all zeroes is a value of this C structure of two numbers.
        let mut groups: [ap_regmatch_t; GROUPS] = unsafe { std::mem::zeroed() };
        // SAFETY: the expression lives; the arrays and texts live for the calls, and what is returned lives
        // in the pool.
        unsafe {
            if ap_regexec(self.0, subject.as_ptr(), GROUPS, groups.as_mut_ptr(), 0) != 0 {
                return None;
            }
            let found =
                ap_pregsub(pool.raw(), template.as_ptr(), subject.as_ptr(), GROUPS, groups.as_mut_ptr());
            borrowed(found).map(<[u8]>::to_vec)
        }
    }
}
