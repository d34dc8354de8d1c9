"""A configuration that cannot work is an error of `nginx -t` and `apache2 -t`, with file and line and what to do."""

from __future__ import annotations

import re

import pytest

from harness.pythons import VENV, closed_python
from harness.recipe import EMBEDDED, Mount, Recipe, as_root, is_nginx
from harness.site import check_configuration

NO_GIL = "a free-threaded build of Python 3.13, which Neat does not support yet"


def told(server: str, certificate, recipe: Recipe, *patterns: str) -> str:
    """The configuration is refused, and what is said has every pattern and the file with its line."""
    code, said = check_configuration(server, recipe, certificate)
    assert code != 0, said
    place = r"server\.conf:\d+" if is_nginx(server) else r"line \d+ of .*server\.conf"
    assert re.search(place, said), f"no file and line in:\n{said}"
    for pattern in patterns:
        assert pattern in said, f"nothing about {pattern!r} in:\n{said}"
    assert "panicked" not in said
    return said


def mounted(**more) -> Recipe:
    """One application."""
    return Recipe(mounts={"/": "plain.wsgi"}, **more)


def test_good_configuration_passes(server, certificate):
    """The ground of the others: without the fault the same recipe is fine."""
    code, said = check_configuration(server, mounted(), certificate)
    assert code == 0, said


def test_home_that_does_not_exist(server, certificate):
    """wsgi_python_home, WSGIPythonHome."""
    told(server, certificate, mounted(python_home="/no/such/python"), "/no/such/python")


def test_home_that_is_relative(server, certificate):
    """Where the server was started must not matter."""
    told(server, certificate, mounted(python_home="some/venv"), "some/venv", "absolute")


def test_virtual_environment_without_its_libpython(server, certificate):
    """What to install is said."""
    recipe = mounted(
        python_home="@DIR@/venv",
        files={"venv/pyvenv.cfg": VENV.format(home="/no/such/python/bin", version="3.12.1"), "venv/bin/python": ""},
    )
    told(server, certificate, recipe, "3.12")


def test_virtual_environment_of_an_old_python(server, certificate):
    """CPython 3.9 is the oldest."""
    recipe = mounted(
        python_home="@DIR@/venv",
        files={"venv/pyvenv.cfg": VENV.format(home="/no/such/python/bin", version="3.6.9"), "venv/bin/python": ""},
    )
    told(server, certificate, recipe, "3.6", "3.9")


def test_directory_that_is_no_python(server, certificate):
    """Neither pyvenv.cfg nor an installation's prefix."""
    told(server, certificate, mounted(python_home="@DIR@/htdocs"), "htdocs")


def test_python_without_the_gil(server, certificate):
    """PEP 703: another ABI, which no engine is built for. CPython installs it under the name of the other build as well."""
    files = {f"base/{name}": "" for name in ("bin/python3", "bin/python3.13", "bin/python3.13t", "lib/libpython3.13t.so.1.0")}
    told(server, certificate, mounted(python_home="@DIR@/base", files=files), "base", NO_GIL, "with the GIL (python3.13)")


def test_virtual_environment_without_the_gil(server, certificate):
    """Its packages are in lib/python3.13t."""
    text = VENV.format(home="/usr/bin", version="3.13.5")
    files = {"venv/pyvenv.cfg": text, "venv/bin/python": "", "venv/lib/python3.13t/site-packages/x": ""}
    told(server, certificate, mounted(python_home="@DIR@/venv", files=files), "venv", NO_GIL, "python3.13 -m venv --clear")


@as_root
@pytest.mark.servers(*EMBEDDED)
@pytest.mark.parametrize("closed", ["venv", "base"])
def test_python_that_the_servers_processes_may_not_read(server, certificate, closed):
    """nginx's `user`, httpd's `User`: Python passes over what it may not read, and would serve with other packages."""
    with closed_python(closed) as venv:
        code, said = check_configuration(server, mounted(python_home=str(venv)), certificate)
    assert code != 0, said
    assert f'the Python of "{venv}" cannot be read by the server\'s processes: the user www-data may not enter' in said
    assert f'"{venv.parent / closed}" (owner #0, group #0, mode 0700); give that user the x permission there' in said


@pytest.mark.parametrize(
    ("nginx", "httpd", "name"),
    [
        ("wsgi_pass_authorization perhaps;", "WSGIPassAuthorization Perhaps", "perhaps"),
        ("wsgi_script_reloading 1;", "WSGIScriptReloading 1", "1"),
        ("wsgi_callable not-a-name;", "WSGICallableObject not-a-name", "not-a-name"),
        ("wsgi_no_such_directive on;", "WSGINoSuchDirective On", ""),
    ],
)
def test_bad_value(server, certificate, nginx, httpd, name):
    """What was given and what is allowed."""
    recipe = mounted(conf={"nginx": nginx, "httpd": httpd})
    said = told(server, certificate, recipe)
    assert name.lower() in said.lower(), said


def test_mount_without_a_target(server, certificate):
    """WSGIScriptAlias and wsgi_pass need one."""
    recipe = Recipe(mounts={}, conf={"nginx": "location /x { wsgi_pass; }", "httpd": "WSGIScriptAlias /x"})
    told(server, certificate, recipe, "wsgi_pass" if is_nginx(server) else "WSGIScriptAlias")


def test_bad_callable_of_a_mount(server, certificate):
    """A name that Python cannot look up."""
    if is_nginx(server):
        recipe = Recipe(mounts={"/": "@APPS@/plain.wsgi:not-a-name"})
    else:
        recipe = Recipe(mounts={"/": Mount("plain.wsgi", callable="not-a-name")})
    told(server, certificate, recipe, "not-a-name")


@pytest.mark.servers("nginx")
@pytest.mark.parametrize("value", ["0", "-1", "many", "100000"])
def test_threads_out_of_range(server, certificate, value):
    """wsgi_threads takes 1 to 1024."""
    recipe = mounted(threads=value)
    told(server, certificate, recipe, "wsgi_threads", "1024", value)


@pytest.mark.servers("nginx")
@pytest.mark.parametrize("target", ["plain.wsgi", "package.module", "app:not-a-name"])
def test_bad_target_of_wsgi_pass(server, certificate, target):
    """Neither a path nor module:callable."""
    recipe = Recipe(mounts={}, conf={"nginx": f"location / {{ wsgi_pass {target}; }}"})
    told(server, certificate, recipe, "wsgi_pass", target.rpartition(":")[2])


@pytest.mark.servers("nginx")
def test_wsgi_pass_twice(server, certificate):
    """nginx's "is duplicate"."""
    recipe = Recipe(mounts={"/": Mount("plain.wsgi", nginx="wsgi_pass @APPS@/environ.wsgi;")})
    told(server, certificate, recipe, "duplicate")
