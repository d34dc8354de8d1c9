//! `wsgi_store`: responses that are kept as files, for nginx to serve by itself afterwards.

use crate::conf::{LocConf, MainConf};
use crate::ffi::conf::{Conf, Refusal};

/// `wsgi_store` (`ngx_http_uwsgi_store`).
pub(super) fn set(conf: &Conf<'_>, _: &mut MainConf, location: &mut LocConf) -> Result<(), Refusal> {
    let upstream = &mut location.upstream;
    if upstream.store().is_some() {
        return Err(Refusal::Because(c"is duplicate"));
    }
    let words = conf.words();
    let path = words.first().copied().unwrap_or_default();
    if path == b"off" {
        upstream.set_store(false);
        return Ok(());
    }
    if upstream.cache() == Some(true) {
        return Err(Refusal::Because(c"is incompatible with \"wsgi_cache\""));
    }
    upstream.set_store(true);
    if path == b"on" {
        return Ok(());
    }
    upstream.set_store_path(conf, path).ok_or(Refusal::Logged)
}
