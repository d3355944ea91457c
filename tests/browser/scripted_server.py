"""
A web server that misbehaves on command.

The browser client has to cope with servers that refuse, fall silent, or drop the line;
the real server cannot be made to. This one runs in a thread of the test's process, does what
its attributes say, and records what it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from .conftest import PATIENCE_SECONDS

CLIENT = Path(__file__).parents[2] / "static" / "jpulse" / "jpulse.js"

#: As strict as the product's own pages.
CONTENT_SECURITY_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"

PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    "<meta name=viewport content='width=device-width'>"
    "<script src=/jpulse.js></script><body><h1>{title}</h1><button>Elsewhere</button></body></html>"
)


@dataclass
class Answer:
    """What a plain HTTP request gets."""

    status: int = 200
    body: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    #: Never answered, until the server stops.
    hang: bool = False


@dataclass
class Request:
    """A plain HTTP request that came in."""

    method: str
    path: str
    query: str
    headers: HTTPHeaders
    body: str


class ScriptedServer:
    """
    A server on a free port of 127.0.0.1; a context manager.

    `/page/NAME` is an HTML page with the client, `/api/1/ws/NAME` a namespace, and everything
    below `/rest/` is answered from `answers`.
    """

    def __init__(self) -> None:
        #: What a handshake and a plain GET of a namespace get; None: all is well.
        self.refusal: Answer | None = None
        #: The plain GET's answer alone, where it differs from the handshake's.
        self.plain_answer: Answer | None = None
        self.greets = True
        #: Told in `connected`; empty: what the client asked for.
        self.client_id = ""
        self.answers_pings = True
        #: Sent with this close code right after the greeting.
        self.closes_at_once: int | None = None
        self.answers: dict[str, Answer] = {}

        #: The query's arguments of each handshake, refused ones too.
        self.handshakes: list[dict[str, str]] = []
        self.plain_gets: list[Request] = []
        self.rest: list[Request] = []
        self.received: list[str] = []
        self.pings = 0
        #: Close codes that came from clients.
        self.close_codes: list[int | None] = []
        self.sockets: list[Socket] = []

        self.changed = threading.Condition()
        self.stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http: HTTPServer | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="scripted-server")
        self.port = 0

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        self.wait_for(lambda: self.port > 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self.stopping.set)
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the scripted server does not stop"

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_for(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Return as soon as the condition holds; fail when it does not become true in time."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "the server has not seen it"

    def send(self, data: object) -> None:
        """Send a success envelope to every open socket."""
        self.send_text(json.dumps({"success": True, "data": data}))

    def send_text(self, text: str) -> None:
        self._each(lambda socket: socket.write_message(text))

    def close(self, code: int, reason: str = "") -> None:
        """Close every open socket by a close frame."""
        self._each(lambda socket: socket.close(code, reason))

    def drop(self) -> None:
        """Cut every open socket's TCP connection, without a close frame."""
        self._each(lambda socket: socket.cut())

    def go_down(self) -> None:
        """Refuse TCP connections, and cut those that exist."""
        self._run(self._stop_listening)
        self.drop()

    def come_back(self) -> None:
        """Listen again, on the same port."""
        self._run(self._listen)

    def note(self, act: Callable[[], object]) -> None:
        """Change a record, and wake those who wait for it."""
        with self.changed:
            act()
            self.changed.notify_all()

    def _each(self, act: Callable[[Socket], object]) -> None:
        self._run(lambda: [act(socket) for socket in list(self.sockets)])

    def _run(self, act: Callable[[], object]) -> None:
        """Run in the server's thread and wait for it."""
        assert self._loop is not None

        async def call() -> None:
            result = act()
            if asyncio.iscoroutine(result):
                await result

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE_SECONDS)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listen()
        await self.stopping.wait()
        for socket in list(self.sockets):
            socket.cut()
        await self._stop_listening()

    def _listen(self) -> None:
        sockets = bind_sockets(self.port, "127.0.0.1")
        port = sockets[0].getsockname()[1]
        options: dict[str, Any] = {"server": self}
        self._http = HTTPServer(
            Application(
                [
                    ("/api/1/ws/.*", Socket, options),
                    ("/rest/.*", Rest, options),
                    ("/page/(.*)", Page),
                    ("/jpulse.js", Client),
                    ("/favicon.ico", NoContent),
                ],
                log_function=lambda handler: None,
            )
        )
        self._http.add_sockets(sockets)
        self.note(lambda: setattr(self, "port", port))

    async def _stop_listening(self) -> None:
        assert self._http is not None
        self._http.stop()
        await self._http.close_all_connections()


