//! What users of `uwsgi_pass` know, under the names of this module: nginx's own directives of an upstream.
//! nginx reads and judges them by itself, so that this table has words only. The module is not built when its
//! directives are other ones than these, and `conf-examples/NGINX-UPSTREAM.md` is printed from it.

use std::ffi::CStr;
use std::fmt::Write;

/// One directive.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamDirective {
    /// Its name.
    pub name: &'static CStr,
    /// What it takes.
    pub syntax: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Where that is something else than its namesake of `uwsgi_pass` does; empty where it is the same.
    pub difference: &'static str,
}

const fn same(
    name: &'static CStr,
    syntax: &'static str,
    default: &'static str,
    doc: &'static str,
) -> UpstreamDirective {
    UpstreamDirective { name, syntax, default, doc, difference: "" }
}

const fn other(directive: UpstreamDirective, difference: &'static str) -> UpstreamDirective {
    UpstreamDirective { difference, ..directive }
}

/// The one that stands in `http` only.
const HTTP_ONLY: &CStr = c"wsgi_cache_path";

/// All of them.
pub const UPSTREAM_DIRECTIVES: &[UpstreamDirective] = &[
    same(
        c"wsgi_buffering",
        "on\\|off",
        "on",
        "Whether nginx takes a response as fast as it comes, and a slow client keeps no Python thread",
    ),
    other(
        same(c"wsgi_buffer_size", "size", "16k", "The buffer of a response's head"),
        "The default is a page there; a head that is cached has to fit as a whole",
    ),
    same(
        c"wsgi_buffers",
        "number size",
        "8 and a page each",
        "The buffers of a response's body, for each connection",
    ),
    same(
        c"wsgi_busy_buffers_size",
        "size",
        "twice the larger of `wsgi_buffer_size` and a buffer of `wsgi_buffers`",
        "How much may be on its way to the client while the response is still being read",
    ),
    same(
        c"wsgi_max_temp_file_size",
        "size",
        "1024m",
        "How much of a response may lie in a file when the buffers are full; 0 for nothing",
    ),
    same(
        c"wsgi_temp_file_write_size",
        "size",
        "twice the larger of `wsgi_buffer_size` and a buffer of `wsgi_buffers`",
        "How much is written to such a file at a time",
    ),
    other(
        same(
            c"wsgi_temp_path",
            "path [level1 [level2 [level3]]]",
            "that of `uwsgi_temp_path`",
            "Where such files lie",
        ),
        "nginx was built without a place of this module's own",
    ),
    other(
        same(
            c"wsgi_connect_timeout",
            "time",
            "the group's `connect-timeout`",
            "How long a connection may take",
        ),
        "The default is 60s there; a socket of this machine answers at once",
    ),
    other(
        same(
            c"wsgi_send_timeout",
            "time",
            "the group's `socket-timeout`",
            "How long the group may take nothing of a request",
        ),
        "The default is 60s there",
    ),
    other(
        same(
            c"wsgi_read_timeout",
            "time",
            "the group's `response-socket-timeout`",
            "How long the group may send nothing of a response",
        ),
        "The default is 60s there; the group's `request-timeout` holds as well",
    ),
    other(
        same(
            c"wsgi_next_upstream",
            "error\\|timeout\\|invalid_header\\|http_500\\|http_502\\|http_503\\|http_504\\|http_403\\|http_404\\|http_429\\|non_idempotent\\|off ...",
            "only what surely never began",
            "After which failures a request is asked again, over a new connection to the same group",
        ),
        "The default is `error timeout` there. Here a request whose process died while it served it is answered with 502 at once, since the next \
         process would most likely die of it too; what is named here is added to the default. A request that a leaving process did not \
         begin is always asked again; one that found no connection is, unless `off` is said. The statuses 502 and 504 are known to \
         `proxy_next_upstream` only",
    ),
    other(
        same(
            c"wsgi_next_upstream_tries",
            "number",
            "2",
            "How often a request is asked at most, the first time included; 0 stands for the default",
        ),
        "The default is as many as there are servers. Each try meets the same group, so that a request that kills its process ends so many \
         of them",
    ),
    same(
        c"wsgi_next_upstream_timeout",
        "time",
        "0",
        "How long after the first try another one may begin; 0 for however long",
    ),
    same(
        c"wsgi_ignore_client_abort",
        "on\\|off",
        "off",
        "Whether a request goes on when its client has gone",
    ),
    same(
        c"wsgi_force_ranges",
        "on\\|off",
        "off",
        "Whether nginx answers for ranges whatever the application says about them",
    ),
    other(
        same(
            c"wsgi_limit_rate",
            "rate",
            "0",
            "How many bytes a second are read of a buffered response; 0 for any number",
        ),
        "A file that the application hands over is not read by way of its process, and not limited; `limit_rate` is for that",
    ),
    same(
        c"wsgi_hide_header",
        "field",
        "the `X-Accel-...` fields",
        "A response header that the client does not get",
    ),
    same(c"wsgi_pass_header", "field", "none", "A response header that it gets all the same"),
    same(
        c"wsgi_ignore_headers",
        "field ...",
        "none",
        "Response headers that nginx does not act upon: X-Accel-Redirect, X-Accel-Expires, X-Accel-Limit-Rate, X-Accel-Buffering, \
         X-Accel-Charset, Expires, Cache-Control, Set-Cookie, Vary",
    ),
    other(
        same(
            c"wsgi_store",
            "on\\|off\\|path",
            "off",
            "Whether complete responses with the status 200 are kept as files, below the root or at a path with variables",
        ),
        "A file that the application hands over is not stored again, nor is what a HEAD request gets",
    ),
    same(
        c"wsgi_store_access",
        "users:permissions ...",
        "user:rw",
        "The permissions of those files and directories",
    ),
    other(
        same(c"wsgi_cache", "zone\\|off", "off", "The zone of shared memory that responses are cached by"),
        "No variables; a file that the application hands over is not cached, since it lies ready",
    ),
    other(
        same(c"wsgi_cache_key", "string", "`$host$request_uri`", "What a response is cached under"),
        "There is no default there",
    ),
    same(
        c"wsgi_cache_path",
        "path keys_zone=name:size [levels=..] [use_temp_path=..] [inactive=..] [max_size=..] ...",
        "none",
        "Declares a cache",
    ),
    other(
        same(
            c"wsgi_cache_methods",
            "GET\\|HEAD\\|POST ...",
            "GET HEAD",
            "The methods whose responses are cached; GET and HEAD always are",
        ),
        "A HEAD request is sent as GET where its answer is to be cached, as `proxy_pass` does",
    ),
    same(
        c"wsgi_cache_valid",
        "[code ...] time",
        "none",
        "How long a response holds that does not say so itself",
    ),
    same(c"wsgi_cache_min_uses", "number", "1", "After how many requests a response is cached"),
    other(
        same(
            c"wsgi_cache_use_stale",
            "error\\|timeout\\|invalid_header\\|updating\\|http_500\\|http_502\\|http_503\\|http_504\\|http_403\\|http_404\\|http_429\\|off ...",
            "off",
            "When an expired response is better than none",
        ),
        "`timeout` is the 504 of `request-timeout` as well, `http_500` an application that raised, `http_503` a group without a process or \
         with a full queue",
    ),
    same(
        c"wsgi_cache_max_range_offset",
        "number",
        "none",
        "Requests for ranges that begin there or later go past the cache",
    ),
    same(
        c"wsgi_cache_bypass",
        "string ...",
        "none",
        "Conditions under which a response is not taken from the cache",
    ),
    same(c"wsgi_no_cache", "string ...", "none", "Conditions under which a response is not saved to it"),
    same(c"wsgi_cache_lock", "on\\|off", "off", "Whether one request at a time fills a new entry"),
    same(
        c"wsgi_cache_lock_timeout",
        "time",
        "5s",
        "After which time one that waits for that goes on, uncached",
    ),
    same(c"wsgi_cache_lock_age", "time", "5s", "After which time one more request is sent to fill the entry"),
    same(
        c"wsgi_cache_revalidate",
        "on\\|off",
        "off",
        "Whether expired entries are asked for with `If-Modified-Since` and `If-None-Match`",
    ),
    same(
        c"wsgi_cache_background_update",
        "on\\|off",
        "off",
        "Whether an expired entry is fetched anew while the client gets the stale one",
    ),
];

