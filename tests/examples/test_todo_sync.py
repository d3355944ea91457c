"""REST changes, the WebSocket tells: a todo list that every window follows."""

from __future__ import annotations

from typing import Any

from ..browser.conftest import ConsoleLog
from ..visitor import Visitor
from .conftest import Site, Visit, come_back, eventually, wait_for_status

REST = "/api/1/todo-sync"
ROWS = """() => [...document.querySelectorAll('#todos > li')].map((row) =>
    [row.querySelector('.title').textContent, row.querySelector('input').checked])"""


def rows(page: Any) -> list[list[Any]]:
    """Title and whether it is done, of all todos in sight."""
    found = page.evaluate(ROWS)
    assert isinstance(found, list)
    return found


def add(page: Any, title: str) -> None:
    page.get_by_label("New todo").fill(title)
    page.keyboard.press("Enter")


def empty(site: Site) -> None:
    """Delete all todos by REST, as a script does."""
    script = Visitor(site.servers[0].port)
    for todo in script.get(REST).data["todos"]:
        assert script.send("DELETE", f"{REST}/{todo['id']}").status == 200


def test_every_window_follows(visit: Visit, site: Site) -> None:
    """What a window or a script changes is seen in every window, at whichever process."""
    empty(site)
    ann, bob = visit(0), visit(1, viewport={"width": 400, "height": 800})
    ann.get_by_text("Nothing to do. Add something above.").wait_for()
    add(ann, "Milk")
    eventually(lambda: rows(bob), [["Milk", False]])
    bob.get_by_role("checkbox", name="Milk").check()
    eventually(lambda: rows(ann), [["Milk", True]])
    script = Visitor(site.servers[1].port)
    assert script.post(REST, {"id": "from-a-script", "title": "Bread"}).status == 201
    for page in (ann, bob):
        eventually(lambda page=page: rows(page), [["Milk", True], ["Bread", False]])
    ann.get_by_role("button", name="Delete “Milk”").press("Enter")
    eventually(lambda: rows(bob), [["Bread", False]])
    assert ann.evaluate("document.activeElement.ariaLabel") == "Delete “Bread”"


def test_wishes_are_shown_at_once(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """A change is shown before the server has answered, and taken back with the reason when it refuses."""
    console.allow_failed_requests()
    empty(site)
    ann, bob = visit(0), visit(1)
    add(ann, "Milk")
    eventually(lambda: rows(bob), [["Milk", False]])
    held: list[Any] = []
    ann.route(f"**{REST}**", lambda route: held.append(route))
    ann.get_by_role("checkbox", name="Milk").check()
    add(ann, "Bread")
    eventually(lambda: (rows(ann), len(held)), ([["Milk", True], ["Bread", False]], 2))
    assert rows(bob) == [["Milk", False]]
    for route in held:
        refusal = '{"success": false, "error": "Out of order", "code": 503}'
        route.fulfill(status=503, content_type="application/json", body=refusal)
    eventually(lambda: rows(ann), [["Milk", False]])
    assert ann.get_by_text("“Bread”: Out of order").is_visible()
    assert ann.get_by_label("New todo").input_value() == "Bread"


def test_todo_that_is_not_there_yet(visit: Visit, site: Site) -> None:
    """A new todo can be completed before the server has answered that it is kept."""
    empty(site)
    ann, bob = visit(0), visit(1)
    held: list[Any] = []
    ann.route(f"**{REST}", lambda route: held.append(route))
    add(ann, "Milk")
    ann.get_by_role("checkbox", name="Milk").check()
    eventually(lambda: (rows(ann), len(held)), ([["Milk", True]], 1))
    held[0].continue_()
    eventually(lambda: rows(bob), [["Milk", True]])
    eventually(lambda: rows(ann), [["Milk", True]])


def test_older_news_change_nothing(visit: Visit, site: Site) -> None:
    """What is heard late, of a todo that has changed or gone since, does not come back."""
    empty(site)
    ann = visit(0)
    add(ann, "Milk")
    ann.wait_for_selector("#todos > li:not(.is-pending)")
    early = ann.evaluate("() => [...known.values()].find((todo) => !todo.gone)")
    ann.get_by_role("checkbox", name="Milk").check()
    ann.wait_for_selector("#todos > li:not(.is-pending)")
    ann.evaluate("(todo) => learn(todo)", early)
    assert rows(ann) == [["Milk", True]]
    ann.get_by_role("button", name="Delete “Milk”").click()
    eventually(lambda: rows(ann), [])
    ann.evaluate("(todo) => learn(todo)", early)
    assert rows(ann) == []


def test_wrong_todos(site: Site) -> None:
    """The REST API names the field that is wrong, and what is not there."""
    script = Visitor(site.servers[0].port)
    assert "title" in script.post(REST, {"id": "12345678", "title": ""}).error
    assert "id" in script.post(REST, {"id": "a b", "title": "Milk"}).error
    assert script.send("PUT", f"{REST}/12345678", {"done": True}).status == 404
    assert script.send("DELETE", f"{REST}/12345678").status == 404


def test_restart(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """What others changed while a window was away is there when it is back; a restart loses nothing."""
    console.allow_failed_requests()
    empty(site)
    ann, bob = visit(0), visit(1)
    add(ann, "Milk")
    add(ann, "Bread")
    eventually(lambda: rows(bob), [["Milk", False], ["Bread", False]])
    bob.evaluate("() => connection.disconnect()")
    wait_for_status(bob, "disconnected")
    ann.get_by_role("button", name="Delete “Milk”").click()
    eventually(lambda: rows(ann), [["Bread", False]])
    site.restart()
    bob.get_by_role("button", name="Connect").click()
    come_back(ann, bob)
    for page in (ann, bob):
        eventually(lambda page=page: rows(page), [["Bread", False]])
    bob.get_by_role("checkbox", name="Bread").check()
    eventually(lambda: rows(ann), [["Bread", True]])
