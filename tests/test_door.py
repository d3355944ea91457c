"""The door: it decides as Tornado's way does, lets nobody wait for others, and ends well."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from jpulse import App, Settings, create_app
from jpulse.app import HTTP_TIMEOUT_SECONDS, MAX_BODY_BYTES
from jpulse.auth import Passwords, SignedIn
from jpulse.cluster import Peer, Snapshot
from jpulse.door import PEEK_BYTES, Door
from jpulse.handshake import read_plain
from jpulse.streams import MAX_HEADER_BYTES

from .conftest import Server, wait_until
from .patience import LONG_SECONDS, Stopwatch
from .raw_client import RawClient
from .support import ask, make_certificate, refusal, sockets

WS = "/api/1/ws/"
ALLOWED = "https://app.example.com"
NAME = "0fd88ce9-7956-484e-9e0f-d40ce717e46c"

T = TypeVar("T")


# The door and the long way


class TwoWays:
    """One application behind two ports: at one the door, at the other Tornado's HTTP server alone."""

    def __init__(self, folder: Path) -> None:
        #: How far the door's clock is ahead, in seconds.
        self._ahead = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self._start(folder))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop that serves."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LONG_SECONDS)

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
        self.door = Door(self.app, clock=lambda: time.monotonic() + self._ahead)
        self._tornado = HTTPServer(self.app)
        self.door.open([by_door])
        self._tornado.add_sockets([by_tornado])
        _, self.cookie = await self.app.auth.sign_in("ann", "correct horse", "10.0.0.1")

    def stop(self) -> None:
        """End it."""
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        self.door.stop()
        self._tornado.stop()
        await self.door.close()
        await self._tornado.close_all_connections()
        await self.app.stop()

    def pass_time(self, seconds: float) -> None:
        """Let it be later for the door."""

        async def pass_it() -> None:
            self._ahead += seconds
            self.door.sweep()

        self.run(pass_it())

    def outcome(self, port: int, request: bytes) -> tuple[Any, ...]:
        """What becomes of a request: a status with its envelope, or a connection with what it is told."""
        with RawClient(port, shake_hands=False) as client:
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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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


# What a session's lookup leaves room for


