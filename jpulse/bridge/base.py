"""
What a bridge is, what travels over it, and whom it tells.

A packet is a head of fixed size, a target and a payload; what browsers are sent is in
it as the WebSocket frame that the sender has made, so that nobody encodes it again.
"""

from __future__ import annotations

import os
import struct
import zlib
from abc import ABC, abstractmethod
from enum import IntEnum
from typing import NamedTuple, Protocol

import msgspec

#: The layout of packets. A receiver skips what a newer version sent.
VERSION = 1
#: Version, kind, sender, sequence number, CRC-32, length of the target.
_HEAD = struct.Struct("!BB8sQIH")
_SENDER = slice(2, 10)

#: The topic that every process hears.
ALL = "all"
#: What the topics of namespaces begin with.
_NAMESPACE = "ns:"
UP, DOWN, RESYNCED = "up", "down", "resynced"


class Kind(IntEnum):
    """What a packet is; a number is never given a second meaning."""

    #: A frame for a namespace; the target is the client id that is left out.
    BROADCAST = 1
    #: A frame for one client id, or for one user.
    TO_CLIENT = 2
    TO_USER = 3
    #: Sessions to look up again: a JSON array of id_hashes, or null for all.
    SESSIONS = 4
    #: Who came and who left; `cluster` has the shape.
    PRESENCE = 5
    #: The figures of a process; `cluster` has the shape.
    SNAPSHOT = 6
    #: Asks for a full PRESENCE; the target is the topic to send it to.
    WANTED = 7
    #: The sender stops.
    GOODBYE = 8
    #: Comes back to its sender, or the bridge is down.
    CANARY = 9
    #: An attempt to sign in: a JSON array of the name's key, the address and whether it failed.
    GUESS = 10
    #: An administrator's question to all, an answer to it, and an order to one process; see `admin`.
    QUESTION = 11
    ANSWER = 12
    ORDER = 13
    #: What processes that have ended had counted; `cluster` has the shape.
    RETIRED = 14


KINDS = frozenset(Kind)
#: Worth nothing later: not kept while the bridge is down.
FLEETING = frozenset(
    (
        *(Kind.PRESENCE, Kind.SNAPSHOT, Kind.WANTED, Kind.CANARY),
        *(Kind.QUESTION, Kind.ANSWER, Kind.ORDER, Kind.RETIRED),
    )
)


class Packet(NamedTuple):
    """What came from another process."""

    topic: str
    kind: Kind
    #: The sender's random instance id.
    sender: bytes
    #: Counts up by one in a topic of a sender.
    sequence: int
    target: str
    payload: bytes


class NewerVersion(Exception):
    """A packet was made by a newer version than this."""


class Damaged(Exception):
    """A packet is not what was sent."""


def encode(packet: Packet) -> bytes:
    """Make the bytes of a packet; the topic is not in them, but the checksum covers it."""
    target = packet.target.encode()
    check = _check(packet.topic, packet.kind, packet.sender, packet.sequence, target, packet.payload)
    head = _HEAD.pack(VERSION, packet.kind, packet.sender, packet.sequence, check, len(target))
    return b"%b%b%b" % (head, target, packet.payload)


def decode(topic: str, data: bytes) -> Packet:
    """Read a packet; NewerVersion if another process knows more than this one, Damaged if it is not whole."""
    if not data:
        raise Damaged("it is empty")
    if data[0] > VERSION:
        raise NewerVersion(f"its version is {data[0]}")
    if data[0] != VERSION or len(data) < _HEAD.size:
        raise Damaged("its head is not one")
    _, kind, sender, sequence, check, length = _HEAD.unpack_from(data)
    start = _HEAD.size + length
    target, payload = data[_HEAD.size : start], data[start:]
    if len(target) != length or _check(topic, kind, sender, sequence, target, payload) != check:
        raise Damaged("its checksum is wrong")
    if kind not in KINDS:
        raise NewerVersion(f"its kind is {kind}")
    try:
        return Packet(topic, Kind(kind), sender, sequence, target.decode(), payload)
    except UnicodeDecodeError:
        raise Damaged("its target is no text") from None


