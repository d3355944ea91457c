"""
Test your own namespaces: a real server in the loop of the test, and visitors who talk to it.

    class ChatTest(IsolatedAsyncioTestCase):
        async def test_everybody_hears(self):
            async with (
                serving(setup) as server,
                server.connect("/api/1/ws/chat") as ann,
                server.connect("/api/1/ws/chat") as bob,
            ):
                await ann.send({"type": "say", "text": "hello"})
                said = await bob.receive("said")
            self.assertEqual(said["text"], "hello")

Nothing is faked: sockets, handshakes, store and limits are those of a server on a free port.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.netutil import bind_sockets
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from .app import App, create_app
from .auth import Passwords
from .door import Door
from .namespace import NamespaceHandler
from .server import drain
from .settings import Settings
from .web import SESSION_COOKIE

#: What should come at once and does not come within so many seconds does not come.
PATIENCE_SECONDS = 5.0
#: Every user made here has it, `admin` too.
PASSWORD = "correct horse"
#: The least that bcrypt can do: a real hash takes a quarter of a second.
LEAST_COST = 4
DRAIN_SECONDS = 1.0


class Refused(Exception):
    """The server said no: to a handshake, or to what a client sent."""

    def __init__(self, code: int, error: str) -> None:
        super().__init__(f"{code}: {error}")
        self.code = code
        self.error = error


class Closed(Exception):
    """The server closed the connection while something was awaited of it."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the connection was closed with {code}")
        #: The close code; None if the connection broke without one.
        self.code = code


@dataclass(frozen=True)
class Answer:
    """What came back for a request of a page or of REST."""

    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """The body as JSON; ValueError if it is none."""
        return json.loads(self.text)


