"""The bridge over Redis, against a real server: exactly once and in order, or counted as lost."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from jpulse.bridge import redis as redis_bridge
from jpulse.bridge.base import (
    ALL,
    DOWN,
    UP,
    VERSION,
    Kind,
    Packet,
    encode,
    namespace_topic,
    new_instance,
    own_topic,
)
from jpulse.bridge.redis import (
    FIRST_RETRY_SECONDS,
    LAST_RETRY_SECONDS,
    TROUBLE,
    RedisBridge,
    _listeners,
    retry_seconds,
)
from jpulse.errors import SettingsError, StartError

from ..patience import LONG_SECONDS, Stopwatch
from ..servers import RedisServer, free_port, redis_client

CHAT = namespace_topic("/api/1/ws/chat")
GAME = namespace_topic("/api/1/ws/game")
STRANGER = b"stranger"


class Ear:
    """Writes down what a bridge tells."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.states: list[str] = []
        self.gaps: list[tuple[str, bytes]] = []
        #: How many other processes there are.
        self.known = 0
        #: Payloads that cannot be handled.
        self.chokes_on: bytes | None = None

    def on_packet(self, packet: Packet) -> None:
        self.packets.append(packet)
        if packet.payload == self.chokes_on:
            raise RuntimeError("it cannot be handled")

    def on_bridge(self, state: str) -> None:
        self.states.append(state)

    def on_gap(self, topic: str, sender: bytes) -> None:
        self.gaps.append((topic, sender))

    def others(self) -> int:
        return self.known

    @property
    def payloads(self) -> list[bytes]:
        """What came, in its order."""
        return [packet.payload for packet in self.packets]


class End:
    """A bridge and who hears it."""

    def __init__(self, url: str, prefix: str, **options: Any) -> None:
        self.ear = Ear()
        self.prefix = prefix
        self.bridge = RedisBridge(url, prefix, **options)

    @property
    def topic(self) -> str:
        """The topic that it alone hears."""
        return own_topic(self.bridge.instance)

    def say(self, *payloads: bytes, topic: str = ALL) -> None:
        """Send to all others."""
        for payload in payloads:
            self.bridge.publish(topic, Kind.BROADCAST, payload)

    async def hears_all(self, *payloads: bytes, seconds: float = 10) -> None:
        """Wait until everything has come; what came must be that and nothing else, in this order."""
        await until(lambda: len(self.ear.packets) >= len(payloads), seconds, f"{len(payloads)} packets")
        assert self.ear.payloads == list(payloads)

    async def is_(self, state: str, seconds: float = 10) -> None:
        """Wait until the bridge is up, or down."""
        await until(lambda: self.bridge.state == state, seconds, f"the bridge to be {state}")


@pytest.fixture
def prefix() -> str:
    """A prefix that nobody else uses."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let the bridge find out within two seconds what is lost, and try again soon.

    In less a busy machine, which answers late, would be taken for one that does not.
    """
    monkeypatch.setattr(redis_bridge, "CANARY_SECONDS", 1.0)
    monkeypatch.setattr(redis_bridge, "LAST_RETRY_SECONDS", 0.2)