class Page(RequestHandler):
    """An HTML page with the client, under a strict Content-Security-Policy."""

    def get(self, title: str) -> None:
        self.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.write(PAGE.format(title=title))


class Client(RequestHandler):
    """The script under test."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.write(CLIENT.read_bytes())


class NoContent(RequestHandler):
    """Browsers ask for an icon, and a missing one is a console error."""

    def get(self) -> None:
        self.set_status(204)


class Rest(RequestHandler):
    """Answers as scripted, and records what was asked."""

    def initialize(self, server: ScriptedServer) -> None:
        self.server = server

    async def prepare(self) -> None:
        server = self.server
        server.note(lambda: server.rest.append(as_request(self)))
        answer = server.answers.get(self.request.path, Answer(body='{"success": true, "data": {}}'))
        await give(self, answer, server.stopping)


class Socket(WebSocketHandler):
    """A namespace."""

    def initialize(self, server: ScriptedServer) -> None:
        self.server = server

    async def prepare(self) -> None:
        server = self.server
        if self.request.headers.get("Upgrade", "").lower() == "websocket":
            asked = {name: self.get_argument(name) for name in self.request.arguments}
            server.note(lambda: server.handshakes.append(asked))
            answer = server.refusal
        else:
            server.note(lambda: server.plain_gets.append(as_request(self)))
            answer = server.plain_answer or server.refusal or Answer(426)
        if answer is not None:
            await give(self, answer, server.stopping)

    def open(self) -> None:  # type: ignore[override]
        server = self.server
        if server.greets:
            client_id = server.client_id or self.get_argument("uuid", "")
            self.write_message(
                {
                    "success": True,
                    "data": {
                        "type": "connected",
                        "clientId": client_id,
                        "namespace": self.request.path,
                        "username": "",
                    },
                }
            )
        server.note(lambda: server.sockets.append(self))
        if server.closes_at_once is not None:
            self.close(server.closes_at_once)

    def on_message(self, message: str | bytes) -> None:
        server = self.server
        text = message if isinstance(message, str) else message.decode()
        if text != '{"type":"ping"}':
            server.note(lambda: server.received.append(text))
            return
        if server.answers_pings:
            self.write_message({"success": True, "data": {"type": "pong"}})
        server.note(lambda: setattr(server, "pings", server.pings + 1))

    def on_close(self) -> None:
        server = self.server
        # Tornado calls this, too, for a request that ended before it became a WebSocket.
        if self in server.sockets:
            server.note(lambda: (server.sockets.remove(self), server.close_codes.append(self.close_code)))

    def write_message(self, message: Any, binary: bool = False) -> Any:
        try:
            return super().write_message(message, binary)
        except WebSocketClosedError:
            return None  # the client was faster

    def cut(self) -> None:
        """End the TCP connection without a word."""
        if self.ws_connection is not None:
            self.ws_connection.stream.close()  # type: ignore[attr-defined]


def as_request(handler: RequestHandler) -> Request:
    request = handler.request
    return Request(request.method or "", request.path, request.query, request.headers, request.body.decode())


async def give(handler: RequestHandler, answer: Answer, stopping: asyncio.Event) -> None:
    """Send a scripted answer, or none."""
    if answer.hang:
        await stopping.wait()
    handler.set_status(answer.status)
    handler.set_header("Content-Type", answer.content_type)
    for name, value in answer.headers.items():
        handler.set_header(name, value)
    with contextlib.suppress(StreamClosedError):  # the client did not wait for it
        await handler.finish(answer.body or None)
