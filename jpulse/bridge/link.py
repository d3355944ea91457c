"""
A connection to Redis without a task or a future for each message.

redis-py connects and signs in, over TCP, TLS or a Unix socket; then its transport is taken
over. A broadcast that goes alone costs its sender 81 µs of bridge, of many at once each costs
17 all in all (`python -m tests.bench --case bridge`). The one private name of redis-py that
this needs is here, with a test that fails when it changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError


class Link(asyncio.Protocol):
    """Commands go out as bytes; `on_reply` is called for each answer, and for what is heard."""

    def __init__(self, connection: AbstractConnection, on_reply: Callable[[Any], None]) -> None:
        self._on_reply = on_reply
        self._reader = hiredis.Reader(protocolError=RedisConnectionError, replyError=_error)
        writer = connection._writer
        if writer is None:
            raise RedisConnectionError("the connection was lost")
        self._transport = cast(asyncio.Transport, writer.transport)
        self._former = cast(asyncio.Protocol, self._transport.get_protocol())
        #: Waits for the answer to `ask`.
        self._asked: asyncio.Future[Any] | None = None
        #: Done when the connection is lost, with the reason.
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport.set_protocol(self)

    def write(self, data: bytes) -> None:
        """Send commands; what the kernel does not take now waits in the transport."""
        self._transport.write(data)

    async def ask(self, *words: str) -> Any:
        """Send one command and return its answer; only while nothing else is sent."""
        self._asked = asyncio.get_running_loop().create_future()
        self.write(command(*words))
        await asyncio.wait([self._asked, self.lost], return_when=asyncio.FIRST_COMPLETED)
        if not self._asked.done():
            raise RedisConnectionError("the connection was lost")
        return self._asked.result()

    def close(self) -> None:
        """Close the socket at once."""
        self._transport.abort()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Take bytes, and hand out the answers that are whole."""
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                self._take(reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, this stream cannot be trusted any more
            self._fail(error)

    def _take(self, reply: Any) -> None:
        if isinstance(reply, RedisError):
            raise reply
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(reply)
        else:
            self._on_reply(reply)

    def eof_received(self) -> None:
        """Close with the server."""
        self._fail(RedisConnectionError("Redis closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Let everybody know, those who lent the transport too."""
        self._fail(exc or RedisConnectionError("the connection was lost"))
        self._former.connection_lost(exc)

    def _fail(self, error: Exception) -> None:
        if not self.lost.done():
            self.lost.set_exception(error)
            # Whoever awaits it learns of it; who no longer does need not be told.
            self.lost.exception()
        self._transport.abort()


def _error(text: str) -> ResponseError:
    """The exception for an error that Redis answers."""
    return NoPermissionError(text) if text.startswith("NOPERM") else ResponseError(text)


def command(*words: str) -> bytes:
    """Write a command as Redis reads it (RESP, arrays of bulk strings)."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def publish_command(channel: bytes, data: bytes) -> bytes:
    """Write PUBLISH."""
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(data), data)
