"""A WebSocket client of the stress run: it writes down what it sends and gets, and may behave badly."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
from contextlib import suppress
from http.cookies import SimpleCookie
from math import inf
from time import monotonic
from typing import Any, NamedTuple, cast

import msgspec

from ...raw_client import CLOSE, PING, PONG, TEXT, client_frame, taken_frames
from .events import ASKED, LOST, TOLD, Ended, Opened, Refused, Sent, Stalled, Tried
from .history import History, Visit

#: A handshake or a request that takes longer has failed.
ANSWER_SECONDS = 12.0


class Data(msgspec.Struct):
    """What the server sends, as far as it matters here."""

    type: str = ""
    s: int = -1
    n: int = -1
    pid: int = 0
    serial: int = 0
    clientId: str = ""  # noqa: N815 - the wire's name
    username: str = ""


class Envelope(msgspec.Struct):
    """A text frame."""

    success: bool
    data: Data | None = None
    code: int = 0


_decode = msgspec.json.Decoder(Envelope).decode


class Client(asyncio.Protocol):
    """One connection; `over` is done when it has ended, `ready` when the server has told who it is."""

    def __init__(self, history: History, visit: Visit, request: bytes) -> None:
        self._history = history
        self._visit = visit
        self._request = request
        self._buffer = bytearray()
        self._upgraded = False
        self._transport: asyncio.Transport | None = None
        self._greeting = Data()
        #: True from our own close frame on.
        self._closing = False
        #: Reads, answers and parses nothing while it is set.
        self._deaf = False
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[bool] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        #: To what was ordered: 0 for done, or the code of a refusal.
        self.answers: list[int] = []

    @property
    def code(self) -> int:
        """The close code, or the status of a refusal, or 0 while there is neither."""
        if self._visit.refused is not None:
            return self._visit.refused.status
        return self._visit.ended.code if self._visit.ended else 0

    @property
    def client_id(self) -> str:
        """The id that the server gave."""
        return self._greeting.clientId

    # What it does

    def say(self, kind: str, sender: int, number: int, **fields: Any) -> None:
        """Send one message, if that can be."""
        if self._transport is None or self._closing or self.over.done():
            return
        self._history.add(Sent(self._visit.number, monotonic(), sender, number))
        self.order({"type": kind, "s": sender, "n": number, **fields})

    def order(self, message: dict[str, Any]) -> None:
        """Send something that is no message of the history."""
        if self._transport is not None and not self._closing and not self.over.done():
            self._transport.write(client_frame(json.dumps(message).encode()))

    def close(self) -> None:
        """Begin the closing handshake."""
        if self._transport is not None and not self._closing and not self.over.done():
            self._closing = True
            self._transport.write(client_frame((1000).to_bytes(2, "big"), CLOSE))

    def break_off(self, *, reset: bool) -> None:
        """End the socket without a word, by RST or FIN."""
        if self._transport is None or self.over.done():
            return
        if reset:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._end(LOST, 0)

    def stall(self, seconds: float) -> None:
        """Read nothing for some time, or, by inf, never again."""
        if self._transport is None or self._deaf or self._closing or self.over.done():
            return
        now = monotonic()
        self._deaf = True
        self._transport.pause_reading()
        self._history.add(Stalled(self._visit.number, now, now + seconds))
        if seconds < inf:
            asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        if self._transport is not None and not self.over.done():
            self._deaf = False
            self._transport.resume_reading()
            self._parse()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data
        if not self._upgraded and not self._read_head():
            return
        self._parse()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it broke."""
        self._end(LOST, 1006)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = int(self._buffer[9:12])
        del self._buffer[: end + 4]
        self._upgraded = status == 101
        if not self._upgraded:
            self.refuse(status)
        return self._upgraded

    def refuse(self, status: int) -> None:
        """Note that it was not let in."""
        if not self.over.done():
            self._history.add(Refused(self._visit.number, monotonic(), status))
            self._finish()

    def _parse(self) -> None:
        if self._deaf:
            return
        for opcode, payload in taken_frames(self._buffer):
            self._on_frame(opcode, payload)
            if self._deaf:
                return

    def _on_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._on_envelope(_decode(payload))
        elif opcode == PING and self._transport is not None and not self.over.done():
            self._transport.write(client_frame(payload, PONG))
        elif opcode == CLOSE:
            self._on_close(int.from_bytes(payload[:2], "big"))

    def _on_envelope(self, envelope: Envelope) -> None:
        data = envelope.data
        if data is None:
            self.answers.append(envelope.code)
        elif data.type == "done":
            self.answers.append(0)
        elif data.type == "said":
            self._visit.receive(monotonic(), data.s, data.n)
        elif data.type == "connected":
            self._greeting = data
        elif data.type == "here":
            number, greeting = self._visit.number, self._greeting
            now = monotonic()
            self._history.add(
                Opened(number, now, data.pid, data.serial, greeting.clientId, greeting.username)
            )
            if not self.ready.done():
                self.ready.set_result(True)

    def _on_close(self, code: int) -> None:
        if self._transport is not None and not self._closing:
            self._transport.write(client_frame(code.to_bytes(2, "big"), CLOSE))
        # Another code than ours: the server was faster.
        self._end(ASKED if self._closing and code == 1000 else TOLD, code)

    def _end(self, how: str, code: int) -> None:
        if self.over.done():
            return
        if self._visit.opened is None:
            self.refuse(0)
            return
        self._history.add(Ended(self._visit.number, monotonic(), how, code))
        self._finish()

    def _finish(self) -> None:
        self.over.set_result(None)
        if not self.ready.done():
            self.ready.set_result(False)
        if self._transport is not None:
            self._transport.close()


