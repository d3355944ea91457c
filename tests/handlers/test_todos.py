"""The collaborative todo list: REST changes it, the WebSocket tells, with several people at once."""

from __future__ import annotations

import asyncio
import json
import re
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import pytest

from jpulse.store.base import Todo, new_id
from jpulse.store.sqlite import SqliteStore

from ..conftest import ADMIN_PASSWORD, Server, wait_until
from ..patience import Stopwatch
from ..raw_client import RawClient
from ..servers import MongoServer, RedisServer
from ..servers import mongo_server as mongo_server
from ..servers import mongo_url as mongo_url
from ..servers import shared_mongo as shared_mongo
from ..visitor import LOGIN, Visitor, data_dir

TODO = "/api/1/todo"
PATH = "/api/1/ws/hello-todo"
GUEST = {"username": "", "ip": "127.0.0.1"}
JSON = {"Content-Type": "application/json"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared


@pytest.fixture
def guest(server: Server) -> Iterator[Visitor]:
    """A guest who finds an empty list."""
    visitor = Visitor(server.port)
    yield visitor
    for todo in visitor.get(TODO).data:
        visitor.ask("DELETE", f"{TODO}/{todo['_id']}")


@pytest.fixture(scope="module")
def admins_jar(shared: Server) -> dict[str, str]:
    visitor = Visitor(shared.port)
    visitor.sign_in()
    return visitor.jar


@pytest.fixture
def admin(guest: Visitor, admins_jar: dict[str, str]) -> Visitor:
    visitor = Visitor(guest.port)
    visitor.jar = dict(admins_jar)
    return visitor


def make(visitor: Visitor, title: str = "Buy milk", **fields: Any) -> dict[str, Any]:
    """Make a todo."""
    answer = visitor.post(TODO, {"title": title, **fields})
    assert answer.status == 201, answer
    assert isinstance(answer.data, dict)
    return answer.data


def listening(visitor: Visitor) -> RawClient:
    """A client that has been welcomed."""
    client = visitor.connect(PATH)
    client.read_data("welcome")
    return client


# REST


def test_create(guest: Visitor) -> None:
    """A new todo is answered with 201, its address and all its fields, and is in the list."""
    begin = time.time()
    answer = guest.post(TODO, {"title": "Buy milk"})
    assert answer.status == 201
    todo = answer.data
    assert set(todo) == {"_id", "title", "completed", "username", "createdAt", "updatedAt"}
    assert (todo["title"], todo["completed"], todo["username"]) == ("Buy milk", False, "")
    assert todo["createdAt"] == todo["updatedAt"]
    assert TIME.fullmatch(todo["createdAt"])
    assert todo["createdAt"] >= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begin - 1))
    assert answer.headers["location"] == f"{TODO}/{todo['_id']}"
    assert guest.get(answer.headers["location"]).data == todo
    assert guest.get(TODO).data == [todo]


def test_list(guest: Visitor, admin: Visitor) -> None:
    """The list has every todo, oldest first, each with who made it."""
    assert guest.get(TODO).data == []
    made = [make(each, f"number {n}") for n, each in enumerate((guest, admin, guest))]
    assert guest.get(TODO).data == made == admin.get(TODO).data
    assert [each["username"] for each in made] == ["", "admin", ""]


def test_update(guest: Visitor, admin: Visitor) -> None:
    """PUT changes the title, or whether it is completed, or both, and nothing else."""
    todo = make(guest)
    address = f"{TODO}/{todo['_id']}"
    first = admin.send("PUT", address, {"title": "Buy bread"}).data
    assert first == {**todo, "title": "Buy bread", "updatedAt": first["updatedAt"]}
    assert first["updatedAt"] >= todo["updatedAt"]
    second = guest.send("PUT", address, {"completed": True}).data
    assert (second["title"], second["completed"]) == ("Buy bread", True)
    third = guest.send("PUT", address, {"completed": False, "title": "Buy both"}).data
    assert (third["title"], third["completed"], third["username"]) == ("Buy both", False, "")
    assert guest.get(address).data == third


