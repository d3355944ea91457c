"""The admin pages in a real browser, against the real server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from ..conftest import ADMIN_PASSWORD, Server
from ..raw_client import RawClient
from ..visitor import Visitor
from .conftest import PATIENCE_MS, ConsoleLog, region_names, soonest

STATS = "/admin/websocket-stats.shtml"
ECHO = "/api/1/ws/echo"
IMPOSTOR = "/api/1/ws/impostor"
#: How soon a message is in the log of somebody who looks.
LOG_SECONDS = 2
HOSTILE = '<img src=x onerror="window.hacked = true"><script>window.hacked = true</script>"\'>{{1}}'

Enter = Callable[..., Any]


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module("--drain-seconds", "1", app="tests.apps.admin_data")


@pytest.fixture
def site(shared: Server) -> Iterator[Server]:
    """The server that the tests of this file share."""
    with shared.lent():
        yield shared


@pytest.fixture(scope="module")
def cookies(shared: Server) -> list[dict[str, str]]:
    """Those of an administrator."""
    admin = Visitor(shared.port)
    admin.sign_in()
    return [{"name": name, "value": value, "url": shared.url} for name, value in admin.jar.items()]


@pytest.fixture
def enter(browser: Any, site: Server, cookies: list[dict[str, str]], console: ConsoleLog) -> Iterator[Enter]:
    """Open a page as an administrator, in a browser profile with the options given."""
    contexts = []

    def open_page(path: str = STATS, **options: Any) -> Any:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies(cookies)
        console.watch(context)
        contexts.append(context)
        page = context.new_page()
        page.goto(site.url + path)
        if path == STATS and options.get("java_script_enabled", True):
            wait_until_live(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not console.unexpected()


def wait_until_live(page: Any) -> None:
    """Wait until the server's first message was shown."""
    page.wait_for_selector('#live-status[data-status="connected"]')
    page.wait_for_selector("#traffic-chart canvas")


def say(site: Server, path: str = ECHO, **message: Any) -> None:
    """Send one message as a guest, and wait until it was handled."""
    with RawClient(site.port, path) as client:
        client.read_data("connected")
        client.send_json({"type": "hello", **message})
        client.read_json()


def entries(page: Any, text: str) -> Any:
    """The entries of the log with a text, newest first: an answer may be told later than what it answers."""
    return page.locator("#log .entry", has_text=text)


def entry(page: Any, text: str) -> Any:
    """The newest entry of the log with a text."""
    return entries(page, text).first


def row(page: Any, path: str) -> Any:
    """A namespace's row."""
    return page.locator(f'#namespaces [data-key="{path}"]')


def figure(place: Any) -> int:
    """A number as it is shown."""
    return int(place.text_content().replace(",", ""))


def wait_for_figure(page: Any, place: Any, number: int) -> None:
    """Wait until a number is shown."""
    same = "([place, number]) => Number(place.textContent.replaceAll(',', '')) === number"
    page.wait_for_function(same, arg=[place.element_handle(), number])


def namespace_page(path: str) -> str:
    return f"/admin/websocket-namespace?path={quote(path, safe='')}"


# Live


def test_message_of_another_window(enter: Enter, site: Server) -> None:
    """A message that is sent in one window is in the administrator's log within two seconds."""
    page, window = enter(), enter("/hello-websocket/#emoji")
    window.wait_for_selector('#emoji-status[data-status="connected"]')
    window.evaluate("() => { window.chat = jPulse.ws.connect('/api/1/ws/echo'); }")
    window.wait_for_function("() => chat.isConnected()")
    numbers = count()

    def seconds_to_log() -> float:
        text = f"from the window, {next(numbers)}."
        begin = time.monotonic()
        window.evaluate("(text) => { chat.send({type: 'greeting', text}); }", text)
        entry(page, text).wait_for()
        assert "greeting" in entry(page, text).text_content()
        return time.monotonic() - begin

    assert soonest(seconds_to_log, LOG_SECONDS) <= LOG_SECONDS


