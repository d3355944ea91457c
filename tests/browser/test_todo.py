"""The todo list in a real browser, against the real server."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ..conftest import ADMIN_PASSWORD, Server
from ..visitor import Visitor
from .conftest import PATIENCE_MS, PATIENCE_SECONDS, ConsoleLog, wait_until_drawn

REST = "/api/1/todo"
MAX_TITLE = 200
BUSY = "The store does not answer right now; try again in a moment"
#: Title and whether it is completed, of the todos in sight.
ROWS = """() => [...document.querySelectorAll('#todo-list > .todo:not([hidden])')].map((row) =>
    [row.querySelector('.todo-title').textContent, row.querySelector('input').checked])"""

OpenWindow = Callable[..., Any]


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module("--drain-seconds", "1")


@pytest.fixture
def site(shared: Server) -> Iterator[Server]:
    """The server that the tests of this file share, with an empty list."""
    with shared.lent():
        for todo in on_server(shared):
            call(shared, "DELETE", todo["_id"])
        yield shared


@pytest.fixture
def open_window(browser: Any, site: Server, console: ConsoleLog) -> Iterator[OpenWindow]:
    """
    Open the todo list as somebody new, each with a browser profile of their own.

    With `name` as the user of that name; other options are those of a browser context.
    """
    contexts = []

    def open_one(name: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        console.watch(context)
        contexts.append(context)
        if name:
            credentials = {"username": name, "password": ADMIN_PASSWORD}
            assert context.request.post(f"{site.url}/api/1/auth/login", data=credentials).ok
        page = context.new_page()
        page.goto(f"{site.url}/hello-websocket/#todo")
        wait_for_status(page, "connected")
        page.wait_for_function("() => document.querySelector('#todo-count').textContent !== ''")
        wait_until_drawn(page)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not console.unexpected()


def call(site: Server, method: str, place: str = "", body: dict[str, Any] | None = None) -> Any:
    """Ask the REST API as a guest with a plain script, and return the answer's data."""
    path = f"{REST}/{place}" if place else REST
    return Visitor(site.port).send(method, path, body).data


def curl(site: Server, method: str, place: str = "", body: dict[str, Any] | None = None) -> Any:
    """Do what `call` does in a process of its own."""
    program = shutil.which("curl")
    if program is None:
        return call(site, method, place, body)
    command = [program, "-sS", "--fail", "-X", method, f"{site.url}{REST}/{place}".rstrip("/")]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    answer = subprocess.run(command, check=True, capture_output=True, timeout=20)
    return json.loads(answer.stdout)["data"]


def on_server(site: Server) -> list[dict[str, Any]]:
    """The server's list."""
    todos = call(site, "GET")
    assert isinstance(todos, list)
    return todos


def add(site: Server, *titles: str) -> list[str]:
    """Add todos by REST; returns their ids."""
    return [call(site, "POST", body={"title": title})["_id"] for title in titles]


def rows(page: Any) -> Any:
    """Title and whether it is completed, of the todos in sight."""
    return page.evaluate(ROWS)


def rows_on_server(site: Server) -> list[list[Any]]:
    return [[todo["title"], todo["completed"]] for todo in on_server(site)]


def open_rows(*titles: str) -> list[list[Any]]:
    """What `rows` tells of todos that nobody has completed."""
    return [[title, False] for title in titles]


