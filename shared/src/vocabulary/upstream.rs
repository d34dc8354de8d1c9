//! What users of `uwsgi_pass` know, under the names of this module: nginx's own directives of an upstream.
//! One table makes nginx's own and the words of `conf-examples/NGINX-UPSTREAM.md`.

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

/// The one that stands in `http` only.
const HTTP_ONLY: &CStr = c"wsgi_cache_path";

/// The rows of the table: name, value, and the words of the reference. A directive of nginx's upstreams is
/// added here, and nowhere else.
///
/// `with` is a macro that gets all rows. This file makes the words of them, and nginx's module
/// (`ngx_module/src/ffi/upstream_directives.rs`) nginx's directives. A value names how nginx reads the words,
/// the field of `ngx_http_upstream_conf_t` that they are written to, and what it holds by default; `Own` ones
/// have a setter in `ngx_module/src/upstream/directives/`, and `upstream/merge.rs` says defaults that depend
/// on something.
#[macro_export]
macro_rules! nginx_upstream_directives {
    ($with:ident) => {
        $with! {
            c"wsgi_buffering" Flag(buffering, 1) takes
                "on\\|off", default "on",
                "Whether nginx takes a response as fast as it comes, and a slow client keeps no Python \
                 thread";
            c"wsgi_buffer_size" Size(buffer_size) takes
                "size", default "16k",
                "The buffer of a response's head",
                other "The default is a page there; a head that is cached has to fit as a whole";
            c"wsgi_buffers" Buffers(bufs) takes
                "number size", default "8 and a page each",
                "The buffers of a response's body, for each connection";
            c"wsgi_busy_buffers_size" Size(busy_buffers_size_conf) takes
                "size", default "twice the larger of `wsgi_buffer_size` and a buffer of `wsgi_buffers`",
                "How much may be on its way to the client while the response is still being read";
            c"wsgi_max_temp_file_size" Size(max_temp_file_size_conf, 1 << 30) takes
                "size", default "1024m",
                "How much of a response may lie in a file when the buffers are full; 0 for nothing";
            c"wsgi_temp_file_write_size" Size(temp_file_write_size_conf) takes
                "size", default "twice the larger of `wsgi_buffer_size` and a buffer of `wsgi_buffers`",
                "How much is written to such a file at a time";
            c"wsgi_temp_path" Path(temp_path) takes
                "path [level1 [level2 [level3]]]", default "`wsgi_temp` in the directory that `nginx -p` named; without it that of `uwsgi_temp_path`",
                "Where such files lie",
                other "nginx was built without a place of this module's own";
            c"wsgi_connect_timeout" Milliseconds(connect_timeout) takes
                "time", default "the group's `connect-timeout`",
                "How long a connection may take",
                other "The default is 60s there; a socket of this machine answers at once";
            c"wsgi_send_timeout" Milliseconds(send_timeout) takes
                "time", default "the group's `socket-timeout`",
                "How long the group may take nothing of a request",
                other "The default is 60s there";
            c"wsgi_read_timeout" Milliseconds(read_timeout) takes
                "time", default "the group's `response-socket-timeout`",
                "How long the group may send nothing of a response",
                other "The default is 60s there; the group's `request-timeout` holds as well";
            c"wsgi_next_upstream" RetryReasons(next_upstream) takes
                "error\\|timeout\\|invalid_header\\|http_500\\|http_502\\|http_503\\|http_504\\|http_403\\|http_404\\|http_429\\|non_idempotent\\|off \
                 ...", default "only what surely never began",
                "After which failures a request is asked again, over a new connection to the same group",
                other "The default is `error timeout` there. Here a request whose process died while it \
                       served it is answered with 502 at once, since the next process would most likely die \
                       of it too; what is named here is added to the default. A request that a leaving \
                       process did not begin is always asked again; one that finds nobody at the group's \
                       socket is answered with 503 and `Retry-After` at once. The statuses 502 and 504 are \
                       known to `proxy_next_upstream` only";
            c"wsgi_next_upstream_tries" Number(next_upstream_tries) takes
                "number", default "2",
                "How often a request is asked at most, the first time included; 0 stands for the default",
                other "The default is as many as there are servers. Each try meets the same group, so that \
                       a request that kills its process ends so many of them";
            c"wsgi_next_upstream_timeout" Milliseconds(next_upstream_timeout, 0) takes
                "time", default "0",
                "How long after the first try another one may begin; 0 for however long";
            c"wsgi_ignore_client_abort" Flag(ignore_client_abort, 0) takes
                "on\\|off", default "off",
                "Whether a request goes on when its client has gone";
            c"wsgi_force_ranges" Flag(force_ranges, 0) takes
                "on\\|off", default "off",
                "Whether nginx answers for ranges whatever the application says about them";
            c"wsgi_limit_rate" Rate(limit_rate) takes
                "rate", default "0",
                "How many bytes a second are read of a buffered response; 0 for any number",
                other "A file that the application hands over is not read by way of its process, and not \
                       limited; `limit_rate` is for that";
            c"wsgi_hide_header" Texts(hide_headers) takes
                "field", default "the `X-Accel-...` fields",
                "A response header that the client does not get";
            c"wsgi_pass_header" Texts(pass_headers) takes
                "field", default "none",
                "A response header that it gets all the same";
            c"wsgi_ignore_headers" IgnoredHeaders(ignore_headers) takes
                "field ...", default "none",
                "Response headers that nginx does not act upon: X-Accel-Redirect, X-Accel-Expires, \
                 X-Accel-Limit-Rate, X-Accel-Buffering, X-Accel-Charset, Expires, Cache-Control, \
                 Set-Cookie, Vary";
            c"wsgi_store" Own(NGX_CONF_TAKE1) takes
                "on\\|off\\|path", default "off",
                "Whether complete responses with the status 200 are kept as files, below the root or at a \
                 path with variables",
                other "A file that the application hands over is not stored again, nor is what a HEAD \
                       request gets";
            c"wsgi_store_access" Access(store_access, 0o600) takes
                "users:permissions ...", default "user:rw",
                "The permissions of those files and directories";
            c"wsgi_cache" Own(NGX_CONF_TAKE1) takes
                "zone\\|off", default "off",
                "The zone of shared memory that responses are cached by",
                other "No variables; a file that the application hands over is not cached, since it lies \
                       ready";
            c"wsgi_cache_key" Own(NGX_CONF_TAKE1) takes
                "string", default "`$host$request_uri`",
                "What a response is cached under",
                other "There is no default there";
            c"wsgi_cache_path" OwnOfHttp(NGX_CONF_2MORE) takes
                "path keys_zone=name:size [levels=..] [use_temp_path=..] [inactive=..] [max_size=..] ...", default "none",
                "Declares a cache";
            c"wsgi_cache_methods" Methods(cache_methods) takes
                "GET\\|HEAD\\|POST ...", default "GET HEAD",
                "The methods whose responses are cached; GET and HEAD always are",
                other "A HEAD request is sent as GET where its answer is to be cached, as `proxy_pass` does";
            c"wsgi_cache_valid" Validity(cache_valid) takes
                "[code ...] time", default "none",
                "How long a response holds that does not say so itself";
            c"wsgi_cache_min_uses" Number(cache_min_uses, 1) takes
                "number", default "1",
                "After how many requests a response is cached";
            c"wsgi_cache_use_stale" RetryReasons(cache_use_stale) takes
                "error\\|timeout\\|invalid_header\\|updating\\|http_500\\|http_502\\|http_503\\|http_504\\|http_403\\|http_404\\|http_429\\|off \
                 ...", default "off",
                "When an expired response is better than none",
                other "`timeout` is the 504 of `request-timeout` as well, `http_500` an application that \
                       raised, `http_503` a group without a process or with a full queue";
            c"wsgi_cache_max_range_offset" Offset(cache_max_range_offset, i64::MAX) takes
                "number", default "none",
                "Requests for ranges that begin there or later go past the cache";
            c"wsgi_cache_bypass" Predicates(cache_bypass) takes
                "string ...", default "none",
                "Conditions under which a response is not taken from the cache";
            c"wsgi_no_cache" Predicates(no_cache) takes
                "string ...", default "none",
                "Conditions under which a response is not saved to it";
            c"wsgi_cache_lock" Flag(cache_lock, 0) takes
                "on\\|off", default "off",
                "Whether one request at a time fills a new entry";
            c"wsgi_cache_lock_timeout" Milliseconds(cache_lock_timeout, 5000) takes
                "time", default "5s",
                "After which time one that waits for that goes on, uncached";
            c"wsgi_cache_lock_age" Milliseconds(cache_lock_age, 5000) takes
                "time", default "5s",
                "After which time one more request is sent to fill the entry";
            c"wsgi_cache_revalidate" Flag(cache_revalidate, 0) takes
                "on\\|off", default "off",
                "Whether expired entries are asked for with `If-Modified-Since` and `If-None-Match`";
            c"wsgi_cache_background_update" Flag(cache_background_update, 0) takes
                "on\\|off", default "off",
                "Whether an expired entry is fetched anew while the client gets the stale one";
        }
    };
}

macro_rules! words {
    ($($name:literal $value:ident($($argument:tt)*) takes $syntax:literal, default $default:literal, $doc:literal
        $(, other $difference:literal)?;)*) => {
        /// All of them.
        pub const UPSTREAM_DIRECTIVES: &[UpstreamDirective] = &[$(UpstreamDirective {
            name: $name,
            syntax: $syntax,
            default: $default,
            doc: $doc,
            difference: concat!($($difference)?),
        }),*];
    };
}

nginx_upstream_directives!(words);

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
