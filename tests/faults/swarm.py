"""Hundreds of WebSocket clients in one thread: they talk, listen, come back, and remember all they heard."""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec

from ..patience import LONG_SECONDS, Stopwatch
from ..raw_client import CLOSE, PING, PONG, TEXT, RawClient, client_frame, taken_frames

RELAY = "/api/1/ws/relay"
#: Somebody who lost the connection comes back after so many seconds.
RETURN_SECONDS = 0.2


class Member:
    """
    One client of a namespace of `tests.apps.cluster_app`.

    It is read only while its swarm turns. Without `returns` a connection that ends stays ended.
    """

    def __init__(self, swarm: Swarm, name: str, port: int, path: str, headers: dict[str, str]) -> None:
        self._swarm = swarm
        self.name = name
        self.port = port
        self.path = path
        self._headers = headers
        self.socket: socket.socket | None = None
        self._buffer = bytearray()
        self.client_id = ""
        #: The process that serves it; 0 while that is not known.
        self.pid = 0
        self.returns = False
        self.connections = 0
        #: How many messages it said; each carries its number, beginning with 0.
        self.said = 0
        #: What it heard from each sender: number and the swarm's time, in the order of arrival.
        self.heard: dict[str, list[tuple[int, float]]] = {}
        #: Everything else that it was sent.
        self.told: list[dict[str, Any]] = []
        #: How each of its connections ended: the close code, 1006 for none.
        self.closes: list[int] = []
        #: When each of them ended.
        self.ended_at: list[float] = []

    def connect(self) -> None:
        """Shake hands; the frames that come are read when the swarm turns."""
        query = f"?uuid={self.client_id}" if self.client_id else ""
        client = RawClient(self.port, self.path + query, headers=self._headers)
        self.socket, self._buffer, self.pid = client.socket, bytearray(client._received), 0
        self.connections += 1
        self._swarm.selector.register(self.socket, selectors.EVENT_READ, self)
        self.parse()

    def send(self, value: dict[str, Any]) -> None:
        """Send one message; whoever is not connected sends nothing."""
        if self.socket is not None:
            with suppress(ConnectionError):
                self.socket.sendall(client_frame(json.dumps(value).encode()))

    def say(self, kind: str = "say", **fields: Any) -> None:
        """Say the next number."""
        self._swarm.said_at[self.name, self.said] = self._swarm.now()
        self.send({"type": kind, "sender": self.name, "number": self.said, **fields})
        self.said += 1

    def flood(self, count: int, size: int) -> None:
        """Let the server say the next `count` numbers at once, each with `size` bytes."""
        now = self._swarm.now()
        for number in range(self.said, self.said + count):
            self._swarm.said_at[self.name, number] = now
        self.send({"type": "flood", "sender": self.name, "number": self.said, "count": count, "size": size})
        self.said += count

    def numbers(self, sender: Member) -> list[int]:
        """What it heard from somebody."""
        return [number for number, _ in self.heard.get(sender.name, ())]

    def has_told(self, kind: str) -> list[dict[str, Any]]:
        """What it was sent of one type."""
        return [each for each in self.told if each.get("type") == kind]

    def close(self) -> None:
        """Leave without a word."""
        if self.socket is not None:
            self._swarm.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None

    def read(self) -> None:
        """Take what has come."""
        assert self.socket is not None
        data = b""
        with suppress(ConnectionError):
            data = self.socket.recv(262144)
        if data:
            self._buffer += data
            self.parse()
        else:
            self._ended(1006)

    def parse(self) -> None:
        """Handle the frames that are complete."""
        for opcode, payload in taken_frames(self._buffer):
            self._on_frame(opcode, payload)

    def _on_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._on_message(msgspec.json.decode(payload))
        elif opcode == PING and self.socket is not None:
            self.socket.sendall(client_frame(payload, PONG))
        elif opcode == CLOSE:
            self._ended(int.from_bytes(payload[:2], "big"))

    def _on_message(self, envelope: dict[str, Any]) -> None:
        data = envelope.get("data", envelope)
        kind = data.get("type")
        if kind == "said":
            self.heard.setdefault(data["sender"], []).append((data["number"], self._swarm.now()))
            self._swarm.deliveries += 1
            return
        self.told.append(data)
        if kind == "connected":
            self.client_id = data["clientId"]
        elif kind == "here":
            self.pid = data["pid"]

    def _ended(self, code: int) -> None:
        if self.socket is None:
            return
        if code != 1006:
            with suppress(OSError):
                self.socket.sendall(client_frame(code.to_bytes(2, "big"), CLOSE))
        self.close()
        self.closes.append(code)
        self.ended_at.append(time.monotonic())
        if self.returns:
            self._swarm.returning.append((time.monotonic() + RETURN_SECONDS, self))