def eventually(read: Callable[[], Any], wanted: Any, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something has a value; fail telling the value that it has."""
    deadline = time.monotonic() + seconds
    while (found := read()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found == wanted


def shows(page: Any, wanted: list[list[Any]]) -> None:
    """Wait until a window shows these todos and nothing else."""
    eventually(lambda: rows(page), wanted)


def says(page: Any, selector: str, wanted: str) -> None:
    """Wait until an element has this text."""
    eventually(lambda: page.locator(selector).text_content().strip(), wanted)


def wait_for_status(page: Any, status: str) -> None:
    page.wait_for_selector(f'#todo-status[data-status="{status}"]')


def field(page: Any) -> Any:
    """Where a new todo is typed."""
    return page.get_by_label("New todo")


def checkbox(page: Any, title: str) -> Any:
    return page.get_by_role("checkbox", name=title, exact=True)


def button(page: Any, verb: str, title: str) -> Any:
    """The button that edits or deletes a todo."""
    return page.get_by_role("button", name=f"{verb} “{title}”", exact=True)


def editor(page: Any) -> Any:
    """The field of the editor that is open."""
    return page.locator(".todo-editor input")


def edit(page: Any, title: str, new_title: str) -> None:
    """Open a todo's editor and type another title."""
    button(page, "Edit", title).click()
    editor(page).fill(new_title)


def has_focus(locator: Any) -> bool:
    return bool(locator.evaluate("(element) => element === document.activeElement"))


def toast(page: Any) -> str:
    """Wait for the message about a failure."""
    text = page.locator(".jpulse-toast-error .jpulse-toast-text").inner_text()
    assert isinstance(text, str)
    return text


def hold(page: Any, method: str) -> list[Any]:
    """Keep a window's requests of one method from the server; what becomes of each is the test's to say."""
    held: list[Any] = []

    def take(route: Any) -> None:
        if route.request.method == method:
            held.append(route)
        else:
            route.continue_()

    page.route(f"**{REST}**", take)
    return held


def wait_for_held(page: Any, held: list[Any]) -> Any:
    # Asking the page anything lets routes arrive.
    eventually(lambda: bool(rows(page) is not None and held), True)
    return held[0]


def test_rest_changes_reach_all_windows(open_window: OpenWindow, site: Server) -> None:
    """What a third process creates, updates, toggles and deletes by REST is at once seen in two windows."""
    windows = [open_window(), open_window()]
    for page in windows:
        assert page.locator("#todo-state-text").inner_text() == "Nothing here yet. Add the first todo above."
    milk = curl(site, "POST", body={"title": "Milk"})["_id"]
    curl(site, "POST", body={"title": "Bread", "completed": True})
    for page in windows:
        shows(page, [["Milk", False], ["Bread", True]])
        says(page, "#todo-news", "A guest added “Bread”")
    curl(site, "PUT", milk, {"title": "Oat milk"})
    for page in windows:
        shows(page, [["Oat milk", False], ["Bread", True]])
        says(page, "#todo-news", "A guest renamed “Milk” to “Oat milk”")
    curl(site, "PUT", f"{milk}/toggle")
    for page in windows:
        shows(page, [["Oat milk", True], ["Bread", True]])
        says(page, "#todo-news", "A guest completed “Oat milk”")
    curl(site, "DELETE", milk)
    for page in windows:
        shows(page, [["Bread", True]])
        says(page, "#todo-news", "A guest deleted “Oat milk”")


def test_windows_share_the_list(open_window: OpenWindow, site: Server) -> None:
    """Each window's additions, completions, new titles and deletions are seen in the other."""
    ann, bob = open_window(), open_window()
    field(ann).fill("Milk")
    field(ann).press("Enter")
    shows(bob, open_rows("Milk"))
    checkbox(bob, "Milk").check()
    shows(ann, [["Milk", True]])
    checkbox(ann, "Milk").uncheck()
    shows(bob, open_rows("Milk"))
    edit(bob, "Milk", "Oat milk")
    editor(bob).press("Enter")
    shows(ann, open_rows("Oat milk"))
    button(ann, "Delete", "Oat milk").click()
    for page in (ann, bob):
        shows(page, [])
    assert on_server(site) == []


def test_add_by_enter(open_window: OpenWindow, site: Server) -> None:
    """Enter adds a todo once, trimmed, and leaves an empty field with the focus for the next one."""
    page = open_window()
    for title in ("  Milk ", "Bread", "Milk"):
        field(page).fill(title)
        field(page).press("Enter")
        assert field(page).input_value() == ""
        assert has_focus(field(page))
    wanted = open_rows("Milk", "Bread", "Milk")
    eventually(lambda: rows_on_server(site), wanted)
    shows(page, wanted)


def test_broadcast_before_the_answer(open_window: OpenWindow) -> None:
    """A new todo is there once, also while its broadcast has come and the answer has not."""
    page = open_window()
    held = hold(page, "POST")
    field(page).fill("Milk")
    field(page).press("Enter")
    route = wait_for_held(page, held)
    answer = route.fetch()
    says(page, "#todo-news", "A guest added “Milk”")
    assert rows(page) == open_rows("Milk")
    with page.expect_event("requestfinished"):
        route.fulfill(response=answer)
    assert rows(page) == open_rows("Milk")
    assert page.locator("#todo-count").inner_text() == "1 open"


def test_empty_title_is_refused(open_window: OpenWindow, site: Server) -> None:
    """An empty title, or one of blanks, is refused with an alert that goes when typing goes on."""
    page = open_window()
    alert = page.locator("#todo-add-error")
    for title in ("", "   "):
        field(page).fill(title)
        field(page).press("Enter")
        assert alert.inner_text() == "A title is needed."
        assert field(page).get_attribute("aria-invalid") == "true"
        assert has_focus(field(page))
    page.keyboard.type("M")
    assert alert.inner_text() == ""
    assert field(page).get_attribute("aria-invalid") == "false"
    assert on_server(site) == rows(page) == []


def test_longest_title(open_window: OpenWindow, site: Server) -> None:
    """A title has up to 200 characters, however many bytes each takes; one more is refused and not lost."""
    page = open_window()
    field(page).fill("🦊" * (MAX_TITLE + 1))
    field(page).press("Enter")
    assert page.locator("#todo-add-error").inner_text() == "At most 200 characters; this has 201."
    assert field(page).input_value() == "🦊" * (MAX_TITLE + 1)
    longest = "🦊" * MAX_TITLE
    field(page).fill(longest)
    field(page).press("Enter")
    eventually(lambda: rows_on_server(site), open_rows(longest))
    edit(page, longest, longest + "!")
    editor(page).press("Enter")
    says(page, ".todo-editor [role=alert]", "At most 200 characters; this has 201.")
    assert has_focus(editor(page))
    editor(page).fill(" ")
    editor(page).press("Enter")
    says(page, ".todo-editor [role=alert]", "A title is needed.")
    editor(page).press("Escape")
    assert rows_on_server(site) == rows(page) == open_rows(longest)


def test_markup_stays_text(open_window: OpenWindow, console: ConsoleLog) -> None:
    """A title that is markup is shown as it was typed: in the list, in the news and in messages."""
    console.allow_failed_requests()
    ann, bob = open_window(), open_window()
    title = "<img src=x onerror=alert(1)> & <b>b</b>"
    field(ann).fill(title)
    field(ann).press("Enter")
    for page in (ann, bob):
        shows(page, open_rows(title))
        says(page, "#todo-news", f"A guest added “{title}”")
    held = hold(ann, "PUT")
    checkbox(ann, title).click()
    wait_for_held(ann, held).fulfill(status=400, json={"success": False, "error": "<i>no</i>", "code": 400})
    assert toast(ann) == f"“{title}” could not be completed. <i>no</i>"
    for page in (ann, bob):
        assert page.locator(".todo img, .todo b, #todo-news *, .jpulse-toast-text *").count() == 0


@pytest.mark.parametrize("how", ["Enter", "blur", "Save"])
def test_edit_is_saved(open_window: OpenWindow, site: Server, how: str) -> None:
    """A new title is saved by Enter, by the button, and by leaving the field."""
    add(site, "Milk", "Bread")
    page = open_window()
    edit(page, "Milk", " Oat milk ")
    if how == "Enter":
        editor(page).press("Enter")
    elif how == "blur":
        field(page).focus()
    else:
        page.get_by_role("button", name="Save").click()
    assert editor(page).count() == 0
    wanted = open_rows("Oat milk", "Bread")
    eventually(lambda: rows_on_server(site), wanted)
    shows(page, wanted)
    assert has_focus(field(page) if how == "blur" else button(page, "Edit", "Oat milk"))


@pytest.mark.parametrize("how", ["Escape", "Cancel"])
def test_edit_is_cancelled(open_window: OpenWindow, site: Server, how: str) -> None:
    """Escape and the button drop what was typed and ask nothing of the server."""
    add(site, "Milk")
    page = open_window()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    edit(page, "Milk", "Oat milk")
    if how == "Escape":
        editor(page).press("Escape")
    else:
        page.get_by_role("button", name="Cancel").click()
    assert editor(page).count() == 0
    assert rows(page) == rows_on_server(site) == open_rows("Milk")
    assert has_focus(button(page, "Edit", "Milk"))
    # What is not changed is not saved either.
    button(page, "Edit", "Milk").click()
    editor(page).press("Enter")
    assert rows(page) == open_rows("Milk")
    assert asked == []


def test_delete_moves_the_focus(open_window: OpenWindow, site: Server) -> None:
    """After a deletion the focus is on the next todo, at the end on the last, and at last on the list."""
    add(site, "Milk", "Bread", "Salt")
    page = open_window()
    button(page, "Delete", "Bread").press("Enter")
    assert has_focus(checkbox(page, "Salt"))
    button(page, "Delete", "Salt").press("Enter")
    assert has_focus(checkbox(page, "Milk"))
    button(page, "Delete", "Milk").press("Enter")
    assert has_focus(page.get_by_role("region", name="Todos"))
    says(page, "#todo-state-text", "Nothing here yet. Add the first todo above.")
    eventually(lambda: on_server(site), [])


def test_deletion_by_others_leaves_no_trap(open_window: OpenWindow, site: Server) -> None:
    """When others delete the todo that has the focus, no key meant for it hits another todo."""
    milk, _ = add(site, "Milk", "Bread")
    page = open_window()
    button(page, "Delete", "Milk").focus()
    call(site, "DELETE", milk)
    shows(page, open_rows("Bread"))
    assert has_focus(page.get_by_role("region", name="Todos"))


def test_filters(open_window: OpenWindow, site: Server) -> None:
    """Filters show all, open or done todos, count them, and say so when there are none."""
    page = open_window()
    state = page.locator("#todo-state-text")

    def choose(name: str) -> None:
        page.locator("#todo-filters").get_by_role("button", name=name).click()
        pressed = page.locator('#todo-filters [aria-pressed="true"]')
        assert pressed.get_attribute("data-filter") == name.lower()

    def counts() -> list[str]:
        texts = page.locator(".todo-number").all_inner_texts()
        return [*texts, page.locator("#todo-count").inner_text()]

    assert counts() == ["0", "0", "0", "0 open"]
    for name, text in [
        ("Open", "Nothing open: all is done."),
        ("Done", "Nothing done yet."),
        ("All", "Nothing here yet. Add the first todo above."),
    ]:
        choose(name)
        assert state.inner_text() == text
    add(site, "Milk", "Bread", "Salt")
    shows(page, open_rows("Milk", "Bread", "Salt"))
    assert state.is_hidden()
    checkbox(page, "Bread").check()
    assert counts() == ["3", "2", "1", "2 open"]
    choose("Done")
    assert rows(page) == [["Bread", True]]
    choose("Open")
    assert rows(page) == open_rows("Milk", "Salt")
    checkbox(page, "Milk").press("Space")
    assert rows(page) == open_rows("Salt")
    assert has_focus(checkbox(page, "Salt"))
    checkbox(page, "Salt").press("Space")
    assert state.inner_text() == "Nothing open: all is done."
    assert counts() == ["3", "0", "3", "0 open"]
    choose("Done")
    # What is new would be out of sight.
    field(page).fill("Eggs")
    field(page).press("Enter")
    shows(page, [["Milk", True], ["Bread", True], ["Salt", True], ["Eggs", False]])


def begin(page: Any, deed: str) -> tuple[list[list[Any]], str]:
    """Change a list of Milk and Bread; returns what is then to be seen, and how a complaint begins."""
    if deed == "complete":
        checkbox(page, "Milk").click()
        return [["Milk", True], ["Bread", False]], "“Milk” could not be completed."
    if deed == "rename":
        edit(page, "Milk", "Oat milk")
        editor(page).press("Enter")
        return open_rows("Oat milk", "Bread"), "“Milk” could not be renamed to “Oat milk”."
    if deed == "delete":
        button(page, "Delete", "Milk").click()
        return open_rows("Bread"), "“Milk” could not be deleted."
    field(page).fill("Salt")
    field(page).press("Enter")
    return open_rows("Milk", "Bread", "Salt"), "“Salt” could not be added."


@pytest.mark.parametrize(
    ("deed", "method"), [("complete", "PUT"), ("rename", "PUT"), ("delete", "DELETE"), ("add", "POST")]
)
def test_taken_back(
    open_window: OpenWindow, site: Server, console: ConsoleLog, deed: str, method: str
) -> None:
    """What the user does is shown before the server answers, and taken back with a message if it fails."""
    console.allow_failed_requests()
    add(site, "Milk", "Bread")
    page = open_window()
    for reason in (BUSY, "The server cannot be reached."):
        held = hold(page, method)
        early, complaint = begin(page, deed)
        route = wait_for_held(page, held)
        assert rows(page) == early
        if reason == BUSY:
            route.fulfill(status=503, json={"success": False, "error": BUSY, "code": 503})
        else:
            route.abort("connectionrefused")
        assert toast(page) == f"{complaint} {reason}"
        shows(page, open_rows("Milk", "Bread"))
        assert page.locator(".is-pending").count() == 0
        # Nothing typed is lost.
        assert field(page).input_value() == ("Salt" if deed == "add" else "")
        page.locator(".jpulse-toast").get_by_role("button", name="Close").click()
        page.unroute_all()
    assert rows_on_server(site) == open_rows("Milk", "Bread")
    early, _ = begin(page, deed)
    eventually(lambda: rows_on_server(site), early)
    shows(page, early)


def test_refusal_takes_back_nothing_else(open_window: OpenWindow, site: Server, console: ConsoleLog) -> None:
    """A refusal takes back one wish: what others changed meanwhile stays."""
    console.allow_failed_requests()
    milk, _ = add(site, "Milk", "Bread")
    page = open_window()
    held = hold(page, "PUT")
    checkbox(page, "Milk").click()
    route = wait_for_held(page, held)
    call(site, "PUT", milk, {"title": "Oat milk"})
    shows(page, [["Oat milk", True], ["Bread", False]])
    route.fulfill(status=503, json={"success": False, "error": BUSY, "code": 503})
    shows(page, open_rows("Oat milk", "Bread"))


def test_change_of_what_others_deleted(open_window: OpenWindow, site: Server, console: ConsoleLog) -> None:
    """Changing what somebody else has just deleted says so, and the todo stays gone."""
    console.allow_failed_requests()
    milk, _ = add(site, "Milk", "Bread")
    page = open_window()
    held = hold(page, "PUT")
    checkbox(page, "Milk").click()
    route = wait_for_held(page, held)
    call(site, "DELETE", milk)
    shows(page, open_rows("Bread"))
    route.continue_()
    expected = "“Milk” could not be completed. There is no such todo; somebody may have deleted it"
    assert toast(page) == expected
    assert rows(page) == open_rows("Bread")


def test_restart_of_the_server(open_window: OpenWindow, site: Server, console: ConsoleLog) -> None:
    """While the server is away changes are taken back; when it is back both windows show what they missed."""
    console.allow_failed_requests()
    milk, bread = add(site, "Milk", "Bread")
    windows = [open_window(), open_window("admin")]
    for page in windows:
        shows(page, open_rows("Milk", "Bread"))
    site.stop()
    for page in windows:
        wait_for_status(page, "reconnecting")
        assert page.locator("#todo-link").inner_text() == (
            "The server restarts. What others change is shown when the connection is back."
        )
    checkbox(windows[0], "Bread").click()
    assert toast(windows[0]) == "“Bread” could not be completed. The server cannot be reached."
    shows(windows[0], open_rows("Milk", "Bread"))
    site.start()
    add(site, "Salt")
    call(site, "PUT", f"{milk}/toggle")
    call(site, "DELETE", bread)
    for page in windows:
        # Makes it try at once; without it the next attempt is some seconds away.
        page.evaluate("dispatchEvent(new Event('online'))")
        wait_for_status(page, "connected")
        shows(page, [["Milk", True], ["Salt", False]])
        assert page.locator("#todo-link").inner_text() == ""
    checkbox(windows[1], "Salt").click()
    shows(windows[0], [["Milk", True], ["Salt", True]])
    says(windows[0], "#todo-news", "admin completed “Salt”")


def test_list_that_cannot_be_loaded(open_window: OpenWindow, site: Server, console: ConsoleLog) -> None:
    """When the list cannot be loaded the page says why and offers to try again."""
    console.allow_failed_requests()
    add(site, "Milk")
    page = open_window()
    page.get_by_role("button", name="Disconnect").click()
    wait_for_status(page, "disconnected")
    held = hold(page, "GET")
    add(site, "Bread")
    page.get_by_role("button", name="Connect", exact=True).click()
    wait_for_held(page, held).fulfill(status=503, json={"success": False, "error": BUSY, "code": 503})
    says(page, "#todo-state-text", f"The list could not be brought up to date. {BUSY}")
    shows(page, open_rows("Milk"))
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    shows(page, open_rows("Milk", "Bread"))
    assert page.locator("#todo-state").is_hidden()


def test_who_did_what(open_window: OpenWindow) -> None:
    """The list and the news tell who did what: oneself, the user by name, or a guest."""
    user, guest = open_window("admin"), open_window()
    field(user).fill("Milk")
    field(user).press("Enter")
    says(guest, ".todo-author", "by admin")
    says(guest, "#todo-news", "admin added “Milk”")
    says(user, ".todo-author", "by you")
    says(user, "#todo-news", "You added “Milk”")
    checkbox(guest, "Milk").click()
    for page in (user, guest):
        says(page, "#todo-news", "A guest completed “Milk”")
    checkbox(user, "Milk").click()
    says(guest, "#todo-news", "admin reopened “Milk”")
    field(guest).fill("Bread")
    field(guest).press("Enter")
    for page in (user, guest):
        says(page, ".todo:last-child .todo-author", "by a guest")
        says(page, "#todo-news", "A guest added “Bread”")
    button(user, "Delete", "Bread").click()
    says(guest, "#todo-news", "admin deleted “Bread”")
    says(user, "#todo-news", "You deleted “Bread”")


def test_toggling_at_once(open_window: OpenWindow, site: Server) -> None:
    """Of 50 toggles by two people at once, and some by the windows, none is lost and all see one list."""
    ids = add(site, "Milk", "Bread", "Salt")
    windows = [open_window("admin"), open_window()]
    for page in windows:
        shows(page, open_rows("Milk", "Bread", "Salt"))
    user, guest = Visitor(site.port), Visitor(site.port)
    user.sign_in()
    with ThreadPoolExecutor(8) as pool:
        answers = [
            pool.submit((user, guest)[number % 2].send, "PUT", f"{REST}/{ids[number // 2 % 3]}/toggle")
            for number in range(50)
        ]
        for page in (*windows, *windows):
            # Not by the mouse, which would wait until nothing moves.
            checkbox(page, "Milk").evaluate("(element) => element.click()")
        assert {answer.result().status for answer in answers} == {200}
    for page in windows:
        page.wait_for_function("() => !document.querySelector('.is-pending')")
    # 18, 16 and 16 times by REST, and four times the first one by the windows.
    assert rows_on_server(site) == open_rows("Milk", "Bread", "Salt")
    call(site, "PUT", f"{ids[1]}/toggle")
    for page in windows:
        shows(page, [["Milk", False], ["Bread", True], ["Salt", False]])


def test_editing_is_not_overwritten(open_window: OpenWindow, site: Server) -> None:
    """What is being typed stays when others change or delete the same todo, and the editor tells of it."""
    (milk,) = add(site, "Milk")
    page = open_window()
    note = ".todo-editor [role=alert]"
    edit(page, "Milk", "Oat milk")
    call(site, "PUT", f"{milk}/toggle")
    says(page, "#todo-news", "A guest completed “Milk”")
    says(page, note, "")
    call(site, "PUT", milk, {"title": "Soy milk"})
    says(page, note, "Changed meanwhile to “Soy milk”. Saving replaces that.")
    assert editor(page).input_value() == "Oat milk"
    assert has_focus(editor(page))
    editor(page).press("Enter")
    eventually(lambda: rows_on_server(site), [["Oat milk", True]])
    shows(page, [["Oat milk", True]])
    edit(page, "Oat milk", "Rice milk")
    call(site, "DELETE", milk)
    says(page, note, "Deleted meanwhile. Saving adds it again.")
    assert editor(page).input_value() == "Rice milk"
    editor(page).press("Enter")
    eventually(lambda: rows_on_server(site), open_rows("Rice milk"))
    shows(page, open_rows("Rice milk"))


def test_keyboard_alone(open_window: OpenWindow, site: Server) -> None:
    """With the keyboard alone one adds, filters, completes, edits and deletes, in the order of the page."""
    page = open_window()
    keyboard = page.keyboard

    def tab_to(wanted: Any) -> None:
        for _ in range(12):
            if has_focus(wanted):
                return
            keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {wanted}")

    page.get_by_role("tab", name="Todo list").focus()
    tab_to(field(page))
    for title in ("Milk", "Bread"):
        keyboard.type(title)
        keyboard.press("Enter")
        page.wait_for_selector(f'.todo:not(.is-pending) [aria-label="{title}"]')
    tab_to(page.locator('[data-filter="open"]'))
    keyboard.press("Space")
    tab_to(checkbox(page, "Milk"))
    keyboard.press("Space")
    shows(page, open_rows("Bread"))
    assert has_focus(checkbox(page, "Bread"))
    tab_to(button(page, "Edit", "Bread"))
    keyboard.press("Enter")
    keyboard.press("Control+A")
    keyboard.type("Rye bread")
    keyboard.press("Enter")
    eventually(lambda: rows_on_server(site), [["Milk", True], ["Rye bread", False]])
    assert has_focus(button(page, "Edit", "Rye bread"))
    tab_to(button(page, "Delete", "Rye bread"))
    keyboard.press("Enter")
    eventually(lambda: rows_on_server(site), [["Milk", True]])
    says(page, "#todo-state-text", "Nothing open: all is done.")


def stand_between(page: Any) -> list[Any]:
    """Stand between a window that is loaded again and the server; returns a list with the route."""
    routes: list[Any] = []

    def take(route: Any) -> None:
        routes.append(route)
        server = route.connect_to_server()
        route.on_message(lambda message: server.send(message))
        server.on_message(lambda message: route.send(message))

    page.route_web_socket("**/api/1/ws/hello-todo**", take)
    page.reload()
    wait_for_status(page, "connected")
    return routes


def told(route: Any, kind: str, **data: Any) -> None:
    """Tell a page something in the server's place."""
    route.send(json.dumps({"success": True, "data": {"type": kind, "username": "", **data, "ctx": {}}}))


def state(title: str, second: float, todo_id: str = "a") -> dict[str, Any]:
    """A todo as it was changed at some second of a minute."""
    times = {"createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": f"2026-01-01T00:00:{second:06.3f}Z"}
    return {"_id": todo_id, "title": title, "completed": False, "username": "", **times}


def test_any_order(open_window: OpenWindow) -> None:
    """In whatever order changes are heard, the newest is shown, and what is gone stays gone."""
    page = open_window()
    (route,) = stand_between(page)
    says(page, "#todo-state-text", "Nothing here yet. Add the first todo above.")
    told(route, "todo-updated", todo=state("newest", 3.002))
    told(route, "todo-updated", todo=state("older", 3.001))
    told(route, "todo-created", todo=state("new", 1))
    told(route, "todo-updated", todo=state("as old", 3.002))
    shows(page, open_rows("newest"))
    told(route, "todo-deleted", todoId="a")
    told(route, "todo-updated", todo=state("late", 9))
    told(route, "todo-created", todo=state("the end", 1, "b"))
    shows(page, open_rows("the end"))


def test_greeting_loads_the_list(open_window: OpenWindow, site: Server) -> None:
    """Whenever the server greets, the list is loaded; what it does not know of is gone."""
    page = open_window()
    (route,) = stand_between(page)
    says(page, "#todo-state-text", "Nothing here yet. Add the first todo above.")
    told(route, "todo-created", todo=state("deleted while nobody could tell", 1))
    shows(page, open_rows("deleted while nobody could tell"))
    held = hold(page, "GET")
    told(route, "welcome", userCount=1)
    wait_for_held(page, held)
    add(site, "Milk")
    told(route, "todo-created", todo=state("told meanwhile", 2, "b"))
    shows(page, open_rows("deleted while nobody could tell", "told meanwhile", "Milk"))
    held[0].continue_()
    shows(page, open_rows("told meanwhile", "Milk"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow(open_window: OpenWindow, site: Server, scheme: str) -> None:
    """On a phone nothing scrolls sideways: no long title, editor, message or news of it."""
    page = open_window("admin", viewport={"width": 400, "height": 800}, color_scheme=scheme)

    def overflowing() -> list[str]:
        found = page.evaluate(
            """() => [document.documentElement, ...document.querySelectorAll('#todo, #todo *')]
                .filter((each) => each.getClientRects().length && each.scrollWidth > each.clientWidth + 1)
                .filter((each) => each === document.documentElement
                    || ['auto', 'scroll'].includes(getComputedStyle(each).overflowX))
                .map((each) => each.id || each.tagName)"""
        )
        assert isinstance(found, list)
        return found

    assert overflowing() == []
    for title in ("W" * MAX_TITLE, "A title of several words that needs more than one line on a phone"):
        field(page).fill(title)
        field(page).press("Enter")
        says(page, "#todo-news", f"You added “{title if len(title) <= 60 else title[:60] + '…'}”")
        assert overflowing() == []
    field(page).fill("")
    field(page).press("Enter")
    edit(page, "W" * MAX_TITLE, "M" * (MAX_TITLE + 1))
    editor(page).press("Enter")
    assert overflowing() == []
    held = hold(page, "PUT")
    editor(page).fill("M" * MAX_TITLE)
    editor(page).press("Enter")
    wait_for_held(page, held).fulfill(json={"success": False, "error": BUSY, "code": 400})
    assert BUSY in toast(page)
    assert overflowing() == []
