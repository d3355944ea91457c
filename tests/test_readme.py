"""What README shows is true: its code is taken from it and run as written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from .conftest import ROOT, Server
from .raw_client import RawClient

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_chat_server(serve: Callable[..., Server], tmp_path: Path) -> None:
    """The 15-line chat serves its page and passes messages on."""
    (tmp_path / "chat.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "chat.html").write_text(block("html"), encoding="utf-8")
    server = serve("--app", "chat", cwd=tmp_path)
    with RawClient(server.port, "/api/1/ws/chat") as ann, RawClient(server.port, "/api/1/ws/chat") as bob:
        ann.read_data("connected")
        bob.read_data("connected")
        ann.send_json({"type": "say", "text": "hello"})
        assert bob.read_data("said")["text"] == "hello"
    lines = [line for line in block("python").splitlines() if line.strip()]
    assert len(lines) <= 15


def test_settings_named_in_readme_exist() -> None:
    """Every flag that README names is one that the server knows."""
    from jpulse.settings import flag_name, names

    known = {flag_name(name) for name in names()} | {"--help", "--roles"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known
