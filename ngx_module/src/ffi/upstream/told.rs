//! Every directive of nginx's tables is told in `shared::vocabulary::upstream`, and no other: the module is not built otherwise.

use nginx_sys::ngx_str_t;
use shared::vocabulary::upstream::UPSTREAM_DIRECTIVES;

use super::COMMANDS;

const _: () = {
    let (mut count, mut index) = (0, 0);
    while index < COMMANDS.len() {
        let mut row = 0;
        while row < COMMANDS[index].len() {
            assert!(is_told(&COMMANDS[index][row].name), "shared::vocabulary::upstream lacks a directive");
            (count, row) = (count + 1, row + 1);
        }
        index += 1;
    }
    assert!(count == UPSTREAM_DIRECTIVES.len(), "shared::vocabulary::upstream has a directive too many");
};

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
