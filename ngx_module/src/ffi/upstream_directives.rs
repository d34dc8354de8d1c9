//! The directives of nginx's upstreams, from the rows of [`shared::nginx_upstream_directives`]: which field
//! of nginx's configuration each sets, with which of nginx's setters, and what the field holds while nothing
//! is written.

use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_2MORE, NGX_CONF_FLAG, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_CONF_TAKE123,
    NGX_CONF_TAKE1234, NGX_HTTP_UPSTREAM_FT_ERROR, NGX_HTTP_UPSTREAM_FT_HTTP_403,
    NGX_HTTP_UPSTREAM_FT_HTTP_404, NGX_HTTP_UPSTREAM_FT_HTTP_429, NGX_HTTP_UPSTREAM_FT_HTTP_500,
    NGX_HTTP_UPSTREAM_FT_HTTP_502, NGX_HTTP_UPSTREAM_FT_HTTP_503, NGX_HTTP_UPSTREAM_FT_HTTP_504,
    NGX_HTTP_UPSTREAM_FT_INVALID_HEADER, NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT, NGX_HTTP_UPSTREAM_FT_OFF,
    NGX_HTTP_UPSTREAM_FT_TIMEOUT, NGX_HTTP_UPSTREAM_FT_UPDATING, ngx_array_t, ngx_bufs_t, ngx_conf_bitmask_t,
    ngx_http_complex_value_t, ngx_http_upstream_conf_t, ngx_path_t, ngx_str_t, off_t,
};

use super::conf::{Conf, Refusal, Setter};
use super::text;

/// A directive of nginx's upstreams.
pub struct Directive {
    /// Its name.
    pub name: &'static CStr,
    /// How many words it takes (`NGX_CONF_TAKE1` and its like).
    pub takes: u32,
    /// Whether it stands in `http` only.
    pub is_http_only: bool,
    /// The field that one of nginx's setters sets; without one the directive has a setter of its own.
    pub field: Option<Field>,
}

