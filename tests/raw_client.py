"""A WebSocket client without manners: it sends whatever bytes a test wants, whenever."""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import ssl
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .patience import LONG_SECONDS

#: A socket that does not block has nothing to give or to take.
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def client_frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, mask: bytes | None = None) -> bytes:
    """Make a masked frame, as clients must (RFC 6455 section 5.1)."""
    mask = os.urandom(4) if mask is None else mask
    length = len(payload)
    if length < 126:
        head = bytes((length | 0x80,))
    elif length < 65536:
        head = bytes((126 | 0x80,)) + length.to_bytes(2, "big")
    else:
        head = bytes((127 | 0x80,)) + length.to_bytes(8, "big")
    repeated = (mask * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return bytes((opcode | (0x80 if fin else 0),)) + head + mask + masked.to_bytes(length, "big")


def taken_frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take the complete frames of a server from a buffer: opcode and payload; leaves those not asked for."""
    begin = 0
    try:
        while len(buffer) >= begin + 2:
            length, head = buffer[begin + 1], 2
            if length == 126:
                length, head = int.from_bytes(buffer[begin + 2 : begin + 4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(buffer[begin + 2 : begin + 10], "big"), 10
            end = begin + head + length
            if len(buffer) < end:
                return
            opcode, payload = buffer[begin] & 0x0F, bytes(buffer[begin + head : end])
            begin = end
            yield opcode, payload
    finally:
        del buffer[:begin]


class RawClient:
    """One connection over a blocking socket; every wait ends after `timeout` seconds."""

    def __init__(
        self,
        port: int,
        path: str = "/",
        *,
        host: str = "127.0.0.1",
        headers: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = LONG_SECONDS,
        receive_buffer: int | None = None,
        shake_hands: bool = True,
    ) -> None:
        self.socket: socket.socket = socket.socket()
        self._received = b""
        #: Set by the tests that agreed on permessage-deflate.
        self.inflates = False
        #: Messages that came compressed, and the bytes of their payloads as they came.
        self.compressed_messages = self.compressed_bytes = 0
        self.port = port
        try:
            self._connect(host, timeout, receive_buffer, tls)
            if shake_hands:
                self.send(self.handshake_request(path, headers))
                status, _ = self.read_head()
                assert status == 101, status
        except BaseException:
            self.socket.close()
            raise

    def _connect(
        self, host: str, timeout: float, receive_buffer: int | None, tls: ssl.SSLContext | None
    ) -> None:
        self.socket.settimeout(timeout)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((host, self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Vanish: close the socket so that the server gets RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def handshake_request(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        """Make the request that asks for a WebSocket; a header given as "" is left out."""
        wanted = {
            "Host": f"127.0.0.1:{self.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            **(headers or {}),
        }
        lines = [f"{name}: {value}" for name, value in wanted.items() if value != ""]
        return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def exchange(self, data: bytes) -> None:
        """Send bytes, and keep what comes meanwhile for later reads, so that neither side waits."""
        timeout, rest = self.socket.gettimeout(), memoryview(data)
        self.socket.setblocking(False)
        try:
            while rest:
                ready = select.select([self.socket], [self.socket], [], timeout)
                assert any(ready), "the server neither reads nor sends"
                with suppress(*NOT_NOW):
                    rest = rest[self.socket.send(rest[:65536]) :]
                with suppress(*NOT_NOW):
                    self._read_more()
        finally:
            self.socket.settimeout(timeout)

    def send_json(self, value: Any) -> None:
        """Send a text frame of JSON."""
        self.send(client_frame(json.dumps(value).encode()))

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Read an HTTP answer's head: status and headers, names in lower case."""
        while b"\r\n\r\n" not in self._received:
            self._read_more()
        head, self._received = self._received.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        fields = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in fields}

    def read_body(self, headers: dict[str, str]) -> bytes:
        """Read the body that follows a head."""
        return self._take(int(headers["content-length"]))

    def read_frame(self) -> tuple[int, bytes]:
        """Read a whole frame: opcode and payload. EOFError when the server has sent FIN."""
        first, length = self._take(2)
        assert first & 0x70 in ((0, 0x40) if self.inflates else (0,)), "the server set reserved bits"
        assert length < 128, "the server masked a frame"
        if length == 126:
            length = int.from_bytes(self._take(2), "big")
        elif length == 127:
            length = int.from_bytes(self._take(8), "big")
        payload = self._take(length)
        return first & 0x0F, self._inflated(payload) if first & 0x40 else payload

    def _inflated(self, payload: bytes) -> bytes:
        self.compressed_messages += 1
        self.compressed_bytes += len(payload)
        # RFC 7692 section 7.2.2, each message on its own.
        return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")

    def read_json(self, *, skip_pings: bool = True) -> dict[str, Any]:
        """Read the next text frame."""
        opcode, payload = self.read_frame()
        while skip_pings and opcode == PING:
            opcode, payload = self.read_frame()
        assert opcode == TEXT, (opcode, payload)
        value = json.loads(payload)
        assert isinstance(value, dict)
        return value

    def read_data(self, kind: str) -> dict[str, Any]:
        """Read text frames until one of this type comes, and return its data."""
        while True:
            data = self.read_json().get("data", {})
            if data.get("type") == kind:
                assert isinstance(data, dict)
                return data

    def read_close(self) -> tuple[int, str]:
        """Read frames until the close frame; its code (1005 if it has none) and reason."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == CLOSE:
                return (int.from_bytes(payload[:2], "big"), payload[2:].decode()) if payload else (1005, "")

    def at_end(self) -> bool:
        """Wait for what comes next: True if it is the server's FIN or reset."""
        try:
            self._take(1)
        except (EOFError, ConnectionResetError):
            return True
        return False

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            self._read_more()
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _read_more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the server closed the connection")
        self._received += data
