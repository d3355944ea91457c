"""The demos in a real browser, against the real server."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ..conftest import Server
from ..test_readme import block
from .conftest import PATIENCE_MS, ConsoleLog, region_names, wait_until_drawn

OTHERS = "#emoji-stage .cursor:not(.is-own)"


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module("--drain-seconds", "1")


@pytest.fixture
def site(shared: Server) -> Iterator[Server]:
    """The server that the tests of this file share."""
    with shared.lent():
        yield shared


def open_demo(context: Any, site: Server) -> Any:
    """Open the emoji demo in a new window and wait until it is connected."""
    page = context.new_page()
    page.goto(f"{site.url}/hello-websocket/")
    wait_for_status(page, "connected")
    return page


def wait_for_status(page: Any, status: str) -> None:
    page.wait_for_selector(f'#emoji-status[data-status="{status}"]')


def move_to(page: Any, x: float, y: float) -> None:
    """Move the mouse to a place on the stage, in percent."""
    box = page.locator("#emoji-stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * x / 100, box["y"] + box["height"] * y / 100)


def wait_for_cursor_at(page: Any, x: float, y: float) -> None:
    """Wait until somebody else's cursor is drawn within a percent of a place."""
    page.wait_for_function(
        """([selector, x, y]) => [...document.querySelectorAll(selector)].some((cursor) => {
            const found = cursor.style.transform.match(/([\\d.]+)cqw, ([\\d.]+)cqh/);
            return found && Math.abs(found[1] - x) < 1 && Math.abs(found[2] - y) < 1;
        })""",
        arg=[OTHERS, x, y],
    )


def client_uuid(page: Any) -> str:
    value = page.evaluate("localStorage.getItem('jPulse.ws.clientUUID')")
    assert isinstance(value, str)
    return value


def told_id(page: Any) -> str:
    """The client id that the server told this page."""
    value = page.evaluate("jPulse.ws.getConnections()[0].clientId")
    assert isinstance(value, str)
    return value


@pytest.fixture
def two_people(browser: Any, site: Server, console: ConsoleLog) -> Any:
    """Two browsers, each with the demo open."""
    contexts = [browser.new_context(viewport={"width": 1100, "height": 900}) for _ in range(2)]
    for context in contexts:
        context.set_default_timeout(PATIENCE_MS)
        console.watch(context)
    yield [open_demo(context, site) for context in contexts]
    for context in contexts:
        context.close()
    assert not console.unexpected()


def test_two_people_see_each_other(two_people: Any) -> None:
    """Who moves is seen by the other, with the chosen emoji, and is gone when the page is closed."""
    ann, bob = two_people
    ann.wait_for_function("() => document.querySelector('#emoji-people').textContent === '2 people here'")
    ann.get_by_role("radio", name="Octopus").check(force=True)
    move_to(ann, 20, 30)
    wait_for_cursor_at(bob, 20, 30)
    assert bob.locator(OTHERS + " .cursor-emoji").inner_text() == "🐙"
    move_to(bob, 70, 60)
    wait_for_cursor_at(ann, 70, 60)
    move_to(ann, 80, 40)
    wait_for_cursor_at(bob, 80, 40)
    ann.close()
    bob.wait_for_selector(OTHERS, state="detached")
    bob.wait_for_function("() => document.querySelector('#emoji-people').textContent === 'Only you are here'")


def test_restart_of_the_server(two_people: Any, site: Server, console: ConsoleLog) -> None:
    """After a restart both pages come back by themselves, each with the client id it had."""
    console.allow_failed_requests()
    ann, bob = two_people
    before = [told_id(page) for page in two_people]
    site.stop(signal.SIGTERM)
    for page in two_people:
        wait_for_status(page, "reconnecting")
    site.start()
    for page in two_people:
        wait_for_status(page, "connected")
    assert [told_id(page) for page in two_people] == before
    move_to(ann, 25, 75)
    wait_for_cursor_at(bob, 25, 75)


def test_second_tab(context: Any, site: Server) -> None:
    """Two tabs of one browser share the client id, see each other, and one survives the other's end."""
    first, second = open_demo(context, site), open_demo(context, site)
    assert told_id(first) == told_id(second) == client_uuid(first)
    move_to(second, 40, 50)
    wait_for_cursor_at(first, 40, 50)
    assert first.locator(OTHERS + " .cursor-label").inner_text() == "You (other window)"
    assert first.locator(".stage-hint").is_hidden()
    second.close()
    third = open_demo(context, site)
    assert first.evaluate("jPulse.ws.getConnections()[0].isConnected()")
    move_to(first, 60, 20)
    wait_for_cursor_at(third, 60, 20)