class Door(NamedTuple):
    """Where to knock, and as whom."""

    port: int
    path: str
    session: str = ""
    asked: str = ""
    cookie: str = ""


async def connect(history: History, name: str, door: Door, *, buffer_bytes: int = 0) -> Client:
    """Try to connect; the client is ready, or over, when this returns."""
    number = len(history.visits)
    history.add(Tried(number, monotonic(), name, door.path, door.session, door.asked))
    client = Client(history, history.visits[number], _request(door))
    raw = socket.socket()
    raw.setblocking(False)
    if buffer_bytes:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await loop.sock_connect(raw, ("127.0.0.1", door.port))
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.create_connection(lambda: client, sock=raw)
            await client.ready
    except (OSError, TimeoutError):
        client.refuse(0)
        if client._transport is None:
            raw.close()
    return client


def _request(door: Door) -> bytes:
    lines = [
        f"GET {door.path}{f'?uuid={door.asked}' if door.asked else ''} HTTP/1.1",
        *(f"Host: 127.0.0.1:{door.port}", "Upgrade: websocket", "Connection: Upgrade"),
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        *((f"Cookie: jpulse_session={door.cookie}",) if door.cookie else ()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class Reply(NamedTuple):
    """What REST answered; status 0: nothing."""

    status: int
    cookie: str = ""


async def post(port: int, path: str, body: dict[str, Any], cookie: str = "") -> Reply:
    """POST JSON on a connection of its own."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await _post(port, path, json.dumps(body).encode(), cookie)
    except (OSError, TimeoutError, EOFError, ValueError):
        return Reply(0)


async def _post(port: int, path: str, body: bytes, cookie: str) -> Reply:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [
            *(f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"),
            *("Content-Type: application/json", f"Content-Length: {len(body)}"),
            *((f"Cookie: jpulse_session={cookie}",) if cookie else ()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head, _, _ = (await reader.read()).partition(b"\r\n\r\n")
        return _reply(head.decode())
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _reply(head: str) -> Reply:
    first, *lines = head.split("\r\n")
    if not first:
        raise EOFError("no answer")
    for line in lines:
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie":
            morsel = SimpleCookie(value).get("jpulse_session")
            if morsel is not None:
                return Reply(int(first.split()[1]), morsel.value)
    return Reply(int(first.split()[1]))
