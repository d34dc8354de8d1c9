//! nginx's cache of responses: where it is, what a response is cached under, when a stale one will do, and
//! what a group is asked for where the response is to be everybody's.

use std::rc::Rc;

use crate::conf::{LocConf, MainConf};
use crate::ffi::complex_value::ComplexValue;
use crate::ffi::conf::{Conf, Refusal};
use crate::ffi::request::Request;
use crate::ffi::upstream::Upstream;
use crate::ffi::{Code, ERROR, OK};
use crate::request::ForCache;

/// `wsgi_cache`.
pub(super) fn set_zone(conf: &Conf<'_>, _: &mut MainConf, location: &mut LocConf) -> Result<(), Refusal> {
    let upstream = &mut location.upstream;
    if upstream.cache().is_some() {
        return Err(Refusal::Because(c"is duplicate"));
    }
    let words = conf.words();
    let name = words.first().copied().unwrap_or_default();
    if name == b"off" {
        upstream.set_cache_off();
        return Ok(());
    }
    upstream.set_cache_zone(conf, name).ok_or(Refusal::Logged)
}

/// `wsgi_cache_key`.
pub(super) fn set_key(conf: &Conf<'_>, _: &mut MainConf, location: &mut LocConf) -> Result<(), Refusal> {
    if location.cache_key.is_some() {
        return Err(Refusal::Because(c"is duplicate"));
    }
    let words = conf.words();
    let key = ComplexValue::compile(conf, words.first().copied().unwrap_or_default());
    location.cache_key = Some(Rc::new(key.ok_or(Refusal::Logged)?));
    Ok(())
}

/// `wsgi_cache_path`.
pub(super) fn declare(conf: &Conf<'_>, main: &mut MainConf, _: &mut LocConf) -> Result<(), Refusal> {
    main.caches.declare(conf)
}

/// Says what a response is cached under: what was configured, or what the client asked for.
pub(crate) fn create_key(request: Request, upstream: &mut Upstream<'_>) -> Code {
    let key = match request.location().and_then(|location| location.cache_key.as_deref()) {
        Some(key) => key.evaluate(&request).map(<[u8]>::to_vec),
        None => Some([request.host(), request.unparsed_uri()].concat()),
    };
    if key.is_some_and(|key| upstream.push_cache_key(&key)) { OK } else { ERROR }
}

/// What is asked where the response is to be cached, which nginx has decided by now.
pub(crate) fn asks_for(upstream: &mut Upstream<'_>) -> Option<ForCache> {
    if !upstream.switches().cacheable {
        return None;
    }
    let expired = upstream.expired().unwrap_or_default();
    let as_get = upstream.asks_with_get();
    Some(ForCache { as_get, last_modified: expired.last_modified, etag: expired.etag })
}
