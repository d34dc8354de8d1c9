"""Where files of a running server lie that the configuration says nothing of."""

from __future__ import annotations

from harness.recipe import NGINX, Mount, Recipe, declare
from harness.wait import until

ONLY = (NGINX,)


def test_sockets_lie_beside_the_pid_file(start):
    """Without wsgi_socket_prefix they lie where `pid` says, temporary files in the prefix of `-p`: nowhere compiled in."""
    site = start(Recipe(
        mounts={"/": Mount("daemon.wsgi", nginx="wsgi_process_group beside;")},
        main=declare(NGINX, "beside python-path=@APPS@"),
    ))  # fmt: skip
    assert (site.directory / "server.pid").exists()
    until((site.directory / "wsgi.beside.sock").exists, lambda: f"the socket; it said {site.said()}")
    until(lambda: site.ask("/about").status == 200, "an answer")
    assert (site.directory / "wsgi_temp").is_dir()
