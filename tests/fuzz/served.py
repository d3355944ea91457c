"""Targets that talk to a whole server, which runs in the loop of this process."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from handlers import NAMESPACES, ROUTES
from jpulse import wire
from jpulse.errors import InvalidMessage
from jpulse.testing import Server, serving

from ..raw_client import client_frame

Check = Callable[[bytes], None]

#: An answer that has not begun by then does not come: the request is not whole.
ANSWER_SECONDS = 0.05
#: Long enough for the server to notice.
HALT_SECONDS = 0.003
#: When nothing more is sent, the server ends the connection by then.
END_SECONDS = 60.0

HANDSHAKE = (
    b"GET /api/1/ws/%b HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyA6KQ==\r\n\r\n"
)


class Complaints(logging.Handler):
    """What the server has logged as its own fault."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)

    def raise_first(self) -> None:
        """Fail if there is one."""
        if self.records:
            record, self.records = self.records[0], []
            raise AssertionError(record.getMessage()) from (record.exc_info[1] if record.exc_info else None)


class Served:
    """A server, and the loop that runs while something is asked of it."""

    def __init__(self) -> None:
        self._complaints = Complaints()
        self._loop = asyncio.new_event_loop()
        self._context = serving(routes=ROUTES, namespaces=NAMESPACES, max_messages_per_second=0)
        self._server: Server = self._loop.run_until_complete(self._context.__aenter__())
        self.port = int(self._server.url.rpartition(":")[2])
        logging.getLogger().addHandler(self._complaints)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something happen; fails if the server complains."""
        self._loop.run_until_complete(work)
        self._complaints.raise_first()

    def close(self) -> None:
        """Drain the server and end the loop."""
        logging.getLogger().removeHandler(self._complaints)
        self._loop.run_until_complete(self._context.__aexit__(None, None, None))
        self._loop.close()

    async def exchange(self, request: bytes, *, is_whole: bool, halting: bool = False) -> bytes:
        """
        Send bytes on a connection of their own, and return all that comes back until it ends.

        `halting`: the first byte comes first, so that nobody takes the request for an ordinary one.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        try:
            writer.write(request[:1] if halting else request)
            if halting:
                await asyncio.sleep(HALT_SECONDS)
                writer.write(request[1:])
            if not is_whole:
                # Where the first byte is kept waiting it is known that an answer will come.
                answer = await _begin(reader, END_SECONDS if halting else ANSWER_SECONDS)
                writer.write_eof()
            async with asyncio.timeout(END_SECONDS):
                while data := await reader.read(65536):
                    answer += data
        except ConnectionError:
            # The server may end a connection as it likes.
            return answer
        finally:
            writer.close()
        return answer


async def _begin(reader: asyncio.StreamReader, seconds: float) -> bytes:
    """What comes soon; nothing if the request is such that the server waits for more of it."""
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(65536)
    except TimeoutError:
        return b""


@contextmanager
def running() -> Iterator[Served]:
    """A server for one target."""
    served = Served()
    try:
        yield served
    finally:
        served.close()


def check_answer(answer: bytes) -> None:
    """What comes back is nothing, or an answer of HTTP that blames the client; REST's has an envelope."""
    if not answer:
        return
    status_line = re.match(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n", answer)
    assert status_line, answer[:200]
    status = int(status_line[1])
    assert status < 500 or status == 503, answer[:500]
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head, re.IGNORECASE)
    if b"application/json" in head and length and 0 < int(length[1]) <= len(body):
        envelope = json.loads(body[: int(length[1])])
        assert envelope["success"] is (status < 400), envelope
        assert status < 400 or envelope["code"] == status, envelope


@contextmanager
def serving_handshakes() -> Iterator[Check]:
    """Bytes are a whole request; what is read of it at the door and by Tornado is the same."""
    with running() as served:

        async def ask(data: bytes) -> None:
            answer = await served.exchange(data, is_whole=False)
            check_answer(answer)
            if is_upgrade(answer):
                again = await served.exchange(data, is_whole=False, halting=True)
                assert is_upgrade(again), (answer, again)

        yield lambda data: served.run(ask(data))


REQUEST = b"%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"


def is_upgrade(answer: bytes) -> bool:
    """Tell whether a handshake was completed."""
    return answer.startswith(b"HTTP/1.1 101 ")


#: The addresses that read bodies.
REST = (
    b"POST /api/1/todo",
    b"PUT /api/1/todo/0123456789abcdef01234567",
    b"PUT /api/1/todo/0123456789abcdef01234567/toggle",
    b"DELETE /api/1/todo/0123456789abcdef01234567",
    b"POST /api/1/auth/login",
    b"POST /api/1/auth/logout",
    b"POST /auth/login",
    b"POST /auth/logout",
)
KINDS = (
    b"application/json",
    b"application/json; charset=utf-8",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=a",
    b"text/plain",
    b"",
)


@contextmanager
def serving_rest() -> Iterator[Check]:
    """The first two bytes choose address and Content-Type, the others are the body."""
    with running() as served:

        async def ask(data: bytes) -> None:
            address, kind, body = REST[data[0] % len(REST)], KINDS[data[1] % len(KINDS)], data[2:]
            answer = await served.exchange(REQUEST % (address, kind, len(body), body), is_whole=True)
            assert answer, "no answer"
            check_answer(answer)

        yield lambda data: served.run(ask(data)) if len(data) >= 2 else None


class Talk:
    """A WebSocket to one of the demos, opened again when it was closed."""

    def __init__(self, served: Served, namespace: bytes) -> None:
        self._served = served
        self._namespace = namespace
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def say(self, text: bytes) -> None:
        """Send a text, and wait until it has been handled."""
        async with asyncio.timeout(END_SECONDS):
            reader, writer = self._streams = self._streams or await self._open()
            # Answered in order, and there is no mistaking the answer.
            writer.write(client_frame(text) + client_frame(b"[]"))
            left = 1 + _is_refused(text)
            while left:
                answer = await self._read(reader)
                if answer is None:
                    writer.close()
                    self._streams = None
                    return
                left -= answer.get("error") == "Invalid message format"

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._served.port)
        writer.write(HANDSHAKE % self._namespace)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        return reader, writer

    async def _read(self, reader: asyncio.StreamReader) -> dict[str, Any] | None:
        """Read an envelope; None at the end, which only what is no text may bring."""
        first, length = await reader.readexactly(2)
        if length >= 126:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        payload = await reader.readexactly(length)
        if first == 0x80 | wire.CLOSE:
            assert payload[:2] == (1007).to_bytes(2, "big"), payload
            return None
        if first != 0x80 | wire.TEXT:
            return {}
        envelope = json.loads(payload)
        assert envelope["success"] or envelope["code"] < 500, envelope
        assert isinstance(envelope, dict)
        return envelope

    def close(self) -> None:
        """Let go of the socket."""
        if self._streams is not None:
            self._streams[1].close()


def _is_refused(text: bytes) -> bool:
    try:
        wire.decode(text)
    except InvalidMessage:
        return True
    return False


@contextmanager
def serving_messages() -> Iterator[Check]:
    """The first byte chooses one of the demos, the others are a text frame's payload."""
    with running() as served:
        talks = [Talk(served, name) for name in (b"hello-notes", b"hello-emoji", b"hello-todo")]

        def check(data: bytes) -> None:
            if data:
                served.run(talks[data[0] % len(talks)].say(data[1:]))

        yield check
        for talk in talks:
            talk.close()