class SlowSessions:
    """Sessions are found when the test wants it."""

    def __init__(self, ways: TwoWays, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop_of = ways
        self._found = ways.run(self._make_event())
        #: Handshakes that wait.
        self.waiting = 0
        find = ways.app.auth.authenticate

        async def find_later(cookie: str | None) -> SignedIn | None:
            self.waiting += 1
            await self._found.wait()
            return await find(cookie)

        monkeypatch.setattr(ways.app.auth, "authenticate", find_later)

    async def _make_event(self) -> asyncio.Event:
        return asyncio.Event()

    async def _set(self) -> None:
        self._found.set()

    def find(self) -> None:
        """Find all sessions now."""
        self._loop_of.run(self._set())


def test_client_gone_while_its_session_is_looked_up(
    two_ways: TwoWays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that went away while its session was looked up leaves nothing behind."""
    slow, cookie = SlowSessions(two_ways, monkeypatch), {"Cookie": f"jpulse_session={two_ways.cookie}"}
    clients = [RawClient(two_ways.ports[0], shake_hands=False) for _ in range(3)]
    for each in clients:
        each.send(each.handshake_request(WS + "members", cookie))
    wait_until(lambda: slow.waiting == 3)
    gone, half_gone, here = clients
    gone.reset()
    half_gone.socket.shutdown(socket.SHUT_WR)
    slow.find()
    assert here.read_head()[0] == 101
    here.reset()
    half_gone.socket.close()
    wait_until(lambda: two_ways.app.hub.sockets == 0)


def test_fault_while_a_session_is_looked_up(
    two_ways: TwoWays, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault while a session is looked up is answered with 500 either way, and logged."""

    async def fail(cookie: str | None) -> SignedIn | None:
        raise LookupError("a fault of the store")

    monkeypatch.setattr(two_ways.app.auth, "authenticate", fail)
    for port in two_ways.ports:
        assert refusal(ask(port, WS + "members", {"Cookie": "jpulse_session=x"}, upgrade=True)) == 500
    logged = [each for each in caplog.records if each.exc_info and each.exc_info[0] is LookupError]
    assert len(logged) == 2


def test_fault_of_the_door(
    two_ways: TwoWays, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A visitor who meets a fault of the door is shown out, and the fault is logged once."""

    def fail(path: str) -> None:
        raise LookupError(path)

    with RawClient(two_ways.ports[0], shake_hands=False) as client:
        # Who came later was answered, so this one was accepted and is waited for.
        assert ask(two_ways.ports[0], WS + "open")[0] == 426
        monkeypatch.setattr(two_ways.app.websockets, "find", fail)
        client.send(client.handshake_request(WS + "open"))
        assert client.at_end()
    logged = [each for each in caplog.records if each.exc_info and each.exc_info[0] is LookupError]
    assert len(logged) == 1


def test_last_place_while_sessions_are_looked_up(two_ways: TwoWays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many who come at once for the last places as many get in as there are; the others get 429."""
    slow, cookie = SlowSessions(two_ways, monkeypatch), {"Cookie": f"jpulse_session={two_ways.cookie}"}
    clients = [RawClient(two_ways.ports[0], shake_hands=False) for _ in range(8)]
    for each in clients:
        each.send(each.handshake_request(WS + "members", cookie))
    wait_until(lambda: slow.waiting == 8)
    slow.find()
    assert sorted(each.read_head()[0] for each in clients) == [101] * 3 + [429] * 5
    for each in clients:
        each.reset()
    wait_until(lambda: two_ways.app.hub.sockets == 0)


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


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nX: y\r\n\r\n"])
def test_visitor_who_goes_away(two_ways: TwoWays, said: bytes) -> None:
    """A visitor who goes away is forgotten at once and not when its time would have been over."""
    awaited = two_ways.door._awaited
    client = RawClient(two_ways.ports[0], shake_hands=False)
    wait_until(lambda: len(awaited) == 1)
    client.send(said)
    client.reset()
    wait_until(lambda: not awaited, 5, "nobody is awaited")


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


# Limits


def test_answers_that_are_not_taken(two_ways: TwoWays) -> None:
    """Who takes nothing of an answer for a minute is shown out, not before, and counted."""
    refused = two_ways.app.overview.refusals
    before = refused["unread"]
    with RawClient(two_ways.ports[0], shake_hands=False, receive_buffer=4096) as client:
        page = client.handshake_request("/static/jpulse/jpulse.js", {"Upgrade": "", "Connection": ""})
        client.send(page * 300)
        wait_until(lambda: len(two_ways.door._waiting) == 1)
        two_ways.pass_time(HTTP_TIMEOUT_SECONDS / 2)
        assert refused["unread"] == before
        # If the kernel has just taken something, the time begins anew.
        for _ in range(3):
            two_ways.pass_time(HTTP_TIMEOUT_SECONDS + 1)
        assert refused["unread"] == before + 1
    assert not two_ways.door._waiting


def test_answers_that_are_taken_slowly(two_ways: TwoWays) -> None:
    """Who takes something of an answer now and then gets all of it."""
    refused = two_ways.app.overview.refusals
    before = refused["unread"]
    with RawClient(two_ways.ports[0], shake_hands=False, receive_buffer=4096) as client:
        page = client.handshake_request("/static/jpulse/jpulse.js", {"Upgrade": "", "Connection": ""})
        client.send(page * 150)
        for _ in range(150):
            client.read_body(client.read_head()[1])
            two_ways.pass_time(HTTP_TIMEOUT_SECONDS / 100)
    assert refused["unread"] == before


def test_answer_that_is_taken_during_a_drain(serve: Callable[..., Server], tmp_path: Path) -> None:
    """An answer that was begun is given to its end, also to who takes it slowly."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "large.py").write_text(
        "from jpulse import PageHandler\n"
        "class Large(PageHandler):\n"
        "    def get(self):\n"
        "        self.finish('x' * 8_000_000)\n"
        "def setup(app):\n"
        "    app.add_handlers('.*', [('/large', Large)])\n"
    )
    server = serve("--drain-seconds", "20", app="large", environ={"PYTHONPATH": str(folder)})
    with RawClient(server.port, shake_hands=False, receive_buffer=65536) as client:
        client.send(client.handshake_request("/large", {"Upgrade": "", "Connection": ""}))
        _, headers = client.read_head()
        server.process.terminate()
        server.wait_for_log("draining 0 connections")
        assert len(client.read_body(headers)) == 8_000_000
    assert server.wait() == 0


def test_requests_that_wait_do_not_hold_a_drain(serve: Callable[..., Server]) -> None:
    """Of requests that were sent at once, those that have not begun when a drain ends are left alone."""
    server = serve("--drain-seconds", "0.5")
    with RawClient(server.port, shake_hands=False, receive_buffer=4096) as client:
        page = client.handshake_request("/static/jpulse/jpulse.js", {"Upgrade": "", "Connection": ""})
        client.send(page * 300)
        client.read_head()
        assert server.stop() == 0
    assert server.log.count("GET /static/jpulse/jpulse.js") < 200


def refusals(port: int) -> dict[str, int]:
    """How many were refused, by reason, as /metrics tells."""
    text = ask(port, "/metrics")[2].decode()
    found = re.findall(r'jpulse_handshake_refusals_total\{.*reason="([^"]+)".*\} (\d+)', text)
    return {reason: int(count) for reason, count in found}


def test_counting_of_refusals(server: Server) -> None:
    """Refused handshakes are counted by reason in the metrics, those of unknown addresses too."""
    before = refusals(server.port)
    for path, headers, upgrade in (
        ("nothing", {}, True),
        ("echo", {"Origin": "http://evil.example"}, True),
        ("members", {}, True),
        ("echo", {"Sec-WebSocket-Version": "7"}, True),
        ("echo", {"Sec-WebSocket-Key": "x"}, True),
        ("echo", {}, False),
    ):
        ask(server.port, WS + path, headers, upgrade=upgrade)
    after = refusals(server.port)
    for reason in ("unknown", "origin", "signed out", "version", "key", "no upgrade"):
        assert after[reason] == before.get(reason, 0) + 1, reason


def test_refusals_of_all_processes(two_ways: TwoWays) -> None:
    """Administrators are told of the refusals of all processes, added up."""
    app, peer = two_ways.app, Peer(b"peer", time.monotonic())
    peer.snapshot = Snapshot(refusals={"origin": 5, "full": 1})
    before = app.get_details()["refusals"]
    two_ways.both(BROWSER + "Origin: http://evil.example\r\n\r\n")
    app.cluster.peers[b"peer"] = peer
    after = app.get_details()["refusals"]
    del app.cluster.peers[b"peer"]
    assert after["origin"] == before.get("origin", 0) + 2 + 5
    assert after["full"] == before.get("full", 0) + 1


@pytest.fixture(scope="module")
def hasty(serve_module: Callable[..., Server]) -> Server:
    return serve_module("--handshake-seconds", "0.8", app="tests.apps.behaviours")


@contextmanager
def shown_out_in_time() -> Iterator[None]:
    """Check that a server with these limits ends what is done meanwhile, and not too soon."""
    began, watch = time.monotonic(), Stopwatch()
    yield
    assert time.monotonic() - began > 0.7
    assert watch.seconds < 5


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=repr)
def test_slow_headers(hasty: Server, sent: bytes) -> None:
    """Who has not sent the headers in `handshake_seconds` is shown out, not before, and counted."""
    with hasty.lent():
        before = refusals(hasty.port).get("slow", 0)
        with shown_out_in_time(), RawClient(hasty.port, shake_hands=False) as client:
            client.send(sent)
            assert client.at_end()
        assert refusals(hasty.port)["slow"] == before + 1


def test_headers_byte_by_byte_that_never_end(hasty: Server) -> None:
    """Sending on and on, a byte now and then, wins no time."""
    with hasty.lent(), shown_out_in_time(), RawClient(hasty.port, shake_hands=False) as client:
        watch = Stopwatch()
        client.send(b"GET / HTTP/1.1\r\nX: ")
        while not select.select([client.socket], [], [], 0.05)[0]:
            client.send(b"x")
            assert not watch.is_over(5)
        assert client.at_end()


def test_time_between_requests(hasty: Server) -> None:
    """Who has asked once may think about the next request for longer, and so may who is connected."""
    with hasty.lent(), RawClient(hasty.port, WS + "echo") as connected:
        with RawClient(hasty.port, shake_hands=False) as client:
            page = client.handshake_request("/healthz", {"Upgrade": "", "Connection": ""})
            client.send(page)
            client.read_body(client.read_head()[1])
            with RawClient(hasty.port, shake_hands=False) as slower:
                assert slower.at_end()
            client.send(page)
            assert client.read_head()[0] == 200
        connected.send_json({"number": 1})
        assert connected.read_data("echo")["message"]["number"] == 1


def test_tls_that_never_begins(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A TLS handshake, or the headers after it, that do not come in time end the connection."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    server = serve(
        *("--tls-certificate", str(certificate), "--tls-key", str(key)),
        *("--handshake-seconds", "0.8"),
        app="tests.apps.behaviours",
    )
    context = ssl.create_default_context(cafile=str(certificate))
    with shown_out_in_time(), RawClient(server.port, shake_hands=False) as silent:
        assert silent.at_end()
    with shown_out_in_time(), RawClient(server.port, shake_hands=False) as half:
        half.send(b"\x16\x03\x01\x02\x00\x01")
        assert half.at_end()
    with shown_out_in_time(), RawClient(server.port, tls=context, shake_hands=False) as secure:
        secure.send(b"GET / HTTP/1.1\r\n")
        assert secure.at_end()
    with RawClient(server.port, WS + "echo", tls=context) as client:
        client.send_json({"number": 1})
        assert client.read_data("echo")["message"]["number"] == 1


def padded(client: RawClient, size: int) -> bytes:
    """A request whose headers have so many bytes."""
    request = client.handshake_request(WS + "echo", {"X-Pad": "x"})
    return request.replace(b"X-Pad: x", b"X-Pad: " + b"x" * (size - len(request) + 1))


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES - 1, MAX_HEADER_BYTES])
def test_large_headers(server: Server, size: int) -> None:
    """Headers up to the limit are read."""
    with RawClient(server.port, shake_hands=False) as client:
        client.send(padded(client, size))
        assert client.read_head()[0] == 101


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES + 1, 4 * MAX_HEADER_BYTES])
def test_too_large_headers(server: Server, size: int) -> None:
    """Headers over the limit are answered with 431 and an envelope, and counted."""
    before = refusals(server.port).get("headers", 0)
    with RawClient(server.port, shake_hands=False) as client:
        client.exchange(padded(client, size))
        status, headers = client.read_head()
        answer = status, headers, client.read_body(headers)
        assert refusal(answer) == 431
        assert client.at_end()
    assert refusals(server.port)["headers"] == before + 1


def test_too_large_headers_by_tls(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Headers over the limit are answered with 431 by TLS too, and the connection ends."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    server = serve(
        *("--tls-certificate", str(certificate), "--tls-key", str(key), "--handshake-seconds", "60"),
        app="tests.apps.behaviours",
    )
    context = ssl.create_default_context(cafile=str(certificate))
    with RawClient(server.port, tls=context, shake_hands=False) as client:
        client.exchange(padded(client, 2 * MAX_HEADER_BYTES))
        status, headers = client.read_head()
        assert refusal((status, headers, client.read_body(headers))) == 431
        assert client.at_end()


def chunked(client: RawClient, sizes: list[int]) -> bytes:
    """A POST to REST with a body in chunks."""
    plain = dict.fromkeys(("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"), "")
    headers = {**plain, "Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    head = client.handshake_request("/api/1/todo", headers).replace(b"GET", b"POST", 1)
    chunks = (b"%x\r\n%b\r\n" % (size, b" " * size) for size in sizes)
    return head + b"".join(chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("sizes", "error"),
    [
        ([60_000], "not JSON"),
        ([MAX_BODY_BYTES], "larger than 65536"),
        ([MAX_BODY_BYTES - 1, 1], "larger than 65536"),
        ([MAX_BODY_BYTES + 1], "Too large"),
        ([MAX_BODY_BYTES, 1], "Too large"),
        ([4000] * 400, "Too large"),
    ],
    ids=["small", "at the limit", "at the limit in two", "over it", "over it in two", "over it in many"],
)
def test_chunked_body(server: Server, sizes: list[int], error: str) -> None:
    """A body of unknown length is read up to a megabyte; a larger one is answered with 413."""
    with RawClient(server.port, shake_hands=False) as client:
        client.exchange(chunked(client, sizes))
        status, headers = client.read_head()
        answer = status, headers, client.read_body(headers)
    assert refusal(answer) == (400 if error == "not JSON" else 413)
    assert error in json.loads(answer[2])["error"]


# Handshakes a second

FROM_ANN, FROM_BOB = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}


@pytest.mark.parametrize("kind", ["door", "long way", "plain GET"])
def test_handshakes_of_one_address(serve: Callable[..., Server], kind: str) -> None:
    """An address that shakes hands too often gets 429 and when to come again; nobody else does."""
    server = serve(
        *("--max-handshakes-per-second-per-address", "1", "--trusted-proxies", "127.0.0.1"),
        app="tests.apps.behaviours",
    )
    more = {"X-Any": "ä"} if kind == "long way" else {}

    def ask_for(headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return ask(server.port, WS + "echo", {**headers, **more}, upgrade=kind != "plain GET")

    well = 426 if kind == "plain GET" else 101
    began, count = time.monotonic(), 0
    while (answer := ask_for(FROM_ANN))[0] == well:
        count += 1
    assert 10 <= count <= 11 + time.monotonic() - began
    assert refusal(answer) == 429
    assert answer[1]["retry-after"] == "1"
    assert ask_for(FROM_BOB)[0] == well
    assert [ask_for({})[0] for _ in range(15)] == [well] * 15
    wait_until(lambda: ask_for(FROM_ANN)[0] == well, 5)
    assert refusals(server.port)["rate"] >= 1


def test_no_limit_for_the_machine_itself(serve: Callable[..., Server]) -> None:
    """Handshakes from loopback are not limited: there may be a proxy that tells nothing of its clients."""
    server = serve("--max-handshakes-per-second-per-address", "1", app="tests.apps.behaviours")
    assert [ask(server.port, WS + "echo", upgrade=True)[0] for _ in range(25)] == [101] * 25


# Connections at the limit


@pytest.mark.parametrize("way", [{}, {"X-Any": "ä"}], ids=["door", "long way"])
def test_places(serve: Callable[..., Server], way: dict[str, str]) -> None:
    """One below the limits lets in, the last place is given, one above is refused, by process and address."""
    server = serve(
        *("--max-connections", "5", "--max-connections-per-address", "3", "--trusted-proxies", "127.0.0.1"),
        app="tests.apps.behaviours",
    )
    ann, bob = {**FROM_ANN, **way}, {**FROM_BOB, **way}
    inside = [RawClient(server.port, WS + "echo", headers=ann) for _ in range(3)]
    assert refusal(ask(server.port, WS + "echo", ann, upgrade=True)) == 429
    inside += [RawClient(server.port, WS + "echo", headers=bob) for _ in range(2)]
    assert refusal(ask(server.port, WS + "echo", bob, upgrade=True)) == 503
    assert (refusals(server.port)["address"], refusals(server.port)["full"]) == (1, 1)
    inside.pop().reset()
    wait_until(lambda: ask(server.port, WS + "echo", bob)[0] == 426)
    with RawClient(server.port, WS + "echo", headers=bob):
        assert refusal(ask(server.port, WS + "echo", bob, upgrade=True)) == 503
    for each in inside:
        each.reset()


# Overload


def test_overload(serve: Callable[..., Server]) -> None:
    """While the loop is late and stays late nobody new is let in, and who is connected is served."""
    server = serve("--max-loop-lag-seconds", "0.1", app="tests.apps.burning")
    server.expected_log = ("overloaded",)
    with RawClient(server.port, WS + "burn") as client:
        client.send_json({"seconds": 120})
        client.read_data("burned")
        wait_until(lambda: ask(server.port, WS + "burn", upgrade=True)[0] == 503)
        answer = ask(server.port, WS + "burn", upgrade=True)
        assert refusal(answer) == 503
        assert int(answer[1]["retry-after"]) > 0
        ready = ask(server.port, "/readyz")
        assert (ready[0], json.loads(ready[2])["data"]["load"]) == (503, "the event loop is late")
        client.send_json({"seconds": 0})
        assert client.read_data("burned")["seconds"] == 0
        assert "not overloaded any more" not in server.log
        wait_until(lambda: ask(server.port, WS + "burn", upgrade=True)[0] == 101)
        assert ask(server.port, "/readyz")[0] == 200
    assert refusals(server.port)["overload"] >= 2
    assert len(re.findall("WARNING.*jpulse.timers: overloaded", server.log)) == 1
    assert len(re.findall("WARNING.*jpulse.timers: not overloaded any more", server.log)) == 1


# File descriptors


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of those that it started and that live."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) for child in children)


def rests(pid: int) -> bool:
    """Look for half a second whether a server uses less than a tenth of a CPU."""
    before = cpu_seconds(pid)
    time.sleep(0.5)
    return cpu_seconds(pid) - before < 0.05


def with_answers(clients: list[RawClient]) -> list[socket.socket]:
    """The sockets on which something has come."""
    return select.select([each.socket for each in clients], [], [], 0)[0]


@pytest.mark.parametrize("processes", [1, 2])
def test_descriptors_run_out(serve: Callable[..., Server], processes: int) -> None:
    """Without descriptors nobody is accepted, who is in stays, CPU is not burnt, and later all come in."""
    environ = {"TEST_DESCRIPTORS": "100"}
    server = serve("--processes", str(processes), app="tests.apps.scarce", environ=environ)
    server.expected_log = ("file descriptors are scarce",)
    first = RawClient(server.port, WS + "echo")
    crowd = [RawClient(server.port, shake_hands=False) for _ in range(110 * processes)]
    for each in crowd:
        each.send(each.handshake_request(WS + "echo"))
    server.wait_for_log("file descriptors are scarce")
    for number in range(20):
        first.send_json({"number": number})
        assert first.read_data("echo")["message"]["number"] == number
    wait_until(lambda: len(with_answers(crowd)) >= 40 * processes)
    wait_until(lambda: rests(server.pid), what="the server to rest")
    assert server.log.count("file descriptors are scarce") <= processes
    # Those who wait are let in as soon as others have gone, whoever was first.
    ready = with_answers(crowd)
    assert len(ready) < 100 * processes
    for each in crowd:
        if each.socket in ready:
            each.reset()
    for each in crowd:
        if each.socket not in ready:
            assert each.read_head()[0] == 101
            each.socket.close()
    first.socket.close()
