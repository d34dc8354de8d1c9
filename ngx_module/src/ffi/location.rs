//! What the core module knows of a location.

use nginx_sys::{ngx_http_core_loc_conf_t, ngx_http_core_srv_conf_t, ngx_http_handler_pt};

use super::live::Live;

/// The core module's configuration of a location, while the configuration is read.
pub struct Location<'a> {
    core: Live<'a, ngx_http_core_loc_conf_t>,
    server: Live<'a, ngx_http_core_srv_conf_t>,
}

impl<'a> Location<'a> {
    pub(super) const fn new(
        core: Live<'a, ngx_http_core_loc_conf_t>,
        server: Live<'a, ngx_http_core_srv_conf_t>,
    ) -> Self {
        Self { core, server }
    }

    /// Its name, or the text of its regular expression.
    pub fn name(&self) -> &[u8] {
        self.core.name()
    }

    /// Whether it is an `if` or a `limit_except` of the location around it.
    pub fn is_part_of_another(&self) -> bool {
        self.core.get(|core| core.noname()) != 0
    }

    /// Whether it is a `limit_except`.
    pub fn is_limit_except(&self) -> bool {
        self.core.get(|core| core.lmt_excpt()) != 0
    }

    /// Whether its name is the beginning of the paths that it takes.
    pub fn is_prefix(&self) -> bool {
        self.core.get(|core| core.regex.is_null() && core.named() == 0)
    }

    /// Whether another handler was set.
    pub fn has_handler(&self) -> bool {
        self.core.get(|core| core.handler.is_some())
    }

    /// Sets the handler. A location that ends in a slash answers the path without it with a redirect, as for
    /// nginx's own `_pass` directives.
    pub fn set_handler(&mut self, handler: ngx_http_handler_pt) {
        self.core.set(handler, |core, handler| core.handler = handler);
        if self.name().ends_with(b"/") {
            self.core.set(1, ngx_http_core_loc_conf_t::set_auto_redirect);
        }
    }

    /// The directory of `root` or `alias`, where it has no variables.
    pub fn root(&self) -> Option<&[u8]> {
        self.core.get(|core| core.root_lengths.is_null()).then(|| self.core.root())
    }

    /// `$server_name`.
    pub fn server_name(&self) -> &[u8] {
        self.server.server_name()
    }
}
