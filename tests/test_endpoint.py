"""The handshake: who is let in, under which name, and what those who are not are told."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Server, wait_until
from .raw_client import CLOSE, RawClient, client_frame
from .support import ask, namespace_figures, refusal, sockets

WS = "/api/1/ws/"
ALLOWED = "https://app.example.com"


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module(
        "--allowed-origins", f"{ALLOWED},http://other.example:81", app="tests.apps.behaviours"
    )


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared


def connected(client: RawClient) -> dict[str, Any]:
    """The first frame, whose data must be `connected`."""
    envelope = client.read_json()
    assert envelope["success"] is True
    assert envelope["data"]["type"] == "connected"
    data = envelope["data"]
    assert isinstance(data, dict)
    return data


def client_id(server: Server, query: str) -> str:
    """The client id that a query gets."""
    with RawClient(server.port, WS + "echo" + query) as client:
        return str(connected(client)["clientId"])


def is_new_v4(text: str) -> bool:
    """Tell whether this is a UUID of version 4 in its canonical form."""
    return str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4


both_ways = pytest.mark.parametrize("upgrade", [False, True], ids=["plain GET", "upgrade"])


# The checks


@both_ways
@pytest.mark.parametrize("path", ["nothing", "echo/", "echo/more", "", "ECHO", "echo%00", "%65cho/x", "../x"])
def test_unknown_path(server: Server, path: str, upgrade: bool) -> None:
    """An address under the prefix where no namespace is answers 404 with JSON."""
    assert refusal(ask(server.port, WS + path, upgrade=upgrade)) == 404


@both_ways
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "https://127.0.0.1:{port}.evil.example",
        "http://127.0.0.1.evil.example:{port}",
        "http://evil.example/127.0.0.1:{port}",
        "http://user@evil.example:{port}",
        "http://localhost:{port}",
        "file://",
        "ftp://127.0.0.1:{port}",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://app.example.com.evil.example",
        "http://other.example",
        "127.0.0.1:{port}",
        "http://",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999999",
        "http://[",
        "http://[::1",
        "http://]:{port}",
    ],
)
def test_origin_that_is_not_ours(server: Server, origin: str, upgrade: bool) -> None:
    """A page of another origin, or of one that cannot be read, is refused with 403."""
    headers = {"Origin": origin.format(port=server.port)}
    assert refusal(ask(server.port, WS + "echo", headers, upgrade=upgrade)) == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:{port}",
        "HTTP://127.0.0.1:{port}",
        ALLOWED,
        ALLOWED.upper(),
        "http://other.example:81",
        "",
    ],
    ids=["same host", "another case", "allowed", "allowed in another case", "allowed with a port", "absent"],
)
def test_origin_that_is_ours(server: Server, origin: str) -> None:
    """A page of the same host and port or of an allowed origin is let in, and so is who names none."""
    headers = {"Origin": origin.format(port=server.port)}
    with RawClient(server.port, WS + "echo", headers=headers) as client:
        connected(client)


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("Example.COM:8080", "http://example.com:8080", 101),
        ("example.com", "http://EXAMPLE.com", 101),
        ("example.com", "https://example.com", 101),
        ("example.com", "http://example.com:80", 101),
        ("[::1]:8080", "http://[::1]:8080", 101),
        ("example.com:8080", "http://example.com", 403),
        ("[::1", "http://[::1]", 403),
    ],
)
def test_origin_and_host(server: Server, host: str, origin: str, status: int) -> None:
    """The origin's host and port are compared with those that the request went to, whatever their case."""
    headers = {"Host": host, "Origin": origin}
    assert ask(server.port, WS + "echo", headers, upgrade=True)[0] == status


@both_ways
@pytest.mark.parametrize("name", ["members", "admins"])
def test_guests(server: Server, name: str, upgrade: bool) -> None:
    """A guest gets 401 from a namespace that requires signing in, and from one that requires a role."""
    assert refusal(ask(server.port, WS + name, upgrade=upgrade)) == 401


