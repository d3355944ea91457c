"""Who is connected, and how one frame reaches many: outboxes, sets of sockets, places."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from jpulse.connection import Connection
from jpulse.hub import Hub, Members
from jpulse.websocket import CLOSED, OPEN
from jpulse.wire import TEXT, frame

from .fake_transport import Client, World

NEWS = frame(b'{"news":1}')


@dataclass
class User:
    """Who signed in."""

    username: str


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A hub at a time of a test's own."""
    return World(monkeypatch)


def fan_out(world: World, data: bytes = NEWS) -> None:
    """Send a frame to all of the namespace."""
    world.hub.fan_out(world.namespace.members.connections, data)


def stop_reading(client: Client) -> None:
    """Let the kernel's buffer of a client be full."""
    client.transport.takes = 0


def read_on(client: Client) -> None:
    """Let a client read all that waits for it."""
    transport = client.transport
    while transport.blocked:
        kept, transport.kept, transport.takes, transport.blocked = transport.kept, b"", None, False
        transport.sent += kept
        client.connection.bytes_sent(len(kept))


# Fan-out


def test_everybody_gets_a_frame(world: World) -> None:
    """A frame reaches every connection once, at the end of the turn."""
    clients = [world.connect(str(number)) for number in range(5)]
    fan_out(world)
    assert [client.transport.sent for client in clients] == [b""] * 5
    world.end_turn()
    assert [client.transport.sent for client in clients] == [NEWS] * 5


def test_frames_of_a_turn_leave_together(world: World) -> None:
    """What is sent within one turn leaves in order, in one send for each client."""
    client = world.connect()
    for number in range(10):
        fan_out(world, frame(str(number).encode()))
    client.connection.send({"type": "last"})
    assert world.planned == 1
    assert world.hub.scheduler.waiting == [client.connection]
    world.end_turn()
    payloads = [payload for _, payload in client.frames()]
    assert payloads[:10] == [str(number).encode() for number in range(10)]
    assert json.loads(payloads[10])["data"]["type"] == "last"
    assert client.transport.sends == 1


def test_fan_out_in_the_next_turn(world: World) -> None:
    """Every turn that sends something has its flush."""
    client = world.connect()
    for _ in range(3):
        fan_out(world)
        world.end_turn()
    assert client.transport.sent == NEWS * 3
    assert client.transport.sends == 3


def test_fan_out_to_nobody(world: World) -> None:
    """A frame for nobody has no effect, and what is sent after it in the same turn is not lost."""
    world.hub.fan_out([], NEWS)
    client = world.connect()
    world.hub.fan_out([], NEWS)
    fan_out(world)
    world.end_turn()
    assert client.transport.sent == NEWS


def test_one_namespace_alone(world: World) -> None:
    """A frame for one namespace reaches no other."""
    here, elsewhere = world.connect(), world.connect(namespace=world.namespace_at("/api/1/ws/other"))
    world.namespace.broadcast({"type": "news"})
    world.end_turn()
    assert (len(here.frames()), len(elsewhere.frames())) == (1, 0)


def test_who_left_gets_nothing(world: World) -> None:
    """A connection that ended, or has begun to, is sent nothing more."""
    stays, closing, gone = world.connect("stays"), world.connect("closing"), world.connect("gone")
    closing.connection.close(1000)
    gone.connection.connection_lost()
    fan_out(world)
    world.end_turn()
    assert stays.transport.sent == NEWS
    assert [opcode for opcode, _ in closing.frames()] == [8]
    assert gone.transport.sent == b""


def test_client_that_goes_before_the_flush(world: World) -> None:
    """A socket that breaks between a broadcast and the end of the turn disturbs nobody."""
    clients = [world.connect(str(number)) for number in range(3)]
    fan_out(world)
    clients[1].connection.connection_lost()
    world.end_turn()
    assert [client.transport.sent for client in clients] == [NEWS, b"", NEWS]


# The outbox


