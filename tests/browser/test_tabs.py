"""Code examples, architecture and best practices at /hello-websocket/, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from handlers.demos.sources import examples, find_example

from ..conftest import Server
from .conftest import ConsoleLog, wait_until_drawn

#: Longer than the page waits before its first attempt to reconnect: 2 s, give or take a quarter.
RECONNECT_MS = 2600


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module("--drain-seconds", "1")


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent() as lent:
        yield lent


def open_tab(page: Any, server: Server, name: str) -> Any:
    """Open one of the tabs; returns its panel."""
    page.goto(f"{server.url}/hello-websocket/#{name}")
    wait_until_drawn(page)
    return page.locator(f"[role=tabpanel]:has(#{name}), [role=tabpanel]#{name}").first


def wait_for_text(page: Any, selector: str, text: str) -> None:
    """Wait until an element's text is this."""
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector).textContent.trim() === text",
        arg=[selector, text],
    )


def count(page: Any, lane: str, what: str) -> int:
    """One of the counts of moves."""
    return int(page.locator(f"#pace-{lane}-{what}").inner_text())


# Code examples


def test_choosing_an_example(context: Any, server: Server) -> None:
    """A chosen pattern shows its files as they are, side by side, and each can be copied."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_viewport_size({"width": 1280, "height": 900})
    panel = open_tab(page, server, "examples")
    for example in examples():
        panel.get_by_role("link", name=example.title, exact=True).click()
        article = panel.locator(f"#example-{example.name}")
        assert article.is_visible()
        assert panel.locator("article:visible").count() == 1
        for file in (*example.server, *example.page):
            place = f"#example-{example.name}-{file.name.replace('.', '-')}"
            wait_for_text(page, place, file.text.strip())
        sides = [article.get_by_label(side, exact=True).bounding_box() for side in ("Server", "Page")]
        assert sides[0]["x"] + sides[0]["width"] <= sides[1]["x"]
        assert sides[0]["y"] == sides[1]["y"]
        article.locator("section figcaption button").first.click()
        page.wait_for_function(
            "async (text) => await navigator.clipboard.readText() === text", arg=example.server[0].text
        )


def test_address_of_an_example(page: Any, server: Server) -> None:
    """A pattern has an address, which opens it; the keyboard chooses, and the back button goes back."""
    last = examples()[-1]
    open_tab(page, server, f"example-{last.name}")
    assert page.get_by_role("tab", name="Code examples").get_attribute("aria-selected") == "true"
    assert page.locator(f"#example-{last.name}").is_visible()
    link = page.locator("[data-example=chat]")
    link.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#example-chat"
    assert page.locator("#example-chat").is_visible()
    assert link.get_attribute("aria-current") == "true"
    page.go_back()
    page.wait_for_function("(hash) => location.hash === hash", arg=f"#example-{last.name}")
    page.wait_for_selector(f"#example-{last.name}", state="visible")


def test_example_that_does_not_load(page: Any, server: Server, console: ConsoleLog) -> None:
    """Code that cannot be loaded says so in its place, and choosing the pattern again loads it."""
    console.allow_failed_requests()
    page.route("**/examples/chat/chat.py", lambda route: route.abort())
    open_tab(page, server, "example-chat")
    place = page.locator("#example-chat-chat-py")
    place.get_by_text("It could not be loaded").wait_for()
    page.unroute("**/examples/chat/chat.py")
    page.locator("[data-example=chat]").click()
    chat = find_example("chat")
    assert chat is not None
    wait_for_text(page, "#example-chat-chat-py", chat.server[0].text.strip())


def test_without_scripts(browser: Any, server: Server) -> None:
    """Without JavaScript the patterns and their files are linked, and the architecture is told as it is."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/hello-websocket/")
    for example in examples():
        assert page.locator(f"#example-{example.name} a").first.is_visible()
    assert "1 process serves" in page.locator("#architecture-summary").inner_text()
    assert page.locator("#architecture-table tbody tr").count() > 3
    assert page.locator("#pace-run").is_hidden()
    context.close()


# Architecture


def labels(page: Any) -> list[str]:
    """What is written in the picture."""
    found = page.locator("#architecture-picture text").evaluate_all(
        "(all) => all.map((each) => each.textContent)"
    )
    assert isinstance(found, list)
    return found