def test_update_with_the_whole_todo(guest: Visitor, admin: Visitor) -> None:
    """A todo may be sent back as it was read, with its changes; what cannot change gets 400 that names it."""
    todo = make(guest)
    address = f"{TODO}/{todo['_id']}"
    changed = admin.send("PUT", address, {**todo, "title": "Buy bread"}).data
    assert changed == {**todo, "title": "Buy bread", "updatedAt": changed["updatedAt"]}
    # Read before that change: what is sent counts.
    assert guest.send("PUT", address, {**todo, "completed": True}).data["title"] == todo["title"]
    present = guest.get(address).data
    for field, value in (
        ("_id", "mine"),
        ("username", "admin"),
        ("createdAt", "1970-01-01T00:00:00.000Z"),
        ("updatedAt", 1),
    ):
        answer = guest.send("PUT", address, {**todo, field: value})
        assert (answer.status, field in answer.error) == (400, True)
    assert guest.send("PUT", f"{TODO}/{'0' * 24}", todo).status == 404
    assert guest.get(TODO).data == [present]


def test_each_change_is_later(guest: Visitor) -> None:
    """Each change of a todo is told with a later time than the one before, however quickly they follow."""
    todo = make(guest)
    address = f"{TODO}/{todo['_id']}"
    with listening(guest) as client:
        at_once(40, lambda _: guest.ask("PUT", f"{address}/toggle"))
        told = [client.read_data("todo-updated")["todo"]["updatedAt"] for _ in range(40)]
    times = [todo["updatedAt"], *told]
    assert times == sorted(set(times))


def test_greeted_again(serve: Callable[..., Server], redis_server: RedisServer) -> None:
    """When the other processes are in reach again clients are greeted again, to load the list."""
    server = serve("--redis-url", redis_server.url)
    server.expected_log = ("(?i)redis",)
    with listening(Visitor(server.port)) as client:
        redis_server.restart()
        assert client.read_data("welcome")["userCount"] == 1


def test_toggle(guest: Visitor) -> None:
    """PUT toggle turns completed into its opposite, without a body."""
    todo = make(guest)
    address = f"{TODO}/{todo['_id']}"
    assert guest.ask("PUT", f"{address}/toggle").data["completed"] is True
    assert guest.get(address).data["completed"] is True
    assert guest.send("PUT", f"{address}/toggle").data["completed"] is False


def test_delete(guest: Visitor) -> None:
    """DELETE removes a todo; after that it is 404 for everything."""
    todo, other = make(guest), make(guest, "stays")
    address = f"{TODO}/{todo['_id']}"
    assert guest.ask("DELETE", address).status == 200
    assert guest.get(TODO).data == [other]
    for answer in (
        guest.get(address),
        guest.ask("DELETE", address),
        guest.send("PUT", address, {"title": "x"}),
        guest.ask("PUT", f"{address}/toggle"),
    ):
        assert answer.status == 404
        assert "todo" in answer.error


# What is refused

TITLES = [
    "x",
    "x" * 200,
    "ä" * 200,
    "🦊" * 200,
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "{{ 7*7 }}",
    "a\nb",
    "0",
]


@pytest.mark.parametrize("title", TITLES, ids=lambda title: ascii(title[:20]))
def test_titles_that_are_fine(guest: Visitor, title: str) -> None:
    """A title of 1 to 200 characters is kept as it is, markup and all scripts included."""
    todo = make(guest, title)
    assert todo["title"] == title
    assert guest.get(f"{TODO}/{todo['_id']}").data["title"] == title
    assert guest.send("PUT", f"{TODO}/{todo['_id']}", {"title": title}).data["title"] == title


def test_titles_are_trimmed(guest: Visitor) -> None:
    """Blanks around a title are left out, before its length is counted."""
    assert make(guest, " \t Buy milk \n")["title"] == "Buy milk"
    todo = make(guest, "   " + "x" * 200 + "   ")
    assert todo["title"] == "x" * 200
    assert guest.send("PUT", f"{TODO}/{todo['_id']}", {"title": "  y "}).data["title"] == "y"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": "   "}, "title"),
        ({"title": "\u3000\u00a0"}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "🦊" * 201}, "title"),
        ({"title": "x" * 60_000}, "title"),
        ({"title": 1}, "title"),
        ({"title": None}, "title"),
        ({"title": ["x"]}, "title"),
        ({"title": {"$ne": None}}, "title"),
        ({"title": "a\u0000b"}, "title"),
        ({"title": "x", "completed": "yes"}, "completed"),
        ({"title": "x", "completed": 1}, "completed"),
        ({"title": "x", "completed": None}, "completed"),
        ({"title": "x", "_id": "mine"}, "_id"),
        ({"title": "x", "username": "admin"}, "username"),
        ({"title": "x", "createdAt": 0}, "createdAt"),
        ({"title": "x", "$set": {}}, "$set"),
        ({}, "title"),
        ([], ""),
        (None, ""),
        ("x", ""),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_fields_that_are_wrong(guest: Visitor, body: Any, field: str) -> None:
    """A wrong, missing or unknown field gets 400 that names it, and changes nothing and tells nobody."""
    todo = make(guest)
    with listening(guest) as client:
        for answer in (guest.post(TODO, body), guest.send("PUT", f"{TODO}/{todo['_id']}", body)):
            assert (answer.status, field in answer.error) == (400, True)
            assert len(answer.body) < 1000
        assert guest.get(TODO).data == [todo]
        client.send_json({"type": "ping"})
        assert client.read_json()["data"]["type"] == "pong"