def test_slow_client_gets_everything_later(world: World) -> None:
    """What a client is slow to read waits within the limit, and comes complete and in order."""
    client = world.connect()
    stop_reading(client)
    for number in range(20):
        fan_out(world, frame(str(number).encode()))
        world.end_turn()
    assert client.connection.state is OPEN
    read_on(client)
    assert [payload for _, payload in client.frames()] == [str(number).encode() for number in range(20)]
    assert client.connection.queued_bytes == 0


def test_outbox_up_to_the_limit(world: World) -> None:
    """An outbox that is exactly full is no reason to close."""
    client = world.connect()
    stop_reading(client)
    client.connection.send_frame(b"x" * 990)
    fan_out(world, b"y" * 10)
    world.end_turn()
    assert (client.connection.state, client.connection.queued_bytes) == (OPEN, 1000)


def test_overfull_outbox(world: World) -> None:
    """Who lets its outbox pass `max_outbox_bytes` is closed with 1013 and leaves its namespace at once."""
    gone: list[str] = []
    world.on_disconnect(lambda conn: gone.append(conn.client_id))
    slow, quick = world.connect("slow"), world.connect("quick")
    stop_reading(slow)
    for _ in range(3):
        fan_out(world, frame(b"x" * 400))
        world.end_turn()
    assert slow.connection.close_code == 1013
    assert gone == ["slow"]
    assert list(world.namespace.members.connections) == [quick.connection]
    assert quick.frames() == [(TEXT, b"x" * 400)] * 3
    assert quick.connection.state is OPEN


def test_farewell_of_an_overfull_outbox(world: World) -> None:
    """Who was too slow and reads again finds what was under way, then the close frame, nothing between."""
    client = world.connect()
    stop_reading(client)
    for _ in range(4):
        fan_out(world, frame(b"x" * 400))
        world.end_turn()
    read_on(client)
    assert client.close_code() == 1013
    assert client.frames()[:-1] == [(TEXT, b"x" * 400)]


def test_memory_of_an_overfull_outbox(world: World) -> None:
    """What is broadcast after 1013 is not kept for the one that was closed."""
    client = world.connect()
    stop_reading(client)
    for _ in range(100):
        fan_out(world, frame(b"x" * 400))
        world.end_turn()
    waiting = len(client.transport.kept) + sum(map(len, client.connection.outbox))
    assert waiting <= client.connection.max_outbox_bytes + 100


def test_overfull_client_is_cut(world: World) -> None:
    """Who was closed with 1013 and never reads again is cut after `close_seconds`."""
    client = world.connect()
    stop_reading(client)
    fan_out(world, b"x" * 1001)
    world.end_turn()
    world.hub.scheduler.cut_overdue(world.now + 4.999)
    assert not client.transport.aborted
    world.hub.scheduler.cut_overdue(world.now + 5)
    assert client.transport.aborted
    assert (client.connection.state, world.hub.sockets) == (CLOSED, 0)


def test_much_in_one_turn(world: World) -> None:
    """A client that reads is not closed, however much it is sent within one turn."""
    client = world.connect()
    for _ in range(100):
        fan_out(world, frame(b"x" * 400))
    world.end_turn()
    assert client.connection.state is OPEN
    assert client.frames() == [(TEXT, b"x" * 400)] * 100


def test_one_frame_larger_than_the_outbox(world: World) -> None:
    """A frame that is larger than the limit reaches who reads."""
    client = world.connect()
    fan_out(world, frame(b"x" * 5000))
    world.end_turn()
    assert client.frames() == [(TEXT, b"x" * 5000)]


def test_many_overfull_at_once(world: World) -> None:
    """All who are too slow are closed in one fan-out, and all others get the frame."""
    slow = [world.connect(f"slow {number}") for number in range(10)]
    quick = [world.connect(f"quick {number}") for number in range(10)]
    for client in slow:
        stop_reading(client)
    fan_out(world, frame(b"x" * 2000))
    world.end_turn()
    assert [client.connection.close_code for client in slow] == [1013] * 10
    assert [client.frames() for client in quick] == [[(TEXT, b"x" * 2000)]] * 10


