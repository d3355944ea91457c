"""What is MongoDB's own: indexes, write concern, and a server that is killed, frozen or not there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jpulse.store.base import Store, StoreStartError, StoreUnavailable, new_id
from jpulse.store.mongo import MongoStore

from ..conftest import wait_until
from ..patience import LONG_SECONDS, Stopwatch
from ..servers import MongoServer, client, find_mongod, free_port
from .conftest import NOW, PROMISE_SECONDS, Scenario, T, refused, run_with, session, todo, user


def run_on(url: str, scenario: Scenario[T]) -> T:
    """Run a scenario with the store at a URL."""
    return run_with(lambda: MongoStore(url), scenario)


async def recover(store: Store, seconds: float = LONG_SECONDS) -> None:
    """Ask until the store answers again."""
    async with asyncio.timeout(seconds):
        while await refused(store.check()):
            pass


# The database


def test_indexes(mongo_url: str) -> None:
    """Opening makes the unique index of names and the one by which MongoDB forgets sessions, once."""

    async def scenario(store: Store) -> None:
        await store.check()

    run_on(mongo_url, scenario)
    run_on(mongo_url, scenario)
    with client(mongo_url) as mongo:
        db = mongo.get_default_database()
        assert db.users.index_information()["key_1"]["unique"] is True
        assert db.sessions.index_information()["expires_1"]["expireAfterSeconds"] == 3600
        assert len(db.sessions.index_information()) == 4


def test_mongodb_forgets_expired_sessions_later(mongo_url: str) -> None:
    """The time by which MongoDB forgets a session follows its expiry, in the type that a TTL index needs."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())
        await store.add_session(session("s1"))
        await store.extend_session("s1", NOW + 100.5)

    run_on(mongo_url, scenario)
    with client(mongo_url, tz_aware=True) as mongo:
        [kept] = mongo.get_default_database().sessions.find()
    assert kept["expires_at"] == NOW + 100.5
    assert kept["expires"].timestamp() == NOW + 100.5


def test_database_of_the_url(mongo_server: MongoServer) -> None:
    """The URL names the database; without a name it is jpulse."""

    async def scenario(store: Store) -> None:
        await store.add_user(user())

    run_on(mongo_server.url, scenario)
    run_on(f"{mongo_server.url}/other?appName=x", scenario)
    with client(mongo_server.url) as mongo:
        assert {"jpulse", "other"} <= set(mongo.list_database_names())


def test_write_concern(mongo_url: str) -> None:
    """Every write waits for the journals of a majority, whatever the URL says, and has a time limit."""
    url = f"{mongo_url}{'&' if '?' in mongo_url else '?'}w=0&journal=false&readPreference=secondary"

    async def scenario(store: Store) -> None:
        kept = todo()
        await store.add_user(user())
        await store.update_user("ann", active=True)
        await store.add_session(session("s1"))
        await store.extend_session("s1", NOW + 20)
        await store.delete_sessions_of("ann")
        await store.add_todo(kept)
        await store.toggle_todo(kept.id, NOW)
        await store.delete_todo(kept.id)

    async def profiled(store: Store) -> None:
        with client(mongo_url) as mongo:
            mongo.get_default_database().command("profile", 2)
            try:
                await scenario(store)
            finally:
                mongo.get_default_database().command("profile", 0)

    run_on(url, profiled)
    with client(mongo_url) as mongo:
        found = mongo.get_default_database()["system.profile"].find(
            {"command.writeConcern": {"$exists": True}}
        )
        commands = [each["command"] for each in found]
    # The profiler shows it of inserts and of findAndModify; updates and deletions go the same way.
    assert len(commands) >= 6
    for each in commands:
        assert each["writeConcern"]["w"] == "majority"
        assert each["writeConcern"]["j"] is True
        assert 0 < each["maxTimeMS"] <= 4000


