"""The door: it decides as Tornado's way does, lets nobody wait for others, and ends well."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from jpulse import App, Settings, create_app
from jpulse.auth import Passwords
from jpulse.door import PEEK_BYTES, Door
from jpulse.handshake import read_plain

from .conftest import Server, wait_until
from .raw_client import RawClient
from .support import ask, sockets

WS = "/api/1/ws/"
ALLOWED = "https://app.example.com"
NAME = "0fd88ce9-7956-484e-9e0f-d40ce717e46c"

T = TypeVar("T")


# The door and the long way


class TwoWays:
    """One application behind two ports: at one the door, at the other Tornado's HTTP server alone."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self._start(folder))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop that serves."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self, folder: Path) -> None:
        config = Settings(
            data_dir=folder,
            allowed_origins=(ALLOWED,),
            trusted_proxies=("127.0.0.0/8", "10.0.0.0/8"),
            max_connections_per_address=3,
            log_level="error",
        )
        self.app: App = create_app(config)
        self.app.auth.passwords = Passwords(4)
        for path, options in (
            ("open", {"compress": True}),
            ("members", {"require_auth": True}),
            ("admins", {"require_roles": ("admin",)}),
        ):
            namespace = self.app.websockets.create_namespace(WS + path, **options)
            namespace.on_message(lambda conn: conn.send({"type": "you", "user": conn.username}, conn.ctx))
        await self.app.start("correct horse")
        await self.app.auth.add_user("ann", "correct horse")
        (by_door,), (by_tornado,) = bind_sockets(0, "127.0.0.1"), bind_sockets(0, "127.0.0.1")
        self.ports = [each.getsockname()[1] for each in (by_door, by_tornado)]
        self._door, self._tornado = Door(self.app), HTTPServer(self.app)
        self._door.open([by_door])
        self._tornado.add_sockets([by_tornado])
        _, self.cookie = await self.app.auth.sign_in("ann", "correct horse", "10.0.0.1")

    def stop(self) -> None:
        """End it."""
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        self._door.stop()
        self._tornado.stop()
        await self._door.close()
        await self._tornado.close_all_connections()
        await self.app.stop()

    def outcome(self, port: int, request: bytes) -> tuple[Any, ...]:
        """What becomes of a request: a status with its envelope, or a connection with what it is told."""
        with RawClient(port, shake_hands=False, timeout=3) as client:
            client.send(request)
            try:
                status, headers = client.read_head()
            except (EOFError, ConnectionResetError):
                return ("closed",)
            shown = {name: value for name, value in headers.items() if name in TOLD}
            if status != 101:
                body = client.read_body(headers) if "content-length" in headers else b""
                return status, shown, body
            told = client.read_data("connected")
            known = told["clientId"] if told["clientId"] in request.decode("latin-1").lower() else "new"
            client.send_json({"type": "who"})
            return status, shown, {**told, "clientId": known}, client.read_data("you")

    def both(self, request: str) -> list[tuple[Any, ...]]:
        """What becomes of a request at either port; nobody stays connected."""
        outcomes = []
        for port in self.ports:
            data = request.replace("{port}", str(port)).replace("{cookie}", self.cookie)
            outcome = self.outcome(port, data.encode("latin-1"))
            outcomes.append(json.loads(json.dumps(outcome, default=repr).replace(str(port), "{port}")))
            wait_until(lambda: self.app.hub.sockets == 0)
        return outcomes


@pytest.fixture(scope="module")
def two_ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoWays]:
    ways = TwoWays(tmp_path_factory.mktemp("two-ways"))
    yield ways
    ways.stop()


#: Headers of answers that tell a client what to do.
TOLD = (
    *("upgrade", "connection", "sec-websocket-accept", "sec-websocket-version", "sec-websocket-extensions"),
    *("allow", "content-type", "content-length", "retry-after"),
)
HEADERS = {
    "Host": ("127.0.0.1:{port}", "example.com", "[::1]:{port}", "", "a, b", "[::1", None),
    "Upgrade": ("websocket", "WebSocket", "h2c, websocket", "h2c", "", None),
    "Connection": ("Upgrade", "keep-alive, Upgrade", "upgrade", "close", None),
    "Sec-WebSocket-Key": ("dGhlIHNhbXBsZSBub25jZQ==", "x", "A" * 24, " dGhlIHNhbXBsZSBub25jZQ==\t", None),
    "Sec-WebSocket-Version": ("13", "12", "013", "13, 8", None),
    "Origin": (None, "http://127.0.0.1:{port}", ALLOWED, ALLOWED.upper(), "null", "http://example.com"),
    "Cookie": (None, "jpulse_session={cookie}", 'a=1;jpulse_session="{cookie}"', "jpulse_session=no", "=;"),
    "X-Forwarded-For": (None, "7.7.7.7", "6.6.6.6, 10.0.0.1", "2001:DB8::1, 10.0.0.2", "x"),
    "Content-Length": (None, None, None, "0", "5"),
    "Sec-WebSocket-Extensions": (
        None,
        "permessage-deflate; client_max_window_bits",
        "x-webkit, permessage-deflate; x",
    ),
    "X-Any": (None, "tab\there", "ä", "\x7f", "\0", "folded\r\n line"),
}
NAMES = st.sampled_from(["open", "open", "members", "admins", "nothing", "op%65n", "open/"])
QUERIES = st.sampled_from(
    [
        "",
        f"?uuid={NAME}",
        f"?uuid={NAME.upper()}",
        "?uuid=me",
        f"?uuid=%30{NAME[1:]}",
        f"?a=1&uuid={NAME}&uuid=",
    ]
)
LINES = st.sampled_from(["GET {} HTTP/1.1", "GET {} HTTP/1.1", "GET {} HTTP/1.0", "POST {} HTTP/1.1"])


