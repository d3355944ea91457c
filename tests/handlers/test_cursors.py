"""The emoji cursors as the wire shows them, with two clients and more."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..conftest import Server, wait_until
from ..raw_client import CLOSE, RawClient, client_frame
from ..support import ask

PATH = "/api/1/ws/hello-emoji"
CONTEXT = {"username": "", "ip": "127.0.0.1"}


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared
        # The next test begins with an empty room.
        wait_until(lambda: count_of(shared) == 1)


def count_of(server: Server) -> int:
    """How many are here, with the one that asks."""
    with RawClient(server.port, PATH) as client:
        return int(client.read_data("welcome")["userCount"])


def join(server: Server, client_id: str = "") -> tuple[RawClient, str]:
    """Come in as a browser, and read up to the word of one's own arrival."""
    client_id = client_id or str(uuid.uuid4())
    client = RawClient(server.port, f"{PATH}?uuid={client_id}")
    assert client.read_data("connected")["clientId"] == client_id
    while client.read_data("user-joined")["clientId"] != client_id:
        pass
    return client, client_id


def leave(client: RawClient) -> None:
    """Close as a browser does."""
    client.send(client_frame((1000).to_bytes(2, "big"), CLOSE))
    client.read_close()
    client.socket.close()


def test_newcomer(server: Server) -> None:
    """A newcomer is welcomed with the number of users, and everybody hears of the arrival."""
    first, first_id = join(server)
    with first, RawClient(server.port, PATH) as second:
        second_id = second.read_data("connected")["clientId"]
        welcome = second.read_json()["data"]
        assert (welcome["type"], welcome["userCount"]) == ("welcome", 2)
        joined = {
            "type": "user-joined",
            "clientId": second_id,
            "username": "",
            "userCount": 2,
            "ctx": CONTEXT,
        }
        assert first.read_json()["data"] == joined
        assert second.read_json()["data"] == joined
        assert first_id != second_id


def test_emoji(server: Server) -> None:
    """A chosen emoji is told to everybody, with who chose it."""
    (first, first_id), (second, _) = join(server), join(server)
    with first, second:
        first.send_json({"type": "emoji-select", "emoji": "🦊"})
        for client in (first, second):
            assert client.read_data("user-emoji") == {
                "type": "user-emoji",
                "clientId": first_id,
                "username": "",
                "emoji": "🦊",
                "ctx": CONTEXT,
            }


@pytest.mark.parametrize(("x", "y"), [(0, 100), (12.5, 0.001), (100, 0), (99.999999, 50)])
def test_cursor(server: Server, x: float, y: float) -> None:
    """A moved cursor is told to everybody, with who moved it and where it is."""
    (first, first_id), (second, _) = join(server), join(server)
    with first, second:
        first.send_json({"type": "cursor-move", "emoji": "👩‍🚀", "x": x, "y": y})
        for client in (first, second):
            assert client.read_data("cursor") == {
                "type": "cursor",
                "clientId": first_id,
                "username": "",
                "emoji": "👩‍🚀",
                "x": x,
                "y": y,
                "ctx": CONTEXT,
            }


def test_twenty_moves_a_second(server: Server) -> None:
    """A page that sends its 20 moves a second, or a burst of them, has none refused."""
    client, _ = join(server)
    with client:
        for x in range(60):
            client.send_json({"type": "cursor-move", "emoji": "🦊", "x": x, "y": 0})
        assert [client.read_data("cursor")["x"] for _ in range(60)] == list(range(60))


def test_user_left(server: Server) -> None:
    """Everybody else hears who left and how many are still here."""
    (first, first_id), (second, _) = join(server), join(server)
    with second:
        leave(first)
        assert second.read_data("user-left") == {
            "type": "user-left",
            "clientId": first_id,
            "username": "",
            "userCount": 1,
            "ctx": CONTEXT,
        }


def test_two_tabs_of_one_browser(server: Server) -> None:
    """Two tabs of one browser count as one user, who has left only when the last of them is closed."""
    watcher, _ = join(server)
    with watcher:
        tab, browser = join(server)
        assert watcher.read_data("user-joined")["userCount"] == 2
        other_tab, _ = join(server, browser)
        assert watcher.read_data("user-joined")["userCount"] == 2
        leave(tab)
        other_tab.send_json({"type": "emoji-select", "emoji": "🦉"})
        # Nothing comes between: that the browser had left would have been told first.
        assert watcher.read_json()["data"]["type"] == "user-emoji"
        assert other_tab.read_data("user-emoji")["clientId"] == browser
        leave(other_tab)
        left = watcher.read_json()["data"]
        assert (left["type"], left["clientId"], left["userCount"]) == ("user-left", browser, 1)


def test_vanished_client(server: Server) -> None:
    """A client whose connection breaks has left as well."""
    (first, first_id), (second, _) = join(server), join(server)
    with second:
        first.reset()
        assert second.read_data("user-left")["clientId"] == first_id


MOVE = {"type": "cursor-move", "emoji": "🦊", "x": 1, "y": 2}
SELECT = {"type": "emoji-select", "emoji": "🦊"}


def without(message: dict[str, Any], field: str) -> dict[str, Any]:
    """The message without a field."""
    return {name: value for name, value in message.items() if name != field}


WRONG_X: tuple[Any, ...] = (-0.001, 100.001, "5", None, True, [], {}, 10**30, -(10**400))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        *[({**MOVE, "x": x}, "x") for x in WRONG_X],
        *[({**MOVE, "y": y}, "y") for y in (-1, 101, "", None, False)],
        (without(MOVE, "x"), "x"),
        (without(MOVE, "y"), "y"),
        (without(MOVE, "emoji"), "emoji"),
        (without(SELECT, "emoji"), "emoji"),
        *[({**SELECT, "emoji": emoji}, "emoji") for emoji in ("", None, 7, ["🦊"], "x" * 1000)],
        ({**MOVE, "emoji": "x" * 1000}, "emoji"),
        ({"type": "user-left", "clientId": "x"}, "type"),
        ({"type": "EMOJI-SELECT", "emoji": "🦊"}, "type"),
        ({"emoji": "🦊"}, "type"),
        ({"type": None}, "type"),
        ({"type": ["emoji-select"]}, "type"),
        ({}, "type"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_wrong_fields(server: Server, message: dict[str, Any], field: str) -> None:
    """A wrong field is answered with code 400 that names it, and nobody else hears of it."""
    (first, _), (second, _) = join(server), join(server)
    with first, second:
        first.read_data("user-joined")
        first.send_json(message)
        answer = first.read_json()
        assert answer["success"] is False
        assert answer["code"] == 400
        assert answer["error"].startswith(f"{field}:")
        assert len(answer["error"]) < 200
        first.send_json(SELECT)
        assert first.read_json()["data"]["type"] == "user-emoji"
        assert second.read_json()["data"]["type"] == "user-emoji"


def test_forged_sender(server: Server) -> None:
    """Who a cursor belongs to is what the server knows, whatever the client wrote."""
    client, client_id = join(server)
    with client:
        client.send_json({**MOVE, "clientId": "somebody else", "username": "root", "ctx": {"ip": "1.1.1.1"}})
        cursor = client.read_data("cursor")
        assert (cursor["clientId"], cursor["username"], cursor["ctx"]) == (client_id, "", CONTEXT)


def test_plain_get(server: Server) -> None:
    """A plain GET of the namespace is answered with 426: all is well."""
    assert ask(server.port, PATH)[0] == 426