class Client:
    """A connected WebSocket; made by `connect`."""

    def __init__(self, socket: WebSocketClientConnection, connected: Mapping[str, Any]) -> None:
        self._socket = socket
        self._ended = False
        #: What the server calls this client, and its user; `""` for a guest.
        self.client_id = str(connected["clientId"])
        self.username = str(connected["username"])

    async def send(self, message: Any) -> None:
        """Send a message; Closed if the connection is gone."""
        await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        """Send a text frame as it is, to see how the server takes what is no JSON."""
        try:
            await self._socket.write_message(text)
        except WebSocketClosedError:
            raise Closed(self._socket.close_code) from None

    async def receive(self, kind: str | None = None, *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """
        Wait for a message and return its data; with a `kind`, for the next one of this type.

        Messages of other types that come before it are dropped. Refused if the server answers
        with a failure, Closed if it closes the connection, TimeoutError after `seconds`.
        """
        async with asyncio.timeout(seconds):
            while True:
                data = await self._next()
                if kind is None or data.get("type") == kind:
                    return data

    async def receive_all(self, *, seconds: float = PATIENCE_SECONDS) -> list[dict[str, Any]]:
        """
        Return what the server has sent by now and was not received yet, without waiting for more.

        That nothing of some type is in it shows that nobody sent it: the server is asked for a
        sign of life, and answers in order.
        """
        await self.send({"type": "ping"})
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(seconds):
            while True:
                data = await self._next()
                if data == {"type": "pong"}:
                    return found
                found.append(data)

    async def closed(self, *, seconds: float = PATIENCE_SECONDS) -> int | None:
        """Wait until the server closes the connection; the close code, None if it broke without one."""
        async with asyncio.timeout(seconds):
            while await self._read() is not None:
                pass
        return self._socket.close_code

    async def close(self) -> None:
        """Close the connection and wait for the server's part in it; once more is without effect."""
        self._socket.close(1000)
        await self.closed()

    async def _next(self) -> dict[str, Any]:
        return _data_of(await self._read(), self._socket.close_code)

    async def _read(self) -> str | bytes | None:
        """The next frame; None at the end, which Tornado tells once."""
        frame = None if self._ended else await self._socket.read_message()
        self._ended = frame is None
        return frame


def _data_of(frame: str | bytes | None, close_code: int | None) -> dict[str, Any]:
    """The data of an envelope; Refused for a failure, Closed if there is no frame."""
    if frame is None:
        raise Closed(close_code)
    envelope = json.loads(frame)
    if not envelope["success"]:
        raise Refused(envelope["code"], envelope["error"])
    data: dict[str, Any] = envelope["data"]
    return data


@dataclass
class Visitor:
    """Somebody at the server: a guest, or who is signed in."""

    url: str
    username: str = ""
    #: Sent with everything; a session's cookie is in it.
    headers: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def connect(self, path: str, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[Client]:
        """
        Open a WebSocket, past the first frame, which tells the client id; it is closed at the end.

        Refused with the status of the answer if the server lets nobody in: 401, 403, 404, 429, 503.
        """
        request = HTTPRequest("ws" + (self.url + path).removeprefix("http"), headers=self._with(headers))
        try:
            socket = await websocket_connect(request)
        except HTTPClientError as error:
            raise _refusal(error) from None
        client = Client(socket, _data_of(await socket.read_message(), socket.close_code))
        try:
            yield client
        finally:
            await client.close()

    async def fetch(
        self,
        path: str,
        method: str = "GET",
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for a page or call REST; `json` is sent as the body. Any status is an answer."""
        body = None if method in ("GET", "HEAD", "OPTIONS") else _body(json)
        kind = {} if body is None else {"Content-Type": "application/json"}
        request = HTTPRequest(
            self.url + path,
            method,
            self._with({**kind, **(headers or {})}),
            body,
            follow_redirects=False,
            allow_nonstandard_methods=True,
        )
        client = AsyncHTTPClient(force_instance=True)
        try:
            response = await client.fetch(request, raise_error=False)
        finally:
            client.close()
        return Answer(response.code, response.headers, response.body.decode())

    def _with(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        return {**self.headers, **(headers or {})}


def _body(value: Any) -> str:
    return "" if value is None else json.dumps(value)


def _refusal(error: HTTPClientError) -> Refused:
    """What a refused handshake says."""
    try:
        text = str(json.loads(error.response.body)["error"]) if error.response else error.message
    except (ValueError, KeyError, TypeError):
        text = error.message or ""
    return Refused(error.code, text or "")


class Server(Visitor):
    """A server that runs in the loop of the test, which is a guest there itself; made by `serving`."""

    def __init__(self, app: App, url: str) -> None:
        super().__init__(url)
        self.app = app

    async def sign_in(self, username: str, roles: Iterable[str] = ("user",)) -> Visitor:
        """
        Sign somebody in, who is made with these roles if there is no such user yet.

        The password is PASSWORD; sign-in pages know it too.
        """
        if await self.app.store.get_user(username) is None:
            await self.app.auth.add_user(username, PASSWORD, roles)
        user, cookie = await self.app.auth.sign_in(username, PASSWORD, "127.0.0.1")
        return Visitor(self.url, user.username, {"Cookie": f"{SESSION_COOKIE}={cookie}"})


@asynccontextmanager
async def serving(
    setup: Callable[[App], Any] | None = None,
    *,
    routes: Iterable[Any] = (),
    namespaces: Sequence[type[NamespaceHandler]] = (),
    **settings: Any,
) -> AsyncIterator[Server]:
    """
    Serve an application until the block ends: what its `setup(app)` adds, or the given routes and classes.

    Further arguments are settings: `serving(setup, max_messages_per_second=2)`. The store is
    a folder of its own, which goes with the server; two servers with one `redis_url` are two
    processes of one system.
    """
    with tempfile.TemporaryDirectory(prefix="jpulse-test-") as folder:
        config = Settings(**{"data_dir": Path(folder), "drain_seconds": DRAIN_SECONDS, **settings, "port": 0})
        app = create_app(config, routes, namespaces)
        app.auth.passwords = Passwords(LEAST_COST)
        made = setup(app) if setup is not None else None
        if isawaitable(made):
            app.setting_up = made
        try:
            await app.start(PASSWORD)
            async with _open_door(app) as url:
                yield Server(app, url)
        finally:
            await app.stop()


@asynccontextmanager
async def _open_door(app: App) -> AsyncIterator[str]:
    """Let visitors in until the block ends; the address without the last slash."""
    sockets = bind_sockets(0, "127.0.0.1")
    door = Door(app)
    door.open(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        await drain(app, door)
