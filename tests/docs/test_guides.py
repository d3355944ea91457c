"""Each page of the documentation, done from its first block to its last; then what its text promises."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from jpulse.settings import Settings

from ..browser.conftest import ConsoleLog
from .blocks import Block, blocks, included, pages
from .promises import PROMISES
from .story import Story, open_page

#: The tutorial has a test of its own.
#: The benchmark takes forty minutes; tests/test_bench.py runs a short one.
ELSEWHERE = {"docs/tutorial.md", "docs/performance.md"}


#: What these do, they do with the chat of README running.
NEEDS_CHAT = {"docs/reference/wire.md"}


def bring_chat(story: Story) -> None:
    """Write README's chat into a story's folder."""
    for block in blocks("README.md"):
        if block.title:
            story.write(block)


class Telling:
    """A story and the page of a browser in which its scripts run."""

    def __init__(self, story: Story, context: Any) -> None:
        self._story = story
        self._context = context
        self._page: Any = None

    def tell(self, block: Block) -> None:
        """Do what a block says."""
        if block.includes:
            assert all(included(path).is_file() for path in block.includes), block.place
        elif block.language in ("js", "html") and not block.title:
            self._show(block)
        else:
            parse(block)
            self._story.tell(block) if block.title or block.language in ("sh", "text") else None
            if block.language == "sh":
                self._page = None

    def _show(self, block: Block) -> None:
        self._page = self._page or open_page(self._story, self._context)
        if block.language == "html":
            self._page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", block.text)
        else:
            self._page.add_script_tag(content=block.text)


def parse(block: Block) -> None:
    """Read what is data; what cannot be read raises."""
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml":
        assert list(yaml.safe_load_all(block.text))
    elif block.language == "python":
        compile(block.text, block.place, "exec")


def started_app(block: Block) -> str:
    """The application that a block has started; "-" for none."""
    found = re.search(r"--app (\S+)", block.text) if block.language == "sh" else None
    return found[1] if found else "-"


def keep(page: str, app: str, story: Story, context: Any) -> None:
    """Check what a page promises at this point, if it does."""
    check = PROMISES.get((page, app))
    if check is not None:
        check(story, context)


@pytest.mark.parametrize("page", [page for page in pages() if page not in ELSEWHERE])
def test_page_does_what_it_says(page: str, story: Story, context: Any, console: ConsoleLog) -> None:
    """Every file of a page is written, every command run, every script loaded, and its promises hold."""
    console.allow_failed_requests()
    if page in NEEDS_CHAT:
        bring_chat(story)
    telling = Telling(story, context)
    for block in blocks(page):
        if not block.excuse:
            telling.tell(block)
            keep(page, started_app(block), story, context)
    for path in sorted(story.folder.glob("*.toml")):
        Settings.load(["--config", str(path)], {})
    keep(page, "", story, context)
    story.stop()
    assert "Traceback" not in story.log