def test_plain_get_where_all_is_well(server: Server) -> None:
    """A plain GET of a namespace that would let in is answered with 426 and says what to upgrade to."""
    answer = ask(server.port, WS + "echo")
    assert refusal(answer) == 426
    assert answer[1]["upgrade"].lower() == "websocket"
    assert answer[1]["connection"].lower() == "upgrade"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods(server: Server, method: str) -> None:
    """A namespace answers only GET; everything else gets 405 and is told so."""
    answer = ask(server.port, WS + "echo", {"Content-Length": "0"}, method=method)
    assert refusal(answer) == 405
    assert answer[1]["allow"] == "GET"


def test_head(server: Server) -> None:
    """HEAD of a namespace gets 405 like the others, without a body."""
    status, headers, _ = ask(server.port, WS + "echo", method="HEAD")
    assert (status, headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("version", ["", "12", "14", "x", "8"])
def test_version(server: Server, version: str) -> None:
    """Another version than 13 is answered with 426 and the version that is spoken (RFC 6455 section 4.4)."""
    answer = ask(server.port, WS + "echo", {"Sec-WebSocket-Version": version}, upgrade=True)
    assert refusal(answer) == 426
    assert answer[1]["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "key", ["", "x", "AAAA", "A" * 24, "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZXh4eA=="]
)
def test_key(server: Server, key: str) -> None:
    """A key that is absent or not 16 bytes in base64 is refused with 400 (RFC 6455 section 4.2.1)."""
    assert refusal(ask(server.port, WS + "echo", {"Sec-WebSocket-Key": key}, upgrade=True)) == 400


def test_key_of_the_rfc(server: Server) -> None:
    """The example of RFC 6455 section 1.3 gets its answer."""
    headers = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    status, answered, _ = ask(server.port, WS + "echo", headers, upgrade=True)
    assert status == 101
    assert answered["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answered["upgrade"].lower() == "websocket"
    assert answered["connection"].lower() == "upgrade"
    assert "sec-websocket-extensions" not in answered
    assert "sec-websocket-protocol" not in answered


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "WebSocket", "Connection": "keep-alive, UPGRADE"},
        {"Sec-WebSocket-Extensions": "permessage-deflate", "Sec-WebSocket-Protocol": "chat"},
    ],
)
def test_handshakes_as_browsers_send_them(server: Server, headers: dict[str, str]) -> None:
    """Case and company of the upgrade headers do not matter; extensions and subprotocols are left out."""
    status, answered, _ = ask(server.port, WS + "echo", headers, upgrade=True)
    assert status == 101
    assert "sec-websocket-extensions" not in answered
    assert "sec-websocket-protocol" not in answered


@pytest.mark.parametrize("headers", [{"Upgrade": "h2c"}, {"Connection": "keep-alive"}, {"Upgrade": ""}])
def test_half_an_upgrade(server: Server, headers: dict[str, str]) -> None:
    """A request that does not ask for a WebSocket with both headers is a plain GET."""
    assert refusal(ask(server.port, WS + "echo", headers, upgrade=True)) == 426


# The order of the checks, and limits


@both_ways
def test_order_of_the_checks(serve: Callable[..., Server], upgrade: bool) -> None:
    """Unknown path, origin, too many connections, not signed in: the first that fails answers."""
    server = serve("--max-connections", "1", app="tests.apps.behaviours")
    foreign = {"Origin": "https://evil.example"}
    broken = {"Sec-WebSocket-Version": "7", "Sec-WebSocket-Key": "x"} if upgrade else {}

    def ask_for(name: str, headers: dict[str, str]) -> int:
        return refusal(ask(server.port, WS + name, headers, upgrade=upgrade))

    assert ask_for("members", broken) == 401
    with RawClient(server.port, WS + "echo"):
        assert ask_for("nothing", {**foreign, **broken}) == 404
        assert ask_for("members", {**foreign, **broken}) == 403
        assert ask_for("admins", broken) == 503
        assert ask_for("echo", broken) == 503


