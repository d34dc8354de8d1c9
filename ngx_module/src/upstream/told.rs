//! Every directive of nginx's tables is told in `shared::vocabulary::upstream`, and no other: the module is not built otherwise.

use nginx_sys::{ngx_command_t, ngx_str_t};
use shared::vocabulary::upstream::UPSTREAM_DIRECTIVES;

/// The tables as they are. It takes them through its hands instead of standing beside them in a `const _`, which a compiler of
/// 1.85 does not count as a use.
pub(crate) const fn all_told<const N: usize>(tables: [&[ngx_command_t]; N]) -> [&[ngx_command_t]; N] {
    let (mut count, mut index) = (0, 0);
    while index < N {
        let mut row = 0;
        while row < tables[index].len() {
            assert!(is_told(&tables[index][row].name), "shared::vocabulary::upstream lacks a directive");
            (count, row) = (count + 1, row + 1);
        }
        index += 1;
    }
    assert!(count == UPSTREAM_DIRECTIVES.len(), "shared::vocabulary::upstream has a directive too many");
    tables
}

const fn is_told(name: &ngx_str_t) -> bool {
    // SAFETY: a name in our tables is a text of the program's.
    let name = unsafe { std::slice::from_raw_parts(name.data.cast_const(), name.len) };
    let mut index = 0;
    while index < UPSTREAM_DIRECTIVES.len() {
        if is_same(UPSTREAM_DIRECTIVES[index].name.to_bytes(), name) {
            return true;
        }
        index += 1;
    }
    false
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}
