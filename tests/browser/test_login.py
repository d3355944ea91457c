"""Signing in and out in a real browser, against the real server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from ..conftest import ADMIN_PASSWORD, Server
from .conftest import ConsoleLog, soonest

NAME = ".account-name bdi"
#: How long the other windows of a session may take to notice that it has ended.
NOTICE_SECONDS = 2
#: Notes the code of every close; no event of the browser's automation tells it.
NOTE_CLOSE_CODES = """
    window.closeCodes = [];
    window.WebSocket = class extends WebSocket {
        constructor(...details) {
            super(...details);
            this.addEventListener('close', ({code}) => window.closeCodes.push(code));
        }
    };
"""
FOREIGN_TARGETS = [
    "//elsewhere.example/",
    "https://elsewhere.example/",
    "/\\elsewhere.example/",
    "/\t/elsewhere.example/",
    "javascript:alert(1)",
    "elsewhere.example",
]


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module("--drain-seconds", "1")


@pytest.fixture
def site(shared: Server) -> Iterator[Server]:
    """The server that the tests of this file share."""
    with shared.lent():
        yield shared


def open_login(page: Any, site: Server, target: str | None = None) -> None:
    """Open the sign-in page as a link with this target would."""
    query = "" if target is None else f"?{urlencode({'next': target})}"
    page.goto(f"{site.url}/auth/login{query}")


def fill_in(page: Any, username: str = "admin", password: str = ADMIN_PASSWORD) -> None:
    """Fill in the form and send it."""
    page.get_by_label("Name").fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_in(context: Any, site: Server) -> None:
    """Sign a browser profile in without its pages."""
    credentials = {"username": "admin", "password": ADMIN_PASSWORD}
    assert context.request.post(f"{site.url}/api/1/auth/login", data=credentials).ok


def press_tab_until(page: Any, selector: str, most: int = 12) -> None:
    """Go to an element with the Tab key."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not lead to {selector}")


def wait_for_focus(page: Any, element_id: str) -> None:
    """Wait until an element has the focus: Chromium sets that of a new page when it first draws it."""
    page.wait_for_function("(id) => document.activeElement.id === id", arg=element_id)


def open_demos(context: Any, site: Server) -> Any:
    """Open the demos in a new window and wait until both conversations run; no time passes by itself."""
    page = context.new_page()
    page.add_init_script(NOTE_CLOSE_CODES)
    page.clock.install()
    page.goto(f"{site.url}/hello-websocket/")
    page.wait_for_selector('#emoji-status[data-status="connected"]')
    page.get_by_role("tab", name="Todo list").click()
    page.wait_for_selector('#todo-status[data-status="connected"]')
    return page