def test_own_pointer_is_drawn_once(context: Any, site: Server) -> None:
    """What comes back of the own moves is not drawn as somebody else."""
    page = open_demo(context, site)
    for x in range(10, 90, 4):
        move_to(page, x, 50)
        page.wait_for_timeout(20)
    page.evaluate(
        """() => new Promise((done) => jPulse.ws.getConnections()[0].onMessage((message) => {
            if (message.data?.x === 33.25) done();
        }).send({type: 'cursor-move', emoji: 'end', x: 33.25, y: 1}))"""
    )
    # The last one was not sent by the demo's own code, so it alone is drawn as another window's.
    assert page.locator(OTHERS).count() == 1
    assert page.locator(OTHERS + " .cursor-emoji").inner_text() == "end"


def test_cursor_moves_are_throttled(context: Any, site: Server) -> None:
    """However fast the mouse moves, at most one position in 50 ms is sent, and the last one arrives."""
    page = open_demo(context, site)
    page.evaluate(
        """() => {
            window.sentAt = [];
            const send = WebSocket.prototype.send;
            WebSocket.prototype.send = function (text) {
                if (text.includes('cursor-move')) window.sentAt.push([performance.now(), JSON.parse(text)]);
                return send.call(this, text);
            };
        }"""
    )
    for x in range(10, 90):
        move_to(page, x, 50)
    page.wait_for_function("() => window.sentAt.some(([, message]) => Math.abs(message.x - 89) < 1)")
    times = [at for at, _ in page.evaluate("window.sentAt")]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    # performance.now() is coarsened, and a timer may fire a fraction of a millisecond early.
    assert all(gap >= 48 for gap in gaps), gaps


