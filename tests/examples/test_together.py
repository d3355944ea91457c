"""What holds for every example: it is complete, its page is strict, it runs beside the others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..apps.examples import NAMES
from ..browser.conftest import ConsoleLog
from ..conftest import ROOT, Server, wait_until
from ..raw_client import RawClient
from .conftest import eventually, sign_in, wait_for_status

EXAMPLES = ROOT / "examples"


def address(name: str) -> str:
    """Where an example's page is."""
    return f"/{name.replace('_', '-')}/"


def test_every_example_is_tested() -> None:
    """Each folder in examples/ is an application of its own with a test file of its own."""
    folders = {path.parent.name for path in EXAMPLES.glob("*/app.py")}
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert folders == set(NAMES) == tests - {"together", "database"}


@pytest.mark.parametrize("name", NAMES)
def test_example_is_complete(name: str) -> None:
    """An example says in a few lines how to start it and where its page is, and names files that exist."""
    readme = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    assert f"\n    python run.py --app examples.{name}.app\n" in readme
    assert f"<http://127.0.0.1:8080{address(name)}>" in readme
    assert len(readme.splitlines()) <= 14
    for file in re.findall(r"`((?:\.\./)?[a-z-]+\.(?:py|js))`", readme):
        assert (EXAMPLES / name / file).is_file(), file


@pytest.mark.parametrize("name", NAMES)
def test_page_is_strict(name: str) -> None:
    """A page has no script or style in it, refers to its own server only, and says what it is."""
    page = (EXAMPLES / name / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:|https?://", page)
    assert re.search(r"<title>[^<]+</title>", page)
    assert '<html lang="en">' in page
    assert 'name="viewport"' in page
    for file in re.findall(r'(?:src|href)="([^"#]+)"', page):
        folder = ROOT if file.startswith("/static/") else EXAMPLES / name
        assert file == "/" or (folder / file.lstrip("/")).is_file(), file


@pytest.mark.parametrize("name", NAMES)
def test_only_the_public_api(name: str) -> None:
    """Examples import nothing of jpulse but its public names, so that what they show can be relied on."""
    for path in (EXAMPLES / name).glob("*.py"):
        assert not re.search(r"^\s*(from|import) jpulse\.", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_all_at_once_with_workers(serve: Callable[..., Server], browser: Any, console: ConsoleLog) -> None:
    """With two workers all examples run beside each other, and see the same people at either."""
    server = serve("--processes", "2", "--drain-seconds", "1", app="tests.apps.examples")
    context = browser.new_context(viewport={"width": 400, "height": 800})
    console.watch(context)
    sign_in(context, server, "admin")
    pages = {}
    for name in NAMES:
        page = pages[name] = context.new_page()
        page.goto(server.url + address(name))
        wait_for_status(page, "connected")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
    guests: list[RawClient] = []
    wait_until(lambda: both_workers_have_one(server, guests), 20, "a guest at each worker")
    eventually(lambda: pages["presence"].locator("#count").inner_text(), f"{len(guests) + 1} here")
    for guest in guests:
        guest.socket.close()
    eventually(lambda: pages["presence"].locator("#count").inner_text(), "1 here")
    context.close()
    assert server.stop() == 0
    assert console.unexpected() == []


def both_workers_have_one(server: Server, guests: list[RawClient]) -> bool:
    """Let one guest more come to the presence, and tell whether each of the workers has let one in."""
    guests.append(RawClient(server.port, "/api/1/ws/presence"))
    guests[-1].read_data("everybody")
    pids = re.findall(r"\[(\d+)\] jpulse\.access: 101 GET /api/1/ws/presence", server.log)
    return len(set(pids)) == 2
