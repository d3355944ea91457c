"""What one connection may cost: at each limit, one below it and one above it, by a clock of the test's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from jpulse.connection import MAX_DROPPED_SECONDS, MAX_FRAMES_PER_SECOND, MAX_SECONDS_OVER_RATE, Connection
from jpulse.heartbeat import Heartbeat
from jpulse.websocket import OPEN
from jpulse.wire import CONTINUATION, PING, PONG, TEXT, frame

from .fake_transport import Client, World
from .raw_client import client_frame

RATE = 10
BURST = 2 * MAX_FRAMES_PER_SECOND


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A hub at a time of a test's own, whose namespace takes ten messages a second."""
    made = World(monkeypatch)
    made.namespace.limits.max_messages_per_second = RATE
    made.namespace.on_message(lambda conn: None)
    return made


def message(**fields: Any) -> bytes:
    """A frame with a message."""
    return client_frame(json.dumps({"type": "x", **fields}).encode())


def feed(world: World, client: Client, data: bytes) -> None:
    """Let bytes come, and end the turn."""
    client.connection.data_received(data)
    world.end_turn()


def drops(world: World, reason: str) -> int:
    """How much was dropped for a reason."""
    return world.namespace.stats.drops[reason]


def answers(client: Client) -> list[dict[str, Any]]:
    """The JSON that the peer got."""
    return [json.loads(payload) for opcode, payload in client.frames() if opcode == TEXT]


# Messages a second


@pytest.mark.parametrize(("count", "dropped"), [(2 * RATE - 1, 0), (2 * RATE, 0), (2 * RATE + 1, 1)])
def test_burst(count: int, dropped: int, world: World) -> None:
    """Twice the rate may come at once; what is beyond gets 429, each one, and is counted."""
    client = world.connect()
    feed(world, client, message() * count)
    assert client.connection.received_messages == count - dropped
    assert [answer["code"] for answer in answers(client)] == [429] * dropped
    assert drops(world, "rate") == dropped


@pytest.mark.parametrize(("seconds", "handled"), [(0.09, 0), (0.11, 1), (0.21, 2)])
def test_refill(seconds: float, handled: int, world: World) -> None:
    """Every tenth of a second one more message may come, at ten a second."""
    client = world.connect()
    feed(world, client, message() * 2 * RATE)
    world.now += seconds
    feed(world, client, message() * 3)
    assert client.connection.received_messages == 2 * RATE + handled


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_too_many_drops(over: int, world: World) -> None:
    """Who has so many seconds' worth of messages dropped is closed with 4429 at the next."""
    client = world.connect()
    feed(world, client, message() * (2 * RATE + MAX_DROPPED_SECONDS * RATE + over))
    assert client.close_code() == (4429 if over == 1 else None)


