"""environ: its keys, their types and how a request becomes them."""

from __future__ import annotations

import json

import pytest

from harness.recipe import Mount, Recipe

RECIPE = Recipe(
    mounts={
        "/": "environ.wsgi",
        "/app": "environ.wsgi",
        "/deep/er": "environ.wsgi",
        "/secret": Mount("environ.wsgi", nginx="wsgi_pass_authorization on;", httpd="WSGIPassAuthorization On"),
    },
    conf={"httpd": "AllowEncodedSlashes NoDecode"},
)


def environ(site, target: str, *fields: str, **more) -> dict:
    """The environ of a request, without the types."""
    answer = site.ask(target, *fields, **more)
    assert answer.status == 200, answer
    return {key: value for key, (_, value) in json.loads(answer.body).items()}


def test_required_keys_are_there_with_their_types(site):
    """PEP 3333, "environ Variables": CGI keys are native strings, the wsgi.* keys have the types that it names."""
    types = {key: kind for key, (kind, _) in json.loads(site.ask("/x?y=z").body).items()}
    for key in ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT",
                "SERVER_PROTOCOL", "REMOTE_ADDR", "REMOTE_PORT", "SERVER_SOFTWARE", "REQUEST_URI", "REQUEST_SCHEME",
                "HTTP_HOST", "SCRIPT_FILENAME", "DOCUMENT_ROOT", "SERVER_ADDR", "wsgi.url_scheme"):  # fmt: skip
        assert types.get(key) == "str", (key, types.get(key))
    assert types["wsgi.version"] == "tuple"
    for key in ("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once", "wsgi.input_terminated"):
        assert types[key] == "bool", key
    assert {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper"} <= types.keys()


def test_every_cgi_value_is_a_string_and_no_control_key_leaks(site):
    """PEP 3333: CGI variables must be native strings. Keys of the packed head that are not environ's stay inside."""
    for key, (kind, _) in json.loads(site.ask("/").body).items():
        if "." not in key:
            assert kind == "str", key
        assert not key.startswith("neat."), key


def test_process_environment_stays_out(site):
    """Neat's rule: environ has only what the request carries, never os.environ."""
    assert not {"PATH", "HOME", "LANG", "PWD", "SHLVL"} & environ(site, "/").keys()


def test_constant_values(site):
    """PEP 3333, "environ Variables"."""
    found = environ(site, "/")
    assert found["wsgi.version"] == "(1, 0)"
    assert found["wsgi.url_scheme"] == found["REQUEST_SCHEME"] == "http"
    assert found["wsgi.run_once"] is False
    assert found["wsgi.input_terminated"] is True
    assert found["wsgi.multithread"] is (site.server != "httpd-prefork")
    assert found["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert found["SERVER_PORT"] == str(site.port)
    assert found["REMOTE_ADDR"] == found["SERVER_ADDR"] == "127.0.0.1"
    assert int(found["REMOTE_PORT"]) > 0
    assert found["SERVER_NAME"] == "localhost"
    assert found["DOCUMENT_ROOT"] == str(site.directory / "htdocs")


def test_one_process_is_not_multiprocess(site):
    """PEP 3333: wsgi.multiprocess is true if an equivalent application may be invoked by another process."""
    assert environ(site, "/")["wsgi.multiprocess"] is (site.server == "httpd-prefork")


def test_two_processes_are_multiprocess(start):
    """The same, with two workers."""
    site = start(Recipe(mounts={"/": "environ.wsgi"}, workers=2))
    assert environ(site, "/")["wsgi.multiprocess"] is True


def test_http_1_0_is_named(site):
    """RFC 3875 section 4.1.16."""
    assert environ(site, "/", version="1.0")["SERVER_PROTOCOL"] == "HTTP/1.0"


@pytest.mark.parametrize(
    ("target", "script_name", "path_info"),
    [
        ("/", "", "/"),
        ("/x/y", "", "/x/y"),
        ("/app", "/app", ""),
        ("/app/", "/app", "/"),
        ("/app/x/y", "/app", "/x/y"),
        ("/deep/er/x", "/deep/er", "/x"),
        ("/apple", "", "/apple"),
        ("/app/%41%20b", "/app", "/A b"),
        ("/app/a;b=c", "/app", "/a;b=c"),
        ("/app/a+b", "/app", "/a+b"),
    ],
)
def test_mount_point_splits_the_path(site, target, script_name, path_info):
    """PEP 3333: SCRIPT_NAME is the path to the application, PATH_INFO the rest, both decoded."""
    found = environ(site, target)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == (script_name, path_info)


@pytest.mark.parametrize("target", ["/app/caf%C3%A9", "/app/caf\xc3\xa9"])
def test_utf8_path_is_latin1_text(site, target):
    """PEP 3333, "Unicode Issues": native strings hold bytes as latin-1, so that encode("latin-1") gives them back."""
    assert environ(site, target)["PATH_INFO"].encode("latin-1") == "/café".encode()


def test_path_that_is_no_utf8_keeps_its_bytes(site):
    """PEP 3333, "Unicode Issues"."""
    assert environ(site, "/app/%ff%fe")["PATH_INFO"].encode("latin-1") == b"/\xff\xfe"


def test_encoded_slash_reaches_the_application(site):
    """nginx decodes %2F in a location's path; httpd leaves it with AllowEncodedSlashes NoDecode."""
    assert environ(site, "/app/a%2Fb")["PATH_INFO"] == ("/a/b" if site.is_nginx else "/a%2Fb")


def test_request_uri_is_as_it_was_sent(site):
    """mod_wsgi's REQUEST_URI: not decoded, with the query."""
    assert environ(site, "/app/%41/../b?q=%20")["REQUEST_URI"] == "/app/%41/../b?q=%20"


@pytest.mark.parametrize(
    ("target", "query"), [("/", ""), ("/?", ""), ("/?a=b&c", "a=b&c"), ("/?%20%C3%A9", "%20%C3%A9"), ("/?a?b", "a?b")]
)
def test_query_string_always_exists_and_is_not_decoded(site, target, query):
    """RFC 3875 section 4.1.7."""
    assert environ(site, target)["QUERY_STRING"] == query


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "get", "BREW"])
def test_every_method_reaches_the_application(site, method):
    """RFC 9110 section 9.1: methods are case-sensitive tokens, and the application decides."""
    if site.is_nginx and method == "get":
        assert site.ask("/", method=method).status == 400, "nginx takes only capitals in a method"
        return
    answer = site.ask("/", "Content-Length: 0", method=method)
    assert json.loads(answer.body)["REQUEST_METHOD"] == ["str", method]