def test_architecture(context: Any, server: Server) -> None:
    """The picture, its sentence and its table show who is connected now, and follow within seconds."""
    page = context.new_page()
    open_tab(page, server, "architecture")
    # This page's own two connections: the emoji demo and the picture.
    wait_for_text(
        page,
        "#architecture-summary",
        "1 process serves 2 connections. No Redis is needed for one process. SQLite answers.",
    )
    assert {
        "Browsers",
        "Process 1",
        "serves you",
        "hello-emoji",
        "hello-notes",
        "Redis",
        "not needed",
        "SQLite",
    } <= set(labels(page))
    assert page.locator("#architecture-picture").get_attribute("role") == "img"
    assert page.locator("#architecture-table td").all_inner_texts()[:3] == ["Active", "1", "1"]
    other = context.new_page()
    open_tab(other, server, "todo")
    page.wait_for_function(
        "() => document.querySelector('#architecture-summary').textContent.includes('serves 4 ')"
    )
    assert "4 connections" in labels(page)
    other.close()
    page.wait_for_function(
        "() => document.querySelector('#architecture-summary').textContent.includes('serves 2 ')"
    )
    page.locator("#architecture-connect").click()
    page.wait_for_selector("#architecture-picture.is-stale")


def test_architecture_of_two_processes(context: Any, serve: Callable[..., Server]) -> None:
    """Each process is a column with its connections, and Redis joins them; on a phone nothing is cut off."""
    server = serve("--processes", "2", "--drain-seconds", "1")
    page = context.new_page()
    page.set_viewport_size({"width": 400, "height": 800})
    open_tab(page, server, "architecture")
    page.wait_for_function(
        "() => /^2 processes serve 2 connections. Redis is connected/.test("
        "document.querySelector('#architecture-summary').textContent)"
    )
    page.wait_for_function("() => document.querySelectorAll('#architecture-picture .column').length === 2")
    assert page.locator("#architecture-picture .column.is-own").count() == 1
    assert page.locator("#architecture-table thead th").all_inner_texts()[3:] in (
        ["Process 1 (yours)", "Process 2"],
        ["Process 1", "Process 2 (yours)"],
    )
    assert all_labels_inside(page)
    page.context.close()


def all_labels_inside(page: Any) -> bool:
    """Whether nothing that is written in the picture is cut off at its edges."""
    inside = page.evaluate(
        """() => {
            const svg = document.querySelector('#architecture-picture').getBoundingClientRect();
            return [...document.querySelectorAll('#architecture-picture text')]
                .map((each) => each.getBoundingClientRect())
                .every(({left, right, top, bottom}) => left >= svg.left && right <= svg.right
                    && top >= svg.top && bottom <= svg.bottom);
        }"""
    )
    assert isinstance(inside, bool)
    return inside


#: Draws what this server is not, as if it had been told so.
DRAW_MANY = """(count) => {
    const picture = document.querySelector('#architecture-picture');
    new ArchitecturePicture(picture).show({
        processes: Array.from({length: count}, (_, index) => ({own: index === 2, connections: 100 * index})),
        namespaces: [{
            path: '/api/1/ws/a-very-long-name-of-a-namespace/with/parts', status: 'yellow',
            total: 12000, clients: Array(count).fill(750),
        }],
        bridge: {kind: 'redis', isUp: false},
        store: {kind: 'MongoDB', isUp: false},
    });
}"""


def test_picture_of_many_processes(page: Any, server: Server) -> None:
    """On a phone those that do not fit are one column with their sums, and what is down stands out."""
    page.set_viewport_size({"width": 400, "height": 800})
    open_tab(page, server, "architecture")
    page.wait_for_selector("#architecture-picture .column")
    page.locator("#architecture-connect").click()
    page.wait_for_selector('#architecture-status[data-status="disconnected"]')
    page.evaluate(DRAW_MANY, 16)
    shown = labels(page)
    assert [label for label in shown if label.startswith(("P", "+"))] == [
        "P1",
        "P2",
        "P3",
        "P4",
        "P5",
        "P6",
        "+10",
    ]
    assert {"7500", "12000 clients", "not reached", "does not answer", "you"} <= set(shown)
    assert page.locator("#architecture-picture .part.is-down").count() == 2
    assert all_labels_inside(page)


# Best practices


#: Moves over the field as fast as can be, as often as is said.
MOVE = """(count) => {
    const pad = document.querySelector('#pace-pad');
    const {left, top} = pad.getBoundingClientRect();
    for (let number = 1; number <= count; number += 1) {
        pad.dispatchEvent(new PointerEvent('pointermove', {clientX: left + number, clientY: top + 20}));
    }
}"""


