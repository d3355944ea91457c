"""The sockets that Tornado's HTTP server reads: what the door knows of them, and an answer Tornado lacks."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio import Future
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError, UnsatisfiableReadError

from . import wire
from .store.base import StoreUnavailable

MAX_HEADER_BYTES = 65536
_TOO_LARGE = wire.failure(f"The headers are larger than {MAX_HEADER_BYTES} bytes", 431)
_TOO_LARGE_ANSWER = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json; charset=UTF-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_TOO_LARGE), _TOO_LARGE)
)
#: Who is shown out may go on sending for so long.
LINGER_SECONDS = 5.0


class HttpStream(IOStream):
    """A socket that the door has handed over; it answers 431 to headers that do not end, and then closes."""

    #: Why the session of the first request could not be looked up: the store is not asked twice.
    trouble: StoreUnavailable | None = None
    #: True from the beginning of a request to the end of its headers.
    in_headers = True
    #: Called when headers are too large.
    on_too_large: Callable[[], None] | None = None
    #: Called with the stream when it closes, whoever closes it.
    on_closed: Callable[[HttpStream], None] | None = None
    #: Called with the stream when the kernel did not take all of what was written.
    on_waiting: Callable[[HttpStream], None] | None = None
    #: Bytes that the kernel has taken.
    taken = 0
    #: True if the answer is given before all of the request has come, which is heard but not kept.
    answers_early = False

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Read the headers of a request, unless it is one more of a peer to whom nothing can be said."""
        if self.closed():
            raise StreamClosedError(real_error=self.error)
        return super().read_until_regex(regex, max_bytes)

    def write(self, data: bytes | memoryview) -> Future[None]:
        """Write, and tell if the peer does not take it all at once."""
        written = super().write(data)
        if self.writing() and self.on_waiting is not None:
            self.on_waiting(self)
        return written

    def write_to_fd(self, data: memoryview) -> int:
        """Write what the kernel takes, and count it."""
        sent = super().write_to_fd(data)
        self.taken += sent
        return sent

    def close(self, exc_info: Any = False) -> None:
        """Close, and first say why if it is for the headers."""
        if not self.closed():
            if isinstance(exc_info, UnsatisfiableReadError) and self.in_headers:
                self._refuse_headers()
            elif self.answers_early:
                self._linger()
        super().close(exc_info)
        if self.on_closed is not None:
            self.on_closed(self)

    def _refuse_headers(self) -> None:
        # A peer that is gone already is not told.
        with suppress(OSError):
            self.write_to_fd(memoryview(_TOO_LARGE_ANSWER))
            self._linger()
        if self.on_too_large is not None:
            self.on_too_large()

    def _linger(self) -> None:
        # Not its dup(), which TLS sockets have not.
        linger(socket.socket(fileno=os.dup(self.socket.fileno())))


class SecureHttpStream(HttpStream, SSLIOStream):
    """The same under TLS."""


def linger(sock: socket.socket) -> None:
    """
    Close a socket after its last answer, once the peer has heard it.

    What comes is read and dropped for a moment: a socket that is closed with unread bytes
    sends a reset, which makes the peer forget the answer.
    """
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    # A peer that is gone already ends it below.
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)

    def end() -> None:
        timer.cancel()
        loop.remove_reader(sock)
        sock.close()

    def drop() -> None:
        try:
            rest = sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            rest = b""
        if not rest:
            end()

    timer = loop.call_later(LINGER_SECONDS, end)
    loop.add_reader(sock, drop)


class Requests(HTTPServerConnectionDelegate):
    """Lets the door know how far the requests are that Tornado's server reads."""

    def __init__(self, app: HTTPServerConnectionDelegate, on_headers: Callable[[HttpStream], None]) -> None:
        self._app = app
        self._on_headers = on_headers

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Let the application answer a request."""
        stream = cast(HttpStream, cast(HTTP1Connection, request_conn).stream)
        stream.in_headers = True
        delegate = self._app.start_request(server_conn, request_conn)
        return _Watched(delegate, stream, self._on_headers)


class _Watched(HTTPMessageDelegate):
    """Passes a request on, and tells when its headers are complete."""

    def __init__(
        self, delegate: HTTPMessageDelegate, stream: HttpStream, on_headers: Callable[[HttpStream], None]
    ) -> None:
        self._stream = stream
        self._inner = delegate
        self._on_headers = on_headers
        self.data_received = delegate.data_received  # type: ignore[method-assign]
        self.finish = delegate.finish  # type: ignore[method-assign]
        self.on_connection_close = delegate.on_connection_close  # type: ignore[method-assign]

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Tell, and pass it on."""
        self._on_headers(self._stream)
        return self._inner.headers_received(start_line, headers)


class BoundedBody(HTTPMessageDelegate):
    """Passes a body of unknown length on, until it is too large; then somebody else answers."""

    def __init__(
        self, delegate: HTTPMessageDelegate, max_bytes: int, make_refusal: Callable[[], HTTPMessageDelegate]
    ) -> None:
        self._inner = delegate
        self._max_bytes = max_bytes
        self._make_refusal = make_refusal
        self._passed_on = 0

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Pass them on, and keep them for who refuses."""
        self._head = start_line, headers
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass a part of the body on, or let it be refused."""
        self._passed_on += len(chunk)
        if self._passed_on - len(chunk) <= self._max_bytes < self._passed_on:
            self._inner.on_connection_close()
            self._inner = self._make_refusal()
            return self._inner.headers_received(*self._head)
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        """Pass it on."""
        self._inner.finish()

    def on_connection_close(self) -> None:
        """Pass it on."""
        self._inner.on_connection_close()


def answer_early(connection: HTTPConnection | None) -> None:
    """Let the peer of a request send the rest for nothing, so that it hears the answer."""
    stream = _stream_of(connection)
    if stream is not None:
        stream.answers_early = True


def take_trouble(connection: HTTPConnection | None) -> StoreUnavailable | None:
    """What is known of the store already for the request at hand, once."""
    stream = _stream_of(connection)
    if stream is None:
        return None
    trouble, stream.trouble = stream.trouble, None
    return trouble


def _stream_of(connection: HTTPConnection | None) -> HttpStream | None:
    stream = getattr(connection, "stream", None)
    return stream if isinstance(stream, HttpStream) else None
