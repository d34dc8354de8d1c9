//! nginx's directives of an upstream. Most are a row of `shared::nginx_upstream_directives` and nothing else;
//! here are those that have a setter of their own, and the defaults that depend on something.

pub(super) mod buffers;
pub(super) mod cache;
pub(super) mod retry;
mod store;

use std::ffi::CStr;

use crate::conf::{LocConf, MainConf};
use crate::ffi::conf::{Conf, Refusal};
use crate::ffi::upstream_directives::DIRECTIVES;

/// A setter of our own.
type Setter = fn(&Conf<'_>, &mut MainConf, &mut LocConf) -> Result<(), Refusal>;

/// The directives that have one.
const SETTERS: [(&CStr, Setter); 4] = [
    (c"wsgi_cache", cache::set_zone),
    (c"wsgi_cache_key", cache::set_key),
    (c"wsgi_cache_path", cache::declare),
    (c"wsgi_store", store::set),
];

/// Takes a directive.
///
/// # Errors
/// It is refused.
pub fn apply(name: &[u8], conf: &Conf<'_>) -> Result<(), Refusal> {
    let (Some(main), Some(location)) = (conf.main(), conf.loc_conf()) else { return Err(Refusal::Logged) };
    let field = DIRECTIVES.iter().find(|row| row.name.to_bytes() == name).and_then(|row| row.field.as_ref());
    if let Some(field) = field {
        return location.upstream.set(field, conf);
    }
    let setter = SETTERS.iter().find(|(own, _)| own.to_bytes() == name);
    setter.map_or(Err(Refusal::Because(c"has no setter")), |(_, set)| set(conf, main, location))
}
