"""Packets: they come back as they were, or whoever reads them learns why not."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jpulse.bridge.base import (
    ALL,
    FLEETING,
    KINDS,
    UP,
    VERSION,
    Damaged,
    Kind,
    NewerVersion,
    Packet,
    decode,
    encode,
    namespace_topic,
    new_instance,
    own_topic,
    sender_of,
)
from jpulse.bridge.local import LocalBridge

SENDER = bytes(range(8))
PACKET = Packet("ns:/api/1/ws/chat", Kind.BROADCAST, SENDER, 7, "a client", b'{"type":"said"}')

packets = st.builds(
    Packet,
    topic=st.text(st.characters(codec="utf-8"), max_size=40),
    kind=st.sampled_from(Kind),
    sender=st.binary(min_size=8, max_size=8),
    sequence=st.integers(0, 2**64 - 1),
    target=st.text(st.characters(codec="utf-8"), max_size=80),
    payload=st.binary(max_size=300),
)


@settings(deadline=None)
@given(packets)
def test_any_packet(packet: Packet) -> None:
    """A packet comes back as it was, and tells its sender before it is read."""
    data = encode(packet)
    assert decode(packet.topic, data) == packet
    assert sender_of(data) == packet.sender


def test_longest_target() -> None:
    """A target may be as long as its two bytes of length can say."""
    packet = PACKET._replace(target="x" * 65535)
    assert decode(packet.topic, encode(packet)) == packet


@settings(deadline=None)
@given(packets, st.integers(0, 2**20))
@example(PACKET._replace(target="", payload=b"\0\0"), 8 * 23)
def test_any_flipped_bit(packet: Packet, place: int) -> None:
    """A packet of which one bit is another is damaged, or of another version."""
    whole = bytearray(encode(packet))
    place %= 8 * len(whole)
    whole[place // 8] ^= 1 << place % 8
    with pytest.raises(NewerVersion if whole[0] > VERSION else Damaged):
        decode(packet.topic, bytes(whole))


@settings(deadline=None)
@given(packets, st.data())
def test_any_missing_byte(packet: Packet, data: st.DataObject) -> None:
    """A packet that lacks a byte somewhere is damaged, or looks like one of another version."""
    whole = encode(packet)
    place = data.draw(st.integers(0, len(whole) - 1))
    left = whole[:place] + whole[place + 1 :]
    with pytest.raises(NewerVersion if left[0] > VERSION else Damaged):
        decode(packet.topic, left)


@settings(deadline=None)
@given(packets, st.data())
def test_any_beginning(packet: Packet, data: st.DataObject) -> None:
    """The beginning of a packet, the empty one too, is damaged."""
    whole = encode(packet)
    with pytest.raises(Damaged):
        decode(packet.topic, whole[: data.draw(st.integers(0, len(whole) - 1))])


@settings(deadline=None)
@given(packets, st.binary(min_size=1, max_size=40), st.data())
def test_any_added_bytes(packet: Packet, added: bytes, data: st.DataObject) -> None:
    """A packet with bytes behind its head that were not sent is damaged."""
    whole = encode(packet)
    place = data.draw(st.integers(len(whole) - len(packet.payload), len(whole)))
    with pytest.raises(Damaged):
        decode(packet.topic, whole[:place] + added + whole[place:])


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_garbage(garbage: bytes) -> None:
    """Whatever else arrives is damaged or of a newer version, and nothing worse."""
    with pytest.raises((Damaged, NewerVersion)):
        decode(ALL, garbage)


@settings(deadline=None)
@given(packets, st.text(st.characters(codec="utf-8"), max_size=40))
def test_topic_is_covered(packet: Packet, other: str) -> None:
    """A packet that arrives on another topic than that it was made for is damaged."""
    if other != packet.topic:
        with pytest.raises(Damaged):
            decode(other, encode(packet))


@pytest.mark.parametrize("version", [VERSION + 1, VERSION + 7, 255])
def test_newer_version(version: int) -> None:
    """A packet of a newer version says so, whatever its layout is."""
    for rest in (b"", b"?", encode(PACKET)[1:], b"\xff" * 500):
        with pytest.raises(NewerVersion, match=str(version)):
            decode(PACKET.topic, bytes((version,)) + rest)


def test_older_version() -> None:
    """A packet of a version that never was is damaged."""
    with pytest.raises(Damaged):
        decode(PACKET.topic, b"\0" + encode(PACKET)[1:])


@pytest.mark.parametrize("kind", [0, max(Kind) + 1, 255])
def test_unknown_kind(kind: int) -> None:
    """A packet of a kind that this version does not know is one of a newer version."""
    assert kind not in KINDS
    unknown = Packet(ALL, kind, SENDER, 1, "", b"x")  # type: ignore[arg-type]
    with pytest.raises(NewerVersion, match=str(kind)):
        decode(ALL, encode(unknown))


class NoText(str):
    """A target as a program would send it that is none of ours."""

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


def test_target_that_is_no_text() -> None:
    """A packet whose target is no UTF-8 is damaged, even if its checksum is right."""
    with pytest.raises(Damaged):
        decode(PACKET.topic, encode(PACKET._replace(target=NoText())))


def test_kinds_keep_their_numbers() -> None:
    """The number of a kind is what older processes understand by it, for good."""
    numbers = {
        "BROADCAST": 1,
        "TO_CLIENT": 2,
        "TO_USER": 3,
        "SESSIONS": 4,
        "PRESENCE": 5,
        "SNAPSHOT": 6,
        "WANTED": 7,
        "GOODBYE": 8,
        "CANARY": 9,
        "GUESS": 10,
    }
    assert {kind.name: kind.value for kind in Kind if kind.name in numbers} == numbers
    assert not FLEETING & {Kind.BROADCAST, Kind.TO_CLIENT, Kind.TO_USER, Kind.SESSIONS, Kind.GUESS}


def test_topics() -> None:
    """A process has a topic of its own, and each namespace one."""
    assert own_topic(SENDER) == "to:0001020304050607"
    assert namespace_topic("/api/1/ws/chat") == "ns:/api/1/ws/chat"


def test_instances_are_random() -> None:
    """Every process has an id of eight bytes that no other has."""
    made = {new_instance() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(each) for each in made} == {8}


def test_local_bridge() -> None:
    """The bridge of a single process is up, leads nowhere and lets nobody wait."""

    async def main() -> None:
        bridge = LocalBridge()
        await bridge.start(None)  # type: ignore[arg-type]
        bridge.subscribe(ALL)
        bridge.publish(ALL, Kind.BROADCAST, b"x")
        await bridge.attend(ALL)
        bridge.unsubscribe(ALL)
        bridge.forget(SENDER)
        assert (bridge.state, bridge.hears(ALL), bridge.queued, bridge.down_seconds()) == (UP, True, 0, 0.0)
        assert bridge.figures.published == 0
        await bridge.stop()

    asyncio.run(main())