def test_body_headers_have_their_cgi_names(site):
    """RFC 3875 sections 4.1.2 and 4.1.3: CONTENT_TYPE and CONTENT_LENGTH, without HTTP_."""
    found = environ(site, "/", "Content-Type: text/x", "Content-Length: 3", method="POST", body=b"abc")
    assert (found["CONTENT_TYPE"], found["CONTENT_LENGTH"]) == ("text/x", "3")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & found.keys()


def test_no_body_no_length(site):
    """PEP 3333: CONTENT_LENGTH may be empty or absent; it is never invented."""
    assert environ(site, "/").get("CONTENT_LENGTH", "") == ""


def test_headers_become_keys(site):
    """RFC 3875 section 4.1.18."""
    found = environ(site, "/", "X-Some-Header: a  b", "Accept: */*", "X-Empty:", "x-lower: v", "Cookie: a=b")
    assert found["HTTP_X_SOME_HEADER"] == "a  b"
    assert found["HTTP_ACCEPT"] == "*/*"
    assert found["HTTP_X_EMPTY"] == ""
    assert found["HTTP_X_LOWER"] == "v"
    assert found["HTTP_COOKIE"] == "a=b"


def test_whitespace_around_a_header_is_not_part_of_it(site):
    """RFC 9110 section 5.5: SP and HTAB before and behind a field's value are excluded from it."""
    found = environ(site, "/", "X-Tabs:\t a\t b \t", "X-Spaces:   a  ")
    assert (found["HTTP_X_TABS"], found["HTTP_X_SPACES"]) == ("a\t b", "a")


