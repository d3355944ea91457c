"""A Chromium for the pages that the documentation shows, and a folder for each story."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from ..browser.conftest import PATIENCE_MS, ConsoleLog
from ..browser.conftest import browser as browser
from .story import Story


@pytest.fixture(autouse=True)
def patience() -> None:
    """A busy machine may take its time."""
    expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """An empty folder, and at the end no server left."""
    folder = tmp_path / "story"
    folder.mkdir()
    story = Story(folder)
    yield story
    story.end()


@pytest.fixture
def console() -> ConsoleLog:
    """What pages complained about."""
    return ConsoleLog()


@pytest.fixture
def context(browser: Any, console: ConsoleLog) -> Iterator[Any]:
    """One visitor's browser; a complaint in its console that was not allowed fails the test."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    console.watch(context)
    yield context
    context.close()
    assert console.unexpected() == []