@both_ways
def test_all_connections_taken(serve: Callable[..., Server], upgrade: bool) -> None:
    """With `max_connections` open sockets the next is told 503 and when to come again; a close makes room."""
    server = serve("--max-connections", "2", app="tests.apps.behaviours")
    first, second = RawClient(server.port, WS + "echo"), RawClient(server.port, WS + "slow")
    answer = ask(server.port, WS + "echo", upgrade=upgrade)
    assert refusal(answer) == 503
    assert int(answer[1]["retry-after"]) > 0
    first.send(client_frame((1000).to_bytes(2, "big"), CLOSE))
    assert first.read_close()[0] == 1000
    first.socket.close()
    well = 101 if upgrade else 426
    wait_until(lambda: ask(server.port, WS + "echo", upgrade=upgrade)[0] == well)
    second.reset()


@both_ways
def test_connections_of_one_address(serve: Callable[..., Server], upgrade: bool) -> None:
    """With `max_connections_per_address` open sockets the next of that address gets 429, others do not."""
    server = serve(
        "--max-connections-per-address", "2", "--trusted-proxies", "127.0.0.1", app="tests.apps.behaviours"
    )
    mine, other = {"X-Forwarded-For": "10.1.1.1"}, {"X-Forwarded-For": "10.1.1.2"}
    well = 101 if upgrade else 426
    first = RawClient(server.port, WS + "echo", headers=mine)
    with RawClient(server.port, WS + "slow", headers=mine):
        answer = ask(server.port, WS + "echo", mine, upgrade=upgrade)
        assert refusal(answer) == 429
        assert int(answer[1]["retry-after"]) > 0
        assert refusal(ask(server.port, WS + "members", mine, upgrade=upgrade)) == 429
        assert ask(server.port, WS + "echo", other, upgrade=upgrade)[0] == well
        first.reset()
        wait_until(lambda: ask(server.port, WS + "echo", mine, upgrade=upgrade)[0] == well)


# Client ids


def test_connected_is_the_first_frame(server: Server) -> None:
    """The first frame is `connected`, exactly as the contract has it."""
    name = str(uuid.uuid4())
    with RawClient(server.port, f"{WS}chained?uuid={name}") as client:
        assert client.read_json() == {
            "success": True,
            "data": {"type": "connected", "clientId": name, "namespace": WS + "chained", "username": ""},
        }
        assert client.read_json()["data"]["type"] == "hello"


@pytest.mark.parametrize("version", [1, 4, 5])
def test_client_id_is_kept(server: Server, version: int) -> None:
    """A client that names itself by a UUID, of whatever version, keeps it, in its canonical form."""
    name = {1: uuid.uuid1(), 4: uuid.uuid4(), 5: uuid.uuid5(uuid.NAMESPACE_DNS, "x")}[version]
    assert client_id(server, f"?uuid={name}") == str(name)
    assert client_id(server, f"?uuid={str(name).upper()}&x=1") == str(name)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?uuid=",
        "?uuid=me",
        "?uuid=123e4567-e89b-12d3-a456-42661417400",
        "?uuid=123e4567-e89b-12d3-a456-4266141740000",
        "?uuid=g23e4567-e89b-12d3-a456-426614174000",
        "?uuid={123e4567-e89b-12d3-a456-426614174000}",
        "?uuid=%3Cscript%3E",
        "?uuid=%C3%A9",
        "?uuid=%ff%fe",
        "?uuid=%00",
        "?" + "uuid=x&" * 50,
        "?uuid=" + "a" * 5000,
        "?UUID=123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_client_without_a_uuid(server: Server, query: str) -> None:
    """Who names no UUID gets a new one of version 4."""
    ids = [client_id(server, query) for _ in range(2)]
    assert ids[0] != ids[1]
    assert all(is_new_v4(each) for each in ids)


