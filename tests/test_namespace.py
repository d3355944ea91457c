"""What handlers call: broadcasts and messages to one client or user, and `on_bridge`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from jpulse.bridge.base import DOWN, RESYNCED, UP
from jpulse.hub import Hub
from jpulse.namespace import Namespace, NamespaceHandler, Registry
from jpulse.settings import Settings
from jpulse.websocket import Scheduler

from .fake_transport import Client, World

NEWS = {"type": "news"}
STATES = [DOWN, UP, RESYNCED]


@dataclass
class User:
    """Who signed in."""

    username: str


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A namespace at a time of a test's own."""
    return World(monkeypatch)


def who_got_it(world: World, clients: list[Client]) -> list[str]:
    """The ids of the clients that were sent something in this turn, once for each frame."""
    world.end_turn()
    ids = [client.connection.client_id for client in clients for _ in client.frames()]
    for client in clients:
        client.transport.sent = b""
    return ids


# Sending


def test_broadcast_without_one_client(world: World) -> None:
    """A broadcast reaches every socket but those of the client id that is left out."""
    clients = [world.connect(client_id) for client_id in ("ann", "ann", "bob", "cid")]
    world.namespace.broadcast(NEWS, exclude="ann")
    assert who_got_it(world, clients) == ["bob", "cid"]


def test_sending_to_nobody_before_the_loop() -> None:
    """Where nobody is connected, as in `setup(app)` before the server runs, sending is done and counted."""
    namespace = Registry(Hub(Scheduler()), Settings()).create_namespace("/api/1/ws/early")
    namespace.broadcast(NEWS)
    namespace.send_to_client("ann", NEWS)
    namespace.send_to_user("ann", NEWS)
    assert namespace.get_stats()["totalMessages"] == 3


@pytest.mark.parametrize("exclude", [None, "", "nobody"])
def test_broadcast_without_nobody(world: World, exclude: str | None) -> None:
    """Leaving out nobody, or somebody who is not there, leaves out nobody."""
    clients = [world.connect(client_id) for client_id in ("ann", "bob")]
    world.namespace.broadcast(NEWS, exclude=exclude)
    assert who_got_it(world, clients) == ["ann", "bob"]


