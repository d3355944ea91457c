"""Sticky notes over real sockets: every message, what is refused, the limit, and several people at once."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from ..conftest import Server, wait_until
from ..raw_client import RawClient
from ..servers import RedisServer
from ..visitor import Visitor, data_dir

PATH = "/api/1/ws/hello-notes"
GUEST = {"username": "", "ip": "127.0.0.1"}
ADMIN = {"username": "admin", "ip": "127.0.0.1"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
MAX_NOTES = 200
TROUBLE = ("a note cannot be changed", "the notes cannot be read", "does not answer", "(?i)redis")


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """The server that the tests of this file share, with an empty board."""
    with shared.lent():
        clear(shared)
        yield shared


@pytest.fixture
def guest(server: Server) -> Iterator[Client]:
    with connected(Visitor(server.port)) as client:
        yield client


@pytest.fixture
def other(server: Server) -> Iterator[Client]:
    with connected(Visitor(server.port)) as client:
        yield client


@pytest.fixture(scope="module")
def admins_jar(shared: Server) -> dict[str, str]:
    visitor = Visitor(shared.port)
    visitor.sign_in()
    return visitor.jar


@pytest.fixture
def admin(server: Server, admins_jar: dict[str, str]) -> Iterator[Client]:
    visitor = Visitor(server.port)
    visitor.jar = dict(admins_jar)
    with connected(visitor) as client:
        yield client


class Client:
    """Somebody at the board, who has been told the notes."""

    def __init__(self, socket: RawClient) -> None:
        self.socket = socket
        self.user_count: int = socket.read_data("welcome")["userCount"]
        self.notes: list[dict[str, Any]] = socket.read_data("notes-init")["notes"]

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.__exit__(*exc_info)

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send_json({"type": kind, **fields})

    def hear(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        return self.socket.read_json()

    def told(self, kind: str) -> dict[str, Any]:
        """The next message, which must be of this type."""
        envelope = self.hear()
        assert envelope["success"], envelope
        data = envelope["data"]
        assert data["type"] == kind, data
        assert isinstance(data, dict)
        return data

    def create(self, **fields: Any) -> dict[str, Any]:
        """Make a note and return it as the broadcast tells it."""
        self.say("note-create", **{"x": 10, "y": 20, **fields})
        note = self.told("note-created")["note"]
        assert isinstance(note, dict)
        return note

    def update(self, note_id: str, **fields: Any) -> dict[str, Any]:
        self.say("note-update", id=note_id, **fields)
        note = self.told("note-updated")["note"]
        assert isinstance(note, dict)
        return note

    def delete(self, note_id: str) -> None:
        self.say("note-delete", id=note_id)
        assert self.told("note-deleted")["noteId"] == note_id

    def refused(self, kind: str, **fields: Any) -> tuple[int, str]:
        """Send what must be refused: the code and the text of the answer."""
        self.say(kind, **fields)
        envelope = self.hear()
        assert envelope["success"] is False, envelope
        return envelope["code"], envelope["error"]

    def hears_nothing(self) -> bool:
        """Whether nothing was told since: a ping is answered first."""
        self.say("ping")
        return bool(self.told("pong"))


def connected(visitor: Visitor) -> Client:
    return Client(visitor.connect(PATH))


def on_board(server: Server) -> list[dict[str, Any]]:
    """The notes as a newcomer is told them."""
    with connected(Visitor(server.port)) as client:
        return client.notes


# Every message


def test_greeting(server: Server) -> None:
    """A newcomer is told who it is, how many are here, and all notes, in this order."""
    with Visitor(server.port).connect(PATH) as socket:
        first, welcome, notes = (socket.read_json()["data"] for _ in range(3))
    assert [first["type"], welcome["type"], notes["type"]] == ["connected", "welcome", "notes-init"]
    assert welcome == {"type": "welcome", "userCount": 1, "ctx": GUEST}
    assert notes == {"type": "notes-init", "notes": [], "ctx": GUEST}


def test_create(guest: Client, admin: Client, server: Server) -> None:
    """A new note is told to everybody with all its fields and who made it, and is kept."""
    admin.say("note-create", x=12.5, y=100, text="Buy milk", color="#AABBCC")
    told = [client.told("note-created") for client in (guest, admin)]
    assert told[0] == told[1]
    assert (told[0]["username"], told[0]["ctx"]) == ("admin", ADMIN)
    note = told[0]["note"]
    assert {name: note[name] for name in ("x", "y", "text", "color", "createdBy")} == {
        "x": 12.5,
        "y": 100,
        "text": "Buy milk",
        "color": "#aabbcc",
        "createdBy": "admin",
    }
    assert set(note) == {"id", "x", "y", "text", "color", "createdAt", "createdBy", "updatedAt"}
    assert TIME.fullmatch(note["createdAt"])
    assert note["updatedAt"] == note["createdAt"]
    assert on_board(server) == [note]


def test_defaults(guest: Client) -> None:
    """Without text a note is empty, without color it is yellow; a guest has no name."""
    note = guest.create(x=0, y=0)
    assert (note["text"], note["color"], note["createdBy"]) == ("", "#fff475", "")


def test_update(guest: Client, admin: Client, server: Server) -> None:
    """A change has the fields that it names, and the others stay; each is told to everybody, and is later."""
    note = guest.create(text="Buy milk")
    admin.told("note-created")
    changes = ({"x": 0}, {"y": 99.99}, {"text": ""}, {"color": "#000000"}, {"x": 5, "y": 6, "text": "ä\n🦊"})
    for change in changes:
        admin.say("note-update", id=note["id"], **change)
        told = [client.told("note-updated") for client in (guest, admin)]
        assert told[0] == told[1]
        assert (told[0]["username"], told[0]["ctx"]) == ("admin", ADMIN)
        changed = told[0]["note"]
        assert changed == {**note, **change, "updatedAt": changed["updatedAt"]}
        assert changed["updatedAt"] > note["updatedAt"]
        note = changed
    assert on_board(server) == [note]


def test_delete(guest: Client, admin: Client, server: Server) -> None:
    """A deletion is told to everybody; after it the note is 404."""
    note, stays = guest.create(), guest.create()
    admin.say("note-delete", id=note["id"])
    assert guest.told("note-deleted") == {
        "type": "note-deleted",
        "noteId": note["id"],
        "username": "admin",
        "ctx": ADMIN,
    }
    for kind, fields in (("note-update", {"x": 1}), ("note-delete", {})):
        code, error = guest.refused(kind, id=note["id"], **fields)
        assert (code, "note" in error) == (404, True)
    assert on_board(server) == [stays]


def test_oldest_first(guest: Client, server: Server) -> None:
    """A newcomer is told the notes by their age, whatever was changed last."""
    notes = [guest.create(text=str(number)) for number in range(5)]
    notes[1] = guest.update(notes[1]["id"], x=50)
    assert on_board(server) == notes


# What is refused

WRONG = [
    ({"x": -0.01}, "x"),
    ({"x": 100.01}, "x"),
    ({"x": "50"}, "x"),
    ({"x": True}, "x"),
    ({"x": None}, "x"),
    ({"x": [1]}, "x"),
    ({"x": 1e300}, "x"),
    ({"y": -1}, "y"),
    ({"y": 101}, "y"),
    ({"y": {}}, "y"),
    ({"text": "x" * 501}, "text"),
    ({"text": "🦊" * 501}, "text"),
    ({"text": "x" * 60_000}, "text"),
    ({"text": None}, "text"),
    ({"text": 5}, "text"),
    ({"text": "a\0b"}, "text"),
    ({"color": "red"}, "color"),
    ({"color": "#fff"}, "color"),
    ({"color": "#ffffff0"}, "color"),
    ({"color": "#gggggg"}, "color"),
    ({"color": "#ffffff\n"}, "color"),
    ({"color": "url(x)"}, "color"),
    ({"color": 0xFFFFFF}, "color"),
    ({"createdBy": "admin"}, "createdBy"),
    ({"updatedAt": "2030-01-01T00:00:00.000Z"}, "updatedAt"),
    ({"_id": "x"}, "_id"),
    ({"$set": {"x": 1}}, "$set"),
    ({"z" * 60_000: 1}, "zzz"),
]


@pytest.mark.parametrize(("fields", "named"), WRONG, ids=lambda value: ascii(value)[:30])
def test_fields_that_are_wrong(
    guest: Client, other: Client, server: Server, fields: dict[str, Any], named: str
) -> None:
    """A wrong or unknown field gets 400 that names it, to the sender alone, and changes nothing."""
    note = guest.create(text="stays")
    other.told("note-created")
    for kind, rest in (("note-create", {"x": 1, "y": 1}), ("note-update", {"id": note["id"], "x": 1})):
        code, error = guest.refused(kind, **{**rest, **fields})
        assert (code, error.startswith(named)) == (400, True), error
        assert len(error) < 200
    assert other.hears_nothing()
    assert on_board(server) == [note]


@pytest.mark.parametrize(
    ("kind", "fields", "named"),
    [
        ("note-create", {"y": 1}, "x"),
        ("note-create", {"x": 1}, "y"),
        ("note-create", {"x": 1, "y": 1, "id": "mine"}, "id"),
        ("note-update", {"x": 1}, "id"),
        ("note-update", {"id": "x"}, "x"),
        ("note-update", {"id": 5, "x": 1}, "id"),
        ("note-update", {"id": None, "x": 1}, "id"),
        ("note-update", {"id": {"$ne": None}, "x": 1}, "id"),
        ("note-delete", {}, "id"),
        ("note-delete", {"id": []}, "id"),
        ("note-delete", {"id": "x", "text": "y"}, "text"),
        ("note-move", {}, "type"),
        ("", {}, "type"),
    ],
    ids=str,
)
def test_messages_that_are_wrong(guest: Client, kind: str, fields: dict[str, Any], named: str) -> None:
    """What lacks a field or has one that does not belong there is refused with 400 that names it."""
    code, error = guest.refused(kind, **fields)
    assert (code, error.split(":")[0]) == (400, named)
    assert guest.hears_nothing()


@pytest.mark.parametrize("kind", [None, 5, [], {}, "x" * 60_000], ids=lambda kind: ascii(kind)[:20])
def test_types_that_are_none(guest: Client, kind: Any) -> None:
    """A type that is no known text is refused with 400."""
    guest.socket.send_json({"type": kind})
    answer = guest.hear()
    assert (answer["success"], answer["code"], answer["error"].startswith("type:")) == (False, 400, True)
    assert len(answer["error"]) < 200


@pytest.mark.parametrize(
    "odd", ["", "\0", "$ne", "../x", "0" * 32, "🦊", "\u202e", "x" * 5000], ids=lambda odd: ascii(odd)[:20]
)
def test_ids_that_nothing_has(guest: Client, server: Server, odd: str) -> None:
    """An id that nothing has gets 404, whatever it looks like."""
    note = guest.create()
    assert guest.refused("note-update", id=odd, x=1)[0] == 404
    assert guest.refused("note-delete", id=odd)[0] == 404
    assert on_board(server) == [note]


@pytest.mark.parametrize(
    "text", ["x" * 500, "🦊" * 500, "\n" * 500, "<b>x</b>", " ", "{{ 7*7 }}", "$text"], ids=len
)
def test_texts_that_are_fine(guest: Client, server: Server, text: str) -> None:
    """A text of up to 500 characters is kept as it is, blanks and markup included."""
    note = guest.create(text=text)
    assert note["text"] == text
    assert guest.update(note["id"], text="")["text"] == ""
    assert guest.update(note["id"], text=text)["text"] == text
    assert on_board(server)[0]["text"] == text


def test_name_is_the_servers(guest: Client) -> None:
    """Who changes a note is what the server knows, whatever the message says."""
    guest.say("note-create", x=1, y=1, username="root")
    told = guest.told("note-created")
    assert (told["username"], told["note"]["createdBy"]) == ("", "")


# The limit


def fill(server: Server, count: int) -> list[str]:
    """Put notes into the store of a server, the first updated longest ago; returns their ids."""
    ids = [f"note-{number:03}" for number in range(count)]
    rows = [(each, f"text {number}", 1000.0 + number, 1000.0 + number) for number, each in enumerate(ids)]
    with closing(sqlite3.connect(data_dir(server) / "jpulse.db")) as store, store:
        store.executemany("INSERT INTO notes VALUES (?, 50, 50, ?, '#fff475', '', ?, ?)", rows)
    return ids


def clear(server: Server) -> None:
    """Take all notes out of the store of a server; nobody is told."""
    with closing(sqlite3.connect(data_dir(server) / "jpulse.db")) as store, store:
        store.execute("DELETE FROM notes")


def test_limit(guest: Client, other: Client, server: Server) -> None:
    """The 201st note takes the place of the one that nobody has changed for longest; everybody is told."""
    ids = fill(server, MAX_NOTES)
    guest.update(ids[0], x=50)
    other.told("note-updated")
    for gone in ids[1:4]:
        guest.say("note-create", x=1, y=2)
        for client in (guest, other):
            client.told("note-created")
            told = client.told("note-deleted")
            assert (told["noteId"], told["username"]) == (gone, "")
        assert guest.refused("note-update", id=gone, x=1)[0] == 404
    notes = [note["id"] for note in on_board(server)]
    assert len(notes) == MAX_NOTES
    assert notes[:2] == [ids[0], ids[4]]


# At once


def test_two_fields_at_once(guest: Client, admin: Client) -> None:
    """Two who change different fields of one note at once lose nothing, and both hear the same last state."""
    for number in range(20):
        note = guest.create()
        admin.told("note-created")
        guest.say("note-update", id=note["id"], text=f"text {number}")
        admin.say("note-update", id=note["id"], x=77, y=88)
        told = [[client.told("note-updated")["note"] for _ in range(2)] for client in (guest, admin)]
        assert told[0] == told[1]
        first, last = told[0]
        assert (last["text"], last["x"], last["y"]) == (f"text {number}", 77, 88)
        assert last["updatedAt"] > first["updatedAt"] > note["updatedAt"]


def test_many_changes_at_once(server: Server, guest: Client) -> None:
    """Everybody is told every change in one order, each later than the last, and the last one is kept."""
    note = guest.create()
    clients = [connected(Visitor(server.port)) for _ in range(6)]

    def work(number: int) -> None:
        for turn in range(10):
            clients[number].say("note-update", id=note["id"], text=f"{number} {turn}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    told = [[each.told("note-updated")["note"] for _ in range(60)] for each in (guest, *clients)]
    assert all(each == told[0] for each in told)
    times = [each["updatedAt"] for each in told[0]]
    assert times == sorted(set(times))
    for number in range(6):
        own = [each["text"] for each in told[0] if each["text"].startswith(f"{number} ")]
        assert own == [f"{number} {turn}" for turn in range(10)]
    assert on_board(server) == [told[0][-1]]
    for client in clients:
        client.socket.socket.close()


def test_delete_at_once(guest: Client, other: Client) -> None:
    """Of two who delete one note at once one does, the other gets 404, and it is told once."""
    note = guest.create()
    other.told("note-created")
    for client in (guest, other):
        client.say("note-delete", id=note["id"])
        client.say("no such type")
    codes = []
    for client in (guest, other):
        assert client.told("note-deleted")["noteId"] == note["id"]
        while (code := client.hear()["code"]) != 400:
            codes.append(code)
    assert codes == [404]


# Trouble


def test_store_in_trouble(serve: Callable[..., Server]) -> None:
    """While the store cannot be written the sender is told so, nobody else anything, and then it goes on."""
    server = serve()
    server.expected_log = TROUBLE
    with connected(Visitor(server.port)) as guest, connected(Visitor(server.port)) as other:
        note = guest.create()
        other.told("note-created")
        lock = sqlite3.connect(data_dir(server) / "jpulse.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        try:
            for kind, fields in (
                ("note-create", {"x": 1, "y": 1}),
                ("note-update", {"id": note["id"], "x": 1}),
                ("note-delete", {"id": note["id"]}),
            ):
                code, error = guest.refused(kind, **fields)
                assert (code, "try again" in error) == (503, True)
            assert other.hears_nothing()
        finally:
            lock.execute("ROLLBACK")
            lock.close()
        assert on_board(server) == [note]
        guest.update(note["id"], text="works")
        assert other.told("note-updated")["note"]["text"] == "works"


def test_redis_in_trouble(serve: Callable[..., Server], redis_server: RedisServer) -> None:
    """With Redis the notes are there; while it is frozen changes get 503, newcomers 1013; then it goes on."""
    server = serve("--redis-url", redis_server.url)
    server.expected_log = TROUBLE
    with connected(Visitor(server.port)) as guest:
        note = guest.create(text="in Redis")
        with redis_server.client() as redis:
            assert redis.hlen("jpulse:notes") == 1
        redis_server.pause()
        try:
            assert guest.refused("note-update", id=note["id"], x=1)[0] == 503
            with Visitor(server.port).connect(PATH) as newcomer:
                assert newcomer.read_close()[0] == 1013
        finally:
            redis_server.resume()
        wait_until(lambda: changed(guest, note["id"], x=2), 20)
        assert on_board(server)[0]["x"] == 2


def test_notes_after_an_outage(serve: Callable[..., Server], redis_server: RedisServer) -> None:
    """When the other processes are in reach again, clients are greeted and told all notes anew."""
    server = serve("--redis-url", redis_server.url)
    server.expected_log = TROUBLE
    with connected(Visitor(server.port)) as guest:
        guest.create(text="in Redis")
        # It keeps nothing on disk here, so the board is empty afterwards.
        redis_server.restart()
        assert guest.socket.read_data("welcome")["userCount"] == 1
        assert guest.told("notes-init")["notes"] == []


def test_two_processes(redis_server: RedisServer, serve: Callable[..., Server]) -> None:
    """
    Over two processes one board: by `updatedAt` all end with the same, whatever they heard first.

    Nothing that was written is lost, and both lists are one.
    """
    servers = [serve("--redis-url", redis_server.url) for _ in range(2)]
    with connected(Visitor(servers[0].port)) as one, connected(Visitor(servers[1].port)) as two:
        note = one.create()
        assert two.told("note-created")["note"] == note
        for turn in range(20):
            one.say("note-update", id=note["id"], x=turn)
            two.say("note-update", id=note["id"], text=str(turn))
        told = [[client.told("note-updated")["note"] for _ in range(40)] for client in (one, two)]
        states = [sorted(each, key=lambda note: note["updatedAt"]) for each in told]
        assert states[0] == states[1]
        assert len({each["updatedAt"] for each in states[0]}) == 40
        last = states[0][-1]
        assert (last["x"], last["text"]) == (19, "19")
        assert on_board(servers[0]) == on_board(servers[1]) == [last]


def changed(client: Client, note_id: str, **fields: Any) -> bool:
    """Try to change a note and tell whether that worked."""
    client.say("note-update", id=note_id, **fields)
    while "type" in (data := client.hear().get("data", {})):
        if data["type"] == "note-updated":
            return True
    return False