def test_half_a_character(guest: Visitor) -> None:
    """Half a surrogate pair in JSON is refused with 400."""
    for body in ('{"title": "\\ud800"}', '{"title": "a\\udc00b"}', '{"\\ud83e": 1}'):
        assert guest.ask("POST", TODO, body, {"Content-Type": "application/json"}).status == 400


def test_bodies(guest: Visitor) -> None:
    """REST wants JSON, not called otherwise and not too large."""
    todo = make(guest)
    for method, path in (("POST", TODO), ("PUT", f"{TODO}/{todo['_id']}")):
        assert guest.ask(method, path, '{"title": "x"}', {"Content-Type": "text/plain"}).status == 415
        assert guest.ask(method, path, "title=x", {"Content-Type": "application/json"}).status == 400
        assert guest.send(method, path, {"title": "x" * 100_000}).status == 413


ODD_IDS = [
    "x",
    "0",
    "-1",
    "\0",
    "a\0b",
    "..",
    "../x",
    "../../etc/passwd",
    "/",
    "' OR 1=1 --",
    '{"$ne": null}',
    "$ne",
    "[$ne]",
    "é",
    "🦊",
    "\u202e",
    "%",
    "%00",
    "a b",
    "*",
    "toggle",
    "undefined",
    "5355410c-05d2-47d4-b0a4-6a1c0b7f2f51",
    "0" * 24,
    "0" * 32,
    "f" * 31 + "\n",
    "x" * 5000,
    "<script>",
]


@pytest.mark.parametrize("odd", ODD_IDS, ids=lambda odd: ascii(odd[:20]))
def test_odd_ids(guest: Visitor, odd: str) -> None:
    """An id that nothing has gets 404, or 400, as JSON, whatever it looks like and whatever is asked."""
    todo = make(guest)
    address = f"{TODO}/{quote(odd, safe='')}"
    for answer in (
        guest.get(address),
        guest.send("PUT", address, {"title": "x"}),
        guest.ask("PUT", f"{address}/toggle"),
        guest.ask("DELETE", address),
    ):
        assert answer.status in (400, 404)
        assert answer.error
    assert guest.get(TODO).data == [todo]


@pytest.mark.parametrize(
    "path",
    [
        "/%ff",
        "/%ed%a0%80",
        "/../todo/x",
        "//",
        "/%2e%2e",
        "/%",
        "/%zz",
        "/x/y",
        "/x/toggle/y",
        "/",
        "/x?_id[$ne]=1",
    ],
)
def test_odd_addresses(guest: Visitor, path: str) -> None:
    """An address that is no todo's gets 404, or 400, never a fault."""
    for method in ("GET", "DELETE"):
        answer = guest.ask(method, TODO + path)
        assert answer.status in (400, 404)
        assert answer.error
    if "?" not in path:
        assert guest.ask("PUT", TODO + path + "/toggle").status in (400, 404)


