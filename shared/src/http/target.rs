//! Where an application's mount point ends and its own path begins (PEP 3333, "environ Variables").

/// Splits a decoded path into `(SCRIPT_NAME, PATH_INFO)` for an application mounted at `mount`.
///
/// A mount point's own trailing slash belongs to the path: mounted at `/` an application has the SCRIPT_NAME `""`, as PEP 3333
/// asks for the root of a server, and mounted at `/app/` it has `/app`. A path that is not below the mount point (a regular
/// expression matched, or a rewrite changed it) is all PATH_INFO.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
