"""A Chromium for the tests of the browser side, and pages that fail on console errors."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

CHROMIUM = Path(os.environ.get("TEST_CHROMIUM", "/usr/bin/chromium"))

#: On two cores that run other tests too anything may take its time; what has come true is noticed at once.
PATIENCE_SECONDS = 30
PATIENCE_MS = 1000 * PATIENCE_SECONDS

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def soonest(measure: Callable[[], float], promised: float, attempts: int = 5) -> float:
    """
    The first of several measured times that keeps a promise, else the shortest.

    A busy machine makes one of them late; a product that breaks the promise is late every time.
    """
    times: list[float] = []
    while len(times) < attempts and min(times, default=promised + 1) > promised:
        times.append(measure())
    return min(times)


def unavailable(why: str) -> NoReturn:
    """Skip, saying so; under CI=true a browser that is missing is a failure."""
    message = f"no browser tests: {why}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class ConsoleLog:
    """What the pages of a test complained about; any complaint not allowed fails the test."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._allowed: list[str] = []

    def allow(self, *patterns: str) -> None:
        """Expect complaints that match one of the regular expressions."""
        self._allowed.extend(patterns)

    def allow_failed_requests(self) -> None:
        """Browsers log each failed handshake and each error status; no script can prevent it."""
        self.allow("WebSocket connection to .* failed", "Failed to load resource")

    def unexpected(self) -> list[str]:
        return [text for text in self.complaints if not any(re.search(p, text) for p in self._allowed)]

    def watch(self, context: Any) -> None:
        context.on("console", self._note)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


def wait_until_drawn(page: Any) -> None:
    """Wait for two frames: a key that was pressed as soon as a page could be asked was lost once."""
    page.wait_for_function("() => (window.framesSeen = (window.framesSeen ?? 0) + 1) > 2")


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """
    One Chromium for all tests of this package.

    Not for the whole session: while it is up, playwright keeps an event loop running in this
    thread, and other packages' tests could not use asyncio.run().
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        unavailable("playwright is not installed (pip install playwright)")
    path = str(CHROMIUM) if CHROMIUM.exists() else None
    with sync_playwright() as playwright:
        try:
            # Automation turns the back/forward cache off, which is one of the things we test.
            chromium = playwright.chromium.launch(
                executable_path=path, args=ARGUMENTS, ignore_default_args=["--disable-back-forward-cache"]
            )
        except Error as error:
            unavailable(f"Chromium does not start (playwright install chromium): {error}")
        yield chromium
        chromium.close()


@pytest.fixture
def console() -> ConsoleLog:
    return ConsoleLog()


@pytest.fixture
def context(browser: Any, console: ConsoleLog, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A browser profile of its own: its pages share storage and cookies."""
    # Fixtures end in reverse order: the server must outlive the pages, or they complain that it is gone.
    if "server" in request.fixturenames:
        request.getfixturevalue("server")
    made = browser.new_context()
    made.set_default_timeout(PATIENCE_MS)
    console.watch(made)
    yield made
    made.close()
    assert not console.unexpected()


@pytest.fixture
def page(context: Any) -> Any:
    return context.new_page()


def region_names(page: Any) -> list[str]:
    """The names of the regions on show, among which a screen reader's user chooses."""
    return page.evaluate(
        """() => [...document.querySelectorAll('[role="region"], section')]
            .filter((each) => each.checkVisibility())
            .map((each) => each.ariaLabel
                || document.getElementById(each.getAttribute('aria-labelledby'))?.textContent.trim())
            .filter(Boolean)"""
    )