def test_body_in_chunks_has_no_transfer_encoding(site):
    """RFC 9112 section 7: the server has taken the coding off. An application that looks for it would decode a second time."""
    body = b"3\r\nabc\r\n0\r\n\r\n"
    found = environ(site, "/", "Transfer-Encoding: chunked", method="POST", body=body)
    assert "HTTP_TRANSFER_ENCODING" not in found


def test_header_bytes_are_latin1_text(site):
    """PEP 3333, "Unicode Issues"."""
    assert environ(site, "/", "X-Name: caf\xe9")["HTTP_X_NAME"] == "caf\xe9"


def test_header_with_underscore_cannot_pose_as_another(site):
    """Neat's rule (Django's CVE-2015-0219): X_Forwarded_For is not X-Forwarded-For."""
    found = environ(site, "/", "X_Real_Ip: 6.6.6.6", "X-Odd.Name: v")
    assert not {"HTTP_X_REAL_IP", "HTTP_X_ODD.NAME", "HTTP_X_ODD_NAME"} & found.keys()


def test_proxy_header_is_dropped(site):
    """CVE-2016-5385 (httpoxy): HTTP_PROXY never comes from a request."""
    assert "HTTP_PROXY" not in environ(site, "/", "Proxy: http://evil")


def test_repeated_headers_are_joined(site):
    """RFC 9110 section 5.3: a comma; RFC 6265 section 5.4 for cookies: a semicolon where the server hands them apart."""
    found = environ(site, "/", "X-A: 1", "X-A: 2", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2")
    assert found["HTTP_X_A"] == "1, 2"
    assert found["HTTP_X_FORWARDED_FOR"] == "1.1.1.1, 2.2.2.2"


def test_authorization_stays_out_unless_asked_for(site):
    """mod_wsgi's WSGIPassAuthorization, off by default."""
    field = "Authorization: Basic dTpw"
    assert "HTTP_AUTHORIZATION" not in environ(site, "/", field)
    assert environ(site, "/secret", field)["HTTP_AUTHORIZATION"] == "Basic dTpw"


def test_keys_of_mod_wsgi(site):
    """The vocabulary: middleware written for mod_wsgi finds its keys in both servers."""
    found = environ(site, "/app/x")
    assert found["mod_wsgi.process_group"] == ("app" if site.is_daemon else "")
    assert found["mod_wsgi.application_group"] == ""
    assert found["mod_wsgi.callable_object"] == "application"
    assert found["mod_wsgi.request_handler"] == "wsgi-script"
    assert found["mod_wsgi.script_name"] == "/app"
    assert found["mod_wsgi.path_info"] == "/x"
    assert found["mod_wsgi.mount_point"] == "/app"
    assert found["mod_wsgi.listener_port"] == str(site.port)
    assert isinstance(found["mod_wsgi.request_start"], float)
    assert found["mod_wsgi.request_start"] > 0
    assert ("nginx.version" in found) == site.is_nginx
    assert ("apache.version" in found) == (not site.is_nginx)


def test_environ_is_a_fresh_dictionary(site):
    """PEP 3333: the application may modify the dictionary in any way it desires; the next request knows nothing of it."""
    first, second = environ(site, "/?one", "X-Only-First: 1"), environ(site, "/?two")
    assert first["HTTP_X_ONLY_FIRST"] == "1"
    assert "HTTP_X_ONLY_FIRST" not in second
    assert second["QUERY_STRING"] == "two"


def test_absolute_form_target(site):
    """RFC 9112 section 3.2.2: a server accepts the absolute form."""
    assert environ(site, f"http://localhost:{site.port}/app/x?q")["PATH_INFO"] == "/x"


def test_long_header_arrives_whole(site):
    """nginx and httpd take header lines of nearly 8 KiB by default."""
    assert environ(site, "/", "X-Long: " + "v" * 7000)["HTTP_X_LONG"] == "v" * 7000