@pytest.fixture
def impatient(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a start not wait for a Redis that is away."""
    monkeypatch.setattr(redis_bridge, "START_SECONDS", 0.3)


async def until(condition: Callable[[], bool], seconds: float = 10, what: str = "the condition") -> None:
    """Wait until something is true; fail when it takes too long by a stopwatch."""
    watch = Stopwatch()
    while not condition():
        assert not watch.is_over(seconds), f"waited {seconds} s in vain for {what}"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def ends(
    url: str, prefix: str, count: int = 2, topics: tuple[str, ...] = (), **options: Any
) -> AsyncIterator[list[End]]:
    """So many bridges that are up and hear these topics, ended afterwards."""
    made = [End(url, prefix, **options) for _ in range(count)]
    try:
        for end in made:
            await end.bridge.start(end.ear)
            assert end.bridge.state == UP
            for topic in topics:
                await end.bridge.attend(topic)
        yield made
    finally:
        for end in made:
            await end.bridge.stop()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test in a loop of its own, in three minutes at most; no task may be left."""

    async def main() -> None:
        async with asyncio.timeout(3 * LONG_SECONDS):
            await scenario()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    asyncio.run(main())


def numbered(count: int, name: str = "") -> list[bytes]:
    """Payloads that tell their order."""
    return [f"{name}{number}".encode() for number in range(count)]


def channel(prefix: str, topic: str) -> str:
    """The channel of a topic."""
    return f"{prefix}:{topic}"


def publish(url: str, name: str, *data: bytes) -> None:
    """Send bytes over a channel as any program could."""
    with redis.Redis.from_url(url, socket_timeout=LONG_SECONDS) as client:
        for each in data:
            client.publish(name, each)


async def on_thread(work: Callable[[], Any]) -> Any:
    """Do what blocks beside the loop, so that the bridges go on."""
    return await asyncio.to_thread(work)


# What crosses


def test_packets_cross(redis_url: str, prefix: str) -> None:
    """Packets of several processes reach all others, once, in each sender's order, and not their sender."""

    async def scenario() -> None:
        async with ends(redis_url, prefix, 3, (CHAT,)) as (a, b, c):
            ours, theirs = numbered(1500, "a"), numbered(1500, "b")
            for one, other in zip(ours, theirs, strict=True):
                a.say(one, topic=CHAT)
                b.say(other, topic=CHAT)
                if len(a.ear.packets) % 100 == 0:
                    await asyncio.sleep(0)
            await until(lambda: len(c.ear.packets) == 3000)
            await a.hears_all(*theirs)
            await b.hears_all(*ours)
            for end, sent in ((a, ours), (b, theirs)):
                sender = end.bridge.instance
                assert [each.payload for each in c.ear.packets if each.sender == sender] == sent
            for end in (a, b, c):
                figures = end.bridge.figures
                assert (figures.lost, figures.gaps, figures.duplicates, figures.damaged) == (0, 0, 0, 0)
                assert end.bridge.queued == 0
            assert c.bridge.figures.received == 3000
            assert a.bridge.figures.published >= 1500

    run(scenario)


def test_whole_packet(redis_url: str, prefix: str) -> None:
    """A packet arrives with its topic, kind, sender, target and payload, whatever bytes that has."""

    async def scenario() -> None:
        async with ends(redis_url, prefix) as (a, b):
            payload = bytes(range(256)) * 2000
            for kind in (Kind.TO_CLIENT, Kind.TO_USER, Kind.SESSIONS, Kind.GOODBYE):
                a.bridge.publish(b.topic, kind, payload, "J\u00fcrgen \u674e")
            a.bridge.publish(b.topic, Kind.PRESENCE, b"")
            await until(lambda: len(b.ear.packets) == 5)
            assert [each.kind for each in b.ear.packets] == [
                Kind.TO_CLIENT,
                Kind.TO_USER,
                Kind.SESSIONS,
                Kind.GOODBYE,
                Kind.PRESENCE,
            ]
            assert {each.sender for each in b.ear.packets} == {a.bridge.instance}
            assert {each.topic for each in b.ear.packets} == {b.topic}
            assert [each.sequence for each in b.ear.packets] == [1, 2, 3, 4, 5]
            assert {each.target for each in b.ear.packets[:4]} == {"J\u00fcrgen \u674e"}
            assert {each.payload for each in b.ear.packets[:4]} == {payload}
            assert b.ear.packets[4].payload == b""

    run(scenario)


def test_topics_that_are_heard(redis_url: str, prefix: str) -> None:
    """A process hears all, its own topic and those it subscribed to, until it unsubscribes."""

    async def scenario() -> None:
        async with ends(redis_url, prefix, 3) as (a, b, c):
            await b.bridge.attend(CHAT)
            a.say(b"chat", topic=CHAT)
            a.say(b"game", topic=GAME)
            a.say(b"all")
            a.say(b"to b", topic=b.topic)
            await b.hears_all(b"chat", b"all", b"to b")
            await c.hears_all(b"all")
            b.bridge.unsubscribe(CHAT)
            with redis_client(redis_url) as client:
                name = channel(prefix, CHAT)
                await until(lambda: dict(client.pubsub_numsub(name))[name] == 0)
            a.say(b"more", topic=CHAT)
            a.say(b"end")
            await b.hears_all(b"chat", b"all", b"to b", b"end")
            await b.bridge.attend(CHAT)
            a.say(b"again", topic=CHAT)
            await b.hears_all(b"chat", b"all", b"to b", b"end", b"again")
            assert b.bridge.figures.gaps == 0

    run(scenario)


def test_attend(redis_url: str, prefix: str) -> None:
    """Who attends a topic hears what is published from then on; a second time nobody waits."""

    async def scenario() -> None:
        async with ends(redis_url, prefix) as (a, b):
            for number in range(20):
                topic = namespace_topic(f"/api/1/ws/{number}")
                assert not b.bridge.hears(topic)
                await asyncio.gather(*(b.bridge.attend(topic) for _ in range(5)))
                assert b.bridge.hears(topic)
                a.say(str(number).encode(), topic=topic)
                await b.bridge.attend(topic)
            await b.hears_all(*numbered(20))

    run(scenario)


def test_two_prefixes(redis_url: str, prefix: str) -> None:
    """Bridges with different prefixes on one Redis hear nothing of each other."""

    async def scenario() -> None:
        async with ends(redis_url, prefix) as (a, b), ends(redis_url, prefix + "2") as (c, d):
            a.say(b"from a")
            c.say(b"from c")
            await b.hears_all(b"from a")
            await d.hears_all(b"from c")
            assert (a.ear.packets, c.ear.packets) == ([], [])

    run(scenario)


def test_up_from_the_start(redis_url: str, prefix: str) -> None:
    """When `start` returns the bridge is up, has told so once, and has been proven."""

    async def scenario() -> None:
        async with ends(redis_url, prefix, 1) as (a,):
            assert (a.ear.states, a.bridge.down_seconds()) == ([UP], 0.0)
            assert a.bridge.figures.lag_seconds is not None
            assert 0 < a.bridge.figures.lag_seconds < 5
            assert a.bridge.hears(ALL)
            assert a.bridge.hears(a.topic)

    run(scenario)


def test_canaries(redis_url: str, prefix: str, quick: None) -> None:
    """Canaries go on, nobody else hears them, and they are no packets."""

    async def scenario() -> None:
        async with ends(redis_url, prefix) as (a, b):
            await until(lambda: a.bridge.figures.published >= 4)
            assert (a.ear.packets, b.ear.packets, a.ear.states) == ([], [], [UP])
            assert a.bridge.figures.received == b.bridge.figures.received == 0

    run(scenario)


# What comes twice, not at all, or is not ours


def stranger(sequence: int, payload: bytes = b"x", topic: str = ALL, sender: bytes = STRANGER) -> bytes:
    """What another process would send."""
    return encode(Packet(topic, Kind.BROADCAST, sender, sequence, "", payload))


def test_duplicates(redis_url: str, prefix: str) -> None:
    """What comes again, after its sender could not know whether it had arrived, is left out and counted."""

    async def scenario() -> None:
        async with ends(redis_url, prefix, 1) as (a,):
            packets = [stranger(number, str(number).encode()) for number in range(1, 6)]
            publish(redis_url, channel(prefix, ALL), *packets, *packets[2:], stranger(6, b"6"))
            await a.hears_all(*numbered(7)[1:])
            assert (a.bridge.figures.duplicates, a.bridge.figures.gaps) == (3, 0)
            assert a.bridge.figures.received == 6

    run(scenario)


def test_sequences_are_of_senders_and_topics(redis_url: str, prefix: str) -> None:
    """Each topic of each sender is counted for itself, from whatever number on."""

    async def scenario() -> None:
        async with ends(redis_url, prefix, 1, (CHAT,)) as (a,):
            publish(
                redis_url, channel(prefix, ALL), stranger(70, b"1"), stranger(3, b"2", sender=b"another!")
            )
            publish(redis_url, channel(prefix, CHAT), stranger(5, b"3", CHAT), stranger(6, b"4", CHAT))
            await a.hears_all(b"1", b"2", b"3", b"4")
            assert (a.bridge.figures.duplicates, a.bridge.figures.gaps, a.ear.gaps) == (0, 0, [])

    run(scenario)


def test_gaps(redis_url: str, prefix: str) -> None:
    """What did not arrive is counted and told, before what came after it."""

    async def scenario() -> None:
        async with ends(redis_url, prefix, 1) as (a,):
            publish(redis_url, channel(prefix, ALL), stranger(1, b"1"), stranger(2, b"2"), stranger(6, b"6"))
            await a.hears_all(b"1", b"2", b"6")
            assert a.bridge.figures.gaps == 3
            assert a.ear.gaps == [(ALL, STRANGER)]

    run(scenario)


def test_forgotten_sender(redis_url: str, prefix: str) -> None:
    """Of a sender that was forgotten nothing is known any more."""

    async def scenario() -> None:
        async with ends(redis_url, prefix, 1) as (a,):
            publish(redis_url, channel(prefix, ALL), stranger(9, b"9"))
            await a.hears_all(b"9")
            a.bridge.forget(STRANGER)
            a.bridge.forget(new_instance())
            publish(redis_url, channel(prefix, ALL), stranger(1, b"1"))
            await a.hears_all(b"9", b"1")
            assert (a.bridge.figures.duplicates, a.bridge.figures.gaps) == (0, 0)

    run(scenario)


@pytest.mark.parametrize(
    "reply",
    [
        *([b"subscribe", b"jpulse:n\r\n:2", 1], [b"message", b"x", b"y"], [b"message", [b"x"], b"y"]),
        *([b"message", b"known", 3], [b"message", b"known"], 7, None),
    ],
)
def test_answer_out_of_which_bytes_vanished(prefix: str, reply: Any) -> None:
    """An answer to nothing that was asked is the connection's trouble, which is made anew, and no fault."""

    async def scenario() -> None:
        bridge = End("redis://127.0.0.1:1", prefix).bridge
        bridge._topics[b"known"] = CHAT
        with pytest.raises(TROUBLE):
            bridge._on_heard(reply)
        with pytest.raises(TROUBLE):
            bridge._on_acknowledged(reply)

    run(scenario)


@pytest.mark.parametrize("reply", [[], [b"topic"], [b"topic", b"x"], [b"topic", None], 7, None])
def test_damaged_count_of_listeners(reply: Any) -> None:
    """A count of listeners that is none is the connection's trouble as well."""
    with pytest.raises(TROUBLE):
        _listeners(reply)


def test_garbage(redis_url: str, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is no packet is left out, counted, and told in the log once; the bridge lives."""

    async def scenario() -> None:
        async with ends(redis_url, prefix) as (a, b):
            whole = stranger(1)
            garbage = [
                b"",
                b"x",
                whole[:-1],
                whole + b"x",
                whole[:20],
                b"\1" + b"\xff" * 100,
                whole[::-1][:9],
            ]
            elsewhere = stranger(1, topic=CHAT)
            publish(redis_url, channel(prefix, ALL), *garbage, elsewhere)
            publish(redis_url, channel(prefix, a.topic), *garbage)
            b.say(b"fine")
            await a.hears_all(b"fine")
            figures = a.bridge.figures
            assert figures.damaged + figures.newer == 2 * len(garbage) + 1
            assert (figures.received, a.ear.states) == (1, [UP])

    run(scenario)
    warnings = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert len(warnings) == 2, "one for each process"


def test_newer_versions(redis_url: str, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """Packets of newer versions and of unknown kinds are left out, counted, and told in the log once."""

    async def scenario() -> None:
        async with ends(redis_url, prefix, 1) as (a,):
            newer = bytes((VERSION + 1,)) + stranger(1)[1:]
            unknown = encode(Packet(ALL, 200, STRANGER, 2, "", b"x"))  # type: ignore[arg-type]
            publish(redis_url, channel(prefix, ALL), newer, newer, unknown, stranger(3, b"fine"))
            await a.hears_all(b"fine")
            assert (a.bridge.figures.newer, a.bridge.figures.damaged) == (3, 0)

    run(scenario)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "newer" in caplog.text


def test_own_words(redis_url: str, prefix: str) -> None:
    """What claims to come from this process itself is not taken, whoever sent it."""

    async def scenario() -> None:
        async with ends(redis_url, prefix) as (a, b):
            mine = stranger(1, sender=a.bridge.instance)
            publish(redis_url, channel(prefix, ALL), mine)
            publish(redis_url, channel(prefix, a.topic), stranger(1, b"0.0", a.topic, a.bridge.instance))
            b.say(b"fine")
            await a.hears_all(b"fine")
            assert a.ear.states == [UP]

    run(scenario)


def test_packet_that_cannot_be_handled(redis_url: str, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """What whoever hears a packet raises is logged with its traceback, and the next packet comes."""

    async def scenario() -> None:
        async with ends(redis_url, prefix) as (a, b):
            b.ear.chokes_on = b"1"
            a.say(b"0", b"1", b"2")
            await b.hears_all(b"0", b"1", b"2")
            assert b.ear.states == [UP]

    run(scenario)
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "BROADCAST" in record.getMessage()
    assert record.exc_info is not None
    assert "it cannot be handled" in str(record.exc_info[1])


# Redis is lost


def kill_connections(url: str, *, listeners: bool) -> int:
    """Cut the connections that listen, or the others, with CLIENT KILL; returns how many."""
    with redis_client(url) as client:
        own, killed = client.client_id(), 0
        for each in client.client_list():
            if int(each["id"]) != own and (int(each["sub"]) > 0) == listeners:
                killed += client.client_kill_filter(_id=each["id"])
        return killed


@pytest.mark.parametrize("listeners", [True, False], ids=["listeners", "publishers"])
def test_connections_that_are_cut(
    redis_server: RedisServer, prefix: str, listeners: bool, quick: None
) -> None:
    """After CLIENT KILL of either kind of connection all is as before, and nothing came twice."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 2, (CHAT,)) as (a, b):
            a.ear.known = b.ear.known = 1
            a.say(b"before", topic=CHAT)
            await b.hears_all(b"before")
            assert kill_connections(redis_server.url, listeners=listeners) == 2
            await until(lambda: DOWN in a.ear.states and DOWN in b.ear.states)
            await a.is_(UP)
            await b.is_(UP)
            await b.bridge.attend(CHAT)
            a.say(b"after", topic=CHAT)
            await b.hears_all(b"before", b"after")
            b.say(b"back")
            await a.hears_all(b"back")
            for end in (a, b):
                assert end.ear.states == [UP, DOWN, UP]
                assert (end.bridge.figures.lost, end.bridge.figures.gaps) == (0, 0)
                assert end.bridge.figures.reconnects == 1

    run(scenario)


def test_server_is_killed(redis_server: RedisServer, prefix: str, quick: None) -> None:
    """What is said while Redis is dead waits, and crosses in order when it and the others are back."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 2, (CHAT,)) as (a, b):
            a.ear.known = b.ear.known = 1
            a.say(b"0", topic=CHAT)
            await b.hears_all(b"0")
            redis_server.kill()
            await a.is_(DOWN)
            await b.is_(DOWN)
            assert a.bridge.down_seconds() > 0
            for number in range(1, 300):
                a.say(str(number).encode(), topic=CHAT)
            await on_thread(redis_server.start)
            await a.is_(UP)
            await b.is_(UP)
            await b.hears_all(*numbered(300))
            assert (a.bridge.figures.lost, b.bridge.figures.gaps, a.bridge.queued) == (0, 0, 0)
            assert a.ear.states == b.ear.states == [UP, DOWN, UP]
            assert a.bridge.down_seconds() == 0.0

    run(scenario)


def test_server_is_frozen(redis_server: RedisServer, prefix: str, quick: None) -> None:
    """While Redis is frozen publishing goes on; afterwards each packet arrives, once and in order."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 2, (CHAT,)) as (a, b):
            a.ear.known = b.ear.known = 1
            redis_server.pause()
            sent = numbered(5000)
            try:
                for payload in sent[:2500]:
                    a.say(payload, topic=CHAT)
                await a.is_(DOWN)
                await b.is_(DOWN)
                for payload in sent[2500:]:
                    a.say(payload, topic=CHAT)
            finally:
                redis_server.resume()
            await a.is_(UP)
            await b.is_(UP)
            await b.hears_all(*sent)
            assert (a.bridge.figures.lost, b.bridge.figures.gaps) == (0, 0)

    run(scenario)


def test_short_freeze(redis_server: RedisServer, prefix: str) -> None:
    """A Redis that rests for a moment is not given up, and nothing is lost."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix) as (a, b):
            redis_server.pause()
            a.say(*numbered(100))
            await asyncio.sleep(0.2)
            redis_server.resume()
            await b.hears_all(*numbered(100))
            assert a.ear.states == b.ear.states == [UP]

    run(scenario)


def test_queue_has_a_limit_in_bytes(redis_server: RedisServer, prefix: str, quick: None) -> None:
    """What does not fit into `max_queue_bytes` is lost and counted; the rest crosses, in its order."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 2, max_queue_bytes=20_000) as (a, b):
            a.ear.known = b.ear.known = 1
            redis_server.kill()
            await a.is_(DOWN)
            await b.is_(DOWN)
            sent = [b"%05d" % number + b"x" * 995 for number in range(50)]
            a.say(*sent)
            a.say(b"small")
            fit = a.bridge.queued
            assert 15 <= fit <= 20
            assert a.bridge.figures.lost == 51 - fit
            await on_thread(redis_server.start)
            await b.is_(UP)
            expected = [*sent, b"small"]
            await until(lambda: len(b.ear.packets) == fit)
            assert b.ear.payloads == [each for each in expected if each in b.ear.payloads]
            assert b.ear.payloads[: fit - 1] == sent[: fit - 1]
            a.say(b"after")
            await until(lambda: b.ear.payloads[-1] == b"after")
            assert len(b.ear.packets) == fit + 1
            assert a.bridge.figures.lost == 51 - fit == b.bridge.figures.gaps

    run(scenario)


def test_queue_of_nothing(redis_server: RedisServer, prefix: str, quick: None) -> None:
    """With no bytes allowed to wait nothing is sent, and everything is counted."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 1, max_queue_bytes=0) as (a,):
            a.say(b"x", b"y")
            assert (a.bridge.figures.lost, a.bridge.queued) == (2, 0)
            assert a.bridge.state == UP

    run(scenario)


def test_queue_has_a_limit_in_seconds(
    redis_server: RedisServer, prefix: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has waited for longer than `max_queue_seconds` is lost and counted; what is younger crosses."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 2, max_queue_seconds=100.0) as (a, b):
            a.ear.known = b.ear.known = 1
            redis_server.kill()
            await a.is_(DOWN)
            await b.is_(DOWN)
            a.say(*numbered(10, "old "))
            monkeypatch.setattr(redis_bridge, "monotonic", lambda: monotonic() + 101)
            a.say(*numbered(10, "young "))
            await on_thread(redis_server.start)
            await b.hears_all(*numbered(10, "young "))
            await a.is_(UP)
            assert a.bridge.figures.lost == 10

    run(scenario)


def test_fleeting_words_do_not_wait(redis_server: RedisServer, prefix: str, quick: None) -> None:
    """What is worth nothing later is neither kept nor counted as lost while the bridge is down."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 1) as (a,):
            redis_server.kill()
            await a.is_(DOWN)
            queued = a.bridge.queued
            for kind in (Kind.PRESENCE, Kind.SNAPSHOT, Kind.WANTED):
                a.bridge.publish(ALL, kind, b"x")
            assert (a.bridge.queued, a.bridge.figures.lost) == (queued, 0)
            a.bridge.publish(ALL, Kind.SESSIONS, b"x")
            assert a.bridge.queued == queued + 1

    run(scenario)


def test_attend_while_down(redis_server: RedisServer, prefix: str, quick: None) -> None:
    """While the bridge is down nobody waits for a topic, which is heard as soon as the bridge is up."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix) as (a, b):
            a.ear.known = b.ear.known = 1
            redis_server.kill()
            await b.is_(DOWN)
            await a.is_(DOWN)
            async with asyncio.timeout(LONG_SECONDS / 4):
                await b.bridge.attend(CHAT)
            assert not b.bridge.hears(CHAT)
            a.say(b"x", topic=CHAT)
            await on_thread(redis_server.start)
            await b.hears_all(b"x")

    run(scenario)


def test_restarts_in_a_row(redis_server: RedisServer, prefix: str, quick: None) -> None:
    """However often Redis dies, what is said arrives at most once, in order, and all of it at last."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 2, (CHAT,)) as (a, b):
            a.ear.known = b.ear.known = 1
            for number in range(3):
                redis_server.kill()
                await a.is_(DOWN)
                await b.is_(DOWN)
                a.say(f"{number} while down".encode(), topic=CHAT)
                await on_thread(redis_server.start)
                await a.is_(UP)
                await b.is_(UP)
                a.say(f"{number} when up".encode(), topic=CHAT)
                await until(lambda: len(b.ear.packets) == 2 * (number + 1))  # noqa: B023 - awaited here
            words = ["while down", "when up"]
            assert b.ear.payloads == [f"{number} {word}".encode() for number in range(3) for word in words]

    run(scenario)


# Beginning and end


def test_start_without_redis(
    redis_server: RedisServer, prefix: str, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a Redis a bridge starts down, says so, and comes up by itself when there is one."""
    redis_server.kill()

    async def scenario() -> None:
        a, b = End(redis_server.url, prefix), End(redis_server.url, prefix)
        for end in (a, b):
            await end.bridge.start(end.ear)
            assert (end.bridge.state, end.ear.states) == (DOWN, [DOWN])
        a.say(b"early")
        a.ear.known = 1
        await on_thread(redis_server.start)
        await a.is_(UP)
        await b.is_(UP)
        a.say(b"late")
        await until(lambda: b"late" in b.ear.payloads)
        assert a.ear.states == b.ear.states == [DOWN, UP]
        for end in (a, b):
            await end.bridge.stop()

    run(scenario)
    assert "Redis does not answer" in caplog.text


def refusal(url: str, prefix: str) -> str:
    """The one line with which a bridge says that it cannot start."""

    async def scenario() -> None:
        end = End(url, prefix)
        with pytest.raises(StartError) as caught:
            await end.bridge.start(end.ear)
        lines.extend(str(caught.value).splitlines())
        assert end.ear.states == []

    lines: list[str] = []
    run(scenario)
    (line,) = lines
    return line


@pytest.mark.parametrize("who", [":wrong", "", "nobody:wrong", "default:wrong"])
def test_wrong_password(redis_server: RedisServer, prefix: str, who: str) -> None:
    """A password that Redis refuses, or wants, ends the start with one line that does not tell it."""
    with redis_server.client() as client:
        client.config_set("requirepass", "right")
    at = f"{who}@" if who else ""
    line = refusal(f"redis://{at}127.0.0.1:{redis_server.port}", prefix)
    assert line.startswith("redis_url: ")
    assert "wrong" not in line


@pytest.mark.parametrize("rules", ["+@all", "+@all -publish &*", "+@all -subscribe &*"])
def test_missing_permission(redis_server: RedisServer, prefix: str, rules: str) -> None:
    """A user who may not do what the bridge does ends the start with one line."""
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "ann", "on", ">secret", "resetchannels", *rules.split())
    line = refusal(f"redis://ann:secret@127.0.0.1:{redis_server.port}", prefix)
    assert line.startswith("redis_url: ")
    assert "secret" not in line


def test_permission_for_our_channels_is_enough(redis_server: RedisServer, prefix: str) -> None:
    """A user who may publish, subscribe and count listeners on the prefix's channels is enough."""
    with redis_server.client() as client:
        rules = ("resetchannels", f"&{prefix}:*", "+publish", "+subscribe", "+unsubscribe", "+pubsub")
        client.execute_command("ACL", "SETUSER", "ann", "on", ">secret", *rules)
    url = f"redis://ann:secret@127.0.0.1:{redis_server.port}"

    async def scenario() -> None:
        async with ends(url, prefix, 2, (CHAT,)) as (a, b):
            a.say(b"x", topic=CHAT)
            await b.hears_all(b"x")
            b.bridge.unsubscribe(CHAT)
            a.say(b"y")
            await b.hears_all(b"x", b"y")
            assert b.ear.states == [UP]

    run(scenario)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://h:port", "redis_url: "),
        ("redis://ann:sec#ret@127.0.0.1:6379", "redis_url: "),
        ("redis://127.0.0.1:6379?socket_keepalive=x=y&db=abc", "redis_url: "),
    ],
)
def test_url_that_does_not_work(url: str, told: str) -> None:
    """An address that cannot be one is refused when the bridge is made, in a line without the password."""

    async def scenario() -> None:
        with pytest.raises(SettingsError) as caught:
            RedisBridge(url)
        assert str(caught.value).startswith(told)
        assert "sec" not in str(caught.value).removeprefix(told).replace("RFC 3986", "")

    run(scenario)


def test_stop_sends_what_waits(redis_url: str, prefix: str) -> None:
    """What was said right before the end still goes out."""

    async def scenario() -> None:
        async with ends(redis_url, prefix, 1) as (b,):
            a = End(redis_url, prefix)
            await a.bridge.start(a.ear)
            a.say(*numbered(3000))
            await a.bridge.stop()
            assert a.bridge.queued == 0
            await b.hears_all(*numbered(3000))

    run(scenario)


def test_stop_without_redis(redis_server: RedisServer, prefix: str, quick: None) -> None:
    """The end does not wait for a Redis that is away or frozen."""

    async def scenario() -> None:
        for trouble in (redis_server.kill, redis_server.pause):
            async with ends(redis_server.url, prefix, 1) as (a,):
                trouble()
                a.say(b"x")
                async with asyncio.timeout(3):
                    await a.bridge.stop()
            if trouble == redis_server.kill:
                await on_thread(redis_server.start)
            else:
                redis_server.resume()

    run(scenario)


def test_stop_leaves_no_connection(redis_server: RedisServer, prefix: str) -> None:
    """Nothing of a bridge is left at Redis after its end."""

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 3, (CHAT,)):
            pass
        with redis_server.client() as client:
            await until(lambda: len(client.client_list()) == 1)
            assert client.pubsub_channels() == []

    run(scenario)