def test_throttling(page: Any, server: Server) -> None:
    """Of the same moves one connection sends all and is refused most, the other sends two and loses none."""
    open_tab(page, server, "practices")
    page.wait_for_function(
        "() => jPulse.ws.getConnections().filter((each) => each.isConnected()).length === 4"
    )
    page.evaluate(MOVE, 200)
    page.wait_for_function(
        """() => ['eager', 'calm'].every((lane) => {
            const read = (what) => +document.querySelector(`#pace-${lane}-${what}`).textContent;
            return read('heard') > 0 && read('sent') === read('heard') + read('refused');
        })"""
    )
    assert [count(page, lane, "seen") for lane in ("eager", "calm")] == [200, 200]
    assert count(page, "eager", "sent") == 200
    assert count(page, "eager", "refused") > 100
    # The first at once, and the last at the end of the interval.
    wait_for_text(page, "#pace-calm-heard", "2")
    assert count(page, "calm", "refused") == 0
    # Where the throttled connection left off is where the pointer is.
    place = "() => Math.round(parseFloat(document.querySelector('#pace-calm-dot').style.transform.slice(10)))"
    assert page.evaluate(place) == page.evaluate(
        "() => Math.round(100 * 200 / document.querySelector('#pace-pad').getBoundingClientRect().width)"
    )


def test_moving_by_itself(page: Any, server: Server) -> None:
    """A button moves for three seconds, the arrow keys a step; counting can begin anew."""
    open_tab(page, server, "practices")
    page.wait_for_function(
        "() => jPulse.ws.getConnections().filter((each) => each.isConnected()).length === 4"
    )
    # For as long as it moves the button is disabled, from the click on.
    assert page.locator("#pace-run").evaluate("(button) => { button.click(); return button.disabled; }")
    page.wait_for_selector("#pace-run:not(:disabled)")
    assert count(page, "eager", "seen") == count(page, "eager", "sent") >= count(page, "calm", "sent") > 1
    page.locator("#pace-reset").click()
    assert [count(page, lane, "seen") for lane in ("eager", "calm")] == [0, 0]
    page.locator("#pace-pad").focus()
    page.keyboard.press("ArrowLeft")
    wait_for_text(page, "#pace-eager-sent", "1")


def open_loss(page: Any, server: Server) -> None:
    """Open the form, connected."""
    open_tab(page, server, "practices")
    page.wait_for_selector('#loss-status[data-status="connected"]')


def test_text_is_kept_over_a_restart(page: Any, server: Server) -> None:
    """What is sent while the connection is lost stays in the field, and is confirmed once when it is back."""
    # Without time the page does not try again while we look.
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    open_loss(page, server)
    page.fill("#loss-text", "first")
    page.click("#loss-send")
    wait_for_text(page, "#loss-taken", "first")
    assert page.input_value("#loss-text") == ""
    page.click("[data-end=restart]")
    page.wait_for_selector('#loss-status[data-status="reconnecting"]')
    assert "comes back by itself" in page.locator("#loss-news").inner_text()
    assert page.locator("#loss-connect").is_hidden()
    page.fill("#loss-text", "second")
    page.click("#loss-send")
    assert page.input_value("#loss-text") == "second"
    page.clock.run_for(RECONNECT_MS)
    page.wait_for_selector('#loss-status[data-status="connected"]')
    page.wait_for_function("() => document.querySelectorAll('#loss-taken li').length === 2")
    assert page.locator("#loss-taken li").all_inner_texts() == ["first", "second"]
    assert page.input_value("#loss-text") == ""
    assert page.locator("#loss-news").is_hidden()


def test_end_for_good(page: Any, server: Server) -> None:
    """After an end for good the page says so, keeps the text, and a button begins again."""
    open_loss(page, server)
    page.fill("#loss-text", "draft")
    page.click("[data-end=for-good]")
    page.wait_for_selector('#loss-status[data-status="disconnected"]')
    assert "What you wrote is kept here" in page.locator("#loss-news").inner_text()
    page.click("#loss-send")
    assert page.input_value("#loss-text") == "draft"
    assert page.locator("#loss-taken li").count() == 0
    page.click("#loss-connect")
    wait_for_text(page, "#loss-taken", "draft")
    assert page.locator("#loss-connect").is_hidden()
