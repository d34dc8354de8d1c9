//! A value that may have variables.

use nginx_sys::{
    ngx_http_compile_complex_value, ngx_http_compile_complex_value_t, ngx_http_complex_value,
    ngx_http_complex_value_t, ngx_str_t,
};

use super::conf::Conf;
use super::request::Request;
use super::zeroed::Zeroed;
use super::{OK, bytes_of};

/// A compiled value. Its parts live in the configuration's pool, as long as the configuration that holds it.
pub struct ComplexValue {
    compiled: ngx_http_complex_value_t,
}

impl ComplexValue {
    /// Compiles `text`; `None` when that failed, which nginx has logged.
    pub fn compile(conf: &Conf<'_>, text: &[u8]) -> Option<Self> {
        let mut text = conf.pool().copy(text)?;
        let mut compiled = ngx_http_complex_value_t::zeroed();
        let mut compile = ngx_http_compile_complex_value_t {
            cf: conf.raw(),
            value: &raw mut text,
            complex_value: &raw mut compiled,
            ..ngx_http_compile_complex_value_t::zeroed()
        };
        // SAFETY: the text is of the configuration's pool, where nginx puts the parts as well, and
        // NUL-terminated; the rest is looked at for the call only.
        let code = unsafe { ngx_http_compile_complex_value(&raw mut compile) };
        (code == OK).then_some(Self { compiled })
    }

    /// Whether it is the same for every request.
    pub fn is_constant(&self) -> bool {
        self.compiled.lengths.is_null()
    }

    /// The value for a request; `None` when that failed, which nginx has logged.
    pub fn evaluate<'r>(&self, request: &'r Request) -> Option<&'r [u8]> {
        let mut value = ngx_str_t::empty();
        // SAFETY: the request lives; nginx reads the compiled value only, and puts the result into the
        // request's pool.
        unsafe {
            let compiled = (&raw const self.compiled).cast_mut();
            (ngx_http_complex_value(request.raw(), compiled, &raw mut value) == OK).then(|| bytes_of(value))
        }
    }
}