def test_id_of_1_mb(server: Server) -> None:
    """An address of 1 MB is refused while it is read, and the server goes on."""
    with RawClient(server.port, shake_hands=False) as client:
        try:
            client.send(f"GET {TODO}/{'x' * 1_000_000} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert 400 <= client.read_head()[0] < 500
        except (EOFError, ConnectionError):
            # Closed before it was all sent.
            assert Visitor(server.port).get(TODO).status == 200
    assert Visitor(server.port).get(TODO).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", ""),
        ("DELETE", ""),
        ("PATCH", "/x"),
        ("POST", "/x"),
        ("GET", "/x/toggle"),
        ("POST", "/x/toggle"),
    ],
)
def test_other_methods(guest: Visitor, method: str, path: str) -> None:
    """A method that an address does not have gets 405 as JSON, and is told which it has."""
    answer = guest.send(method, TODO + path, {"title": "x"})
    assert (answer.status, bool(answer.error)) == (405, True)
    assert answer.headers["allow"]
    assert method not in answer.headers["allow"].split(", ")


# At once


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Do something so many times at the same time."""
    with ThreadPoolExecutor(min(count, 25)) as pool:
        return list(pool.map(work, range(count)))


@pytest.mark.parametrize("count", [2, 50, 51])
def test_toggles_at_once(guest: Visitor, count: int) -> None:
    """However many toggle at once, none is lost: each answer follows another, and the parity is right."""
    address = f"{TODO}/{make(guest)['_id']}/toggle"
    answers = at_once(count, lambda _: guest.ask("PUT", address).data["completed"])
    assert sorted(answers) == [False] * (count // 2) + [True] * (count - count // 2)
    assert guest.get(address.removesuffix("/toggle")).data["completed"] is (count % 2 == 1)


def test_two_fields_at_once(guest: Visitor) -> None:
    """Two who change different fields of one todo at once lose nothing."""
    for _ in range(5):
        address = f"{TODO}/{make(guest)['_id']}"
        changes: list[dict[str, Any]] = [{"title": "changed"}, {"completed": True}]
        at_once(2, lambda number: guest.send("PUT", address, changes[number]))  # noqa: B023
        after = guest.get(address).data
        assert (after["title"], after["completed"]) == ("changed", True)


def test_delete_at_once(guest: Visitor) -> None:
    """Of several who delete one todo at once one does, the others get 404, and it is told once."""
    todo = make(guest)
    with listening(guest) as client:
        codes = at_once(6, lambda _: guest.ask("DELETE", f"{TODO}/{todo['_id']}").status)
        assert sorted(codes) == [200] + [404] * 5
        assert client.read_data("todo-deleted")["todoId"] == todo["_id"]
        client.send_json({"type": "ping"})
        assert client.read_json()["data"]["type"] == "pong"


# Live


def test_broadcasts(guest: Visitor, admin: Visitor) -> None:
    """Every change is told to every client, in order, with who did it and the todo as it is then."""
    with listening(guest) as first, listening(admin) as second:
        made = make(admin)
        address = f"{TODO}/{made['_id']}"
        renamed = guest.send("PUT", address, {"title": "Buy bread"}).data
        toggled = admin.ask("PUT", f"{address}/toggle").data
        admin.ask("DELETE", address)
        admins = {"username": "admin", "ctx": {"username": "admin", "ip": "127.0.0.1"}}
        for client in (first, second):
            assert [client.read_json() for _ in range(4)] == [
                {"success": True, "data": {"type": "todo-created", "todo": made, **admins}},
                {
                    "success": True,
                    "data": {"type": "todo-updated", "todo": renamed, "username": "", "ctx": GUEST},
                },
                {"success": True, "data": {"type": "todo-updated", "todo": toggled, **admins}},
                {"success": True, "data": {"type": "todo-deleted", "todoId": made["_id"], **admins}},
            ]


def test_answer_comes_first(guest: Visitor) -> None:
    """Who changes the list is answered before anybody is told of the change."""
    with listening(guest) as client:
        for number in range(20):
            body = json.dumps({"title": f"number {number}"}).encode()
            with RawClient(guest.port, shake_hands=False) as asking:
                head = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                asking.send(f"POST {TODO} HTTP/1.1\r\n{head}".encode() + body)
                ready, _, _ = select.select([client.socket], [], [], 10)
                assert ready
                answered, _, _ = select.select([asking.socket], [], [], 0)
                assert answered
                status, headers = asking.read_head()
                assert status == 201
                todo = json.loads(asking.read_body(headers))["data"]
                assert client.read_data("todo-created")["todo"] == todo


def test_many_changes_in_order(guest: Visitor) -> None:
    """With many changes at once every client is told each of them, once, and all in the same order."""
    with listening(guest) as first, listening(guest) as second:
        made = at_once(40, lambda number: make(guest, f"number {number}")["_id"])
        told = [[client.read_data("todo-created")["todo"]["_id"] for _ in made] for client in (first, second)]
        assert told[0] == told[1]
        assert sorted(told[0]) == sorted(made)


def test_last_word_is_what_is_kept(guest: Visitor) -> None:
    """When many change one todo at once, the last that clients are told is what the list has."""
    todo = make(guest)
    address = f"{TODO}/{todo['_id']}"
    with listening(guest) as client:
        for _ in range(3):
            at_once(20, lambda number: guest.send("PUT", address, {"title": f"number {number}"}))
            told = [client.read_data("todo-updated")["todo"]["title"] for _ in range(20)]
            assert guest.get(address).data["title"] == told[-1]


def test_ctx_behind_a_proxy(serve: Callable[..., Server]) -> None:
    """Behind a trusted proxy the broadcast's ctx has the address of the one who asked."""
    server = serve("--trusted-proxies", "127.0.0.1")
    with listening(Visitor(server.port)) as client:
        make(Visitor(server.port, {"X-Forwarded-For": "6.6.6.6, 7.7.7.7"}))
        assert client.read_data("todo-created")["ctx"] == {"username": "", "ip": "7.7.7.7"}