def test_touch(browser: Any, site: Server, console: ConsoleLog) -> None:
    """A finger on a phone moves the cursor, and the page does not scroll under it."""
    contexts = [
        browser.new_context(viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True),
        browser.new_context(),
    ]
    for context in contexts:
        console.watch(context)
    phone, other = (open_demo(context, site) for context in contexts)
    stage = phone.locator("#emoji-stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    scrolled = phone.evaluate("window.scrollY")
    touch = contexts[0].new_cdp_session(phone)

    def finger(kind: str, x: float, y: float) -> None:
        points = (
            []
            if kind == "touchEnd"
            else [{"x": box["x"] + box["width"] * x / 100, "y": box["y"] + box["height"] * y / 100}]
        )
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    finger("touchStart", 50, 80)
    for y in range(75, 15, -10):
        finger("touchMove", 50, y)
    wait_for_cursor_at(other, 50, 25)
    finger("touchEnd", 50, 25)
    assert phone.evaluate("window.scrollY") == scrolled
    for context in contexts:
        context.close()
    assert not console.unexpected()


def test_keyboard(two_people: Any) -> None:
    """The stage and the emoji picker work without a mouse."""
    ann, bob = two_people
    ann.locator("#emoji-stage").focus()
    ann.keyboard.press("ArrowRight")
    wait_for_cursor_at(bob, 52, 50)
    ann.keyboard.press("Shift+ArrowDown")
    wait_for_cursor_at(bob, 52, 60)
    ann.get_by_role("radio", name="Fox").check(force=True)
    ann.get_by_role("radio", name="Fox").focus()
    ann.keyboard.press("ArrowRight")
    bob.wait_for_function(
        "(selector) => document.querySelector(selector + ' .cursor-emoji')?.textContent === '🐙'", arg=OTHERS
    )


def test_disconnect_and_connect(two_people: Any) -> None:
    """The button disconnects for good and connects again, and the other sees both."""
    ann, bob = two_people
    move_to(ann, 30, 30)
    wait_for_cursor_at(bob, 30, 30)
    ann.get_by_role("button", name="Disconnect").click()
    wait_for_status(ann, "disconnected")
    bob.wait_for_selector(OTHERS, state="detached")
    assert ann.locator("#emoji-overlay").is_visible()
    ann.get_by_role("button", name="Connect", exact=True).click()
    wait_for_status(ann, "connected")
    bob.wait_for_function("() => document.querySelector('#emoji-people').textContent === '2 people here'")


def test_regions_have_different_names(page: Any, site: Server) -> None:
    """A screen reader's list of regions names each part of a tab in its own way."""
    for tab in ("emoji", "todo", "notes", "how", "examples", "architecture", "practices"):
        page.goto(f"{site.url}/hello-websocket/#{tab}")
        page.locator(f"#{tab}").wait_for()
        names = region_names(page)
        assert len(set(names)) == len(names), (tab, names)
    page.wait_for_function("() => jPulse.ws.getConnections().every((handle) => handle.isConnected())")


def test_tabs(page: Any, site: Server) -> None:
    """Tabs are addressed by the hash, move with the arrow keys, and the back button goes back."""
    page.goto(f"{site.url}/hello-websocket/#how")
    wait_until_drawn(page)
    how, emoji = page.get_by_role("tab", name="How it works"), page.get_by_role("tab", name="Emoji cursors")
    assert how.get_attribute("aria-selected") == "true"
    assert page.locator("#how").is_visible()
    assert page.locator("#emoji").is_hidden()
    how.focus()
    page.keyboard.press("Home")
    assert emoji.get_attribute("aria-selected") == "true"
    assert emoji.evaluate("(tab) => tab === document.activeElement")
    assert page.evaluate("location.hash") == "#emoji"
    page.keyboard.press("End")
    assert page.locator("#practices").is_visible()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#how").is_visible()
    assert page.locator("#how").get_by_text("class Cursors(NamespaceHandler)").first.is_visible()


def test_back_forward_cache(context: Any, site: Server) -> None:
    """A page that the back button shows again from the cache is connected again, with its state."""
    page = open_demo(context, site)
    page.evaluate(
        """() => {
            window.kept = true;
            addEventListener('pageshow', (event) => { window.persisted = event.persisted; });
        }"""
    )
    page.goto(f"{site.url}/")
    page.go_back(wait_until="commit")
    page.wait_for_function("() => window.persisted !== undefined")
    assert page.evaluate("[window.kept, window.persisted]") == [True, True]
    wait_for_status(page, "connected")


def test_gives_up_and_comes_back_online(page: Any, site: Server, console: ConsoleLog) -> None:
    """After the last attempt a connection rests, and the browser's `online` event wakes it."""
    console.allow_failed_requests()
    page.goto(f"{site.url}/")
    page.add_script_tag(url=f"{site.url}/static/jpulse/jpulse.js")
    page.evaluate(
        """() => {
            window.statuses = [];
            window.link = jPulse.ws.connect('/api/1/ws/hello-emoji',
                {reconnectBaseInterval: 50, reconnectMaxInterval: 100, maxReconnectAttempts: 3})
                .onStatusChange((status) => window.statuses.push(status));
        }"""
    )
    page.wait_for_function("() => link.isConnected()")
    site.stop()
    page.wait_for_function("() => link.getStatus() === 'disconnected'")
    site.start()
    page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_function("() => link.isConnected()")
    assert page.evaluate("statuses")[:3] == ["connected", "reconnecting", "disconnected"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_pages_fit(browser: Any, site: Server, console: ConsoleLog, width: int, scheme: str) -> None:
    """No page scrolls sideways or complains in the console, narrow or wide, light or dark."""
    console.allow("Failed to load resource.*404")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    console.watch(context)
    page = context.new_page()
    tabs = ("emoji", "how", "examples", "architecture", "practices")
    for path in ("/", *(f"/hello-websocket/#{tab}" for tab in tabs), "/nowhere"):
        page.goto(site.url + path)
        # From tab to tab no page is loaded.
        page.locator(f"#{path.partition('#')[2] or 'main'}").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    context.close()
    assert not console.unexpected()


def test_readme_chat(context: Any, serve: Callable[..., Server], tmp_path: Path, console: ConsoleLog) -> None:
    """The chat of README works in two windows as it is written there."""
    console.allow("favicon")
    (tmp_path / "chat.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "chat.html").write_text(block("html"), encoding="utf-8")
    site = serve("--app", "chat", cwd=tmp_path)
    pages = [context.new_page(), context.new_page()]
    for page in pages:
        page.goto(f"{site.url}/chat.html")
        page.wait_for_function("() => jPulse.ws.getConnections()[0].isConnected()")
    pages[0].get_by_label("Message").fill("<b>hello</b>")
    pages[0].keyboard.press("Enter")
    for page in pages:
        page.wait_for_selector("li")
        assert page.locator("li").all_inner_texts() == ["<b>hello</b>"]


def test_round_trip(two_people: Any) -> None:
    """Beside the status stands how long a ping takes, and nothing while there is no connection."""
    page, _ = two_people
    page.wait_for_selector("#emoji-latency:text-matches('^[1-9][0-9]* ms$')")
    assert page.locator("#emoji-status #emoji-latency").count() == 0, "it would be read out every second"
    page.click("#emoji-connect")
    page.wait_for_selector("#emoji-latency:empty", state="attached")