def test_figures_follow(enter: Enter, site: Server) -> None:
    """Figures, state and last activity of a namespace follow what happens, with a word beside the colour."""
    page = enter()
    cell = row(page, ECHO).locator('[data-cell="totalMessages"]')
    before, total = figure(cell), figure(page.locator('[data-figure="totalMessages"]'))
    begin = datetime.now(UTC)
    say(site)
    wait_for_figure(page, cell, before + 2)
    assert figure(page.locator('[data-figure="totalMessages"]')) >= total + 2
    state = row(page, ECHO).locator(".state")
    assert (state.get_attribute("data-status"), state.inner_text()) == ("green", "Active")
    activity = row(page, ECHO).locator("time")
    assert re.fullmatch(r"now|\d+ s ago", activity.inner_text())
    # It is written in milliseconds.
    assert datetime.fromisoformat(activity.get_attribute("datetime")) > begin - timedelta(milliseconds=1)
    assert activity.get_attribute("title") not in ("", activity.get_attribute("datetime"))
    assert page.locator('[data-figure="processes"]').inner_text() == "1"


def test_refused_handshakes_follow(enter: Enter, site: Server) -> None:
    """How many were not let in, and why, stands on the page when it is opened and follows."""
    refused = enter().locator('[data-figure="refusals"]')
    before = re.search(r"origin: (\d+)", refused.inner_text())
    elsewhere = RawClient(site.port, shake_hands=False)
    with elsewhere:
        elsewhere.send(elsewhere.handshake_request(ECHO, {"Origin": "http://elsewhere.example"}))
        assert elsewhere.read_head()[0] == 403
    expected = f"origin: {int(before[1]) + 1 if before else 1}"
    expect(refused).to_have_text(re.compile(rf"\b{expected}\b"))
    refused.page.reload()
    expect(refused).to_have_text(re.compile(rf"\b{expected}\b"))


def test_charts(enter: Enter) -> None:
    """There is a chart for all and one for each namespace in sight, each with a text that says the same."""
    page = enter()
    assert page.locator("#traffic-chart canvas").count() == 1
    page.locator("#namespaces-title").scroll_into_view_if_needed()
    page.wait_for_selector("#namespaces .spark canvas")
    label = page.locator("#namespaces .spark:has(canvas)").first.get_attribute("aria-label")
    assert "at most" in label
    assert "in a second" in page.locator("#traffic-text").inner_text()


def test_recovery_after_a_restart(browser: Any, serve: Callable[..., Server], console: ConsoleLog) -> None:
    """After a restart of the server the page goes on by itself, with the new process and the new figures."""
    console.allow_failed_requests()
    server = serve("--drain-seconds", "1", app="tests.apps.admin_data")
    context = browser.new_context()
    console.watch(context)
    credentials = {"username": "admin", "password": ADMIN_PASSWORD}
    assert context.request.post(f"{server.url}/api/1/auth/login", data=credentials).ok
    page = context.new_page()
    page.goto(server.url + STATS)
    wait_until_live(page)
    say(server, text="before the restart")
    entry(page, "before the restart").wait_for()
    server.stop()
    page.wait_for_selector('#live-status:not([data-status="connected"])')
    server.start()
    # Makes it try at once; without it the next attempt is some seconds away.
    page.evaluate("dispatchEvent(new Event('online'))")
    wait_until_live(page)
    page.wait_for_function("() => document.querySelectorAll('#log .entry').length === 0")
    assert page.locator("#processes tr").count() == 1
    assert str(server.pid) in page.locator("#processes").inner_text()
    say(server, text="after the restart")
    entry(page, "after the restart").wait_for()
    context.close()
    assert not console.unexpected()


def test_signed_out_elsewhere(enter: Enter, site: Server, browser: Any, console: ConsoleLog) -> None:
    """When the session ends the page stops, and says why."""
    console.allow_failed_requests()
    admin = Visitor(site.port)
    admin.sign_in()
    page = enter()
    page.context.add_cookies(
        [{"name": name, "value": value, "url": site.url} for name, value in admin.jar.items()]
    )
    page.reload()
    wait_until_live(page)
    admin.sign_out()
    page.wait_for_selector('#live-status[data-status="disconnected"]')
    assert "session ended" in page.locator("#live-reason").inner_text()


