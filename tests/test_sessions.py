"""WebSockets of those who are signed in: who is let in, as whom, and when it ends."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import ADMIN_PASSWORD, Server, wait_until
from .patience import LONG_SECONDS, Stopwatch
from .raw_client import RawClient
from .support import refusal, sockets, statistics
from .visitor import SESSION_COOKIE, Visitor, data_dir, manage

WS = "/api/1/ws/"
#: What ends a session ends its sockets so soon.
PROMISE_SECONDS = 1.0
PASSWORD = "anns password"


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    server = serve_module(app="tests.apps.behaviours")
    manage(server, "add", "Ann", password=PASSWORD)
    return server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared
        wait_until(lambda: sockets(shared.port) == 0)


@pytest.fixture(scope="module")
def admins_jar(shared: Server) -> dict[str, str]:
    visitor = Visitor(shared.port)
    visitor.sign_in()
    return visitor.jar


@pytest.fixture
def admin(server: Server, admins_jar: dict[str, str]) -> Visitor:
    """An admin whose session outlasts the test."""
    return with_jar(server, admins_jar)


@pytest.fixture(scope="module")
def anns_jar() -> dict[str, str]:
    """Ann's cookies, once she has signed in."""
    return {}


@pytest.fixture
def ann(server: Server, anns_jar: dict[str, str]) -> Visitor:
    """Ann with a session that no test uses at the same time; she signs in again when a test has ended it."""
    visitor = with_jar(server, anns_jar)
    if visitor.user is None:
        visitor = signed_in(server, "ann", PASSWORD)
        anns_jar.update(visitor.jar)
    return visitor


def with_jar(server: Server, jar: dict[str, str]) -> Visitor:
    """Another window of a browser."""
    visitor = Visitor(server.port)
    visitor.jar = dict(jar)
    return visitor


def signed_in(server: Server, name: str = "admin", password: str = ADMIN_PASSWORD) -> Visitor:
    """Somebody who has just signed in."""
    visitor = Visitor(server.port)
    visitor.sign_in(name, password)
    return visitor


