//! Splitting paths: where an application's mount point ends and its own path begins (PEP 3333, "environ
//! Variables"; RFC 3875 sections 4.1.5 and 4.1.13).

/// Splits a decoded path into `(SCRIPT_NAME, PATH_INFO)` for an application mounted at `mount`.
///
/// A mount point's own trailing slash belongs to the path: mounted at `/` an application has the SCRIPT_NAME
/// `""`, as PEP 3333 asks for the root of a server, and mounted at `/app/` it has `/app`. A path that is not
/// below the mount point (a regular expression matched, or a rewrite changed it) is all PATH_INFO.
///
/// ```
/// # use shared::http::target::split;
/// assert_eq!(split(b"/app/a%20b", b"/app"), (&b"/app"[..], &b"/a%20b"[..]));
/// ```
#[must_use]
pub fn split<'a>(path: &'a [u8], mount: &[u8]) -> (&'a [u8], &'a [u8]) {
    let mount = mount.strip_suffix(b"/").unwrap_or(mount);
    match path.strip_prefix(mount) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => path.split_at(mount.len()),
        _ => path.split_at(0),
    }
}

/// SCRIPT_NAME where the server has found PATH_INFO by itself (httpd's directory walk): what of `path` comes
/// before it.
///
/// Several slashes are the same as one, for httpd makes one of them where it looks for the script
/// (`ap_find_path_info`). It is all of the path where a rewrite has left nothing of the path info in it.
#[must_use]
pub fn before_path_info<'a>(path: &'a [u8], path_info: &[u8]) -> &'a [u8] {
    let (mut rest, mut wanted) = (path, path_info);
    while let Some((last, before)) = wanted.split_last() {
        let Some(shorter) = rest.strip_suffix(std::slice::from_ref(last)) else { return path };
        (rest, wanted) =
            if *last == b'/' { (trim_slashes(rest), trim_slashes(wanted)) } else { (shorter, before) };
    }
    rest
}

/// What of a path comes behind the URL path of an alias (`WSGIScriptAlias`), which ends where a segment of
/// the path ends; `None` where the alias does not match. Several slashes are the same as one, as everywhere
/// in httpd.
#[must_use]
pub fn behind_alias<'a>(path: &'a [u8], alias: &[u8]) -> Option<&'a [u8]> {
    let mut rest = path;
    let mut wanted = alias;
    while let Some((first, others)) = wanted.split_first() {
        if *first == b'/' {
            rest = skip_slashes(rest)?;
            wanted = skip_slashes(wanted).unwrap_or(others);
        } else {
            rest = rest.strip_prefix(std::slice::from_ref(first))?;
            wanted = others;
        }
    }
    (rest.is_empty() || rest.starts_with(b"/") || alias.ends_with(b"/")).then_some(rest)
}

/// The URL path that an alias matches: a trailing slash counts only where the target has one as well, so that
/// what comes behind the alias always begins with a slash.
#[must_use]
pub fn alias_path<'a>(written: &'a str, target: &str) -> &'a str {
    if target.ends_with('/') { written } else { written.strip_suffix('/').unwrap_or(written) }
}

/// The target in a request line (RFC 9112 section 3), as the client sent it.
#[must_use]
pub fn of_request_line(line: &[u8]) -> Option<&[u8]> {
    line.split(|byte| *byte == b' ').nth(1)
}

/// A path without the slashes that it ends with.
fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    path.get(..end).unwrap_or_default()
}