@pytest.mark.parametrize(
    "message",
    [{"type": "todo-created", "todo": {}}, {"type": "todo-deleted", "todoId": "x"}, {}, {"type": 1}],
    ids=str,
)
def test_messages_are_refused(guest: Visitor, message: dict[str, Any]) -> None:
    """The namespace only tells: a message to it gets 400, changes nothing, and reaches nobody."""
    todo = make(guest)
    with listening(guest) as client, listening(guest) as other:
        client.send_json(message)
        answer = client.read_json()
        assert (answer["success"], answer["code"], bool(answer["error"])) == (False, 400, True)
        other.send_json({"type": "ping"})
        assert other.read_json()["data"]["type"] == "pong"
    assert guest.get(TODO).data == [todo]


def test_welcome(guest: Visitor) -> None:
    """A newcomer is welcomed first."""
    with guest.connect(PATH) as client:
        assert [client.read_json()["data"]["type"] for _ in range(2)] == ["connected", "welcome"]


def test_list_survives_a_restart(serve: Callable[..., Server]) -> None:
    """Todos and sessions are still there after the server was killed and started again."""
    server = serve()
    visitor = Visitor(server.port)
    visitor.sign_in()
    todo = make(visitor)
    server.process.kill()
    server.wait()
    server.start()
    assert visitor.get(TODO).data == [todo]
    assert visitor.user is not None


# MongoDB


def test_mongo(serve: Callable[..., Server], mongo_server: MongoServer) -> None:
    """Over MongoDB all is the same; while it does not answer REST gets 503 in time, and then it goes on."""
    environ = {"JPULSE_ADMIN_PASSWORD": ADMIN_PASSWORD}
    server = serve("--mongo-url", f"{mongo_server.url}/todos", environ=environ, fresh=True)
    visitor, guest = Visitor(server.port), Visitor(server.port)
    refused = visitor.post(LOGIN, {"username": {"$ne": None}, "password": ADMIN_PASSWORD})
    assert (refused.status, "username" in refused.error) == (400, True)
    visitor.sign_in()
    with listening(visitor) as client:
        todo = make(visitor, "$set")
        address = f"{TODO}/{todo['_id']}"
        assert client.read_data("todo-created")["username"] == "admin"
        completed = at_once(10, lambda _: guest.ask("PUT", f"{address}/toggle").data["completed"])
        assert sorted(completed) == [False] * 5 + [True] * 5
        for odd in ("\0", "$ne", '{"$ne": null}', "x" * 5000, "🦊", "0" * 24):
            assert guest.get(f"{TODO}/{quote(odd, safe='')}").status in (400, 404)
        todo = guest.send("PUT", address, {"title": "Buy milk"}).data
        assert guest.get(TODO).data == [todo]
        server.expected_log = ("store does not answer", "handshake refused", "the database does not answer")
        mongo_server.pause()
        try:
            asking: list[Callable[[], int]] = [
                lambda: guest.get(TODO).status,
                lambda: guest.post(TODO, {"title": "x"}).status,
                lambda: guest.ask("PUT", f"{address}/toggle").status,
                lambda: guest.post(LOGIN, {"username": "admin", "password": ADMIN_PASSWORD}).status,
                lambda: visitor.get("/api/1/auth/status").status,
                lambda: visitor.get("/").status,
                lambda: _handshake_status(visitor),
            ]
            watch = Stopwatch()
            results = at_once(len(asking), lambda number: (asking[number](), watch.seconds))
            assert [status for status, _ in results] == [503] * len(asking)
            assert max(seconds for _, seconds in results) < 5.5
            assert guest.get("/").status == 200
            client.send_json({"type": "ping"})
            assert client.read_data("pong")
        finally:
            mongo_server.resume()
        wait_until(lambda: visitor.get("/api/1/auth/status").status == 200, 20)
        wait_until(lambda: guest.get(TODO).status == 200, 20)
        assert visitor.user is not None
        make(visitor, "afterwards")
        while client.read_data("todo-created")["todo"]["title"] != "afterwards":
            pass


