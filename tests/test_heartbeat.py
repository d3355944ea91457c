"""Who is silent: pings, and the end of connections from which nothing comes, at times that a test decides."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import cycle, pairwise

import pytest

from jpulse.connection import Connection
from jpulse.heartbeat import Heartbeat
from jpulse.websocket import CLOSED, OPEN
from jpulse.wire import PING, PONG

from .fake_transport import START, Client, World
from .raw_client import client_frame

INTERVAL, TIMEOUT = 30.0, 5.0
SILENCE = INTERVAL + TIMEOUT


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A hub at a time of a test's own."""
    return World(monkeypatch)


def heartbeat_of(world: World, *spread: float) -> Heartbeat:
    """A heartbeat whose first pings come at these parts of the interval, one client after the other."""
    parts = cycle(spread or (0.5,))
    return Heartbeat(world.hub, INTERVAL, TIMEOUT, spread=lambda: next(parts))


def sweep_until(
    world: World, heartbeat: Heartbeat, end: float, at_tick: Callable[[], None] = lambda: None
) -> None:
    """Sweep at every tick until a time, and end the turn of the loop after each."""
    while world.now + heartbeat.tick <= end:
        world.now += heartbeat.tick
        at_tick()
        heartbeat.sweep(world.now)
        world.end_turn()


def hear(client: Client) -> None:
    """Let something come from a client."""
    client.connection.data_received(client_frame(b"", PONG))


# Pings


def test_first_ping_is_spread(world: World) -> None:
    """The first ping of a connection comes at a part of the interval that is its own."""
    clients = [world.connect(name) for name in ("one", "two", "three", "four")]
    heartbeat = heartbeat_of(world, 0.1, 0.4, 0.6, 0.9)
    heartbeat.sweep(START)
    pings = []
    for part in (0.05, 0.25, 0.5, 0.75, 0.95):
        world.now = START + part * INTERVAL
        for client in clients:
            hear(client)
        heartbeat.sweep(world.now)
        world.end_turn()
        pings.append(sum(client.pings() for client in clients))
    assert pings == [0, 1, 2, 3, 4]


def test_ping_every_interval(world: World) -> None:
    """After its first ping a connection gets one every `ping_interval`, each empty."""
    client = world.connect()
    heartbeat = heartbeat_of(world, 0.5)
    pings: list[float] = []

    def note() -> None:
        hear(client)
        if client.pings() > len(pings):
            pings.append(world.now - heartbeat.tick)

    heartbeat.sweep(START)
    sweep_until(world, heartbeat, START + 200, note)
    assert [round(time - START) for time in pings] == [15, 45, 75, 105, 135, 165, 195]
    assert set(client.frames()) == {(PING, b"")}


def test_pings_of_thousands_are_spread(world: World) -> None:
    """A thousand clients that came in one second are pinged over the whole interval, without a burst."""
    clients = [world.connect(str(number)) for number in range(1000)]
    heartbeat = Heartbeat(world.hub, INTERVAL, TIMEOUT, spread=random.Random(1).random)
    heartbeat.sweep(START)
    counts = [0]

    def note() -> None:
        for client in clients:
            hear(client)
        counts.append(sum(bool(client.transport.sent) for client in clients))

    sweep_until(world, heartbeat, START + INTERVAL + 2, note)
    assert counts[-1] == 1000
    assert max(later - earlier for earlier, later in pairwise(counts)) < 80


def test_no_ping_to_who_is_closing(world: World) -> None:
    """After the close frame nothing more is sent (RFC 6455 section 5.5.1)."""
    client = world.connect()
    heartbeat = heartbeat_of(world, 0.01)
    heartbeat.sweep(START)
    client.connection.close(1000)
    world.now += 2
    heartbeat.sweep(world.now)
    world.end_turn()
    assert client.pings() == 0
    assert client.close_code() == 1000


def test_every_namespace_is_swept(world: World) -> None:
    """Clients of all namespaces are pinged, and ended when silent."""
    clients = [world.connect(namespace=world.namespace_at(f"/api/1/ws/{name}")) for name in ("a", "b", "c")]
    heartbeat = heartbeat_of(world)
    heartbeat.sweep(START)
    sweep_until(world, heartbeat, START + 20)
    assert [client.pings() for client in clients] == [1, 1, 1]
    sweep_until(world, heartbeat, START + 40)
    assert [client.close_code() for client in clients] == [4408, 4408, 4408]


def test_nobody_there(world: World) -> None:
    """A sweep over nobody does nothing."""
    heartbeat_of(world).sweep(START)
    assert world.planned == 0


# The silent


