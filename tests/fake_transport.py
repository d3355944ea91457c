"""A socket of which a test decides how much it takes, and connections with no other clock than the test's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from jpulse.bridge.base import Bridge
from jpulse.connection import Connection, Handler
from jpulse.hub import Hub
from jpulse.namespace import Limits, Namespace
from jpulse.websocket import Scheduler
from jpulse.wire import CLOSE, PING, FrameParser

START = 1000.0


class FakeTransport:
    """Records what it is sent; `takes` bytes at most, as a kernel whose buffer fills up."""

    def __init__(self, connection: Connection) -> None:
        self.sent = b""
        self.sends = 0
        #: Bytes that still fit; None for a peer that reads everything.
        self.takes: int | None = None
        self.kept = b""
        self.blocked = False
        self.half_closed = False
        self.aborted = False
        self.discards = False
        self.reading = True
        connection.transport = self

    def send(self, data: bytes) -> int:
        """Take what fits and keep the rest."""
        assert not self.blocked, "sent while older bytes wait"
        self.sends += 1
        fits = len(data) if self.takes is None else min(self.takes, len(data))
        self.sent += data[:fits]
        self.kept = data[fits:]
        if self.takes is not None:
            self.takes -= fits
        self.blocked = bool(self.kept)
        return len(self.kept)

    def half_close(self) -> None:
        """Note the FIN."""
        self.half_closed = True

    def abort(self) -> None:
        """Note the end."""
        self.aborted = True

    def discard_output(self) -> None:
        """Note that a close throws away what was not sent."""
        self.discards = True

    def pause_reading(self) -> None:
        """Note the pause."""
        self.reading = False

    def resume_reading(self) -> None:
        """Note the end of the pause."""
        self.reading = True


@dataclass
class Client:
    """A connection and the transport beneath it."""

    connection: Connection
    transport: FakeTransport

    def frames(self) -> list[tuple[int, bytes]]:
        """What the peer got: opcodes, with RSV1 if the payload is compressed, and payloads."""
        data, frames = self.transport.sent, []
        while data:
            length, begin = data[1], 2
            if length >= 126:
                begin = 4 if length == 126 else 10
                length = int.from_bytes(data[2:begin], "big")
            frames.append((data[0] & 0x4F, data[begin : begin + length]))
            data = data[begin + length :]
        return frames

    def pings(self) -> int:
        """How many pings the peer got."""
        return sum(opcode == PING for opcode, _ in self.frames())

    def close_code(self) -> int | None:
        """The code of the close frame that the peer got, if it got one."""
        codes = [int.from_bytes(payload[:2], "big") for opcode, payload in self.frames() if opcode == CLOSE]
        assert len(codes) <= 1, "more than one close frame"
        return codes[0] if codes else None


class World:
    """A hub with one namespace, a clock that stands still, and turns of the loop that end on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bridge: Bridge | None = None) -> None:
        self.now = START
        self._planned: list[Callable[[], None]] = []
        monkeypatch.setattr("jpulse.websocket.monotonic", lambda: self.now)
        monkeypatch.setattr("jpulse.connection.monotonic", lambda: self.now)
        self.hub = Hub(Scheduler(close_seconds=5.0, call_soon=self._planned.append), bridge)
        self.namespace = self.namespace_at("/api/1/ws/test")

    @property
    def planned(self) -> int:
        """How often something is to be done at the end of this turn."""
        return len(self._planned)

    def namespace_at(self, path: str) -> Namespace:
        """Another namespace of the same hub."""
        limits = Limits(
            max_message_bytes=1000,
            max_messages_per_second=0,
            max_outbox_bytes=1000,
            max_inbox_messages=10,
            max_json_depth=5,
            message_seconds=60.0,
            handler_seconds=100.0,
            blocking_seconds=1.0,
        )
        return Namespace(path, self.hub, limits)

    def connect(
        self,
        client_id: str = "one",
        *,
        user: Any = None,
        session_id: str = "",
        ip: str = "10.0.0.7",
        namespace: Namespace | None = None,
        window_bits: int = 0,
    ) -> Client:
        """A client that has connected and got its first frame."""
        namespace = namespace or self.namespace
        parser = FrameParser(namespace.limits.max_message_bytes, inflates=window_bits > 0)
        connection = Connection(
            namespace,
            self.hub.scheduler,
            parser,
            client_id=client_id,
            user=user,
            session_id=session_id,
            ip=ip,
        )
        connection.window_bits = window_bits
        transport = FakeTransport(connection)
        self.hub.take_place(ip)
        connection.start()
        self.end_turn()
        transport.sent, transport.sends = b"", 0
        return Client(connection, transport)

    def on_disconnect(self, handler: Handler) -> None:
        """Call a function for every connection that ends."""
        self.namespace.on_disconnect(handler)

    def end_turn(self) -> None:
        """Do what was planned for the end of this turn of the loop."""
        while self._planned:
            self._planned.pop(0)()