def test_exclude_is_a_client_id(world: World) -> None:
    """What cannot be a client id raises at the caller, before anything is sent."""
    client = world.connect("ann")
    with pytest.raises(TypeError, match="exclude"):
        world.namespace.broadcast(NEWS, exclude=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        world.namespace.send_to_user(None, NEWS)  # type: ignore[arg-type]
    assert who_got_it(world, [client]) == []
    assert world.namespace.stats.total == 0


def test_left_out_of_one_broadcast(world: World) -> None:
    """Who is left out of one broadcast gets the next one."""
    clients = [world.connect(client_id) for client_id in ("ann", "bob")]
    world.namespace.broadcast(NEWS, exclude="ann")
    world.namespace.broadcast(NEWS)
    assert who_got_it(world, clients) == ["ann", "bob", "bob"]


def test_local_only(world: World) -> None:
    """A broadcast for this process alone reaches its clients, with `exclude` too."""
    clients = [world.connect(client_id) for client_id in ("ann", "bob")]
    world.namespace.broadcast(NEWS, local_only=True)
    assert who_got_it(world, clients) == ["ann", "bob"]
    world.namespace.broadcast(NEWS, exclude="bob", local_only=True)
    assert who_got_it(world, clients) == ["ann"]


@pytest.mark.parametrize("spelling", ["Ann", "ann", " ANN\t", "\uff21\uff4e\uff4e"], ids=repr)
def test_user_by_any_spelling(world: World, spelling: str) -> None:
    """A user is reached by any spelling of the name, on all sockets, and nobody else is."""
    users = (("a", "Ann"), ("b", "ann"), ("b", "ann"), ("c", "bob"), ("d", ""))
    clients = [world.connect(client_id, user=User(name) if name else None) for client_id, name in users]
    world.namespace.send_to_user(spelling, NEWS)
    assert who_got_it(world, clients) == ["a", "b", "b"]


@pytest.mark.parametrize("name", ["", " ", "\t", "\u3000", "none", "None"], ids=repr)
def test_guests_are_nobody(world: World, name: str) -> None:
    """No name reaches guests."""
    clients = [world.connect("a"), world.connect("b", user=User("ann"))]
    world.namespace.send_to_user(name, NEWS)
    assert who_got_it(world, clients) == []


def test_user_who_left(world: World) -> None:
    """A user who has left is not reached, and the last socket that leaves is the last of the user."""
    first, second = (world.connect(client_id, user=User("ann")) for client_id in "ab")
    first.connection.connection_lost()
    world.end_turn()
    world.namespace.send_to_user("ann", NEWS)
    assert who_got_it(world, [first, second]) == ["b"]
    second.connection.connection_lost()
    world.end_turn()
    world.namespace.send_to_user("ann", NEWS)
    assert who_got_it(world, [first, second]) == []
    assert len(world.namespace.members.users) == 0


@pytest.mark.parametrize("way", ["broadcast", "client", "user"])
def test_what_json_cannot_carry(world: World, way: str) -> None:
    """What JSON cannot carry raises TypeError, reaches nobody and is not counted."""
    client = world.connect("ann", user=User("ann"))
    send = {
        "broadcast": world.namespace.broadcast,
        "client": lambda data: world.namespace.send_to_client("ann", data),
        "user": lambda data: world.namespace.send_to_user("ann", data),
    }[way]
    with pytest.raises(TypeError):
        send({"type": object()})
    assert who_got_it(world, [client]) == []
    assert world.namespace.get_stats()["totalMessages"] == 0


def test_messages_are_counted_once(world: World) -> None:
    """A message counts once however many get it, and also if nobody does."""
    for client_id in ("ann", "bob"):
        world.connect(client_id, user=User("ann"))
    world.namespace.broadcast(NEWS)
    world.namespace.send_to_user("ann", NEWS)
    world.namespace.send_to_user("nobody", NEWS)
    world.namespace.send_to_client("nobody", NEWS)
    assert world.namespace.get_stats()["totalMessages"] == 4


def test_handlers_pass_it_on(world: World) -> None:
    """A handler class sends as its namespace does."""
    registry = Registry(world.hub, Settings())

    class Chat(NamespaceHandler):
        path = "/api/1/ws/chat"

    chat = registry.register(Chat)
    clients = [world.connect("ann", user=User("ann"), namespace=chat.namespace)]
    clients.append(world.connect("bob", namespace=chat.namespace))
    chat.broadcast(NEWS, exclude="ann")
    assert who_got_it(world, clients) == ["bob"]
    chat.broadcast(NEWS, exclude="bob", local_only=True)
    assert who_got_it(world, clients) == ["ann"]
    chat.send_to_user("ANN", NEWS)
    assert who_got_it(world, clients) == ["ann"]
    assert (chat.client_count, chat.has_client("bob"), chat.has_client("cid")) == (2, True, False)


# on_bridge


def registry() -> Registry:
    """A registry whose handlers run in this loop."""
    return Registry(Hub(Scheduler()), Settings())


def test_on_bridge() -> None:
    """Handlers are told of each state in turn, plain ones and async ones."""
    heard: list[tuple[str, str]] = []

    class Plain(NamespaceHandler):
        path = "/api/1/ws/plain"

        def on_bridge(self, state: str) -> None:
            heard.append(("plain", state))

    class Patient(NamespaceHandler):
        path = "/api/1/ws/patient"

        async def on_bridge(self, state: str) -> None:
            await asyncio.sleep(0)
            heard.append(("async", state))

    async def main() -> None:
        told = registry()
        told.register(Plain)
        told.register(Patient)
        chained = told.create_namespace("/api/1/ws/chained")
        assert chained.on_bridge(lambda state: heard.append(("chained", state))) is chained
        told.create_namespace("/api/1/ws/deaf")
        for state in STATES:
            told.tell_bridge(state)
            await asyncio.sleep(0.01)

    asyncio.run(main())
    for name in ("plain", "async", "chained"):
        assert [state for each, state in heard if each == name] == STATES


def test_on_bridge_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """What `on_bridge` raises, plain or async, is logged with the path, and keeps nothing from the others."""
    heard: list[str] = []

    async def fail_later(state: str) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("async")

    def fail(state: str) -> None:
        raise RuntimeError("plain")

    async def main() -> None:
        told = registry()
        told.create_namespace("/api/1/ws/one").on_bridge(fail)
        told.create_namespace("/api/1/ws/two").on_bridge(fail_later)
        told.create_namespace("/api/1/ws/three").on_bridge(heard.append)
        told.tell_bridge(DOWN)
        await asyncio.sleep(0.01)
        told.tell_bridge(UP)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert heard == [DOWN, UP]
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert sorted(told) == [
        ("ERROR", f"/api/1/ws/{name}: on_bridge failed") for name in ("one", "one", "two", "two")
    ]
    assert all(record.exc_info for record in caplog.records)


def test_on_bridge_that_is_cancelled() -> None:
    """A drain waits for an async `on_bridge`, and may cancel it."""

    async def main() -> None:
        told = registry()
        hub = told.create_namespace("/api/1/ws/one").on_bridge(lambda state: asyncio.sleep(60)).hub
        told.tell_bridge(DOWN)
        (task,) = hub.scheduler.tasks
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())


def test_on_bridge_that_is_no_function(world: World) -> None:
    """What cannot be called is refused when it is given."""
    namespace: Namespace = world.namespace
    with pytest.raises(TypeError):
        namespace.on_bridge("down")  # type: ignore[arg-type]