/// A field that a directive sets.
pub struct Field {
    pub(super) unset: fn(&mut ngx_http_upstream_conf_t),
    pub(super) set: fn(&mut ngx_http_upstream_conf_t, &Conf<'_>) -> Result<(), Refusal>,
    pub(super) merge: fn(&mut ngx_http_upstream_conf_t, &ngx_http_upstream_conf_t),
    pub(super) set_default: fn(&mut ngx_http_upstream_conf_t),
}

/// What nginx calls `NGX_CONF_UNSET_PTR`.
pub(super) fn unset_pointer<T>() -> *mut T {
    std::ptr::without_provenance_mut(usize::MAX)
}

/// What a directive's value is: how nginx reads a `T`, and what the field holds while nothing is written. The
/// setter writes one `T`, or nothing, to the place that it is given.
trait Value<T> {
    const TAKES: u32 = NGX_CONF_TAKE1;
    const SETTER: Setter;
    /// What the setter wants besides the place (`ngx_command_t.post`).
    fn post() -> *mut c_void {
        null_mut()
    }
    fn unset() -> T;
    fn is_unset(value: &T) -> bool;
    /// Where the row has no default and `upstream::merge` none either.
    fn default() -> Option<T> {
        None
    }
}

macro_rules! values {
    ($($name:ident($type:ty) by $setter:ident, unset $unset:expr, takes $takes:expr
        $(, default $default:expr)? $(, post $post:expr)?;)*) => {$(
        impl Value<$type> for $name {
            const TAKES: u32 = $takes;
            const SETTER: Setter = nginx_sys::$setter;
            fn unset() -> $type { $unset }
            fn is_unset(value: &$type) -> bool { value == &$unset }
            $(fn default() -> Option<$type> { Some($default) })?
            $(fn post() -> *mut c_void { $post })?
        }
    )*};
}

struct Flag;
struct Number;
struct Size;
struct Milliseconds;
struct Offset;
struct Buffers;
struct Path;
struct Texts;
struct Predicates;
struct Validity;
struct Access;
struct Rate;
struct RetryReasons;
struct IgnoredHeaders;
struct Methods;

values! {
    Flag(isize) by ngx_conf_set_flag_slot, unset -1, takes NGX_CONF_FLAG;
    Number(usize) by ngx_conf_set_num_slot, unset usize::MAX, takes NGX_CONF_TAKE1;
    Size(usize) by ngx_conf_set_size_slot, unset usize::MAX, takes NGX_CONF_TAKE1;
    Milliseconds(usize) by ngx_conf_set_msec_slot, unset usize::MAX, takes NGX_CONF_TAKE1;
    Offset(off_t) by ngx_conf_set_off_slot, unset -1, takes NGX_CONF_TAKE1;
    Path(*mut ngx_path_t) by ngx_conf_set_path_slot, unset null_mut(), takes NGX_CONF_TAKE1234;
    // Merged once more by nginx, together with the headers that are hidden by default.
    Texts(*mut ngx_array_t) by ngx_conf_set_str_array_slot, unset unset_pointer(), takes NGX_CONF_TAKE1;
    Predicates(*mut ngx_array_t) by ngx_http_set_predicate_slot, unset unset_pointer(), takes NGX_CONF_1MORE,
        default null_mut();
    Validity(*mut ngx_array_t) by ngx_http_file_cache_valid_set_slot, unset unset_pointer(), takes NGX_CONF_1MORE,
        default null_mut();
    Access(usize) by ngx_conf_set_access_slot, unset usize::MAX, takes NGX_CONF_TAKE123;
    // nginx before 1.27 knows a size here, and later a value that may have variables.
    Rate(usize) by ngx_conf_set_size_slot, unset usize::MAX, takes NGX_CONF_TAKE1, default 0;
    Rate(*mut ngx_http_complex_value_t) by ngx_http_set_complex_value_size_slot, unset unset_pointer(),
        takes NGX_CONF_TAKE1, default null_mut();
    RetryReasons(usize) by ngx_conf_set_bitmask_slot, unset 0, takes NGX_CONF_1MORE,
        post (&raw const RETRY_REASONS).cast_mut().cast();
    IgnoredHeaders(usize) by ngx_conf_set_bitmask_slot, unset 0, takes NGX_CONF_1MORE, default BITMASK_SET,
        post (&raw mut nginx_sys::ngx_http_upstream_ignore_headers_masks).cast();
    Methods(usize) by ngx_conf_set_bitmask_slot, unset 0, takes NGX_CONF_1MORE,
        post (&raw mut nginx_sys::ngx_http_upstream_cache_method_mask).cast();
}

impl Value<ngx_bufs_t> for Buffers {
    const TAKES: u32 = NGX_CONF_TAKE2;
    const SETTER: Setter = nginx_sys::ngx_conf_set_bufs_slot;
    fn unset() -> ngx_bufs_t {
        ngx_bufs_t { num: 0, size: 0 }
    }
    fn is_unset(value: &ngx_bufs_t) -> bool {
        value.num == 0
    }
}

/// nginx's list of masks, with the empty one that ends it.
#[repr(transparent)]
struct Masks<const N: usize>([ngx_conf_bitmask_t; N]);

// SAFETY: names that live for ever, which nobody writes to.
unsafe impl<const N: usize> Sync for Masks<N> {}

const fn mask(name: &'static CStr, mask: u32) -> ngx_conf_bitmask_t {
    ngx_conf_bitmask_t { name: text(name), mask: mask as usize }
}

/// What `wsgi_next_upstream` and `wsgi_cache_use_stale` understand: the values of `uwsgi_pass`, and the two
/// statuses that only `proxy_pass` knows, with which neatd answers too.
static RETRY_REASONS: Masks<14> = Masks([
    mask(c"error", NGX_HTTP_UPSTREAM_FT_ERROR),
    mask(c"timeout", NGX_HTTP_UPSTREAM_FT_TIMEOUT),
    mask(c"invalid_header", NGX_HTTP_UPSTREAM_FT_INVALID_HEADER),
    mask(c"non_idempotent", NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT),
    mask(c"http_500", NGX_HTTP_UPSTREAM_FT_HTTP_500),
    mask(c"http_502", NGX_HTTP_UPSTREAM_FT_HTTP_502),
    mask(c"http_503", NGX_HTTP_UPSTREAM_FT_HTTP_503),
    mask(c"http_504", NGX_HTTP_UPSTREAM_FT_HTTP_504),
    mask(c"http_403", NGX_HTTP_UPSTREAM_FT_HTTP_403),
    mask(c"http_404", NGX_HTTP_UPSTREAM_FT_HTTP_404),
    mask(c"http_429", NGX_HTTP_UPSTREAM_FT_HTTP_429),
    mask(c"updating", NGX_HTTP_UPSTREAM_FT_UPDATING),
    mask(c"off", NGX_HTTP_UPSTREAM_FT_OFF),
    ngx_conf_bitmask_t { name: ngx_str_t::empty(), mask: 0 },
]);

/// What nginx calls `NGX_CONF_BITMASK_SET`.
pub const BITMASK_SET: usize = 1;

fn unset<V: Value<T>, T>(field: &mut T) {
    *field = V::unset();
}

fn merge<V: Value<T>, T: Copy>(inner: &mut T, outer: &T) {
    if V::is_unset(inner) {
        *inner = *outer;
    }
}

fn set_default<V: Value<T>, T>(field: &mut T, default: Option<T>) {
    if let Some(default) = default.or_else(V::default) {
        if V::is_unset(field) {
            *field = default;
        }
    }
}

fn set<V: Value<T>, T>(field: &mut T, conf: &Conf<'_>) -> Result<(), Refusal> {
    // SAFETY: as `Value` says, the setter writes one `T` to where it is told to.
    unsafe { conf.set(V::SETTER, std::ptr::from_mut(field).cast(), V::post()) }
}

/// The rows of the table as directives.
macro_rules! directives {
    ($($name:literal $value:ident($($argument:tt)*) takes $syntax:literal, default $default:literal, $doc:literal
        $(, other $difference:literal)?;)*) => {
        /// All of them, in the order of their table.
        pub static DIRECTIVES: &[Directive] = &[$(directive!($name, $value($($argument)*))),*];
    };
}

macro_rules! directive {
    ($name:literal, Own($takes:ident)) => {
        Directive { name: $name, takes: $takes, is_http_only: false, field: None }
    };
    ($name:literal, OwnOfHttp($takes:ident)) => {
        Directive { name: $name, takes: $takes, is_http_only: true, field: None }
    };
    ($name:literal, $value:ident($field:ident)) => {
        directive!($name, $value, $field, None)
    };
    ($name:literal, $value:ident($field:ident, $default:expr)) => {
        directive!($name, $value, $field, Some($default))
    };
    ($name:literal, $value:ident, $field:ident, $default:expr) => {
        Directive {
            name: $name,
            takes: takes_of::<$value, _>(|conf: &ngx_http_upstream_conf_t| conf.$field),
            is_http_only: false,
            field: Some(Field {
                unset: |conf| unset::<$value, _>(&mut conf.$field),
                set: |conf, cf| set::<$value, _>(&mut conf.$field, cf),
                merge: |inner, outer| merge::<$value, _>(&mut inner.$field, &outer.$field),
                set_default: |conf| set_default::<$value, _>(&mut conf.$field, $default),
            }),
        }
    };
}

const fn takes_of<V: Value<T>, T>(_field: fn(&ngx_http_upstream_conf_t) -> T) -> u32 {
    V::TAKES
}

shared::nginx_upstream_directives!(directives);