def sender_of(data: bytes) -> bytes:
    """Who made a packet, without reading the rest of it."""
    return data[_SENDER]


def _check(topic: str, kind: int, sender: bytes, sequence: int, target: bytes, payload: bytes) -> int:
    # TCP loses no bytes, but what lies between may: a proxy, or a program that publishes here too.
    head = b"%b\0%d\0%b\0%d\0%d\0%b" % (topic.encode(), kind, sender, sequence, len(target), target)
    return zlib.crc32(payload, zlib.crc32(head))


def new_instance() -> bytes:
    """Make the id of a process: random, since process ids are the same in every container."""
    return os.urandom(8)


class BridgeFigures(msgspec.Struct, rename="camel"):
    """What a bridge has counted since it was started."""

    #: Packets that went out and that came in, those of the bridge's own upkeep among them.
    published: int = 0
    received: int = 0
    #: Packets that were to go out and could not.
    lost: int = 0
    #: Packets of others that did not arrive.
    gaps: int = 0
    #: Packets that came again, after their sender could not know whether they had arrived.
    duplicates: int = 0
    damaged: int = 0
    #: Packets of a newer version, which were skipped.
    newer: int = 0
    reconnects: int = 0
    #: How long the last canary was under way; None until the first came back.
    lag_seconds: float | None = None


class BridgeEvents(Protocol):
    """Told what happens on a bridge; `cluster` is."""

    def on_packet(self, packet: Packet) -> None:
        """Take what another process sent."""

    def on_bridge(self, state: str) -> None:
        """Learn that the others can be reached again (UP), or not any more (DOWN)."""

    def on_gap(self, topic: str, sender: bytes) -> None:
        """Learn that something of another process did not arrive; called before what came after it."""

    def others(self) -> int:
        """How many other processes there are, as far as is known."""


class Bridge(ABC):
    """
    Carries packets to the other processes: each exactly once, in order, while it is up.

    Nothing here blocks or raises for want of the other side.
    """

    #: UP or DOWN.
    state: str = UP
    #: How it leads to other processes; "local" if it does not.
    kind: str = "redis"

    def __init__(self) -> None:
        self.instance = new_instance()
        self.figures = BridgeFigures()

    @abstractmethod
    async def start(self, events: BridgeEvents) -> None:
        """Begin; returns when the bridge is up, or after a few seconds without it."""

    @abstractmethod
    async def stop(self) -> None:
        """Send what waits, if that can be done at once, and end."""

    @abstractmethod
    def publish(self, topic: str, kind: Kind, payload: bytes, target: str = "") -> None:
        """Send a packet to all processes that hear a topic, this one apart."""

    @abstractmethod
    def subscribe(self, topic: str) -> None:
        """Hear a topic from soon on; without effect if it is heard."""

    @abstractmethod
    def unsubscribe(self, topic: str) -> None:
        """Hear a topic no more."""

    @abstractmethod
    async def attend(self, topic: str) -> None:
        """Hear a topic, and return when that is so; at once if the bridge is down."""

    def hears(self, topic: str) -> bool:
        """Tell whether `attend` would return at once."""
        return True

    def forget(self, sender: bytes) -> None:  # noqa: B027 - most bridges keep nothing
        """Let go of what is kept of a process that will not send again."""

    def down_seconds(self) -> float:
        """How long the bridge has been down; 0 if it is up."""
        return 0.0

    @property
    def queued(self) -> int:
        """Packets that wait to go out."""
        return 0


def own_topic(instance: bytes) -> str:
    """The topic that only one process hears."""
    return f"to:{instance.hex()}"


def namespace_topic(path: str) -> str:
    """The topic of those who have clients in a namespace."""
    return f"{_NAMESPACE}{path}"


def path_of(topic: str) -> str | None:
    """The namespace that a topic is about; None if it is another kind of topic."""
    return topic.removeprefix(_NAMESPACE) if topic.startswith(_NAMESPACE) else None
