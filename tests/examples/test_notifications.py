"""Notifications: private to one user, in every tab, with a badge for what is unread."""

from __future__ import annotations

from typing import Any

import pytest

from ..browser.conftest import ConsoleLog
from ..visitor import Visitor, manage
from .conftest import Site, Visit, come_back, eventually, texts, wait_for_status

REST = "/api/1/notifications"


@pytest.fixture(scope="module")
def site(site: Site) -> Site:
    """The example's processes, with a second user."""
    manage(site.servers[0], "add", "ann", "--roles", "user")
    return site


def send(page: Any, to: str, text: str) -> None:
    page.get_by_label("User", exact=True).fill(to)
    page.get_by_label("Text").fill(text)
    page.keyboard.press("Enter")


def badge(page: Any) -> str:
    text = page.locator("#badge").inner_text()
    assert isinstance(text, str)
    return text


def read_all(page: Any) -> None:
    """Have nothing unread; returns when the server has said so."""
    page.evaluate(
        """() => new Promise((resolve) => {
            connection.onMessage(({data}) => { if (data?.type === 'seen') resolve(); });
            connection.send({type: 'seen', upTo: Number.MAX_SAFE_INTEGER - 1});
        })"""
    )
    eventually(lambda: badge(page), "All read")


def test_only_the_receiver_is_told(visit: Visit) -> None:
    """A notification reaches every tab of its receiver and nobody else; what is read is so everywhere."""
    admin = visit(0, name="admin")
    ann = visit(1, name="ann", viewport={"width": 400, "height": 800})
    tab = visit(0, after=ann)
    read_all(ann)
    read_all(admin)
    send(admin, "ANN", "Your report is ready")
    for page in (ann, tab):
        eventually(lambda page=page: (badge(page), page.title()), ("1 unread", "(1) Notifications"))
        assert "Your report is ready" in texts(page, "#notes > li")[0]
    assert badge(admin) == "All read"
    assert "report" not in admin.locator("#notes").inner_text()
    tab.get_by_role("button", name="Mark all as read").press("Enter")
    for page in (ann, tab):
        eventually(lambda page=page: (badge(page), page.title()), ("All read", "Notifications"))


def test_nobody_of_this_name(visit: Visit, console: ConsoleLog) -> None:
    """A notification for nobody is refused with the reason, and what was typed stays."""
    console.allow_failed_requests()
    admin = visit(0, name="admin")
    send(admin, "nobody", "Hello")
    eventually(lambda: texts(admin, "#problem"), ["to: there is no user nobody"])
    assert admin.get_by_label("Text").input_value() == "Hello"


def test_guests(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """A guest is shown the way to sign in and nothing else; REST refuses guests, too."""
    console.allow_failed_requests()
    guest = visit(0, status="disconnected")
    assert (
        guest.get_by_role("link", name="Sign in").get_attribute("href")
        == "/auth/login?next=%2Fnotifications%2F"
    )
    assert not guest.locator("#signed-in").is_visible()
    assert Visitor(site.servers[0].port).post(REST, {"to": "ann", "text": "Hello"}).status == 401


def test_signing_out_elsewhere(visit: Visit, site: Site) -> None:
    """When the session ends in another tab, what was private goes from the screen."""
    ann = visit(0, name="ann")
    send(ann, "ann", "Remember the milk")
    eventually(lambda: "milk" in ann.locator("#notes").inner_text(), True)
    assert ann.context.request.post(f"{site.servers[0].url}/api/1/auth/logout").ok
    wait_for_status(ann, "disconnected")
    assert texts(ann, ".connection-line") == ["Not connected. The session ended."]
    assert ann.locator("#notes").inner_text() == ""
    assert not ann.locator("#signed-in").is_visible()


def test_restart(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """Who was away, or lost the server, finds what was sent meanwhile as unread."""
    console.allow_failed_requests()
    ann = visit(1, name="ann")
    read_all(ann)
    ann.evaluate("() => connection.disconnect()")
    wait_for_status(ann, "disconnected")
    admin = Visitor(site.servers[0].port)
    admin.sign_in()
    assert admin.post(REST, {"to": "ann", "text": "While you were away"}).status == 201
    site.restart()
    ann.get_by_role("button", name="Connect").click()
    come_back(ann)
    eventually(lambda: badge(ann), "1 unread")
    assert admin.post(REST, {"to": "ann", "text": "Welcome back"}).status == 201
    eventually(lambda: badge(ann), "2 unread")
