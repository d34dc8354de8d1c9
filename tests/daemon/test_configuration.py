"""What is wrong with a process group is an error of the configuration test, with what to do about it."""

from __future__ import annotations

import os

import pytest

from harness.pythons import closed_python
from harness.recipe import EVENT_DAEMON, NGINX_DAEMON, Mount, Recipe, as_root
from harness.site import check_configuration

ONLY = (NGINX_DAEMON, EVENT_DAEMON)


def said(server: str, certificate, recipe: Recipe) -> str:
    """What the test of a configuration that has to be refused says."""
    code, text = check_configuration(server, recipe, certificate)
    assert code != 0, text
    return text


@pytest.mark.parametrize(
    ("group", "part"),
    [
        ({"user": "no-such-user-here"}, "no-such-user-here"),
        ({"user": "root"}, "root"),
        ({"user": "#0"}, "root"),
        ({"group": "no-such-group-here"}, "no-such-group-here"),
        ({"home": "/no/such/home"}, "/no/such/home"),
        ({"threads": "100000"}, "from 0 to 1024"),
        ({"processes": "0"}, "from 1 to 1024"),
        ({"treads": "5"}, "did you mean threads"),
        ({"request-timeout": "soon"}, "request-timeout"),
        ({"python-home": "/no/such/python"}, "/no/such/python"),
    ],
)
def test_option_that_is_wrong(server, certificate, group, part):
    """A name, a range, a user, a directory."""
    if "user" in group and os.geteuid() != 0 and group["user"] == "no-such-user-here":
        pytest.skip("without root every other user is refused first")
    assert part in said(server, certificate, Recipe(mounts={"/": "daemon.wsgi"}, group=group))


def test_group_that_is_not_declared(server, certificate):
    """It says which ones are."""
    nginx, httpd = "wsgi_process_group ghost;", "WSGIProcessGroup ghost"
    text = said(server, certificate, Recipe(mounts={"/": Mount("daemon.wsgi", nginx=nginx, httpd=httpd)}))
    assert 'the process group "ghost" is not declared' in text
    assert "declared are: app" in text


def test_directory_of_the_sockets_that_is_not_there(server, certificate):
    """wsgi_socket_prefix, WSGISocketPrefix."""
    text = _with_prefix(server, certificate, Recipe(mounts={"/": "daemon.wsgi"}), "/no/such/directory/wsgi")
    assert "/no/such/directory" in text


@as_root
def test_directory_of_the_sockets_that_the_server_may_not_enter(server, certificate, tmp_path):
    """Its processes could not connect."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    text = _with_prefix(server, certificate, Recipe(mounts={"/": "daemon.wsgi"}), f"{private}/wsgi")
    assert str(private) in text or str(tmp_path) in text


@as_root
def test_home_that_the_user_may_not_enter(server, certificate, tmp_path):
    """home= is the working directory of the group's own user."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    text = said(server, certificate, Recipe(mounts={"/": "daemon.wsgi"}, group={"home": str(home)}))
    assert f"home={home}: the user www-data may not enter" in text


@as_root
@pytest.mark.parametrize("closed", ["venv", "base"])
def test_python_that_the_user_may_not_read(server, certificate, closed):
    """python-home= is read by the group's own user: what is closed is named, with its owner."""
    with closed_python(closed) as venv:
        text = said(server, certificate, Recipe(mounts={"/": "daemon.wsgi"}, python_home=str(venv)))
    assert f"python-home={venv}: the user www-data may not enter" in text
    assert f'"{venv.parent / closed}" (owner #0, group #0, mode 0700); give that user the x permission there' in text


def _with_prefix(server: str, certificate, recipe: Recipe, prefix: str) -> str:
    import harness.site as module

    original = module.lay_out

    def lay_out(*arguments):
        place = original(*arguments)
        text = place.configuration.read_text()
        place.configuration.write_text(text.replace(f"{place.directory}/run/wsgi", prefix))
        return place

    module.lay_out = lay_out
    try:
        return said(server, certificate, recipe)
    finally:
        module.lay_out = original


def test_a_second_declaration_that_differs(server, certificate):
    """An identical one is the same group."""
    words = Recipe(mounts={}).group_words()
    name = "wsgi_daemon_process" if server == NGINX_DAEMON else "WSGIDaemonProcess"
    end = ";" if server == NGINX_DAEMON else ""
    key = "nginx" if server == NGINX_DAEMON else "httpd"
    same = Recipe(mounts={"/": "daemon.wsgi"}, main={key: f"{name} {words}{end}"})
    code, text = check_configuration(server, same, certificate)
    assert code == 0, text
    other = Recipe(mounts={"/": "daemon.wsgi"}, main={key: f"{name} {words} processes=7{end}"})
    assert "second time" in said(server, certificate, other)