# What clients send is text


@pytest.mark.parametrize("bypass_csp", [False, True], ids=["with CSP", "with escaping alone"])
def test_hostile_texts(enter: Enter, site: Server, bypass_csp: bool) -> None:
    """Markup in a type, text, name or address never runs, also where no CSP would stop it."""
    headers = {"User-Agent": HOSTILE}
    page = enter(bypass_csp=bypass_csp)
    before = entries(page, "window.hacked").count()
    message = {"type": HOSTILE, "text": HOSTILE, "as": HOSTILE}
    with RawClient(site.port, f"{IMPOSTOR}?uuid={quote(HOSTILE)}", headers=headers) as client:
        client.send_json(message)
        client.read_data(HOSTILE)
        # What comes after the log is opened is not shown.
        entries(page, "window.hacked").nth(before + 1).wait_for()
        found = entry(page, "window.hacked")
        found.locator("summary").click()
        assert "onerror" in found.locator(".entry-raw").inner_text()
        page.fill('#log-filters [name="username"]', "onerror")
        page.locator("#log .entry", has_text="out").first.wait_for()
        for path in (STATS, f"{namespace_page(IMPOSTOR)}&search={quote(HOSTILE)}&done={quote(HOSTILE)}"):
            page.goto(site.url + path)
            assert "window.hacked" in page.content()
        page.goto(site.url + STATS)
        wait_until_live(page)
    assert page.evaluate("() => window.hacked") is None
    assert page.locator("img[src=x]").count() == 0


# The log


def test_raw_message(enter: Enter, site: Server) -> None:
    """An entry opens to the raw message, by keyboard too, and stays where it is while it is read."""
    page = enter()
    say(site, text="to be opened")
    entries(page, "to be opened").nth(1).wait_for()
    found = entry(page, "to be opened")
    found.locator("summary").focus()
    page.keyboard.press("Enter")
    assert '"text":"to be opened"' in found.locator(".entry-raw").inner_text()
    page.wait_for_function("() => document.querySelector('#log-pause').textContent === 'Resume'")
    say(site, text="came meanwhile")
    page.wait_for_function("() => /paused, [1-9]/.test(document.querySelector('#log-text').textContent)")
    assert page.locator("#log .entry", has_text="came meanwhile").count() == 0
    page.click("#log-pause")
    entry(page, "came meanwhile").wait_for()
    assert page.locator("#log-pause").inner_text() == "Pause"


def test_newest_first(enter: Enter, site: Server) -> None:
    """The newest entry stands at the top."""
    page = enter()
    for number in range(3):
        say(site, text=f"in order {number}")
    entries(page, "in order").nth(5).wait_for()
    page.fill('#log-filters [name="message"]', "in order")
    page.fill('#log-filters [name="namespace"]', "echo")
    texts = page.locator("#log .entry-raw").all_text_contents()
    numbers = [text[text.index("in order ") + 9] for text in texts]
    assert numbers == ["2", "2", "1", "1", "0", "0"]


@pytest.mark.parametrize(("width", "has_prefix"), [(400, False), (1280, True)])
def test_namespace_of_an_entry(enter: Enter, site: Server, width: int, has_prefix: bool) -> None:
    """A narrow window leaves out what all addresses begin with, so that they can be told apart."""
    say(site, text="told before")
    page = enter(viewport={"width": width, "height": 800})
    say(site, text="told later")
    for text in ("told before", "told later"):
        namespace = entry(page, text).locator(".entry-namespace")
        assert namespace.text_content() == ECHO
        # What is scrolled out of sight is not laid out, but has its styles.
        display = namespace.locator(".entry-prefix").evaluate("(prefix) => getComputedStyle(prefix).display")
        assert (display != "none") == has_prefix


