"""The home page, with the demos and without."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from jpulse.scaffold import make_project

from ..conftest import Server
from ..visitor import Visitor


def links(page: str) -> set[str]:
    """The addresses of a page's links, without what stands behind # and ?."""
    return {re.split(r"[#?]", address)[0] or "/" for address in re.findall(r'<a [^>]*href="(/[^"]*)"', page)}


def test_links_of_home(server: Server) -> None:
    """Every link of the home page leads somewhere."""
    guest = Visitor(server.port)
    found = links(guest.get("/").text)
    assert "/hello-websocket/" in found
    for address in found:
        assert guest.get(address).status in (200, 302), address


def test_without_demos(serve: Callable[..., Server], tmp_path: Path) -> None:
    """With `--no-demos` nothing of them is there, nothing leads to them, and everything else works."""
    make_project("chat", tmp_path)
    plain, own = serve("--no-demos"), serve("--no-demos", app="chat.app", cwd=tmp_path)
    for server in (plain, own):
        guest = Visitor(server.port)
        found = links(guest.get("/").text) | links(guest.get("/nothing").text)
        assert "/hello-websocket/" not in found
        assert all(guest.get(address).status in (200, 302) for address in found)
        for path in ("/hello-websocket/", "/hello-websocket/examples/chat/chat.py", "/api/1/todo"):
            assert guest.get(path).status == 404, path
        for name in ("emoji", "todo", "notes", "practice", "architecture"):
            assert guest.get(f"/api/1/ws/hello-{name}").status == 404
        guest.sign_in()
        assert guest.get("/admin/websocket-stats.shtml").status == 200
    assert "None is registered yet" in Visitor(plain.port).get("/").text
    assert Visitor(own.port).get("/api/1/ws/chat").status == 426