@pytest.mark.parametrize(
    ("seconds", "code"), [(MAX_SECONDS_OVER_RATE - 1, None), (MAX_SECONDS_OVER_RATE, 4429)]
)
def test_over_the_rate_for_long(seconds: float, code: int | None, world: World) -> None:
    """Who stays above the rate for five seconds is closed with 4429, however little it is above it."""
    client = world.connect()
    feed(world, client, message() * (2 * RATE + 1))
    end = world.now + seconds
    while world.now < end:
        world.now += 0.5
        feed(world, client, message() * (RATE // 2 + 1))
    assert client.close_code() == code


# Pings, pongs and fragments a second


FRAMES = {
    "JSON ping": client_frame(b'{"type":"ping"}', mask=bytes(4)),
    "JSON pong": client_frame(b'{"type":"pong"}', mask=bytes(4)),
    "ping": client_frame(b"", PING, mask=bytes(4)),
    "pong": client_frame(b"", PONG, mask=bytes(4)),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_frames_at_once(over: int, kind: str, world: World) -> None:
    """So many pings and pongs may come at once, and are no messages; one more closes with 4429."""
    world.namespace.limits.max_outbox_bytes = 1_000_000
    client = world.connect()
    client.connection.max_outbox_bytes = 1_000_000
    feed(world, client, FRAMES[kind] * (BURST + over))
    assert client.close_code() == (4429 if over == 1 else None)
    assert drops(world, "frames") == (over == 1)
    assert (client.connection.received_messages, world.namespace.stats.total) == (0, 0)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_fragments_at_once(over: int, world: World) -> None:
    """So many fragments may come at once, in whatever messages; one more closes with 4429."""
    world.namespace.limits.max_messages_per_second = 1_000_000
    world.namespace.limits.max_message_bytes = 1_000_000
    client = world.connect()
    pieces = client_frame(b'{"a":', fin=False) + client_frame(b"1", CONTINUATION, fin=False) * 99
    whole = pieces + client_frame(b"}", CONTINUATION)
    for _ in range(BURST // 100 - 1):
        feed(world, client, whole)
    feed(
        world,
        client,
        client_frame(b"{", fin=False) + client_frame(b" ", CONTINUATION, fin=False) * (99 + over),
    )
    assert client.close_code() == (4429 if over == 1 else None)


def test_frames_in_the_long_run(world: World) -> None:
    """A thousand pings a second may come for ever; somewhat more are too many after a while."""
    world.namespace.limits.max_outbox_bytes = 1_000_000
    client = world.connect()
    client.connection.max_outbox_bytes = 1_000_000
    for _ in range(100):
        world.now += 0.5
        feed(world, client, FRAMES["ping"] * (MAX_FRAMES_PER_SECOND // 2))
    assert client.connection.state == OPEN
    for _ in range(100):
        world.now += 0.5
        feed(world, client, FRAMES["ping"] * (MAX_FRAMES_PER_SECOND // 2 + 50))
    assert client.close_code() == 4429


def test_no_rate_no_limit_of_frames(world: World) -> None:
    """A namespace without a rate takes as many pings as come."""
    world.namespace.limits.max_messages_per_second = 0
    client = world.connect()
    for _ in range(100):
        feed(world, client, FRAMES["pong"] * 100)
    assert client.connection.state == OPEN


# Bytes that wait


@pytest.mark.parametrize(("over", "code"), [(-1, None), (0, None), (1, 1013)])
def test_outbox(over: int, code: int | None, world: World) -> None:
    """Who does not read is closed with 1013 when more waits than may, and that is counted."""
    client = world.connect()
    client.transport.takes = 0
    head = len(frame(b"x" * 500)) - 500
    limit = world.namespace.limits.max_outbox_bytes
    client.connection.send_frame(frame(b"x" * 500))
    client.connection.send_frame(frame(b"x" * (limit - 500 - 2 * head + over)))
    world.end_turn()
    client.transport.takes = None
    assert (client.connection.close_code or None) == code
    assert drops(world, "slow") == (code is not None)


async def _hold(world: World, counts: list[int], size: int = 0) -> list[bool]:
    """Whether a client is read after so many messages have come to its busy handler, added up."""
    opened, read = asyncio.Event(), []

    async def busy(conn: Connection) -> None:
        await opened.wait()

    world.namespace.on_message(busy)
    world.namespace.limits.max_messages_per_second = 0
    client = world.connect()
    client.connection.data_received(message())
    for count in counts:
        client.connection.data_received(message(pad="x" * size) * count)
        read.append(client.transport.reading)
    opened.set()
    await asyncio.gather(*world.hub.scheduler.tasks)
    assert client.transport.reading
    assert client.connection.received_messages == 1 + sum(counts)
    return read


def test_messages_that_wait(world: World) -> None:
    """While a handler is busy ten messages may wait; with the tenth its client is not read any more."""
    assert asyncio.run(_hold(world, [8, 1])) == [True, True]
    assert world.namespace.stats.pauses == 0
    assert asyncio.run(_hold(world, [9, 1, 1])) == [True, False, False]
    # Once when the tenth came, and once when the eleventh had to wait its turn.
    assert world.namespace.stats.pauses >= 1


def test_bytes_that_wait(world: World) -> None:
    """Messages that wait may have as many bytes as one message may; with more the client is not read."""
    size = world.namespace.limits.max_message_bytes // 2 - len(b'{"type": "x", "pad": ""}')
    assert asyncio.run(_hold(world, [1, 1], size - 1)) == [True, True]
    assert asyncio.run(_hold(world, [1, 1], size)) == [True, False]


# Messages that do not end


def swept(world: World, client: Client, seconds: float) -> int | None:
    """The close code that a client gets within so many seconds, in which it answers every ping."""
    heartbeat = Heartbeat(world.hub, 30.0, 5.0, spread=lambda: 0.5)
    end = world.now + seconds
    while world.now < end:
        world.now = min(end, world.now + 1.0)
        heartbeat.sweep(world.now)
        world.end_turn()
    return client.close_code()


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"\x81", id="a byte of a head"),
        pytest.param(client_frame(b'{"type":"x"}')[:-1], id="a frame without its last byte"),
        pytest.param(client_frame(b"{", fin=False), id="a message without its last fragment"),
        pytest.param(client_frame(b"12345", PING)[:-1], id="a ping without its last byte"),
    ],
)
def test_message_that_does_not_end(begun: bytes, world: World) -> None:
    """What has begun and does not end within `message_seconds` is ended with 4408, whatever else comes."""
    world.namespace.limits.message_seconds = 20.0
    client = world.connect()
    feed(world, client, begun)
    assert swept(world, client, 19.0) is None
    assert swept(world, client, 1.0) == 4408


def test_one_byte_a_second(world: World) -> None:
    """A message that comes byte by byte is ended when its time is up: bytes alone are no life for ever."""
    world.namespace.limits.message_seconds = 20.0
    client, data = world.connect(), message(text="x" * 60)
    for number in range(20):
        feed(world, client, data[number : number + 1])
        assert swept(world, client, 1.0) == (4408 if number == 19 else None)


def test_pings_inside_a_message_that_does_not_end(world: World) -> None:
    """Pings between the fragments of a message do not give it more time."""
    world.namespace.limits.message_seconds = 20.0
    client = world.connect()
    feed(world, client, client_frame(b"{", fin=False))
    for _ in range(19):
        feed(world, client, client_frame(b"", PING))
        assert swept(world, client, 1.0) is None
    assert swept(world, client, 1.0) == 4408


def test_messages_that_are_always_unfinished(world: World) -> None:
    """Who always has begun its next message, and ends each in time, stays."""
    world.namespace.limits.message_seconds = 20.0
    client, data = world.connect(), message()
    for cut in (1, 5, len(data) - 1):
        feed(world, client, data[:cut])
        for _ in range(6):
            assert swept(world, client, 10.0) is None
            feed(world, client, data[cut:] + data[:cut])
        feed(world, client, data[cut:])
    assert client.connection.received_messages == 21
    assert swept(world, client, 30.0) is None


def test_no_limit_for_messages(world: World) -> None:
    """With `message_seconds` 0 a message may take as long as bytes of it come."""
    world.namespace.limits.message_seconds = 0.0
    client = world.connect()
    for byte in message(text="x" * 20):
        assert swept(world, client, 10.0) is None
        feed(world, client, bytes((byte,)))
    assert client.connection.received_messages == 1


# Handlers that work too long


async def _work(world: World, seconds: float) -> list[str]:
    """What is left in the hands of a handler that is swept after so many seconds."""
    heard = []

    async def never(conn: Connection) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    world.namespace.on_message(never).on_disconnect(lambda conn: heard.append("left"))
    client = world.connect()
    client.connection.data_received(message())
    await asyncio.sleep(0)
    world.now += seconds
    world.hub.scheduler.cut_overdue(world.now)
    for _ in range(3):
        await asyncio.sleep(0)
    world.end_turn()
    busy = client.connection.busy
    client.connection.connection_lost()
    world.end_turn()
    for task in world.hub.scheduler.tasks:
        task.cancel()
    await asyncio.gather(*world.hub.scheduler.tasks, return_exceptions=True)
    assert world.hub.scheduler.working == set()
    return [*heard, "busy" if busy else "free"]


@pytest.mark.parametrize(
    ("limit", "seconds", "heard"),
    [
        pytest.param(100.0, 99.9, ["cancelled", "left", "busy"], id="below"),
        pytest.param(100.0, 100.0, ["cancelled", "left", "free"], id="at the limit"),
        pytest.param(0.0, 1e6, ["cancelled", "left", "busy"], id="no limit"),
    ],
)
def test_handler_at_its_limit(limit: float, seconds: float, heard: list[str], world: World) -> None:
    """A handler is cancelled when `handler_seconds` are over, not before, and never if they are 0."""
    world.namespace.limits.handler_seconds = limit
    assert asyncio.run(_work(world, seconds)) == heard
    assert drops(world, "overdue") == (heard[-1] == "free")


async def _cancel_from_outside(world: World) -> list[str]:
    told: list[str] = []

    async def refuse_once(conn: Connection) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("refused")
        await asyncio.Event().wait()

    world.namespace.on_message(refuse_once).on_disconnect(lambda conn: told.append("left"))
    client = world.connect()
    client.connection.data_received(message())
    await asyncio.sleep(0)
    world.hub.scheduler.cut_overdue(world.now + 100)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    client.connection.connection_lost()
    world.end_turn()
    (task,) = world.hub.scheduler.tasks
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    return told


def test_drain_ends_a_handler_that_has_refused_before(world: World) -> None:
    """The end of a drain is told from the end of a handler's time: the task ends and says good-bye."""
    assert asyncio.run(_cancel_from_outside(world)) == ["refused", "left"]