def test_filters(enter: Enter, site: Server) -> None:
    """Filters by namespace, user, type and text show what fits all of them, also of what comes later."""
    page = enter()
    say(site, text="apples", type="fruit")
    say(site, IMPOSTOR, text="apples", type="fruit", **{"as": "eve"})
    entry(page, "apples").wait_for()
    filters = page.locator("#log-filters")
    filters.locator('[name="message"]').fill("APPLES")
    filters.locator('[name="username"]').fill("eve")
    page.wait_for_function("() => document.querySelectorAll('#log .entry').length === 1")
    assert "1 of" in page.locator("#log-text").inner_text()
    say(site, IMPOSTOR, text="apples again", type="fruit", **{"as": "eve"})
    entry(page, "apples again").wait_for()
    filters.locator('[name="type"]').fill("no such type")
    page.wait_for_selector("#log-empty:not([hidden])")
    assert "filters" in page.locator("#log-empty").inner_text()


def test_log_at_its_cap(enter: Enter, site: Server) -> None:
    """Of a full log the page draws the newest, and more for somebody who scrolls down."""
    with RawClient(site.port, "/api/1/ws/unlimited") as client:
        for number in range(600):
            client.send_json({"type": "flood", "number": number})
        while client.read_data("echo")["message"]["number"] < 599:
            pass
    page = enter()
    text = page.locator("#log-text")
    assert text.inner_text().startswith("1,000 of the last five minutes; ")
    assert "left out" in text.inner_text()
    drawn = page.locator("#log .entry").count()
    assert 0 < drawn < 200
    page.click("#log-pause")
    page.locator("#log").evaluate("(list) => list.scrollTo(0, list.scrollHeight)")
    page.wait_for_function("(drawn) => document.querySelectorAll('#log .entry').length > drawn", arg=drawn)


def test_flood(enter: Enter, site: Server) -> None:
    """Of more messages than can be read the page shows the newest, and says how many it has not shown."""
    page = enter()
    with RawClient(site.port, "/api/1/ws/unlimited") as client:
        for number in range(600):
            client.send_json({"type": "flood", "number": number})
        while client.read_data("echo")["message"]["number"] < 599:
            pass
    page.wait_for_function("() => /too fast/.test(document.querySelector('#log-text').textContent)")
    assert '"number":599' in entry(page, "599").text_content()


# The table


def test_search_and_sort(enter: Enter, site: Server) -> None:
    """Namespaces are found by a part of their path, and stand in the chosen order."""
    page = enter()
    say(site)
    visible = (
        "() => [...document.querySelectorAll('#namespaces tr:not([hidden])')].map((row) => row.dataset.key)"
    )
    paths = page.evaluate(visible)
    assert ECHO in paths
    page.select_option("#namespaces-sort", "path")
    assert page.evaluate(visible) == sorted(paths)
    page.fill("#namespaces-search", "ECH")
    assert page.evaluate(visible) == [ECHO]
    page.fill("#namespaces-search", "no such path")
    page.wait_for_selector("#namespaces-none-found:not([hidden])")
    page.fill("#namespaces-search", "")
    page.select_option("#namespaces-sort", "lastActivity")
    page.wait_for_function(f"() => document.querySelector('#namespaces tr').dataset.key === '{ECHO}'")


# What can be done


@pytest.mark.parametrize("code", [1012, 4401])
def test_close_a_connection(enter: Enter, site: Server, code: int) -> None:
    """Closing a connection asks first, and closes it with the code that was chosen."""
    with RawClient(site.port, ECHO) as client:
        client.read_data("connected")
        page = enter(namespace_page(ECHO))
        button = page.locator('#main button[data-dialog="close"]')
        button.click()
        dialog = page.locator("#dialog-close")
        assert "a guest" in dialog.inner_text()
        page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")
        assert button.evaluate("(button) => button === document.activeElement")
        button.click()
        dialog.locator("select").select_option(str(code))
        dialog.get_by_role("button", name="Close it").click()
        assert client.read_close()[0] == code
        page.wait_for_selector(".note.is-good")
        assert "closed" in page.locator(".note.is-good").inner_text()