def test_silent_client_is_ended(world: World) -> None:
    """Who has sent nothing for `ping_interval + pong_timeout` is closed with 4408, and not before."""
    client = world.connect()
    heartbeat = heartbeat_of(world)
    heartbeat.sweep(START)
    sweep_until(world, heartbeat, START + SILENCE - 1)
    world.now = START + SILENCE - 0.001
    heartbeat.sweep(world.now)
    world.end_turn()
    assert (client.connection.state, client.close_code()) == (OPEN, None)
    world.now = START + SILENCE
    heartbeat.sweep(world.now)
    world.end_turn()
    assert client.close_code() == 4408
    assert client.connection.close_code == 4408


def test_silence_is_noticed_in_time(world: World) -> None:
    """A silent client is ended at most a tick too late, and a tick is a fraction of the pong timeout."""
    client = world.connect()
    heartbeat = heartbeat_of(world)
    sweep_until(world, heartbeat, START + SILENCE + heartbeat.tick)
    assert client.close_code() == 4408
    assert 0 < heartbeat.tick <= TIMEOUT / 2


@pytest.mark.parametrize(("interval", "timeout"), [(0.05, 0.05), (0.3, 0.2), (30.0, 5.0), (600.0, 0.1)])
def test_tick(world: World, interval: float, timeout: float) -> None:
    """Sweeps are frequent enough for the shortest settings, and for the longest once a second."""
    tick = Heartbeat(world.hub, interval, timeout).tick
    assert 0 < tick <= min(1.0, interval / 2, timeout)


@pytest.mark.parametrize(
    "data",
    [
        client_frame(b"", PONG),
        client_frame(b"unasked", PONG),
        client_frame(b"", PING),
        client_frame(b'{"type":"ping"}'),
        client_frame(b'{"type":"news"}'),
        client_frame(b"no JSON"),
        client_frame(b"x" * 100)[:1],
    ],
    ids=["pong", "unasked pong", "ping", "JSON ping", "message", "no message", "part of a frame"],
)
def test_any_traffic_is_life(world: World, data: bytes) -> None:
    """Any byte counts as a sign of life, not only a pong (RFC 6455 section 5.5.2)."""
    client = world.connect()
    heartbeat = heartbeat_of(world)
    heartbeat.sweep(START)
    sweep_until(world, heartbeat, START + SILENCE - 1)
    client.connection.data_received(data)
    heard = world.now
    sweep_until(world, heartbeat, heard + SILENCE - 1)
    assert client.connection.state is OPEN
    sweep_until(world, heartbeat, heard + SILENCE + 1)
    assert client.close_code() == 4408


def test_what_is_sent_is_no_sign_of_life(world: World) -> None:
    """What the server sends does not prove that anybody is there."""
    client = world.connect()
    heartbeat = heartbeat_of(world)
    heartbeat.sweep(START)
    sweep_until(world, heartbeat, START + SILENCE, lambda: client.connection.send({"type": "news"}))
    assert client.close_code() == 4408


def test_silent_among_the_lively(world: World) -> None:
    """Only those who are silent are ended, each once, and their namespace is told."""
    gone: list[str] = []
    world.on_disconnect(lambda conn: gone.append(conn.client_id))
    lively, silent, other = world.connect("lively"), world.connect("silent"), world.connect("other")
    heartbeat = heartbeat_of(world)
    heartbeat.sweep(START)

    def hear_them() -> None:
        hear(lively)
        hear(other)

    sweep_until(world, heartbeat, START + 100, hear_them)
    assert silent.close_code() == 4408
    assert (lively.close_code(), other.close_code()) == (None, None)
    assert gone == ["silent"]
    assert world.namespace.client_count == 2


def test_handlers_that_end_others(world: World) -> None:
    """What a handler of one that is ended does to others cannot stop the sweep."""
    clients = [world.connect(str(number)) for number in range(10)]

    def end_everybody(conn: Connection) -> None:
        world.namespace.broadcast({"type": "left", "clientId": conn.client_id})
        for client in clients:
            client.connection.close(1000)

    world.on_disconnect(end_everybody)
    heartbeat = heartbeat_of(world)
    heartbeat.sweep(START)
    sweep_until(world, heartbeat, START + SILENCE)
    assert [client.close_code() for client in clients] == [4408] * 10
    assert world.namespace.client_count == 0


def test_ping_that_overfills_an_outbox(world: World) -> None:
    """A ping for which an outbox has no room closes that client with 1013, and the sweep goes on."""
    clients = [world.connect(str(number)) for number in range(10)]
    for client in clients:
        client.transport.takes = 0
        client.connection.send_frame(b"x" * client.connection.max_outbox_bytes)
    world.end_turn()
    heartbeat = heartbeat_of(world, 0.01)
    heartbeat.sweep(START)
    world.now = START + 1
    heartbeat.sweep(world.now)
    world.end_turn()
    assert [client.connection.close_code for client in clients] == [1013] * 10


