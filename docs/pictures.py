"""
Takes the pictures of README and the first page anew: three visitors of the demos, and the statistics.

    python docs/pictures.py

Needs Playwright and a Chromium, as the tests do.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent
CHROMIUM = os.environ.get("TEST_CHROMIUM", "/usr/bin/chromium")
PASSWORD = "a word for the picture"
START_SECONDS = 20
#: Where the others point to, as parts of the stage.
PLACES = ((0.2, 0.25), (0.45, 0.6), (0.7, 0.4))
EMOJIS = ("Fox", "Octopus", "Owl")


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a server with two processes and nothing in it."""
    log = folder / "log"
    command = [sys.executable, str(DOCS.parent / "run.py"), "--port", "0", "--processes", "2"]
    environ = {**os.environ, "JPULSE_ADMIN_PASSWORD": PASSWORD, "JPULSE_DATA_DIR": str(folder / "data")}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, stdout=out, stderr=out)
    try:
        yield _address(log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_SECONDS)


def _address(log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = re.search(r"serves (http://\S+?)/?\s", log.read_text(encoding="utf-8"))
        if found:
            return found[1]
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text(encoding='utf-8')}")


def visit(browser: Any, url: str, width: int, height: int) -> Any:
    """A visitor of their own at an address."""
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.goto(url)
    return page


def point(page: Any, emoji: str, place: tuple[float, float]) -> None:
    """Pick an emoji and move over the stage."""
    page.get_by_role("radio", name=emoji).check()
    box = page.locator("#emoji-stage").bounding_box()
    for step in range(12):
        x, y = place[0] + 0.01 * step, place[1] + 0.004 * step
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(80)


def take(browser: Any, url: str) -> None:
    """Take both pictures."""
    pages = [visit(browser, f"{url}/hello-websocket/", 1100, 900) for _ in EMOJIS]
    for page, emoji, place in zip(pages, EMOJIS, PLACES, strict=True):
        point(page, emoji, place)
    pages[0].wait_for_timeout(500)
    pages[0].screenshot(path=DOCS / "emoji-cursors.png")

    stats = visit(browser, f"{url}/auth/login?next=/admin/websocket-stats.shtml", 1280, 1150)
    stats.get_by_role("textbox", name="Name").fill("admin")
    stats.get_by_role("textbox", name="Password").fill(PASSWORD)
    stats.get_by_role("main").get_by_role("button", name="Sign in").click()
    stats.get_by_role("heading", name="Live statistics").wait_for()
    for turn in range(6):
        for page, emoji, place in zip(pages, EMOJIS, PLACES, strict=True):
            point(page, emoji, (place[0], place[1] + 0.03 * turn))
    stats.screenshot(path=DOCS / "statistics.png")


def main() -> None:
    """Take both pictures of a server that is there for them alone."""
    program = CHROMIUM if Path(CHROMIUM).exists() else None
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as url, sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=["--no-sandbox"])
        take(browser, url)
        browser.close()


if __name__ == "__main__":
    main()
