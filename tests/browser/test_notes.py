"""The sticky notes in a real browser, against the real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ADMIN_PASSWORD, ROOT, Server
from ..handlers.test_notes import clear, fill
from ..visitor import Visitor
from .conftest import PATIENCE_MS, ConsoleLog, wait_until_drawn
from .test_todo import eventually, has_focus, says, toast

PATH = "/api/1/ws/hello-notes"
NOTES = """() => [...document.querySelectorAll('#notes-board .sticky')].map((note) =>
    note.querySelector('textarea').value)"""
#: Where a note is: percent of the room that it has, as it is drawn.
PLACE = """(note) => {
    const board = note.parentElement;
    const [box, frame] = [note.getBoundingClientRect(), board.getBoundingClientRect()];
    return [(box.left - frame.left - board.clientLeft) / (board.clientWidth - box.width) * 100,
            (box.top - frame.top - board.clientTop) / (board.clientHeight - box.height) * 100];
}"""
#: Notes what is said below the notes, which each stays for a moment only.
NOTE_AUTHORS = """() => {
    window.authors = [];
    new MutationObserver(() => {
        for (const each of document.querySelectorAll('.sticky-author')) authors.push(each.textContent);
    }).observe(document.querySelector('#notes-board'), {childList: true, characterData: true, subtree: true});
}"""
#: Notes when changes leave, on the page's own clock: on a busy machine they are heard of in bunches.
NOTE_CHANGES = """
    window.changes = [];
    window.sendUnnoticed = WebSocket.prototype.send;
    WebSocket.prototype.send = function (text) {
        if (text.includes('note-update')) changes.push([performance.now() / 1000, JSON.parse(text)]);
        return sendUnnoticed.call(this, text);
    };