def test_several_sockets_of_one_client_id(server: Server) -> None:
    """Each socket of a client id gets broadcasts and what the id is sent, until it closes itself."""
    query = f"?uuid={uuid.uuid4()}"
    first, second = (RawClient(server.port, WS + "echo" + query) for _ in range(2))
    with RawClient(server.port, WS + "echo") as stranger, first, second:
        assert connected(first)["clientId"] == connected(second)["clientId"]
        first.send_json({"number": 1})
        assert first.read_data("echo")["message"]["number"] == 1
        assert second.read_data("echo")["message"]["number"] == 1
        assert namespace_figures(server.port, WS + "echo")["clientCount"] == 2
        first.reset()
        wait_until(lambda: sockets(server.port) == 2)
        assert namespace_figures(server.port, WS + "echo")["clientCount"] == 2
        second.send_json({"number": 2})
        assert second.read_data("echo")["message"]["number"] == 2
        connected(stranger)
        stranger.send_json({"number": 3})
        assert stranger.read_json()["data"]["message"]["number"] == 3


def test_each_socket_of_a_client_id_is_a_connection(server: Server) -> None:
    """Two sockets of one client id have an on_connect and an on_disconnect each, and both get broadcasts."""
    query = f"?uuid={uuid.uuid4()}"
    with RawClient(server.port, WS + "diary") as watcher:
        watcher.read_data("joined")
        first, second = (RawClient(server.port, WS + "diary" + query) for _ in range(2))
        assert [watcher.read_json()["data"]["type"] for _ in range(2)] == ["joined", "joined"]
        for client in (first, second):
            client.read_data("joined")
        watcher.send_json({"number": 1})
        for client in (first, second):
            client.read_data("said")
        first.reset()
        watcher.read_data("said")
        assert watcher.read_json()["data"]["type"] == "left"
        assert second.read_data("left")["count"] == 2
        second.reset()
        assert watcher.read_json()["data"]["type"] == "left"


# Clients that go early, and bytes that come early


def test_clients_that_vanish_during_the_handshake(server: Server) -> None:
    """Clients that go away during or right after the handshake leave nothing behind."""
    for number in range(60):
        client = RawClient(server.port, shake_hands=False)
        request = client.handshake_request(WS + "diary")
        client.send(request[: len(request) // 2] if number % 4 == 0 else request)
        if number % 4 == 1:
            client.read_head()
        if number % 4 == 2:
            client.socket.close()
        else:
            client.reset()
    wait_until(lambda: sockets(server.port) == 0)
    wait_until(lambda: namespace_figures(server.port, WS + "diary")["clientCount"] == 0)


@pytest.mark.parametrize("count", [1, 20, 3000])
def test_frames_with_the_handshake(server: Server, count: int) -> None:
    """Frames that come in one segment with the handshake, few or many, are handled after `connected`."""
    with RawClient(server.port, shake_hands=False) as client:
        early = b"".join(client_frame(b'{"number":%d,"pad":"%b"}' % (n, b"x" * 40)) for n in range(count))
        client.send(client.handshake_request(WS + "unlimited") + early)
        assert client.read_head()[0] == 101
        connected(client)
        numbers = [client.read_json()["data"]["message"]["number"] for _ in range(count)]
        assert numbers == list(range(count))


def test_half_a_frame_with_the_handshake(server: Server) -> None:
    """A frame of which one half comes with the handshake and the other later is handled."""
    with RawClient(server.port, shake_hands=False) as client:
        frame = client_frame(json.dumps({"number": 1}).encode())
        client.send(client.handshake_request(WS + "echo") + frame[:7])
        assert client.read_head()[0] == 101
        connected(client)
        client.send(frame[7:])
        assert client.read_data("echo")["message"]["number"] == 1


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 100, b"\0"], ids=repr)
def test_garbage_after_the_handshake(server: Server, garbage: bytes) -> None:
    """What follows the handshake and is no frame fails the connection with 1002."""
    with RawClient(server.port, shake_hands=False) as client:
        client.send(client.handshake_request(WS + "echo") + garbage)
        assert client.read_head()[0] == 101
        connected(client)
        assert client.read_close()[0] == 1002
        assert client.at_end()