def test_keyboard_alone(page: Any, site: Server) -> None:
    """From the home page one signs in with Tab, Enter and typing alone."""
    page.goto(f"{site.url}/")
    press_tab_until(page, 'a[href^="/auth/login"]')
    page.keyboard.press("Enter")
    page.wait_for_url("**/auth/login?*")
    wait_for_focus(page, "username")
    page.keyboard.type("admin")
    page.keyboard.press("Tab")
    wait_for_focus(page, "password")
    page.keyboard.type(ADMIN_PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector(NAME)
    assert page.url == f"{site.url}/"
    assert page.locator(NAME).inner_text() == "admin"
    press_tab_until(page, 'form[action="/auth/logout"] button')
    page.keyboard.press("Enter")
    page.wait_for_selector('a[href^="/auth/login"]')


def test_every_control_by_tab(page: Any, site: Server) -> None:
    """Tab goes from the name to the password, to the button that shows it, and to the one that signs in."""
    open_login(page, site)
    wait_for_focus(page, "username")
    page.keyboard.press("Tab")
    wait_for_focus(page, "password")
    page.keyboard.press("Tab")
    assert page.locator("[data-reveals]").evaluate("(button) => button === document.activeElement")
    page.keyboard.press("Tab")
    submit = page.get_by_role("button", name="Sign in", exact=True)
    assert submit.evaluate("(button) => button === document.activeElement")


def test_wrong_password(page: Any, site: Server, console: ConsoleLog) -> None:
    """A wrong password is told in an alert, the name is kept, and typing goes on in the password."""
    console.allow_failed_requests()
    open_login(page, site)
    fill_in(page, "Admin", "wrong password")
    assert page.get_by_role("alert").inner_text() == "Wrong name or password"
    assert page.get_by_label("Name").input_value() == "Admin"
    assert page.get_by_label("Password", exact=True).input_value() == ""
    wait_for_focus(page, "password")
    page.keyboard.type(ADMIN_PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector(NAME)
    assert page.locator(NAME).inner_text() == "admin"


def test_unknown_name_is_text(page: Any, site: Server, console: ConsoleLog) -> None:
    """A name that is markup comes back as it was typed, and the answer is that of a wrong password."""
    console.allow_failed_requests()
    open_login(page, site)
    name = '"><b id="injected">&amp;{{ 1 }}'
    fill_in(page, name, "whatever it is")
    assert page.get_by_role("alert").inner_text() == "Wrong name or password"
    assert page.get_by_label("Name").input_value() == name
    assert page.locator("#injected").count() == 0


def test_next_is_kept(page: Any, site: Server, console: ConsoleLog) -> None:
    """Who signs in from a page comes back to it with its query, also after a wrong password."""
    console.allow_failed_requests()
    address = f"{site.url}/hello-websocket/?a=1&b=%C3%A4+%26"
    page.goto(address)
    page.get_by_role("link", name="Sign in").click()
    fill_in(page, password="wrong password")
    page.get_by_role("alert").wait_for()
    # The header's own link leads there as well, not back to the form.
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("alert").wait_for(state="detached")
    fill_in(page)
    page.wait_for_selector(NAME)
    assert page.url == address


def test_signed_in_already(page: Any, context: Any, site: Server) -> None:
    """Who is signed in is led past the form to where it would have led."""
    sign_in(context, site)
    open_login(page, site, "/hello-websocket/")
    assert page.url == f"{site.url}/hello-websocket/"
    page.wait_for_selector('#emoji-status[data-status="connected"]')


def test_next_is_only_local(page: Any, site: Server) -> None:
    """Signing in, or being signed in, never leads to another site, however its address is written."""
    open_login(page, site, FOREIGN_TARGETS[0])
    # What the form carries may have been tampered with as well.
    page.locator('input[name="next"]').evaluate(
        "(input, next) => { input.value = next; }", FOREIGN_TARGETS[1]
    )
    fill_in(page)
    page.wait_for_selector(NAME)
    assert page.url == f"{site.url}/"
    for target in FOREIGN_TARGETS:
        open_login(page, site, target)
        assert page.url == f"{site.url}/", target


def test_header_of_every_page(page: Any, context: Any, site: Server, console: ConsoleLog) -> None:
    """Every page, also one that tells an error, shows in its header who is signed in, or how to sign in."""
    console.allow_failed_requests()
    paths = ["/", "/hello-websocket/", "/nowhere", "/auth/logout"]
    for path in [*paths, "/auth/login"]:
        page.goto(site.url + path)
        assert page.locator("header").get_by_role("link", name="Sign in").is_visible(), path
        assert page.locator(NAME).count() == 0, path
    sign_in(context, site)
    for path in paths:
        page.goto(site.url + path)
        assert page.locator("header").locator(NAME).all_inner_texts() == ["admin"], path
        assert page.locator("header").get_by_role("button", name="Sign out").is_visible(), path


def test_sign_out(page: Any, context: Any, site: Server) -> None:
    """After signing out one is a guest: the header, the cookie and the server all say so."""
    sign_in(context, site)
    page.goto(f"{site.url}/hello-websocket/")
    before = context.cookies()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{site.url}/")
    assert page.get_by_role("link", name="Sign in").is_visible()
    assert "jpulse_session" in {cookie["name"] for cookie in before}
    assert "jpulse_session" not in {cookie["name"] for cookie in context.cookies()}
    context.add_cookies(before)
    page.reload()
    assert page.get_by_role("link", name="Sign in").is_visible(), "the old cookie is still good"


def wait_for_ends(page: Any) -> None:
    """Wait until both conversations of the demos have ended."""
    for demo in ("emoji", "todo"):
        page.wait_for_selector(f'#{demo}-status[data-status="disconnected"]', state="attached")


def test_sign_out_is_noticed_at_once(browser: Any, site: Server) -> None:
    """Within two seconds of signing out the sockets of other windows have ended."""

    def seconds_to_notice() -> float:
        context = browser.new_context()
        sign_in(context, site)
        other = open_demos(context, site)
        begin = time.monotonic()
        assert context.request.post(f"{site.url}/api/1/auth/logout").ok
        wait_for_ends(other)
        seconds = time.monotonic() - begin
        context.close()
        return seconds

    assert soonest(seconds_to_notice, NOTICE_SECONDS) <= NOTICE_SECONDS


def test_sign_out_reaches_other_windows(browser: Any, context: Any, site: Server) -> None:
    """Signing out in one window ends the other window's sockets, says why, and they stay ended."""
    guests = browser.new_context()
    guest = open_demos(guests, site)
    sign_in(context, site)
    other, own = open_demos(context, site), context.new_page()
    dialled: list[str] = []
    other.on("websocket", lambda socket: dialled.append(socket.url))
    own.goto(f"{site.url}/")
    own.get_by_role("button", name="Sign out").click()
    wait_for_ends(other)
    assert other.evaluate("closeCodes") == [4401, 4401]
    assert other.locator("#todo-link").inner_text().startswith("The session ended. ")
    other.get_by_role("tab", name="Emoji cursors").click()
    assert other.locator("#emoji-overlay").inner_text().startswith("The session ended. ")
    # Longer than any wait before an attempt, and what would wake a connection that gave up.
    other.clock.fast_forward("05:00")
    other.evaluate("dispatchEvent(new Event('online'))")
    other.clock.fast_forward("05:00")
    assert other.evaluate("jPulse.ws.getConnections().length") == 0
    assert dialled == []
    assert guest.evaluate("jPulse.ws.getConnections().map((each) => each.isConnected())") == [True, True]
    other.get_by_role("button", name="Connect", exact=True).click()
    other.wait_for_selector('#emoji-status[data-status="connected"]')
    guests.close()


def test_show_password(page: Any, site: Server) -> None:
    """A button shows what was typed and hides it again, and its name says which comes next."""
    open_login(page, site)
    page.get_by_label("Name").fill("admin")
    field = page.locator("#password")
    field.fill(ADMIN_PASSWORD)
    page.get_by_role("button", name="Show the password").click()
    assert field.get_attribute("type") == "text"
    assert field.input_value() == ADMIN_PASSWORD
    page.get_by_role("button", name="Hide the password").click()
    assert field.get_attribute("type") == "password"
    page.get_by_role("button", name="Show the password").press("Enter")
    assert field.get_attribute("type") == "text"
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_selector(NAME)


def test_without_javascript(browser: Any, site: Server, console: ConsoleLog) -> None:
    """Without JavaScript one signs in, reads one's name, and signs out; no button is there in vain."""
    console.allow_failed_requests()
    context = browser.new_context(java_script_enabled=False)
    console.watch(context)
    page = context.new_page()
    page.goto(f"{site.url}/auth/login?next=/hello-websocket/")
    assert page.locator("[data-reveals]").is_hidden()
    fill_in(page, password="wrong password")
    assert page.get_by_role("alert").inner_text() == "Wrong name or password"
    fill_in(page)
    page.wait_for_url(f"{site.url}/hello-websocket/")
    assert page.locator(NAME).inner_text() == "admin"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in").wait_for()
    context.close()
    assert not console.unexpected()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow(browser: Any, site: Server, console: ConsoleLog, scheme: str) -> None:
    """On a phone the form, its error and every page with a name in its header fit the width."""
    console.allow_failed_requests()
    context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    console.watch(context)
    page = context.new_page()

    def fits() -> bool:
        value = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        return bool(value)

    open_login(page, site)
    assert fits()
    fill_in(page, "m" * 300, "wrong password")
    page.get_by_role("alert").wait_for()
    page.wait_for_load_state()
    assert fits()
    fill_in(page)
    page.wait_for_selector(NAME)
    for path in ("/", "/hello-websocket/", "/nowhere"):
        page.goto(site.url + path)
        assert page.locator(NAME).is_visible(), path
        assert fits(), path
    context.close()
    assert not console.unexpected()