# Members that change meanwhile


def test_members_that_change_meanwhile(world: World) -> None:
    """A handler may broadcast, close others and see new ones come while slow clients are closed."""
    came: list[Client] = []

    def stir(conn: Connection) -> None:
        came.append(world.connect(f"came for {conn.client_id}"))
        world.namespace.broadcast({"type": "left", "clientId": conn.client_id})
        if closed.connection.state is OPEN:
            closed.connection.close(1000)

    world.on_disconnect(stir)
    slow = [world.connect(f"slow {number}") for number in range(5)]
    closed = world.connect("closed")
    quick = [world.connect(f"quick {number}") for number in range(5)]
    for client in slow:
        stop_reading(client)
    fan_out(world, frame(b"x" * 2000))
    world.end_turn()
    assert [client.connection.close_code for client in slow] == [1013] * 5
    assert closed.connection.close_code == 1000
    assert len(came) == 6
    for client in quick:
        kinds = [json.loads(payload)["data"]["type"] for _, payload in client.frames()[1:]]
        assert client.frames()[0] == (TEXT, b"x" * 2000)
        assert kinds == ["left"] * 6
    assert world.namespace.client_count == 11


def test_handler_that_raises_meanwhile(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that fails for a slow client is logged and keeps nothing from the others."""

    def fail(conn: Connection) -> None:
        raise RuntimeError("on_disconnect fails")

    world.on_disconnect(fail)
    slow = [world.connect(f"slow {number}") for number in range(3)]
    quick = world.connect("quick")
    for client in slow:
        stop_reading(client)
    fan_out(world, frame(b"x" * 2000))
    world.end_turn()
    assert [client.connection.close_code for client in slow] == [1013] * 3
    assert quick.connection.state is OPEN
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


def test_two_slow_clients_that_announce_each_other(world: World) -> None:
    """Slow clients whose ends are broadcast to each other end once each."""
    gone: list[str] = []

    def announce(conn: Connection) -> None:
        gone.append(conn.client_id)
        world.namespace.broadcast({"type": "left", "filler": "x" * 900})

    world.on_disconnect(announce)
    for name in ("one", "two", "three"):
        stop_reading(world.connect(name))
    fan_out(world, b"x" * 900)
    world.end_turn()
    fan_out(world, b"x" * 900)
    world.end_turn()
    assert sorted(gone) == ["one", "three", "two"]
    assert world.namespace.client_count == 0


# Sets of sockets


def test_client_id_names_a_set_of_sockets(world: World) -> None:
    """What is sent to a client id reaches all of its sockets and nobody else."""
    tabs = [world.connect("ann") for _ in range(3)]
    other = world.connect("bob")
    world.namespace.send_to_client("ann", {"type": "news"})
    world.end_turn()
    assert [len(tab.frames()) for tab in tabs] == [1, 1, 1]
    assert other.frames() == []


def test_one_of_several_sockets_goes(world: World) -> None:
    """The end of one socket leaves the others of its client id as they were."""
    first, second = world.connect("ann"), world.connect("ann")
    first.connection.connection_lost()
    world.namespace.send_to_client("ann", {"type": "news"})
    world.end_turn()
    assert len(second.frames()) == 1
    assert world.namespace.client_count == 1
    second.connection.connection_lost()
    assert world.namespace.client_count == 0
    assert world.namespace.members.clients.here == {}


def test_reconnect_that_overtakes(world: World) -> None:
    """A socket that comes before the old one of its id has ended stays when that one ends."""
    old = world.connect("ann")
    new = world.connect("ann")
    old.connection.close(1000)
    old.connection.connection_lost()
    fan_out(world)
    world.end_turn()
    assert new.transport.sent == NEWS


def test_unknown_client_id(world: World) -> None:
    """What is sent to nobody has no effect."""
    client = world.connect("ann")
    world.namespace.send_to_client("bob", {"type": "news"})
    world.end_turn()
    assert client.frames() == []


def test_same_id_in_two_namespaces(world: World) -> None:
    """A client id means a client of one namespace."""
    other = world.namespace_at("/api/1/ws/other")
    here, there = world.connect("ann"), world.connect("ann", namespace=other)
    world.namespace.send_to_client("ann", {"type": "news"})
    world.end_turn()
    assert (len(here.frames()), len(there.frames())) == (1, 0)


def test_slow_tab(world: World) -> None:
    """A tab that does not read is closed alone; the other tabs of its id get the message."""
    slow, quick = world.connect("ann"), world.connect("ann")
    stop_reading(slow)
    world.namespace.send_to_client("ann", {"type": "news", "text": "x" * 2000})
    world.end_turn()
    assert slow.connection.close_code == 1013
    assert (quick.connection.state, len(quick.frames())) == (OPEN, 1)


def test_removing_twice(world: World) -> None:
    """A connection that is not there can be removed without effect."""
    client = world.connect()
    members = Members()
    members.remove(client.connection)
    members.add(client.connection)
    members.remove(client.connection)
    members.remove(client.connection)
    assert (members.connections, members.clients.here, members.users.here) == (set(), {}, {})


def test_active_users(world: World) -> None:
    """A signed-in user counts once however many sockets are his, guests count nothing."""
    for client_id, user in (("a", User("ann")), ("a", User("ann")), ("b", User("bob")), ("c", None)):
        world.connect(client_id, user=user)
    assert len(world.namespace.members.users) == 2


def test_connections_of_all_namespaces(world: World) -> None:
    """The hub knows every open connection of every namespace."""
    other = world.namespace_at("/api/1/ws/other")
    clients = [world.connect("a"), world.connect("b", namespace=other), world.connect("c", namespace=other)]
    assert set(world.hub.connections()) == {client.connection for client in clients}
    clients[1].connection.connection_lost()
    assert set(world.hub.connections()) == {clients[0].connection, clients[2].connection}


def test_members_of_a_path(world: World) -> None:
    """A namespace's members are one object, whoever asks."""
    assert world.hub.members_of("/api/1/ws/test") is world.namespace.members
    assert world.hub.members_of("/api/1/ws/none").connections == set()


# Places


def test_places(world: World) -> None:
    """Every socket takes a place, counted for its address too, and nothing is left of who went."""
    hub: Hub = world.hub
    for address in ("10.0.0.1", "10.0.0.1", "2001:db8::1"):
        hub.take_place(address)
    assert (hub.sockets, hub.sockets_by_address) == (3, {"10.0.0.1": 2, "2001:db8::": 1})
    hub.free_place("10.0.0.1")
    hub.free_place("2001:db8::1")
    assert (hub.sockets, hub.sockets_by_address) == (1, {"10.0.0.1": 1})
    hub.free_place("10.0.0.1")
    assert (hub.sockets, hub.sockets_by_address) == (0, {})


def test_places_of_a_network(world: World) -> None:
    """Addresses of one network of IPv6 are counted together: whoever has one has them all."""
    for address in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1", "10.0.0.1", "10.0.0.2"):
        world.hub.take_place(address)
    assert world.hub.sockets_of("2001:db8:0:1::3") == 2
    assert world.hub.sockets_of("2001:db8:0:2::3") == 1
    assert world.hub.sockets_of("10.0.0.1") == 1


def test_place_is_kept_until_the_socket_ends(world: World) -> None:
    """Who is closing still has a socket, and so a place, which is freed once."""
    client = world.connect(ip="10.0.0.1")
    client.connection.close(1000)
    world.end_turn()
    assert (world.hub.sockets, world.hub.sockets_by_address) == (1, {"10.0.0.1": 1})
    client.connection.connection_lost()
    client.connection.connection_lost()
    assert (world.hub.sockets, world.hub.sockets_by_address) == (0, {})