def test_close_with_the_handshake(server: Server) -> None:
    """A client that sends its close frame with the handshake is answered and said good-bye to."""
    with RawClient(server.port, shake_hands=False) as client:
        goodbye = client_frame((1000).to_bytes(2, "big"), CLOSE)
        client.send(client.handshake_request(WS + "echo") + goodbye)
        assert client.read_head()[0] == 101
        connected(client)
        assert client.read_close()[0] == 1000
    wait_until(lambda: sockets(server.port) == 0)


def test_refused_handshake_keeps_the_http_connection(server: Server) -> None:
    """After a refusal the same HTTP connection can be used for the next attempt."""
    with RawClient(server.port, shake_hands=False) as client:
        client.send(client.handshake_request(WS + "members"))
        status, headers = client.read_head()
        assert (status, json.loads(client.read_body(headers))["code"]) == (401, 401)
        client.send(client.handshake_request(WS + "echo"))
        assert client.read_head()[0] == 101
        connected(client)


# Addresses


def address(server: Server, headers: dict[str, str], *more: str) -> str:
    """The address that the server knows a client by; `more` are further lines of X-Forwarded-For."""
    with RawClient(server.port, shake_hands=False) as client:
        request = client.handshake_request(WS + "echo", headers)
        lines = "".join(f"X-Forwarded-For: {each}\r\n" for each in more).encode()
        client.send(request[:-2] + lines + b"\r\n")
        assert client.read_head()[0] == 101
        client.send_json({"type": "who"})
        return str(client.read_data("echo")["ctx"]["ip"])


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-Ip", "Forwarded"])
def test_forwarded_by_a_stranger(server: Server, name: str) -> None:
    """Without `trusted_proxies` nobody is believed about another address."""
    assert address(server, {name: "6.6.6.6"}) == "127.0.0.1"


@pytest.fixture(scope="module")
def behind_proxies(serve_module: Callable[..., Server]) -> Server:
    return serve_module("--trusted-proxies", "127.0.0.1,10.0.0.0/8,fd00::/8", app="tests.apps.behaviours")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), "127.0.0.1"),
        (("7.7.7.7",), "7.7.7.7"),
        (("6.6.6.6, 7.7.7.7",), "7.7.7.7"),
        (("6.6.6.6, 7.7.7.7, 10.0.0.5",), "7.7.7.7"),
        (("6.6.6.6", "7.7.7.7, 10.0.0.5", "10.9.9.9"), "7.7.7.7"),
        (("10.0.0.1, 10.0.0.2",), "10.0.0.1"),
        (("10.0.0.1, 6.6.6.6, 7.7.7.7",), "7.7.7.7"),
        (("2001:DB8::1",), "2001:db8::1"),
        (("7.7.7.7, fd00::5",), "7.7.7.7"),
        (("::ffff:7.7.7.7",), "7.7.7.7"),
        (("7.7.7.7, ::ffff:10.0.0.5",), "7.7.7.7"),
        (("6.6.6.6, unknown",), "127.0.0.1"),
        (("6.6.6.6, <script>, 10.0.0.5",), "10.0.0.5"),
    ],
)
def test_forwarded_by_trusted_proxies(behind_proxies: Server, lines: tuple[str, ...], expected: str) -> None:
    """X-Forwarded-For is read from right to left as long as its writer is a trusted proxy."""
    with behind_proxies.lent():
        assert address(behind_proxies, {"X-Real-Ip": "9.9.9.9"}, *lines) == expected