def test_last_word_over_mongo(serve: Callable[..., Server], mongo_url: str) -> None:
    """Over MongoDB too, the last that clients are told of a todo is what the list has."""
    environ = {"JPULSE_ADMIN_PASSWORD": ADMIN_PASSWORD}
    guest = Visitor(serve("--mongo-url", mongo_url, environ=environ, fresh=True).port)
    address = f"{TODO}/{make(guest)['_id']}"
    with listening(guest) as client:
        for _ in range(15):
            at_once(20, lambda number: guest.send("PUT", address, {"title": f"number {number}"}))
            told = [client.read_data("todo-updated")["todo"]["title"] for _ in range(20)]
            assert guest.get(address).data["title"] == told[-1]


def _handshake_status(visitor: Visitor) -> int:
    with RawClient(visitor.port, shake_hands=False) as client:
        client.send(client.handshake_request(PATH, visitor.cookie_header()))
        return client.read_head()[0]


def test_full_list(serve: Callable[..., Server]) -> None:
    """A list of 1,000 todos takes no more until one is deleted."""
    server = serve()
    visitor = Visitor(server.port)

    async def fill() -> None:
        store = SqliteStore(data_dir(server) / "jpulse.db")
        await store.open()
        for number in range(1000):
            now = float(number)
            await store.add_todo(Todo(id=new_id(), title=str(number), created_at=now, updated_at=now))
        await store.close()

    asyncio.run(fill())
    refused = visitor.post(TODO, {"title": "one more"})
    assert refused.status == 409
    todos = visitor.get(TODO).data
    assert [todo["title"] for todo in todos] == [str(number) for number in range(1000)]
    visitor.ask("DELETE", f"{TODO}/{todos[0]['_id']}")
    make(visitor)


def test_head(guest: Visitor) -> None:
    """HEAD is answered as GET is, without a body."""
    answer = guest.ask("HEAD", TODO)
    assert answer.status == 200
    assert answer.body == b""


@pytest.mark.parametrize("size", [1_100_000, 3_000_000])
def test_body_beyond_what_is_read(guest: Visitor, size: int) -> None:
    """A body that is announced as larger than anything is read gets 413 before it was sent, and JSON."""
    with RawClient(guest.port, shake_hands=False) as client:
        head = [
            f"POST {TODO} HTTP/1.1",
            "Host: x",
            "Content-Type: application/json",
            f"Content-Length: {size}",
        ]
        client.send("\r\n".join([*head, "", ""]).encode())
        status, headers = client.read_head()
        assert status == 413
        envelope = json.loads(client.read_body(headers))
        assert (envelope["success"], envelope["code"]) == (False, 413)


@pytest.mark.parametrize("size", [1_100_000, 20_000_000])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_body_beyond_what_is_read_sent_whole(guest: Visitor, size: int, announced: bool) -> None:
    """Who sends all of a body before reading hears the 413 too, and that the connection ends with it."""
    length = {"Content-Length": str(size)} if announced else {"Transfer-Encoding": "chunked"}
    part = b"x" * 50_000
    parts = [part if announced else b"c350\r\n%b\r\n" % part] * (size // len(part))
    with closing(HTTPConnection("127.0.0.1", guest.port, timeout=10)) as connection:
        connection.request("POST", TODO, iter(parts), {**JSON, **length})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (413, "close")
        assert json.loads(answer.read()) == {"success": False, "error": "Too large", "code": 413}