def test_documents_of_a_newer_version(mongo_url: str) -> None:
    """Fields that this version does not know are left alone."""

    async def scenario(store: Store) -> None:
        kept = todo()
        await store.add_todo(kept)
        with client(mongo_url) as mongo:
            mongo.get_default_database().todos.update_one({"_id": kept.id}, {"$set": {"due": NOW}})
        assert await store.list_todos() == [kept]

    run_on(mongo_url, scenario)


def test_names_that_are_there_twice(mongo_url: str) -> None:
    """Data that the unique index does not fit is told in one line."""
    with client(mongo_url) as mongo:
        mongo.get_default_database().users.insert_many([{"key": "ann"}, {"key": "ann"}])

    async def scenario(store: Store) -> None: ...

    with pytest.raises(StoreStartError, match=r"^mongo_url: cannot use MongoDB at .*duplicate key.*$"):
        run_on(mongo_url, scenario)


# Starting without


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mongodb://ann:secret@127.0.0.1:{port}/jpulse", "Connection refused"),
        ("mongodb://ann:secret@host.invalid:{port}/", "host.invalid"),
        ("mongodb://127.0.0.1:port", "not a MongoDB URL"),
        ("mongodb://ann:sec/ret@127.0.0.1", "not a MongoDB URL"),
        ("mongodb+srv://ann:secret@127.0.0.1", "Invalid URI host"),
    ],
)
def test_start_without_a_server(url: str, why: str) -> None:
    """No server, or a URL that cannot be: one line that names the setting and not the password."""

    async def scenario(store: Store) -> None: ...

    watch = Stopwatch()
    with pytest.raises(StoreStartError) as caught:
        run_on(url.format(port=free_port()), scenario)
    assert not watch.is_over(PROMISE_SECONDS)
    text = str(caught.value)
    assert text.startswith("mongo_url: ")
    assert why in text
    assert "sec" not in text
    assert "\n" not in text
    assert len(text) < 250


# Trouble while running


def test_gone_and_back(mongo_server: MongoServer) -> None:
    """A server that is gone is told within five seconds; when it is back, so is the store, by itself."""

    async def scenario(store: Store) -> None:
        kept = todo()
        await store.add_todo(kept)
        await asyncio.to_thread(mongo_server.stop)
        calls = (store.check(), store.add_todo(todo()), store.list_todos(), store.get_session("s1", NOW))
        assert await asyncio.gather(*map(refused, calls)) == [True] * 4
        with pytest.raises(StoreUnavailable, match="the database does not answer; try again in a moment"):
            await store.check()
        await asyncio.to_thread(mongo_server.start)
        await recover(store)
        assert await store.list_todos() == [kept]

    run_on(mongo_server.url, scenario)


def test_frozen(mongo_server: MongoServer) -> None:
    """A server that keeps its connections and says nothing costs nobody five seconds, nor blocks the loop."""

    async def scenario(store: Store) -> None:
        kept = todo()
        await store.add_todo(kept)
        mongo_server.pause()
        try:
            longest = asyncio.create_task(longest_pause())
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda: store.get_todo(kept.id),
                lambda: store.add_todo(todo()),
                store.list_notes,
                store.check,
            ]
            for _ in range(2):
                answers = await asyncio.gather(*(refused(call()) for call in calls * 50))
                assert all(answers)
            longest.cancel()
            assert await longest < 2
        finally:
            mongo_server.resume()
        await recover(store)
        assert kept in await store.list_todos()

    run_on(mongo_server.url, scenario)


async def longest_pause() -> float:
    """Watch the event loop until cancelled; how long it was kept at most, by a stopwatch."""
    watch, longest, before = Stopwatch(), 0.0, 0.0
    while True:
        try:
            await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            return longest
        now = watch.seconds
        longest, before = max(longest, now - before), now