/// The page, in Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# nginx's directives of an upstream\n\nThis page is printed from `shared/src/vocabulary/upstream.rs`; a test holds them together. \
         nginx reaches the processes of a group through its own upstream machinery, so that users of `uwsgi_pass` find what they know \
         under the name `wsgi_...`. All of this is about process groups; in embedded mode there is nothing between nginx and the \
         application.\n\nThey stand in http, server and location, and inner ones hold; ",
    );
    let _ = writeln!(
        page,
        "`{}` stands in http only. Further ones, which httpd has too, are in\n[DIRECTIVES.md](DIRECTIVES.md): `wsgi_pass`, `wsgi_param`, \
         `wsgi_request_buffering`, `wsgi_intercept_errors`.\n\n| directive | takes | default | meaning | other than with `uwsgi_pass` |\n\
         |---|---|---|---|---|",
        HTTP_ONLY.to_string_lossy()
    );
    for directive in UPSTREAM_DIRECTIVES {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            directive.name.to_string_lossy(),
            directive.syntax,
            directive.default,
            directive.doc,
            directive.difference
        );
    }
    page.push_str(
        "\nNot offered: `wsgi_bind`, `wsgi_socket_keepalive` and `wsgi_ssl_...`, which are about networks, and a group is reached by a socket of \
         this machine; `wsgi_pass_request_headers`, `wsgi_pass_request_body`, `wsgi_string`, `wsgi_modifier1` and `wsgi_modifier2`, which are \
         about uwsgi's protocol or make no WSGI request.\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_tree_is_the_one_that_the_table_prints() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf-examples/NGINX-UPSTREAM.md");
        if std::env::var_os("NEAT_WRITE_REFERENCE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap();
        assert!(found == page(), "print it anew: NEAT_WRITE_REFERENCE=1 cargo test -p neat-shared upstream");
    }

    #[test]
    fn every_name_stands_once() {
        let mut names: Vec<_> = UPSTREAM_DIRECTIVES.iter().map(|directive| directive.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), UPSTREAM_DIRECTIVES.len());
    }
}