@st.composite
def requests(draw: st.DrawFn) -> str:
    """A browser's request in which a few things are otherwise, in any order and spelling."""
    fields = {name: values[0] for name, values in HEADERS.items()}
    for name in draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=4)):
        fields[name] = draw(st.sampled_from(HEADERS[name]))
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    lines = draw(st.permutations(lines))
    if draw(st.integers(0, 9)) == 0:
        lines.append(draw(st.sampled_from(lines)))
    if draw(st.booleans()):
        lines = [line.partition(":")[0].lower() + ":" + line.partition(":")[2] for line in lines]
    first = draw(LINES).format(WS + draw(NAMES) + draw(QUERIES))
    body = "12345" if fields["Content-Length"] == "5" else ""
    return "\r\n".join([first, *lines, "", body])


BROWSER = (
    f"GET {WS}open?uuid={NAME} HTTP/1.1\r\nHost: 127.0.0.1:{{port}}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests())
@example(BROWSER + "\r\n")
@example(BROWSER + "Cookie: jpulse_session={cookie}\r\n\r\n")
@example(BROWSER + "X-Forwarded-For: 6.6.6.6, 7.7.7.7, 10.0.0.5\r\n\r\n")
@example(BROWSER + "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n\r\n")
@example(BROWSER + "Host: 127.0.0.1:{port}\r\n\r\n")
@example(BROWSER + "Origin: http://" + "a" * 400 + "\r\n\r\n")
@example(BROWSER.replace("HTTP/1.1\r\n", "HTTP/1.1\n") + "\r\n")
def test_both_ways_decide_the_same(two_ways: TwoWays, request_text: str) -> None:
    """Whatever a request is, the door and Tornado's way give the same answer, name, user and address."""
    by_door, by_tornado = two_ways.both(request_text)
    assert by_door == by_tornado


# Visitors of every kind


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module(app="tests.apps.behaviours")


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared


def test_request_byte_by_byte(server: Server) -> None:
    """A handshake whose bytes come one by one is completed."""
    with RawClient(server.port, shake_hands=False) as client:
        for byte in client.handshake_request(WS + "echo"):
            client.send(bytes((byte,)))
        assert client.read_head()[0] == 101
        assert client.read_data("connected")["namespace"] == WS + "echo"


@pytest.mark.parametrize("size", [PEEK_BYTES - 400, PEEK_BYTES, PEEK_BYTES + 1, 8 * PEEK_BYTES])
def test_request_of_any_size(server: Server, size: int) -> None:
    """A handshake with large cookies is completed, by whichever way, and what follows it is heard."""
    with RawClient(server.port, WS + "echo", headers={"Cookie": "a=" + "x" * size}) as client:
        client.send_json({"number": 1})
        assert client.read_data("echo")["message"]["number"] == 1


def test_request_that_is_just_looked_at(server: Server) -> None:
    """A request that fills what is looked at exactly, and one that is a byte larger, are both completed."""
    with RawClient(server.port, shake_hands=False) as probe:
        size = len(probe.handshake_request(WS + "echo", {"X-Pad": "x"}))
    for more in (0, 1):
        pad = "x" * (1 + PEEK_BYTES - size + more)
        with RawClient(server.port, shake_hands=False) as client:
            request = client.handshake_request(WS + "echo", {"X-Pad": pad})
            assert len(request) == PEEK_BYTES + more
            assert (read_plain(request[:PEEK_BYTES]) is None) == bool(more)
            client.send(request)
            assert client.read_head()[0] == 101


def test_requests_one_after_the_other(server: Server) -> None:
    """Pages and a handshake on one connection are answered in turn, also when they come at once."""
    with RawClient(server.port, shake_hands=False) as client:
        page = client.handshake_request("/healthz", {"Upgrade": "", "Connection": ""})
        client.send(page + page + client.handshake_request(WS + "echo"))
        for _ in range(2):
            status, headers = client.read_head()
            assert status == 200
            client.read_body(headers)
        assert client.read_head()[0] == 101
        assert client.read_data("connected")["type"] == "connected"


def test_visitors_who_say_nothing(server: Server) -> None:
    """Sockets on which nothing comes keep nobody else from coming in, and leave without a trace."""
    silent = [RawClient(server.port, shake_hands=False) for _ in range(50)]
    with RawClient(server.port, WS + "echo") as client:
        client.send_json({"number": 1})
        assert client.read_data("echo")["message"]["number"] == 1
    for number, each in enumerate(silent):
        each.reset() if number % 2 else each.socket.close()
    wait_until(lambda: sockets(server.port) == 0)
    assert ask(server.port, "/healthz")[0] == 200


def test_access_log_of_both_ways(server: Server) -> None:
    """A handshake has the same line in the access log whichever way it went."""
    name = str(uuid.uuid4())
    for headers in ({}, {"X-Any": "ä"}):
        with RawClient(server.port, f"{WS}chained?uuid={name}", headers=headers) as client:
            client.read_data("connected")
    pattern = rf"INFO +jpulse\.access: 101 GET {WS}chained 127\.0\.0\.1 \d+\.\d ms\n"
    server.wait_for_log(f"{pattern}(.*\n)*.*{pattern}")
    assert name not in server.log


def test_silent_visitors_do_not_hold_a_drain(serve: Callable[..., Server]) -> None:
    """A server ends at once although sockets are open on which nothing has come."""
    server = serve("--drain-seconds", "20")
    silent = [RawClient(server.port, shake_hands=False) for _ in range(5)]
    ask(server.port, "/healthz")
    assert server.stop(seconds=3) == 0
    for each in silent:
        with each:
            assert each.at_end()
