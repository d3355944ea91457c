"""The page that `jpulse new` makes, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jpulse.scaffold import make_project

from ..conftest import Server
from .conftest import PATIENCE_MS, ConsoleLog


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("project")
    make_project("team_chat", folder)
    return serve_module("--drain-seconds", "1", app="app", cwd=folder / "team_chat")


@pytest.fixture
def site(shared: Server) -> Iterator[Server]:
    """The server that the tests of this file share."""
    with shared.lent():
        yield shared


def enter(context: Any, site: Server) -> Any:
    """Open the page in a new window, connected."""
    page = context.new_page()
    page.goto(f"{site.url}/")
    wait_for_status(page, "Connected")
    return page


def wait_for_status(page: Any, text: str) -> None:
    """Wait until the status begins with this."""
    page.wait_for_function(
        "(text) => document.querySelector('#status').textContent.startsWith(text)", arg=text
    )


def say(page: Any, text: str) -> None:
    """Type a message and press Enter."""
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def wait_for_messages(page: Any, *messages: str) -> None:
    """Wait until exactly these messages are shown."""
    page.wait_for_function(
        """(wanted) => JSON.stringify(wanted) ===
            JSON.stringify([...document.querySelectorAll('#messages li')].map((each) => each.textContent))""",
        arg=list(messages),
    )


def test_talking(browser: Any, site: Server, console: ConsoleLog) -> None:
    """Two windows hear each other, as text and never as markup; a restart costs nothing that was typed."""
    console.allow_failed_requests()
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    console.watch(context)
    ann, bob = enter(context, site), enter(context, site)
    say(ann, "<b>hello</b>")
    for page in (ann, bob):
        wait_for_messages(page, "A guest: <b>hello</b>")
    assert ann.get_by_label("Message", exact=True).input_value() == ""
    site.stop()
    wait_for_status(ann, "Connection lost, trying again")
    say(ann, "still here")
    ann.get_by_text("Your text is still here").wait_for()
    site.start()
    for page in (ann, bob):
        # Makes it try at once; without it the next attempt is some seconds away.
        page.evaluate("dispatchEvent(new Event('online'))")
        wait_for_status(page, "Connected")
    assert ann.get_by_label("Message", exact=True).input_value() == "still here"
    ann.get_by_role("button", name="Send").click()
    wait_for_messages(bob, "A guest: <b>hello</b>", "A guest: still here")
    context.close()
    assert not console.unexpected()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Any, site: Server, console: ConsoleLog, scheme: str) -> None:
    """On a phone nothing is cut off, and the field has the focus."""
    context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    console.watch(context)
    page = enter(context, site)
    say(page, "a" * 500)
    page.wait_for_selector("#messages li")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.wait_for_function("document.activeElement.id === 'text'")
    context.close()
    assert not console.unexpected()
