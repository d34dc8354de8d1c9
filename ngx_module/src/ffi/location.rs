//! What the core module knows of a location.

use nginx_sys::{ngx_http_core_loc_conf_t, ngx_http_core_srv_conf_t, ngx_http_handler_pt};

use super::bytes_of;

/// The core module's configuration of a location, while the configuration is read.
pub struct Location<'a> {
    core: &'a mut ngx_http_core_loc_conf_t,
    server: &'a ngx_http_core_srv_conf_t,
}

impl<'a> Location<'a> {
    pub(super) fn new(core: &'a mut ngx_http_core_loc_conf_t, server: &'a ngx_http_core_srv_conf_t) -> Self {
        Self { core, server }
    }

    /// Its name, or the text of its regular expression.
    pub fn name(&self) -> &[u8] {
        // SAFETY: lives as long as the configuration.
        unsafe { bytes_of(self.core.name) }
    }

    /// Whether it is an `if` or a `limit_except` of the location around it.
    pub fn is_part_of_another(&self) -> bool {
        self.core.noname() != 0
    }

    /// Whether it is a `limit_except`.
    pub fn is_limit_except(&self) -> bool {
        self.core.lmt_excpt() != 0
    }

    /// Whether its name is the beginning of the paths that it takes.
    pub fn is_prefix(&self) -> bool {
        self.core.regex.is_null() && self.core.named() == 0
    }

    /// Whether another handler was set.
    pub fn has_handler(&self) -> bool {
        self.core.handler.is_some()
    }

    /// Sets the handler. A location that ends in a slash answers the path without it with a redirect, as for
    /// nginx's own
    /// `_pass` directives.
    pub fn set_handler(&mut self, handler: ngx_http_handler_pt) {
        self.core.handler = handler;
        if self.name().ends_with(b"/") {
            self.core.set_auto_redirect(1);
        }
    }

    /// The directory of `root` or `alias`, where it has no variables.
    pub fn root(&self) -> Option<&[u8]> {
        // SAFETY: lives as long as the configuration.
        self.core.root_lengths.is_null().then(|| unsafe { bytes_of(self.core.root) })
    }

    /// `$server_name`.
    pub fn server_name(&self) -> &[u8] {
        // SAFETY: lives as long as the configuration.
        unsafe { bytes_of(self.server.server_name) }
    }
}