# The busy


def test_busy_handler_is_spared(world: World) -> None:
    """A client whose handler is at work is not ended for its silence, since its input may wait unread."""

    async def scenario() -> None:
        done = asyncio.Event()
        world.namespace.on_message(lambda conn: done.wait())
        busy, idle = world.connect("busy"), world.connect("idle")
        busy.connection.data_received(client_frame(b'{"type":"work"}'))
        heartbeat = heartbeat_of(world)
        heartbeat.sweep(START)
        sweep_until(world, heartbeat, START + 10 * SILENCE)
        assert busy.connection.busy
        assert (busy.connection.state, idle.close_code()) == (OPEN, 4408)
        assert busy.pings() > 5
        done.set()
        await asyncio.gather(*world.hub.scheduler.tasks)
        assert not busy.connection.busy
        world.now += heartbeat.tick
        heartbeat.sweep(world.now)
        world.end_turn()
        assert busy.close_code() == 4408

    asyncio.run(scenario())


def test_client_that_was_not_read(world: World) -> None:
    """A client whose input was left in the socket has all its time again once it is read."""

    async def scenario() -> None:
        done = asyncio.Event()
        world.namespace.on_message(lambda conn: done.wait())
        client = world.connect()
        # One is worked on, ten wait, one more is in the parser.
        client.connection.data_received(client_frame(b'{"type":"work"}') * 12)
        assert not client.transport.reading
        heartbeat = heartbeat_of(world)
        heartbeat.sweep(START)
        sweep_until(world, heartbeat, START + 5 * SILENCE)
        done.set()
        await asyncio.gather(*world.hub.scheduler.tasks)
        assert client.transport.reading
        read_again = world.now
        sweep_until(world, heartbeat, read_again + SILENCE - 1)
        assert client.connection.state is OPEN
        sweep_until(world, heartbeat, read_again + SILENCE)
        assert client.close_code() == 4408

    asyncio.run(scenario())


# A process that was paused


@pytest.mark.parametrize("pause", [40.0, 3600.0])
def test_pause_of_the_process(world: World, pause: float) -> None:
    """A sweep that comes late ends nobody: what clients sent meanwhile waits unread."""
    talking, silent = world.connect("talking"), world.connect("silent")
    heartbeat = heartbeat_of(world)
    heartbeat.sweep(START)
    world.now = START + pause
    heartbeat.sweep(world.now)
    world.end_turn()
    assert (talking.connection.state, silent.connection.state) == (OPEN, OPEN)
    hear(talking)
    sweep_until(world, heartbeat, world.now + heartbeat.tick)
    assert (talking.close_code(), silent.close_code()) == (None, 4408)


def test_slightly_late_sweep(world: World) -> None:
    """A loop that is busy for a part of a second does not keep the silent alive."""
    client = world.connect()
    heartbeat = heartbeat_of(world)
    while world.now < START + SILENCE:
        heartbeat.sweep(world.now)
        world.now += heartbeat.tick + 0.5
    heartbeat.sweep(world.now)
    world.end_turn()
    assert client.close_code() == 4408


# Closings


def test_overdue_closing_is_cut(world: World) -> None:
    """The socket of who does not answer a close frame is cut after `close_seconds`, not before."""
    client = world.connect()
    heartbeat = heartbeat_of(world)
    client.connection.close(1000)
    heartbeat.sweep(START + 4.999)
    assert not client.transport.aborted
    heartbeat.sweep(START + 5.0)
    assert client.transport.aborted
    # What it did not read is not kept for it.
    assert client.transport.discards
    assert client.connection.state is CLOSED
    assert world.hub.sockets == 0


def test_silent_client_is_cut_in_the_end(world: World) -> None:
    """Who is silent does not answer the close frame either, and is cut without a second good-bye."""
    gone: list[str] = []
    world.on_disconnect(lambda conn: gone.append(conn.client_id))
    client = world.connect()
    heartbeat = heartbeat_of(world)
    heartbeat.sweep(START)
    sweep_until(world, heartbeat, START + SILENCE + 5 + heartbeat.tick)
    assert client.transport.aborted
    assert client.close_code() == 4408
    assert gone == ["one"]
    assert (world.hub.sockets, list(world.hub.connections())) == (0, [])


def test_overdue_closing_is_cut_after_a_pause_too(world: World) -> None:
    """A closing that is overdue after a pause of the process is cut."""
    client = world.connect()
    heartbeat = heartbeat_of(world)
    heartbeat.sweep(START)
    client.connection.close(1000)
    heartbeat.sweep(START + 3600)
    assert client.transport.aborted
