//! What this edge has to know of the module that uses it: nginx's record of it, and the types of its configurations. It is said in one
//! place, outside of this folder, so that nothing in here names what lies above.

use nginx_sys::ngx_module_t;

/// A module of nginx's `http`.
///
/// # Safety
/// `record` is the record that nginx loaded, and under its index lie configurations of these types: made by its `create_main_conf` and
/// `create_loc_conf`, or null where those failed.
pub unsafe trait Module {
    /// What its `create_main_conf` makes.
    type Main;
    /// What its `create_loc_conf` makes.
    type Loc;

    /// Its record.
    fn record() -> *const ngx_module_t;
}

/// Where a module's entries are in the arrays of a request, a location or `http`.
pub(super) fn context_index<M: Module>() -> usize {
    // SAFETY: nginx writes it once, before it calls anything of the module.
    unsafe { (*M::record()).ctx_index }
}