def test_send_a_message(enter: Enter, site: Server) -> None:
    """What is no JSON is told before it is sent; a message reaches those it is for."""
    with RawClient(site.port, ECHO) as client:
        client.read_data("connected")
        page = enter(namespace_page(ECHO))
        page.click('#main button[data-dialog="send"] >> nth=0')
        dialog = page.locator("#dialog-send")
        assert "all clients" in dialog.inner_text()
        dialog.locator("textarea").fill("{hello")
        dialog.get_by_role("button", name="Send").click()
        assert "no JSON" in page.locator("#send-error").inner_text()
        dialog.locator("textarea").fill('{"type": "notice", "text": "Zoë 🙂"}')
        dialog.get_by_role("button", name="Send").click()
        assert client.read_data("notice")["text"] == "Zoë 🙂"
        page.wait_for_selector(".note.is-good")


def test_cancelled(enter: Enter, site: Server) -> None:
    """A question that is answered with Cancel, where the focus is, does nothing."""
    page = enter()
    page.click('#processes button[data-dialog="drain"]')
    dialog = page.locator("#dialog-drain")
    assert dialog.locator("[data-shows]").inner_text() in page.locator("#processes code").get_attribute(
        "title"
    )
    page.keyboard.press("Enter")
    dialog.wait_for(state="hidden")
    assert Visitor(site.port).get("/healthz").status == 200


# How it looks


@pytest.mark.parametrize("width", [360, 700, 960, 1280])
@pytest.mark.parametrize("path", [STATS, namespace_page(ECHO)])
def test_width(enter: Enter, site: Server, path: str, width: int) -> None:
    """Nothing sticks out of the page, however wide the window is."""
    with RawClient(site.port, ECHO) as client:
        client.send_json({"type": "a" * 300, "text": "b" * 300})
        client.read_data("echo")
        page = enter(path, viewport={"width": width, "height": 800})
        # Charts are fitted a moment after the window has its scroll bars.
        page.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width)
        box = "#namespaces-box" if path == STATS else ".data-box"
        page.wait_for_function(
            "(box) => document.querySelector(box).scrollWidth <= document.querySelector(box).clientWidth",
            arg=box,
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_states(enter: Enter, scheme: str) -> None:
    """Charts and states take their colours from the scheme."""
    page = enter(color_scheme=scheme)
    colours = page.evaluate("() => Chart.colours()")
    assert (colours["line"].lower() == "#6fd3d8") == (scheme == "dark")
    page.emulate_media(color_scheme="light")
    page.wait_for_function("() => Chart.colours().line.toLowerCase() === '#0b6570'")
    assert page.locator("#traffic-chart canvas").count() == 1


def test_without_script(enter: Enter, site: Server) -> None:
    """Without JavaScript the page shows the figures of the moment, and nothing that would not work."""
    say(site, text="seen without script")
    page = enter(java_script_enabled=False)
    assert page.locator("#main > noscript .note").is_visible()
    assert row(page, ECHO).is_visible()
    assert "seen without script" in page.locator("#log").text_content()
    for hidden in ("#live-status", "#log-filters", "#namespaces-search", "#processes button", ".spark"):
        assert not page.locator(hidden).first.is_visible()
    page.locator("#log summary").first.click()
    assert page.locator("#log .entry-raw").first.is_visible()


def test_names_for_screen_readers(enter: Enter, site: Server) -> None:
    """Controls have names, regions different ones, and tables keep their roles when they are cards."""
    with RawClient(site.port, ECHO) as client:
        client.read_data("connected")
        for path in (STATS, namespace_page(ECHO)):
            page = enter(path, viewport={"width": 400, "height": 800})
            nameless = page.evaluate(
                """() => [...document.querySelectorAll('#main :is(button, input, select, a)')]
                    .filter((each) => each.type !== 'hidden')
                    .filter((each) => !(each.ariaLabel || each.textContent.trim() || each.labels?.length))
                    .map((each) => each.outerHTML)"""
            )
            assert nameless == []
            regions = region_names(page)
            assert len(regions) > 1
            assert len(set(regions)) == len(regions), regions
            assert page.get_by_role("row").count() > 1
            assert page.get_by_role("rowheader").count() > 0
            assert page.get_by_role("heading", level=1).count() == 1