/// A path without the slashes that it begins with; `None` where it begins with none.
fn skip_slashes(path: &[u8]) -> Option<&[u8]> {
    let count = path.iter().take_while(|byte| **byte == b'/').count();
    if count == 0 { None } else { path.get(count..) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_mount_point_ends_where_a_segment_ends() {
        for (path, mount, script, info) in [
            ("/", "/", "", "/"),
            ("/a/b", "/", "", "/a/b"),
            ("/app", "/app", "/app", ""),
            ("/app/", "/app", "/app", "/"),
            ("/app/x", "/app/", "/app", "/x"),
            ("/apple", "/app", "", "/apple"),
            ("/other", "/app", "", "/other"),
            ("//x", "/", "", "//x"),
            ("", "/", "", ""),
        ] {
            assert_eq!(
                split(path.as_bytes(), mount.as_bytes()),
                (script.as_bytes(), info.as_bytes()),
                "{path} at {mount}"
            );
        }
    }

    #[test]
    fn the_script_name_is_what_comes_before_the_path_info() {
        for (path, info, script) in [
            ("/app/a", "/a", "/app"),
            ("/app", "", "/app"),
            ("/app/", "/", "/app"),
            ("/", "/", ""),
            ("/app//a///b", "/a/b", "/app"),
            ("/app/a/", "/a/", "/app"),
            ("/app///", "/", "/app"),
            // A rewrite led to another path.
            ("/pretty", "/a", "/pretty"),
        ] {
            assert_eq!(
                before_path_info(path.as_bytes(), info.as_bytes()),
                script.as_bytes(),
                "{path} with {info}"
            );
        }
    }

    #[test]
    fn an_alias_matches_up_to_the_end_of_a_segment() {
        for (path, alias, behind) in [
            ("/app", "/app", Some("")),
            ("/app/a", "/app", Some("/a")),
            ("/apple", "/app", None),
            ("/other", "/app", None),
            ("/a", "", Some("/a")),
            ("//app///a", "/app", Some("///a")),
            ("/scripts/a.wsgi", "/scripts/", Some("a.wsgi")),
            ("/scripts", "/scripts/", None),
            ("/a//b", "/a/b", Some("")),
            ("/", "/", Some("")),
        ] {
            assert_eq!(
                behind_alias(path.as_bytes(), alias.as_bytes()),
                behind.map(str::as_bytes),
                "{path} below {alias}"
            );
        }
    }

    #[test]
    fn a_trailing_slash_of_an_alias_counts_only_with_that_of_its_target() {
        assert_eq!(alias_path("/", "/srv/app.wsgi"), "");
        assert_eq!(alias_path("/app/", "/srv/app.wsgi"), "/app");
        assert_eq!(alias_path("/app", "/srv/app.wsgi"), "/app");
        assert_eq!(alias_path("/scripts/", "/srv/scripts/"), "/scripts/");
    }

    #[test]
    fn the_target_is_the_second_word_of_a_request_line() {
        assert_eq!(of_request_line(b"GET /a%2Fb?c HTTP/1.1"), Some(&b"/a%2Fb?c"[..]));
        assert_eq!(of_request_line(b"GET /a"), Some(&b"/a"[..]));
        assert_eq!(of_request_line(b"GET"), None);
        assert_eq!(of_request_line(b""), None);
    }

    proptest! {
        #[test]
        fn the_two_parts_of_a_path_are_the_path(path in "[/a]{0,8}", mount in "[/a]{0,4}") {
            let (script, info) = split(path.as_bytes(), mount.as_bytes());
            prop_assert_eq!([script, info].concat(), path.as_bytes());
            prop_assert!(info.is_empty() || info.starts_with(b"/") || script.is_empty());
        }

        #[test]
        fn what_was_put_together_of_mount_and_path_is_taken_apart_again(
            mount in "(/[a-c]{1,3}){0,3}", info in "(/[a-c]{0,3}){0,3}"
        ) {
            let path = format!("{mount}{info}");
            prop_assert_eq!(split(path.as_bytes(), mount.as_bytes()), (mount.as_bytes(), info.as_bytes()));
            prop_assert_eq!(behind_alias(path.as_bytes(), mount.as_bytes()), Some(info.as_bytes()));
        }

        #[test]
        fn the_script_name_does_not_depend_on_how_often_a_slash_is_said(
            script in "(/[a-c]{1,3}){0,3}", info in "(/[a-c]{1,3}){1,3}/?", times in 1_usize..4
        ) {
            let doubled = info.replace('/', &"/".repeat(times));
            let path = format!("{script}{doubled}");
            prop_assert_eq!(before_path_info(path.as_bytes(), info.as_bytes()), script.as_bytes());
        }

        #[test]
        fn any_bytes_are_split_without_harm(path: Vec<u8>, other: Vec<u8>) {
            let _ = split(&path, &other);
            prop_assert!(path.starts_with(before_path_info(&path, &other)));
            let behind = behind_alias(&path, &other);
            prop_assert!(behind.is_none_or(|behind| path.ends_with(behind)));
        }
    }
}
