"""The tutorial, done by somebody who does exactly what it says, and looks where it says to look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from ..browser.conftest import PATIENCE_MS, ConsoleLog
from ..conftest import ROOT
from ..visitor import Visitor
from .blocks import Block, blocks
from .story import Story

PAGE = "docs/tutorial.md"


@pytest.fixture
def visitors(browser: Any, console: ConsoleLog) -> Iterator[tuple[Any, Any]]:
    """Two browsers: ann's window and bob's private one."""
    console.allow_failed_requests()
    contexts = [browser.new_context() for _ in range(2)]
    for context in contexts:
        context.set_default_timeout(PATIENCE_MS)
        console.watch(context)
    yield contexts[0].new_page(), contexts[1].new_page()
    for context in contexts:
        context.close()
    assert console.unexpected() == []


def steps() -> list[list[Block]]:
    """The blocks of each section, by the number in its heading; section 0 is empty."""
    found: list[list[Block]] = [[]]
    text = (ROOT / PAGE).read_text(encoding="utf-8").splitlines()
    for block in blocks(PAGE):
        number = sum(1 for line in text[: block.line - 1] if re.match(r"## \d", line))
        while len(found) <= number:
            found.append([])
        found[number].append(block)
    return found


def say(page: Any, text: str) -> None:
    """Write something into the chat."""
    page.get_by_role("textbox", name="Message").fill(text)
    page.get_by_role("button", name="Send").click()


def sign_in(page: Any, story: Story, name: str, password: str) -> None:
    """Open the chat as a guest, who is sent to sign in and comes back."""
    page.goto(story.url)
    page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_role("textbox", name="Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()


def test_tutorial(story: Story, visitors: tuple[Any, Any]) -> None:
    """Every step works as it is written, from the empty folder to two processes."""
    ann, bob = visitors
    parts = steps()

    def do(number: int) -> None:
        for block in parts[number]:
            if not block.excuse:
                story.tell(block)

    do(1)
    do(2)
    (shown,) = [block for block in parts[2] if block.excuse]
    assert re.search(shown.text.strip().replace("…", r"\S+"), story.log)
    for page in visitors:
        page.goto(story.url)
        expect(page.get_by_text("2 are here")).to_be_visible() if page is bob else None
    say(ann, "hello")
    expect(bob.get_by_role("listitem")).to_contain_text("hello")
    story.stop()
    expect(bob.get_by_text("Connection lost, trying again")).to_be_visible()
    story.run("jpulse --app app")
    expect(bob.get_by_text("Connected", exact=True)).to_be_visible()

    do(4)

    do(5)
    story.run("jpulse user enable bob")
    sign_in(ann, story, "ann", "a word of ann")
    sign_in(bob, story, "bob", "a word of bob")
    say(ann, "good morning")
    expect(bob.get_by_role("listitem")).to_have_text("ann: good morning")
    story.run("jpulse user disable bob")
    expect(bob.get_by_text("The session ended")).to_be_visible()
    story.run("jpulse user enable bob")

    do(6)
    do(7)

    do(8)
    sign_in(bob, story, "bob", "a word of bob")
    ann.reload()
    expect(ann.get_by_text("2 are here")).to_be_visible()
    say(ann, "/to bob see you at eight")
    expect(bob.get_by_role("listitem").last).to_have_text("ann: (only to you) see you at eight")
    expect(ann.get_by_role("listitem").last).to_have_text("ann: (only to bob) see you at eight")
    assert Visitor(story.port).get("/metrics").text.count("jpulse_uptime_seconds{") == 2
    story.stop()
    assert "Traceback" not in story.log


def test_tutorial_is_run_whole() -> None:
    """Each section with commands or files is a step of the test above."""
    assert [number for number, part in enumerate(steps()) if part] == [1, 2, 4, 5, 6, 7, 8]
