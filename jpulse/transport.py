"""
The socket after the handshake: it is read when it is ready, and written at once.

The door has completed the handshake, and `adopt` has the socket from it; or Tornado has, which
does TLS and what is unusual, and `take_over` has the socket from Tornado's stream.
Awaiting Tornado's stream for every frame costs an echo 58 µs, this way 10. What this
needs of Tornado's private parts is in this file alone, and a test watches it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPConnection
from tornado.iostream import IOStream
from tornado.util import _websocket_mask

from .websocket import BaseConnection
from .wire import Unmask

log = logging.getLogger("jpulse.transport")

#: The most that is read from a socket before others have their turn.
READ_BYTES = 65536


#: Unmasks a payload with Tornado's C function: 13 GB/s where `wire.xor_unmask` does 0.3.
unmask: Unmask = _websocket_mask


class SocketTransport:
    """A plain TCP socket."""

    __slots__ = ("_connection", "_fd", "_loop", "_reading", "_rest", "_socket", "blocked")

    def __init__(self, sock: socket.socket, connection: BaseConnection) -> None:
        self._socket = sock
        self._fd = sock.fileno()
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._reading = False
        #: What the kernel would not take.
        self._rest = memoryview(b"")
        self.blocked = False
        connection.transport = self

    # Reading

    def resume_reading(self) -> None:
        """Read the socket whenever there is something; may be called again."""
        if not self._reading and self._fd >= 0:
            self._reading = True
            self._loop.add_reader(self._fd, self._on_readable)

    def pause_reading(self) -> None:
        """Leave what comes in the kernel's buffer; may be called again."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._deliver(data)
        else:
            self._connection.connection_lost()

    def _deliver(self, data: bytes) -> None:
        try:
            self._connection.data_received(data)
        except Exception:
            # A fault of ours, not of a handler: those are caught where they are called.
            log.exception("a connection is cut because handling its input failed")
            self._connection.connection_lost()

    # Writing

    def send(self, data: bytes) -> int:
        """Send what the kernel takes now and keep the rest; returns the number of bytes kept."""
        sent = self._try_send(data)
        if sent == len(data):
            return 0
        self._rest = memoryview(data)[sent:]
        self.blocked = True
        self._loop.add_writer(self._fd, self._on_writable)
        return len(self._rest)

    def _try_send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # Told later: the caller may be in the middle of a broadcast.
            self._loop.call_soon(self._connection.connection_lost)
            return len(data)

    def _on_writable(self) -> None:
        sent = self._try_send(self._rest)
        self._rest = self._rest[sent:]
        if not self._rest:
            self.blocked = False
            self._loop.remove_writer(self._fd)
        self._connection.bytes_sent(sent)

    # The end

    def half_close(self) -> None:
        """Send FIN; what comes in is still read, so that the peer gets our last bytes rather than a reset."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            # The peer was faster; reading tells the connection.
            log.debug("the peer closed first")

    def discard_output(self) -> None:
        """Let the kernel throw away, when the socket is closed, what the peer has not taken: it gets RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def abort(self) -> None:
        """Close the socket at once, whatever waits; may be called again."""
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._fd = -1
        self._reading, self.blocked, self._rest = False, False, memoryview(b"")
        self._socket.close()


class TlsTransport(SocketTransport):
    """A TLS socket, whose reads may want to write and whose bytes may wait inside OpenSSL."""

    __slots__ = ()

    _socket: ssl.SSLSocket

    def resume_reading(self) -> None:
        """Read the socket, and first what OpenSSL decrypted before the pause."""
        if not self._reading and self._fd >= 0:
            super().resume_reading()
            self._loop.call_soon(self._on_readable)

    def _on_readable(self) -> None:
        while self._reading:
            try:
                data = self._socket.recv(READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except (OSError, ValueError):
                data = b""
            if not data:
                self._connection.connection_lost()
                return
            self._deliver(data)
            if self._fd < 0 or not self._socket.pending():
                return

    def _try_send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            # OpenSSL wants the same bytes again, and gets them: what waits is sent first.
            return 0
        except OSError:
            self._loop.call_soon(self._connection.connection_lost)
            return len(data)


def adopt(sock: socket.socket, connection: BaseConnection) -> SocketTransport:
    """Give a connection its socket, which must not block; it is read from `resume_reading` on."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    kind = TlsTransport if isinstance(sock, ssl.SSLSocket) else SocketTransport
    return kind(sock, connection)


def stay_open(connection: HTTPConnection | None) -> None:
    """
    Let an HTTP connection outlive its answer, which is 101, also if it was to be its last one.

    Else Tornado writes `Connection: close` over our `Connection: Upgrade` and closes the stream
    before it is taken over: during a drain, when no connection is kept alive.
    """
    if isinstance(connection, HTTP1Connection):
        connection._disconnect_on_finish = False


def take_over(stream: IOStream, connection: BaseConnection) -> None:
    """
    Move the socket of a stream that Tornado has let go of (`RequestHandler.detach`) to a connection.

    What Tornado has read beyond the handshake is delivered first, what it has not yet
    written is sent first.
    """
    sock = stream.socket
    early = bytes(memoryview(stream._read_buffer)[: stream._read_buffer_size])
    unsent = _unsent(stream)
    if stream._state is not None:
        stream.io_loop.remove_handler(stream.fileno())
        stream._state = None
    # A closed stream without a socket is left alone by whoever in Tornado still knows it.
    stream.socket = None  # type: ignore[assignment]
    stream._closed = True
    transport = adopt(sock, connection)
    if early:
        # Planned before reading is: a TLS socket is read at once.
        asyncio.get_running_loop().call_soon(transport._deliver, early)
    transport.resume_reading()
    if unsent:
        connection.queued_bytes = transport.send(unsent)


def _unsent(stream: IOStream) -> bytes:
    parts = []
    while stream._write_buffer:
        part = stream._write_buffer.peek(READ_BYTES)
        parts.append(bytes(part))
        size = len(part)
        part.release()
        stream._write_buffer.advance(size)
    return b"".join(parts)