def handshake(visitor: Visitor, path: str, *, upgrade: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Ask for a WebSocket: status, headers and body."""
    with RawClient(visitor.port, shake_hands=False) as client:
        plain = {} if upgrade else {"Upgrade": "", "Connection": ""}
        client.send(client.handshake_request(path, {**plain, **visitor.cookie_header()}))
        status, headers = client.read_head()
        return status, headers, b"" if status == 101 else client.read_body(headers)


def connected(client: RawClient) -> dict[str, Any]:
    """The first frame's data."""
    data = client.read_json()["data"]
    assert data["type"] == "connected"
    assert isinstance(data, dict)
    return data


def closes_with(client: RawClient, code: int, since: Stopwatch, seconds: float = PROMISE_SECONDS) -> None:
    """Check that a socket is closed with this code in time, and finish the closing handshake."""
    client.socket.settimeout(LONG_SECONDS)
    found, reason = client.read_close()
    late = since.seconds
    client.socket.close()
    assert found == code
    assert reason
    assert late < seconds, f"closed after {late:.2f} s"


def alive(client: RawClient) -> None:
    """Check that a socket still answers."""
    client.send_json({"type": "ping"})
    while client.read_json()["data"]["type"] != "pong":
        pass


both_ways = pytest.mark.parametrize("upgrade", [False, True], ids=["plain GET", "upgrade"])


# Who is let in


@both_ways
def test_who_is_let_in(server: Server, admin: Visitor, ann: Visitor, upgrade: bool) -> None:
    """A guest gets 401, who lacks the role 403, and who has what is required is let in."""
    guest = Visitor(server.port)
    forged = Visitor(server.port)
    forged.jar[SESSION_COOKIE] = "A" * 43
    for visitor, name, status in (
        (guest, "members", 401),
        (guest, "admins", 401),
        (forged, "members", 401),
        (forged, "admins", 401),
        (ann, "admins", 403),
    ):
        assert refusal(handshake(visitor, WS + name, upgrade=upgrade)) == status
    well = 101 if upgrade else 426
    for visitor, name in ((ann, "members"), (admin, "members"), (admin, "admins"), (forged, "echo")):
        assert handshake(visitor, WS + name, upgrade=upgrade)[0] == well


def test_root_has_all_roles(server: Server) -> None:
    """A user with the role root is let in wherever a role is required."""
    manage(server, "add", "rooty", "--roles", "root")
    with signed_in(server, "rooty").connect(WS + "admins") as client:
        assert connected(client)["username"] == "rooty"


def test_sign_out_before_the_handshake(server: Server, ann: Visitor) -> None:
    """A cookie whose session has ended lets nobody in."""
    old = with_jar(server, ann.jar)
    ann.sign_out()
    assert refusal(handshake(old, WS + "members")) == 401
    assert handshake(old, WS + "echo")[0] == 101


def test_foreign_page_cannot_use_the_cookie(admin: Visitor) -> None:
    """A page of another site that opens a WebSocket with the user's cookie is refused with 403."""
    with RawClient(admin.port, shake_hands=False) as client:
        headers = {**admin.cookie_header(), "Origin": "https://evil.example"}
        client.send(client.handshake_request(WS + "members", headers))
        status, answered = client.read_head()
        assert refusal((status, answered, client.read_body(answered))) == 403


# As whom


def test_user_of_a_connection(admin: Visitor, ann: Visitor) -> None:
    """The handshake's session gives the connection its name, in `connected`, messages and ctx."""
    with ann.connect(WS + "echo") as client:
        assert connected(client)["username"] == "Ann"
        client.send_json({"type": "hello", "username": "admin"})
        data = client.read_data("echo")
        assert data["message"] == {"type": "hello", "username": "Ann"}
        assert data["ctx"] == {"username": "Ann", "ip": "127.0.0.1"}
    guest = Visitor(admin.port)
    with guest.connect(WS + "echo") as client:
        client.send_json({"type": "hello", "username": "Ann", "ctx": {"username": "Ann"}})
        data = client.read_data("echo")
        assert data["message"]["username"] == ""
        assert data["ctx"] == {"username": "", "ip": "127.0.0.1"}


def test_user_in_broadcasts(admin: Visitor, ann: Visitor) -> None:
    """A broadcast carries the ctx of the user whose message caused it, to everybody."""
    with ann.connect(WS + "chained") as first, admin.connect(WS + "chained") as second:
        connected(first)
        connected(second)
        second.send_json({"text": "hi", "username": "Ann"})
        for client in (first, second):
            assert client.read_data("said")["ctx"] == {"username": "admin", "ip": "127.0.0.1"}


def test_invalid_message_names_the_user(ann: Visitor) -> None:
    """The answer to what is no message has the user's name."""
    with ann.connect(WS + "echo") as client:
        connected(client)
        client.send_json([])
        expected = {"success": False, "error": "Invalid message format", "code": 400, "username": "Ann"}
        assert client.read_json() == expected


def test_active_users(admin: Visitor, ann: Visitor) -> None:
    """Statistics count a user with several sockets once, and guests not at all."""
    guest = Visitor(ann.port)
    with (
        ann.connect(WS + "diary"),
        ann.connect(WS + "diary"),
        admin.connect(WS + "diary"),
        guest.connect(WS + "diary"),
    ):
        figures = {each["path"]: each for each in statistics(ann.port)["stats"]["namespaces"]}
        assert figures[WS + "diary"]["activeUsers"] == 2
        assert figures[WS + "diary"]["clientCount"] == 4


# The end of a session


@pytest.mark.parametrize("way", ["REST", "page"])
def test_sign_out_ends_sockets(server: Server, admin: Visitor, ann: Visitor, way: str) -> None:
    """Signing out in one window ends all sockets of that session with 4401, and no others."""
    elsewhere, guest = signed_in(server, "ann", PASSWORD), Visitor(server.port)
    mine = [ann.connect(WS + name) for name in ("echo", "echo", "members", "chained")]
    others = [each.connect(WS + "echo") for each in (elsewhere, admin, guest)]
    window = with_jar(server, ann.jar)
    since = Stopwatch()
    if way == "REST":
        assert window.sign_out().status == 200
    else:
        assert window.submit("/auth/logout", {}).status == 303
    for client in mine:
        closes_with(client, 4401, since)
    for client in others:
        alive(client)
        client.socket.close()
    elsewhere.sign_out()


def test_signing_in_again_ends_sockets(server: Server, ann: Visitor) -> None:
    """Signing in again in the same browser ends the old session, with its sockets."""
    with ann.connect(WS + "echo") as client:
        since = Stopwatch()
        ann.sign_in("ann", PASSWORD)
        closes_with(client, 4401, since, 5 * PROMISE_SECONDS)
    with ann.connect(WS + "members") as client:
        alive(client)


def test_expiry_ends_sockets(serve: Callable[..., Server]) -> None:
    """When a session expires its sockets are closed with 4401 within a second."""
    server = serve("--session-seconds", "2", app="tests.apps.behaviours")
    begin = time.monotonic()
    visitor = signed_in(server)
    since = Stopwatch()
    with visitor.connect(WS + "echo") as client, Visitor(server.port).connect(WS + "echo") as guest:
        closes_with(client, 4401, since, 2 + PROMISE_SECONDS)
        assert time.monotonic() - begin > 2
        alive(guest)


@pytest.mark.parametrize("words", [("disable", "ann"), ("passwd", "ann")], ids=" ".join)
def test_command_line_ends_sockets(
    server: Server, admin: Visitor, ann: Visitor, words: tuple[str, ...]
) -> None:
    """A user who is disabled, or gets another password, by the command line loses all sockets with 4401."""
    clients = [ann.connect(WS + name) for name in ("echo", "members")]
    with admin.connect(WS + "echo") as other:
        try:
            manage(server, *words, password=PASSWORD)
            since = Stopwatch()
            for client in clients:
                closes_with(client, 4401, since)
        finally:
            manage(server, "enable", "ann")
        assert refusal(handshake(ann, WS + "members")) == 401
        alive(other)


def test_role_taken_away(server: Server) -> None:
    """Who loses a role loses the sockets that need it, with 4403, and keeps the others and the session."""
    manage(server, "add", "Rob", "--roles", "user,admin")
    rob = signed_in(server, "rob")
    with rob.connect(WS + "admins") as admins, rob.connect(WS + "members") as members:
        manage(server, "roles", "rob", "--roles", "user")
        closes_with(admins, 4403, Stopwatch())
        alive(members)
        assert refusal(handshake(rob, WS + "admins")) == 403
        manage(server, "roles", "rob", "--roles", "root")
        with rob.connect(WS + "admins") as again:
            alive(again)
        alive(members)


def test_sockets_do_not_outlive_a_quick_sign_out(server: Server) -> None:
    """However a handshake and the end of its session overlap, no socket of the session stays open."""
    for _ in range(5):
        ann = signed_in(server, "ann", PASSWORD)
        clients = [RawClient(server.port, shake_hands=False) for _ in range(8)]
        for number, client in enumerate(clients):
            client.send(client.handshake_request(WS + "echo", ann.cookie_header()))
            if number == 4:
                with_jar(server, ann.jar).sign_out()
        since = Stopwatch()
        for client in clients:
            assert client.read_head()[0] == 101
            if connected(client)["username"]:
                closes_with(client, 4401, since)
            client.socket.close()


# Client ids


def test_tabs_of_one_session_share_an_id(ann: Visitor) -> None:
    """Several tabs of a session have one client id, and each gets what the id is sent."""
    query = f"echo?uuid={uuid.uuid4()}"
    with ann.connect(WS + query) as first, ann.connect(WS + query) as second:
        assert connected(first)["clientId"] == connected(second)["clientId"] == query[-36:]
        first.send_json({"type": "x"})
        assert second.read_data("echo")["message"]["type"] == "x"


@pytest.mark.parametrize("owner", ["session", "guest"])
def test_id_in_use_is_not_given_away(server: Server, admin: Visitor, ann: Visitor, owner: str) -> None:
    """An id in use by one session is given neither to another nor to a guest, nor a guest's to a session."""
    name = str(uuid.uuid4())
    holder = ann if owner == "session" else Visitor(server.port)
    takers = [admin, signed_in(server, "ann", PASSWORD)]
    if owner == "session":
        takers.append(Visitor(server.port))
    with holder.connect(f"{WS}echo?uuid={name}") as mine:
        assert connected(mine)["clientId"] == name
        for taker in takers:
            for path in ("echo", "diary"):
                with taker.connect(f"{WS}{path}?uuid={name.upper()}") as other:
                    given = connected(other)["clientId"]
                    assert given != name
                    assert uuid.UUID(given).version == 4
                    if path == "echo":
                        mine.send_json({"type": "for me"})
                        mine.read_data("echo")
                        other.send_json({"type": "mine"})
                        assert other.read_json()["data"]["message"]["type"] == "mine"


def test_id_is_given_back(server: Server, admin: Visitor, ann: Visitor) -> None:
    """When the last socket of an id is gone, the id can be used by others."""
    name = str(uuid.uuid4())
    query = f"{WS}echo?uuid={name}"
    first, second = ann.connect(query), ann.connect(f"{WS}members?uuid={name}")
    connected(first)
    first.reset()
    wait_until(lambda: sockets(server.port) == 1)
    with admin.connect(query) as client:
        assert connected(client)["clientId"] != name
    second.reset()
    wait_until(lambda: sockets(server.port) == 0)
    with admin.connect(query) as client:
        assert connected(client)["clientId"] == name


def test_id_after_signing_out(server: Server, ann: Visitor) -> None:
    """A browser that signs out keeps its id as a guest, once the session's sockets have ended."""
    name = str(uuid.uuid4())
    client = ann.connect(f"{WS}echo?uuid={name}")
    connected(client)
    ann.sign_out()
    closes_with(client, 4401, Stopwatch())
    wait_until(lambda: sockets(server.port) == 0)
    with ann.connect(f"{WS}echo?uuid={name}") as guest:
        assert connected(guest) == {
            "type": "connected",
            "clientId": name,
            "namespace": WS + "echo",
            "username": "",
        }


# The cookie and the store


def test_handshake_renews_the_cookie(serve: Callable[..., Server]) -> None:
    """A handshake keeps a session alive as any request does, the browser's cookie included."""
    server = serve("--session-seconds", "4", app="tests.apps.behaviours")
    visitor = signed_in(server)
    begin = time.monotonic()
    answers: list[dict[str, str]] = []

    def renewed() -> bool:
        status, headers, _ = handshake(visitor, WS + "members")
        assert status == 101
        answers.append(headers)
        return "set-cookie" in headers

    wait_until(renewed, 2)
    assert time.monotonic() - begin > 0.2
    assert visitor.jar[SESSION_COOKIE] in answers[-1]["set-cookie"]
    assert "HttpOnly" in answers[-1]["set-cookie"]


def test_store_is_broken(serve: Callable[..., Server]) -> None:
    """With a broken store a handshake with a cookie gets 503, guests come in, and open sockets stay."""
    server = serve(app="tests.apps.behaviours")
    server.expected_log = ("handshake refused", "the store does not answer", "503", "GET /api/1/auth/status")
    visitor = signed_in(server)
    with visitor.connect(WS + "members") as before:
        for file in data_dir(server).iterdir():
            size = max(file.stat().st_size, 65536)
            with file.open("r+b") as damaged:
                damaged.write(b"\xff" * size)
        watch = Stopwatch()
        answer = handshake(visitor, WS + "echo")
        assert refusal(answer) == 503
        assert int(answer[1]["retry-after"]) > 0
        assert visitor.get("/api/1/auth/status").status == 503
        assert watch.seconds < 5
        with Visitor(server.port).connect(WS + "echo") as guest:
            alive(guest)
        alive(before)