def test_close_while_frozen(mongo_server: MongoServer) -> None:
    """Closing does not wait for a server that does not answer."""

    async def scenario() -> None:
        store = MongoStore(mongo_server.url)
        await store.open()
        await store.check()
        mongo_server.pause()
        watch = Stopwatch()
        write = asyncio.create_task(refused(store.add_todo(todo())))
        await asyncio.sleep(0)
        await store.close()
        assert await write
        assert not watch.is_over(2 * PROMISE_SECONDS)

    try:
        asyncio.run(scenario())
    finally:
        mongo_server.resume()


def test_killed_under_load(mongo_server: MongoServer) -> None:
    """
    mongod is killed and restarted twice while twenty write: nothing acknowledged is lost.

    If no request was under way at either moment, the writers only wait, and it is killed again.
    """

    async def scenario(store: Store) -> None:
        acknowledged: dict[str, str] = {}
        refusals: list[bool] = []
        done = asyncio.Event()
        await store.add_user(user())

        async def write() -> None:
            while not done.is_set():
                kept = todo(id=new_id())
                if await refused(store.add_todo(kept)):
                    refusals.append(True)
                    continue
                acknowledged[kept.id] = kept.title
                title = f"changed {kept.id}"
                if not await refused(store.update_todo(kept.id, NOW, title=title)):
                    acknowledged[kept.id] = title

        async def progress(number: int) -> None:
            goal = len(acknowledged) + number
            async with asyncio.timeout(60):
                while len(acknowledged) < goal:
                    await asyncio.sleep(0.01)

        writers = [asyncio.create_task(write()) for _ in range(20)]
        kills = 0
        try:
            while kills < 2 or (not refusals and kills < 20):
                await progress(100)
                await asyncio.to_thread(mongo_server.kill)
                await asyncio.to_thread(mongo_server.start)
                kills += 1
            await progress(100)
        finally:
            done.set()
            await asyncio.gather(*writers)
        assert refusals, "the load did not notice the kill"
        found = {each.id: each.title for each in await store.list_todos(1_000_000)}
        for todo_id, title in acknowledged.items():
            assert found[todo_id] in (title, f"changed {todo_id}")

    run_on(mongo_server.url, scenario)


def test_lost_connections_under_load(mongo_server: MongoServer) -> None:
    """When the driver gives up its connections while twenty write, all goes on in a moment."""

    async def scenario(store: Store) -> None:
        assert isinstance(store, MongoStore)
        assert store._client is not None
        written, done = 0, asyncio.Event()

        async def write() -> None:
            nonlocal written
            while not done.is_set():
                if not await refused(store.add_todo(todo(id=new_id()))):
                    written += 1

        async def progress() -> None:
            goal = written + 200
            async with asyncio.timeout(LONG_SECONDS):
                while written < goal:
                    await asyncio.sleep(0.01)

        writers = [asyncio.create_task(write()) for _ in range(20)]
        try:
            await progress()
            for _ in range(3):
                # So it does itself when one of them breaks.
                [server] = store._client.delegate._topology._servers.values()
                server.pool.reset()
                await progress()
        finally:
            done.set()
            await asyncio.gather(*writers)

    run_on(mongo_server.url, scenario)


def test_replica_set(tmp_path: Path) -> None:
    """In a replica set a write that a lost connection has cut off is tried again, and made once."""
    options = ("--replSet", "all", "--setParameter", "enableTestCommands=1")
    server = MongoServer(find_mongod(), tmp_path / "mongo", *options)
    cut = {"failCommands": ["insert"], "closeConnection": True}
    kept = todo()

    async def scenario(store: Store) -> None:
        with client(server.url, directConnection=True) as mongo:
            mongo.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=cut)
        await store.add_todo(kept)
        assert await store.list_todos() == [kept]

    try:
        with client(server.url, directConnection=True) as mongo:
            member = {"_id": 0, "host": f"127.0.0.1:{server.port}"}
            mongo.admin.command("replSetInitiate", {"_id": "all", "members": [member]})
            wait_until(lambda: mongo.admin.command("hello")["isWritablePrimary"], what="a primary")
        run_on(f"{server.url}/?replicaSet=all", scenario)
    finally:
        server.kill()