def test_nobody_at_the_address(prefix: str, impatient: None) -> None:
    """A bridge that never came up can be stopped, and keeps what fits until then."""

    async def scenario() -> None:
        end = End(f"redis://127.0.0.1:{free_port()}", prefix, max_queue_bytes=1000)
        await end.bridge.start(end.ear)
        end.say(*numbered(100))
        assert end.bridge.queued + end.bridge.figures.lost == 100
        assert end.bridge.figures.lost > 0
        assert end.bridge.down_seconds() > 0
        await end.bridge.stop()

    run(scenario)


# Trying again


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_retry_seconds(attempts: int, chance: float) -> None:
    """Attempts come after 0.05 to 2 seconds, less often the more of them there were."""
    seconds = retry_seconds(attempts, chance)
    assert FIRST_RETRY_SECONDS / 2 <= seconds <= LAST_RETRY_SECONDS
    assert retry_seconds(attempts + 1, chance) >= seconds
    assert retry_seconds(attempts, 0.0) / 2 <= seconds <= retry_seconds(attempts, 0.0)


def test_attempts_are_not_too_many(
    prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While nobody answers both connections are tried a few times a second at most, and the log is quiet."""
    monkeypatch.setattr(redis_bridge, "START_SECONDS", 1.0)
    attempts: list[float] = []

    async def scenario() -> None:
        async def count(reader: Any, writer: asyncio.StreamWriter) -> None:
            attempts.append(monotonic())
            writer.close()

        server = await asyncio.start_server(count, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        end = End(f"redis://127.0.0.1:{port}", prefix)
        await end.bridge.start(end.ear)
        await end.bridge.stop()
        server.close()
        await server.wait_closed()

    run(scenario)
    assert 4 <= len(attempts) <= 2 * 6
    assert len(caplog.records) == 1


def test_log_of_an_outage(
    redis_server: RedisServer, prefix: str, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is told in two lines, with its length and what was lost."""
    caplog.set_level("INFO")

    async def scenario() -> None:
        async with ends(redis_server.url, prefix, 1) as (a,):
            redis_server.kill()
            await a.is_(DOWN)
            await asyncio.sleep(0.5)
            await on_thread(redis_server.start)
            await a.is_(UP)

    run(scenario)
    lost, back = [record.getMessage() for record in caplog.records if record.name == "jpulse.bridge"]
    assert lost.startswith("Redis is lost (")
    assert re.fullmatch(r"Redis is back after \d+\.\d s; 0 packets were lost", back)