class Swarm:
    """Many clients, which live while `turn`, `run_for` or `run_until` runs."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.members: list[Member] = []
        self.returning: list[tuple[float, Member]] = []
        self.said_at: dict[tuple[str, int], float] = {}
        #: Messages that any member heard.
        self.deliveries = 0
        #: Seconds that it did not live, up to the last turn's end, which was at `_turned`.
        self._apart, self._turned = 0.0, time.monotonic()
        self._talkers: list[Member] = []
        self._talk_every = 0.0
        self._next_talk = 0.0

    def join(
        self,
        port: int,
        path: str = RELAY,
        *,
        client_id: str = "",
        headers: dict[str, str] | None = None,
        returns: bool = False,
    ) -> Member:
        """Let one more client connect, and wait until it knows who it is."""
        member = Member(self, f"m{len(self.members)}", port, path, headers or {})
        member.client_id, member.returns = client_id, returns
        self.members.append(member)
        member.connect()
        self.run_until(lambda: self._knows(member), LONG_SECONDS, "the first frames")
        return member

    def join_many(self, port: int, count: int, *, returns: bool = False) -> list[Member]:
        """Let many connect."""
        return [self.join(port, returns=returns) for _ in range(count)]

    @staticmethod
    def _knows(member: Member) -> bool:
        return bool(member.has_told("connected")) and (member.path != RELAY or member.pid != 0)

    def talk(self, members: Iterable[Member], every: float) -> None:
        """From now on let each of them say a number every so many seconds; `talk((), 1)` ends it."""
        self._talkers, self._talk_every = list(members), every
        self._next_talk = time.monotonic()

    def turn(self, seconds: float = 0.02) -> None:
        """Read what has come, or wait for it, and let talk and come back those whose time it is."""
        self._apart += time.monotonic() - self._turned
        self._talk()
        for key, _ in self.selector.select(seconds):
            if key.data.socket is key.fileobj:
                key.data.read()
        self._bring_back()
        self._turned = time.monotonic()

    def now(self) -> float:
        """The time, less that in which the swarm did not live and nobody could hear anything."""
        return time.monotonic() - self._apart

    def run_for(self, seconds: float) -> None:
        """Live for some time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turn()

    def run_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Live until something is true; fail when it takes too long by a stopwatch."""
        watch = Stopwatch()
        while not condition():
            assert not watch.is_over(seconds), f"waited {seconds} s in vain for {what}"
            self.turn()

    def run_until_heard(
        self, sender: Member, listeners: Iterable[Member], number: int, seconds: float
    ) -> None:
        """Live until all of them heard one number of somebody's."""
        waiting = list(listeners)

        def all_heard() -> bool:
            waiting[:] = [each for each in waiting if number not in each.numbers(sender)]
            return not waiting

        self.run_until(all_heard, seconds, f"number {number} of {sender.name}")

    def leave(self) -> None:
        """Let all leave, so that nobody has to wait for their goodbyes."""
        self.returning = []
        for member in self.members:
            member.close()

    def close(self) -> None:
        """Let all leave for good."""
        self.leave()
        self.selector.close()

    def _talk(self) -> None:
        now = time.monotonic()
        if self._talkers and now >= self._next_talk:
            self._next_talk = max(self._next_talk + self._talk_every, now - self._talk_every)
            for member in self._talkers:
                member.say()

    def _bring_back(self) -> None:
        now = time.monotonic()
        due = [member for when, member in self.returning if when <= now]
        self.returning = [(when, member) for when, member in self.returning if when > now]
        for member in due:
            try:
                member.connect()
            except (OSError, EOFError, AssertionError):
                self.returning.append((now + RETURN_SECONDS, member))


def new_client_id() -> str:
    """A UUID as browsers make them."""
    data = bytearray(os.urandom(16))
    data[6], data[8] = data[6] & 0x0F | 0x40, data[8] & 0x3F | 0x80
    text = data.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