"""

OpenWindow = Callable[..., Any]


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module("--drain-seconds", "1")


@pytest.fixture
def site(shared: Server) -> Iterator[Server]:
    """The server that the tests of this file share, with an empty board."""
    with shared.lent():
        clear(shared)
        yield shared


@pytest.fixture
def open_window(browser: Any, site: Server, console: ConsoleLog) -> Iterator[OpenWindow]:
    """
    Open the notes as somebody new, each with a browser profile of their own.

    With `name` as the user of that name; `script` runs before those of the page; other options are
    those of a browser context.
    """
    contexts = []

    def open_one(name: str = "", held: list[Any] | None = None, script: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
        context.set_default_timeout(PATIENCE_MS)
        console.watch(context)
        contexts.append(context)
        if name:
            credentials = {"username": name, "password": ADMIN_PASSWORD}
            assert context.request.post(f"{site.url}/api/1/auth/login", data=credentials).ok
        page = context.new_page()
        if held is not None:
            page.route_web_socket(f"**{PATH}**", lambda route: hold(route, held))
        page.add_init_script(script)
        page.goto(f"{site.url}/hello-websocket/#notes")
        loaded(page)
        wait_until_drawn(page)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not console.unexpected()


class Somebody:
    """A guest at the board without a browser."""

    def __init__(self, site: Server) -> None:
        self.socket = Visitor(site.port).connect(PATH)
        self.notes: list[dict[str, Any]] = self.socket.read_data("notes-init")["notes"]

    def __enter__(self) -> Somebody:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.__exit__(*exc_info)

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send_json({"type": kind, **fields})

    def create(self, text: str = "", x: float = 50, y: float = 50, **fields: Any) -> str:
        """Make a note and return its id."""
        self.say("note-create", text=text, x=x, y=y, **fields)
        return str(self.socket.read_data("note-created")["note"]["id"])

    def update(self, note_id: str, **fields: Any) -> None:
        self.say("note-update", id=note_id, **fields)
        while self.socket.read_data("note-updated")["note"]["id"] != note_id:
            pass


@pytest.fixture
def somebody(site: Server) -> Iterator[Somebody]:
    with Somebody(site) as one:
        yield one


def hold(route: Any, held: list[Any]) -> None:
    """
    Stand between a page and the server: `held` gets what the server says while it has the item "hold".

    Pongs pass: they come on their own, and the page would take the connection for dead.
    """
    server = route.connect_to_server()
    held.append(route)

    def from_server(message: str) -> None:
        if "hold" in held and '"pong"' not in message:
            held.append(message)
        else:
            route.send(message)

    route.on_message(lambda message: server.send(message))
    server.on_message(from_server)


def let_go(held: list[Any]) -> None:
    """Pass on what was held, in its order."""
    held.remove("hold")
    for message in [each for each in held if isinstance(each, str)]:
        held.remove(message)
        held[0].send(message)


def on_board(site: Server) -> list[dict[str, Any]]:
    """The notes as a newcomer is told them."""
    with Somebody(site) as one:
        return one.notes


def texts_on_server(site: Server) -> list[str]:
    return [note["text"] for note in on_board(site)]


def loaded(page: Any) -> None:
    page.wait_for_function("() => document.querySelector('#notes-count').textContent !== ''")


def wait_for_status(page: Any, status: str) -> None:
    page.wait_for_selector(f'#notes-status[data-status="{status}"]')


def shows(page: Any, *wanted: str) -> None:
    """Wait until a window shows notes with these texts and no others, oldest first."""
    eventually(lambda: page.evaluate(NOTES), list(wanted))


def all_saved(page: Any) -> None:
    """Wait until nothing is under way."""
    page.wait_for_function("() => !document.querySelector('.sticky.is-pending')")


def note(page: Any, number: int = 0) -> Any:
    return page.locator(".sticky").nth(number)


def field(page: Any, number: int = 0) -> Any:
    return note(page, number).locator("textarea")


def is_at(locator: Any, x: float, y: float) -> None:
    """Wait until a note is drawn within half a percent of a place."""
    eventually(
        lambda: [
            abs(found - wanted) < 0.5 for found, wanted in zip(locator.evaluate(PLACE), (x, y), strict=True)
        ],
        [True, True],
    )


def middle(locator: Any) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Any, locator: Any, dx: float, dy: float, steps: int = 10) -> None:
    x, y = middle(locator)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=steps)
    page.mouse.up()


def test_two_windows(open_window: OpenWindow, site: Server) -> None:
    """What one makes, writes, colours, moves and deletes is seen by the other."""
    ann, bob = open_window("admin"), open_window()
    says(ann, "#notes-state", "Nothing here yet. Double-click anywhere, or press “New note”.")
    for page in (ann, bob):
        page.evaluate(NOTE_AUTHORS)
    ann.get_by_role("button", name="New note").click()
    assert has_focus(field(ann))
    ann.keyboard.type("Buy milk")
    shows(bob, "Buy milk")
    eventually(lambda: "admin is editing" in bob.evaluate("authors"), True)
    says(bob, ".sticky-author", "by admin")
    says(ann, ".sticky-author", "by you")
    note(bob).hover()
    note(bob).get_by_role("radio", name="Pink").check()
    eventually(
        lambda: note(ann).evaluate("(note) => getComputedStyle(note).backgroundColor"), "rgb(251, 207, 226)"
    )
    eventually(lambda: "A guest is editing" in ann.evaluate("authors"), True)
    assert note(ann).get_by_role("radio", name="Pink", include_hidden=True).is_checked()
    before = note(bob).evaluate(PLACE)
    drag(bob, note(bob), 200, 150)
    all_saved(bob)
    after = note(bob).evaluate(PLACE)
    assert after[0] > before[0] + 10
    assert after[1] > before[1] + 10
    is_at(note(ann), *after)
    [kept] = on_board(site)
    assert (kept["text"], kept["color"], kept["createdBy"]) == ("Buy milk", "#fbcfe2", "admin")
    assert abs(kept["x"] - after[0]) < 0.5
    note(ann).hover()
    note(ann).get_by_role("button", name="Delete").click()
    for page in (ann, bob):
        shows(page)
    says(bob, "#notes-news", "admin deleted “Buy milk”")
    says(ann, "#notes-news", "You deleted “Buy milk”")
    assert on_board(site) == []


def test_double_click(open_window: OpenWindow, site: Server) -> None:
    """A double click on the board makes a note of the chosen colour there, and writing begins."""
    page = open_window()
    page.get_by_role("radio", name="Blue").check()
    box = page.locator("#notes-board").bounding_box()
    x, y = box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"]
    page.mouse.dblclick(x, y)
    assert has_focus(field(page))
    assert [abs(a - b) < 2 for a, b in zip(middle(note(page)), (x, y), strict=True)] == [True, True]
    page.keyboard.type("here")
    eventually(lambda: [(each["text"], each["color"]) for each in on_board(site)], [("here", "#c9e4ff")])
    page.mouse.dblclick(x, y)
    page.mouse.dblclick(box["x"] + 20, box["y"] + 20)
    shows(page, "here", "")
    assert note(page, 1).evaluate(PLACE) == pytest.approx([0, 0], abs=0.1)


def test_undo(open_window: OpenWindow, site: Server) -> None:
    """A note that was deleted comes back as it was, as a new one."""
    page = open_window("admin")
    with Somebody(site) as somebody:
        somebody.create("Milk", 30, 40, color="#d3f2b8")
    note(page).press("Delete")
    shows(page)
    page.get_by_role("button", name="Undo deleting").click()
    shows(page, "Milk")
    all_saved(page)
    [kept] = on_board(site)
    assert {name: kept[name] for name in ("text", "x", "y", "color", "createdBy")} == {
        "text": "Milk",
        "x": 30,
        "y": 40,
        "color": "#d3f2b8",
        "createdBy": "admin",
    }
    assert page.locator("#notes-undo").is_hidden()


def test_typing_is_not_overwritten(open_window: OpenWindow, site: Server, somebody: Somebody) -> None:
    """While one types, what others write on the note is not put in, but what they move and colour is."""
    note_id = somebody.create("", 0, 0)
    page = open_window()
    note(page).click()
    page.keyboard.type("Hello")
    somebody.update(note_id, text="something else", x=100, color="#e9ecec")
    is_at(note(page), 100, 0)
    page.keyboard.type(", world")
    assert field(page).input_value() == "Hello, world"
    eventually(lambda: texts_on_server(site), ["Hello, world"])
    somebody.update(note_id, text="the last word")
    says(page, ".sticky-hint", "Changed by somebody else meanwhile. Typing replaces that.")
    assert field(page).input_value() == "Hello, world"
    page.keyboard.press("Escape")
    shows(page, "the last word")
    assert has_focus(note(page))
    assert texts_on_server(site) == ["the last word"]


def test_late_echo(open_window: OpenWindow, site: Server) -> None:
    """Echoes that come seconds late take back nothing of what was typed, moved or coloured since."""
    held: list[Any] = []
    page = open_window(held=held)
    page.get_by_role("button", name="New note").click()
    all_saved(page)
    held.append("hold")
    page.keyboard.type("one ")
    eventually(lambda: (page.evaluate("1"), texts_on_server(site))[1], ["one "])
    page.keyboard.type("two")
    note(page).get_by_role("radio", name="Pink").check()
    drag(page, note(page), 100, 60)
    wanted = note(page).evaluate(PLACE)
    eventually(lambda: (page.evaluate("1"), texts_on_server(site))[1], ["one two"])
    # What was sent first comes first: the old states are drawn nowhere.
    page.evaluate(
        """() => {
            window.seen = new Set();
            const look = () => {
                seen.add(document.querySelector('.sticky textarea').value);
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    let_go(held)
    all_saved(page)
    assert page.evaluate("[...seen]") == ["one two"]
    assert note(page).evaluate(PLACE) == pytest.approx(wanted, abs=0.5)
    [kept] = on_board(site)
    assert (kept["text"], kept["color"]) == ("one two", "#fbcfe2")
    assert [kept["x"], kept["y"]] == pytest.approx(wanted, abs=0.5)
    assert page.locator(".is-edited").count() == 0


def test_pace_of_a_drag(open_window: OpenWindow, site: Server) -> None:
    """However fast the pointer moves, at most 20 positions a second leave, and the last one always does."""
    page = open_window(script=NOTE_CHANGES)
    page.get_by_role("button", name="New note").click()
    page.keyboard.press("Escape")
    all_saved(page)
    x, y = middle(note(page))
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(2000):
        page.mouse.move(x + 10 * (step % 20), y + 5 * (step % 20))
        if step % 20 == 19 and len(page.evaluate("changes")) > 20:
            break
    page.mouse.move(x + 300, y + 100)
    page.mouse.up()
    all_saved(page)
    moves = page.evaluate("changes")
    seconds = moves[-1][0] - moves[0][0]
    # One more than fits into the time, since the first one does not wait; and some haste of the timers.
    assert 20 < len(moves) <= 20 * seconds * 1.1 + 2
    assert moves[-1][1]["x"] == on_board(site)[0]["x"]
    assert note(page).evaluate(PLACE)[0] == pytest.approx(moves[-1][1]["x"], abs=0.5)


def test_everything_at_once(open_window: OpenWindow, site: Server) -> None:
    """Dozens of changes of many notes at once stay below the server's limit, and all arrive."""
    page = open_window(script=NOTE_CHANGES)
    with Somebody(site) as somebody:
        for number in range(60):
            somebody.create(str(number))
    eventually(lambda: page.locator(".sticky").count(), 60)
    page.evaluate(
        """() => {
            const key = {key: 'ArrowLeft', shiftKey: true, bubbles: true};
            for (const note of document.querySelectorAll('.sticky')) {
                note.querySelector('[value="#fbcfe2"]').click();
                for (let step = 0; step < 3; step++) note.dispatchEvent(new KeyboardEvent('keydown', key));
            }
        }"""
    )
    all_saved(page)
    assert {(each["color"], each["x"]) for each in on_board(site)} == {("#fbcfe2", 35)}
    times = [when for when, _ in page.evaluate("changes")]
    assert len(times) >= 60
    for number, when in enumerate(times):
        assert sum(1 for each in times[number:] if each < when + 1) <= 50


def test_keyboard_alone(open_window: OpenWindow, site: Server) -> None:
    """With the keyboard alone one makes, writes, moves, colours and deletes notes, by their age."""
    page = open_window()
    keyboard = page.keyboard

    def tab_to(wanted: Any, key: str = "Tab") -> None:
        for _ in range(12):
            if has_focus(wanted):
                return
            keyboard.press(key)
        raise AssertionError(f"{key} does not lead to {wanted}")

    page.get_by_role("tab", name="Sticky notes").focus()
    new = page.get_by_role("button", name="New note")
    for number, text in enumerate(("one", "two", "three")):
        tab_to(new, "Shift+Tab" if number else "Tab")
        keyboard.press("Enter")
        keyboard.type(text)
        keyboard.press("Escape")
        assert has_focus(note(page, number))
        all_saved(page)
    before = on_board(site)
    for key in ("ArrowRight", "Shift+ArrowRight", "ArrowUp", "ArrowDown", "Shift+ArrowDown", "ArrowLeft"):
        keyboard.press(key)
    all_saved(page)
    after = on_board(site)
    assert after[2]["x"] == pytest.approx(before[2]["x"] + 5)
    assert after[2]["y"] == pytest.approx(before[2]["y"] + 5)
    assert after[:2] == before[:2]
    tab_to(note(page, 2).get_by_role("radio", name="Yellow"))
    keyboard.press("ArrowRight")
    all_saved(page)
    assert on_board(site)[2]["color"] == "#ffd3a1"
    keyboard.press("Escape")
    tab_to(note(page, 1), "Shift+Tab")
    keyboard.press("Enter")
    keyboard.type("!")
    keyboard.press("Escape")
    eventually(lambda: texts_on_server(site), ["one", "two!", "three"])
    keyboard.press("Delete")
    shows(page, "one", "three")
    assert has_focus(note(page, 1))
    keyboard.press("Delete")
    keyboard.press("Delete")
    shows(page)
    assert has_focus(page.locator("#notes-board"))


def test_edges(open_window: OpenWindow, site: Server) -> None:
    """No note leaves the board, dragged or moved by keys, nor when the window gets smaller."""
    page = open_window()
    page.get_by_role("button", name="New note").click()
    page.keyboard.press("Escape")
    for dx, dy, place in ((3000, 3000, (100, 100)), (-3000, -3000, (0, 0)), (3000, 0, (100, 0))):
        drag(page, note(page), dx, dy)
        is_at(note(page), *place)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    all_saved(page)
    assert [(each["x"], each["y"]) for each in on_board(site)] == [(100, 0)]
    page.set_viewport_size({"width": 400, "height": 700})
    is_at(note(page), 100, 0)


def test_touch(open_window: OpenWindow, site: Server) -> None:
    """A finger drags a note without scrolling the page, a tap opens it, and a double tap makes one."""
    page = open_window(viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True)
    page.locator("#notes-board").scroll_into_view_if_needed()
    page.get_by_role("button", name="New note").tap()
    page.keyboard.press("Escape")
    all_saved(page)
    x, y = middle(note(page))
    scrolled = page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)

    def finger(kind: str, *points: tuple[float, float]) -> None:
        where = [{"x": x, "y": y} for x, y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    finger("touchStart", (x, y))
    for step in range(1, 11):
        finger("touchMove", (x + 8 * step, y + 15 * step))
    finger("touchEnd")
    all_saved(page)
    assert middle(note(page)) == pytest.approx((x + 80, y + 150), abs=2)
    assert page.evaluate("scrollY") == scrolled
    assert not has_focus(field(page))
    assert on_board(site)[0]["y"] > 20
    note(page).tap()
    eventually(lambda: has_focus(field(page)), True)
    page.keyboard.type("tapped")
    eventually(lambda: texts_on_server(site), ["tapped"])
    page.keyboard.press("Escape")
    box = page.locator("#notes-board").bounding_box()
    page.evaluate("addEventListener('dblclick', () => { window.isDouble = true; })")
    # On a busy machine the second tap may come too late to be one of two; the next one is another chance.
    for _ in range(20):
        page.touchscreen.tap(box["x"] + box["width"] - 60, box["y"] + 40)
        if page.evaluate("window.isDouble"):
            break
    shows(page, "tapped", "")


def test_deleted_while_typing(open_window: OpenWindow, site: Server, somebody: Somebody) -> None:
    """What one is typing on a note that somebody deletes becomes a new note, and typing goes on."""
    note_id = somebody.create("Hello")
    page = open_window()
    note(page).click()
    page.keyboard.type(", wor")
    somebody.say("note-delete", id=note_id)
    says(page, ".jpulse-toast-text", "“Hello, wor” was deleted while you wrote it. It is kept as a new note.")
    page.keyboard.type("ld")
    eventually(lambda: texts_on_server(site), ["Hello, world"])
    shows(page, "Hello, world")
    assert on_board(site)[0]["id"] != note_id


def test_deleted_by_somebody(open_window: OpenWindow, somebody: Somebody) -> None:
    """A note that somebody else deletes is gone; the focus in it goes to no other note."""
    ids = [somebody.create(text) for text in ("one", "two")]
    page = open_window()
    note(page).focus()
    somebody.say("note-delete", id=ids[0])
    shows(page, "two")
    assert has_focus(page.locator("#notes-board"))
    says(page, "#notes-news", "A guest deleted “one”")


def test_offline(open_window: OpenWindow, site: Server, console: ConsoleLog) -> None:
    """What is changed while the server is away is kept, and is there for all when it is back."""
    console.allow_failed_requests()
    with Somebody(site) as somebody:
        for text in ("one", "two", "three"):
            somebody.create(text)
    page, other = open_window(), open_window("admin")
    shows(page, "one", "two", "three")
    site.stop()
    wait_for_status(page, "reconnecting")
    says(
        page,
        "#notes-link",
        "The server restarts. Go on: what you change is kept on this page and sent when the "
        "connection is back.",
    )
    field(page, 0).focus()
    page.keyboard.type(" changed")
    note(page, 1).focus()
    page.keyboard.press("Delete")
    page.keyboard.press("Shift+ArrowRight")
    page.get_by_role("button", name="New note").click()
    page.keyboard.type("four")
    shows(page, "one changed", "three", "four")
    site.start()
    for window in (page, other):
        # Makes it try at once; without it the next attempt is some seconds away.
        window.evaluate("dispatchEvent(new Event('online'))")
        wait_for_status(window, "connected")
    all_saved(page)
    for window in (page, other):
        shows(window, "one changed", "three", "four")
        says(window, "#notes-count", "3 of 200 notes")
    assert texts_on_server(site) == ["one changed", "three", "four"]
    assert on_board(site)[1]["x"] == 55
    assert has_focus(field(page, 2))


def test_answers_lost(open_window: OpenWindow, site: Server, console: ConsoleLog) -> None:
    """What was done while its answer got lost is not done twice."""
    console.allow_failed_requests()
    held: list[Any] = []
    page = open_window("admin", held=held)
    held.append("hold")
    page.get_by_role("button", name="New note").click()
    eventually(lambda: (page.evaluate("1"), len(on_board(site)))[1], 1)
    page.keyboard.type("Hello")
    held[0].close(code=1012)
    held.clear()
    wait_for_status(page, "reconnecting")
    page.evaluate("dispatchEvent(new Event('online'))")
    eventually(lambda: (page.evaluate("1"), texts_on_server(site))[1], ["Hello"])
    all_saved(page)
    shows(page, "Hello")


def told(held: list[Any], kind: str, **data: Any) -> None:
    """Tell a page something in the server's place."""
    held[0].send(json.dumps({"success": True, "data": {"type": kind, "username": "ann", **data, "ctx": {}}}))


def state(note_id: str, second: float, **fields: Any) -> dict[str, Any]:
    """A note as it was changed at some second of a minute."""
    time = f"2026-01-01T00:00:{second:06.3f}Z"
    fixed = {"id": note_id, "x": 10, "y": 10, "text": "", "color": "#fff475", "createdBy": ""}
    return {**fixed, "createdAt": f"2026-01-01T00:00:00.{len(note_id):03}Z", "updatedAt": time, **fields}


def test_any_order(open_window: OpenWindow) -> None:
    """In whatever order changes are heard, the newest is shown, and what is gone stays gone."""
    held: list[Any] = []
    page = open_window(held=held)
    told(held, "note-updated", note=state("a", 3.002, text="newest"))
    told(held, "note-updated", note=state("a", 3.001, text="older"))
    told(held, "note-created", note=state("a", 1))
    told(held, "note-updated", note=state("a", 3.002, text="as old"))
    shows(page, "newest")
    told(held, "note-deleted", noteId="a")
    told(held, "note-updated", note=state("a", 9, text="late"))
    told(held, "note-deleted", noteId="bb")
    told(held, "note-created", note=state("bb", 1, text="never there"))
    told(held, "note-created", note=state("ccc", 1, text="the end"))
    shows(page, "the end")


def test_list_that_comes_late(open_window: OpenWindow) -> None:
    """A list that was read before some of what was told meanwhile takes nothing of that back."""
    held: list[Any] = []
    page = open_window(held=held)
    told(held, "note-created", note=state("a", 1, text="stays"))
    told(held, "note-created", note=state("bb", 1, text="deleted while the line was down"))
    shows(page, "stays", "deleted while the line was down")
    told(held, "welcome", userCount=1)
    told(held, "note-created", note=state("ccc", 5, text="after the list was read"))
    told(held, "note-updated", note=state("a", 6, text="newer than the list"))
    told(held, "note-deleted", noteId="dddd")
    listed = [state("a", 2, text="old"), state("dddd", 2), state("eeeee", 2, text="missed")]
    told(held, "notes-init", notes=listed)
    shows(page, "newer than the list", "after the list was read", "missed")


@pytest.mark.parametrize("seed", range(1, 7))
def test_everybody_ends_with_the_same(page: Any, seed: int) -> None:
    """
    Whatever people do at once, whatever is late, lost or refused, all end with what the store has.

    The world is that of notes_world.js, at a pace at which everything happens within two seconds.
    """
    page.add_script_tag(path=ROOT / "static" / "demos" / "notes-sync.js")
    page.add_script_tag(path=Path(__file__).parent / "notes_world.js")
    page.evaluate("() => void Object.assign(SharedNotes, {INTERVAL_MS: 1, PAUSE_MS: 3})")
    assert page.evaluate("(seed) => new World(seed).live(250, 30)", seed) == []


def test_refusals(open_window: OpenWindow, site: Server) -> None:
    """What the server refuses is told and taken back; what it cannot do now is tried again."""
    held: list[Any] = []
    page = open_window(held=held)
    with Somebody(site) as somebody:
        somebody.create("Milk", 50, 50)
    note(page).focus()
    held.append("hold")
    page.keyboard.press("ArrowRight")
    eventually(lambda: (page.evaluate("1"), len([each for each in held if isinstance(each, str)]))[1], 2)
    held[:] = held[:1]
    held[0].send(json.dumps({"success": False, "error": "x: is wrong", "code": 400}))
    assert toast(page) == "The note “Milk” could not be changed. x: is wrong"
    is_at(note(page), 50, 50)
    all_saved(page)
    held.append("hold")
    page.keyboard.press("Shift+ArrowRight")
    eventually(lambda: (page.evaluate("1"), len([each for each in held if isinstance(each, str)]))[1], 2)
    held[:] = held[:1]
    held[0].send(json.dumps({"success": False, "error": "Not now", "code": 503}))
    says(
        page,
        ".jpulse-toast-warning .jpulse-toast-text",
        "The note “Milk” could not be changed. Not now. Trying again…",
    )
    is_at(note(page), 55, 50)
    eventually(lambda: [each["x"] for each in on_board(site)], [55])
    all_saved(page)


def test_limit(open_window: OpenWindow, site: Server) -> None:
    """A full board says so, and a new note takes the place of the oldest one."""
    fill(site, 200)
    page = open_window()
    says(page, "#notes-count", "200 of 200 notes")
    assert page.locator("#notes-full").is_visible()
    page.get_by_role("button", name="New note").click()
    page.keyboard.type("new")
    eventually(lambda: page.evaluate(NOTES)[:1] + page.evaluate(NOTES)[-1:], ["text 1", "new"])
    says(page, "#notes-news", "Gone, to make room: “text 0”")
    says(page, "#notes-count", "200 of 200 notes")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow(open_window: OpenWindow, site: Server, somebody: Somebody, scheme: str) -> None:
    """On a phone nothing scrolls sideways, and notes keep a size that can be read and touched."""
    somebody.create("W" * 500, 100, 100, color="#000000")
    page = open_window("admin", viewport={"width": 400, "height": 800}, color_scheme=scheme)
    page.get_by_role("button", name="New note").click()
    page.keyboard.type("A text of several words that needs more than one line")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for number in range(2):
        box = note(page, number).bounding_box()
        assert box["width"] >= 160
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400
    for control in note(page, 1).locator("input, button").all():
        size = control.bounding_box()
        assert min(size["width"], size["height"]) >= 24


def test_markup_stays_text(open_window: OpenWindow, somebody: Somebody) -> None:
    """A text that is markup is shown as it was typed: on the note, in its name and in the news."""
    page = open_window()
    markup = "<img src=x onerror=alert(1)>"
    note_id = somebody.create(markup)
    shows(page, markup)
    assert note(page).get_attribute("aria-label") == f"Note: {markup}"
    somebody.say("note-delete", id=note_id)
    says(page, "#notes-news", f"A guest deleted “{markup}”")


def test_connects_when_shown(page: Any, site: Server) -> None:
    """Who never opens the tab costs the server no connection to its namespace."""
    page.goto(f"{site.url}/hello-websocket/")
    paths = "jPulse.ws.getConnections().map(({path}) => path)"
    assert PATH not in page.evaluate(paths)
    page.get_by_role("tab", name="Sticky notes").click()
    loaded(page)
    assert PATH in page.evaluate(paths)
