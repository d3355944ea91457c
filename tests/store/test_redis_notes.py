"""What is Redis's own: what it keeps under which keys, and a server that is killed, frozen or not there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from jpulse.errors import SettingsError
from jpulse.store.base import Conflict, NoteStore
from jpulse.store.redis_notes import RedisNotes

from ..servers import RedisServer, free_port, redis_client
from .conftest import NOW, NotesScenario, T, note, refused, run_with


def run_on(url: str, scenario: NotesScenario[T], prefix: str = "jpulse") -> T:
    """Run a scenario with the notes in the Redis at a URL."""
    return run_with(lambda: RedisNotes(url, prefix), scenario)


async def all_refused(store: NoteStore) -> bool:
    """Ask for all four things at once, several times over, and tell whether none could be had."""
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: store.add_note(note(9), 10),
        lambda: store.update_note("note-0001", NOW, x=1.0),
        lambda: store.delete_note("note-0002"),
        store.list_notes,
    ]
    return all(await asyncio.gather(*(refused(call()) for call in calls * 10)))


async def recover(store: NoteStore, seconds: float = 60) -> None:
    """Ask until Redis answers again."""
    async with asyncio.timeout(seconds):
        while await refused(store.list_notes()):
            await asyncio.sleep(0.05)


def test_keys(redis_url: str) -> None:
    """A note is one entry of a hash, as JSON, and one of a sorted set; what goes leaves neither behind."""

    async def scenario(store: NoteStore) -> None:
        for number in range(4):
            await store.add_note(note(number), 3)
        await store.update_note("note-0001", NOW + 50.1234, text="x")
        await store.delete_note("note-0002")

    run_on(redis_url, scenario, prefix="here")
    with redis_client(redis_url) as redis:
        assert sorted(redis.keys()) == ["here:notes", "here:notes:by-update"]
        kept = {key: msgspec.json.decode(text) for key, text in redis.hgetall("here:notes").items()}
        expected = [note(1, text="x", updated_at=NOW + 50.123), note(3)]
        assert kept == {each.id: msgspec.to_builtins(each) for each in expected}
        scores = redis.zrange("here:notes:by-update", 0, -1, withscores=True)
        assert scores == [("note-0003", NOW + 3), ("note-0001", NOW + 50.123)]


def test_two_prefixes(redis_url: str) -> None:
    """Two applications with prefixes of their own share a Redis and see nothing of each other."""

    async def scenario(store: NoteStore) -> None:
        await store.add_note(note(1), 10)
        assert await store.list_notes() == [note(1)]

    run_on(redis_url, scenario, prefix="one")
    run_on(redis_url, scenario, prefix="two")


def test_redis_that_forgot_the_scripts(redis_server: RedisServer) -> None:
    """A Redis that was restarted, and knows no script any more, is told them again."""

    async def scenario(store: NoteStore) -> None:
        await store.add_note(note(1), 10)
        redis_server.restart()
        await recover(store)
        assert await store.add_note(note(2), 10) == []
        assert await store.update_note("note-0002", NOW + 5, x=1.0) is not None
        assert await store.delete_note("note-0002") is not None

    run_on(redis_server.url, scenario)


def test_no_redis() -> None:
    """Where there is no Redis opening works all the same, and every call says in time that there is none."""

    async def scenario(store: NoteStore) -> None:
        assert await all_refused(store)

    run_on(f"redis://127.0.0.1:{free_port()}", scenario)


def test_redis_that_is_killed(redis_server: RedisServer) -> None:
    """While Redis is down every call says so in time; when it is back it is found by itself."""

    async def scenario(store: NoteStore) -> None:
        await store.add_note(note(1), 10)
        redis_server.kill()
        assert await all_refused(store)
        redis_server.start()
        await recover(store)
        assert await store.add_note(note(1), 10) == []

    run_on(redis_server.url, scenario)


@pytest.mark.parametrize("options", ["", "?socket_timeout=60&socket_connect_timeout=60&timeout=60"])
def test_redis_that_is_frozen(redis_server: RedisServer, options: str) -> None:
    """A Redis that keeps connections and does not answer is given up in time, whatever its URL says."""

    async def scenario(store: NoteStore) -> None:
        await store.add_note(note(1), 10)
        redis_server.pause()
        try:
            assert await all_refused(store)
        finally:
            redis_server.resume()
        await recover(store)
        # What was under way when it froze may have happened or not.
        with suppress(Conflict):
            await store.add_note(note(9), 10)
        assert (await store.list_notes())[-1] == note(9)

    run_on(redis_server.url + options, scenario)


def test_redis_without_memory(redis_server: RedisServer) -> None:
    """A Redis that takes nothing more is not available for changes; the notes are there."""

    async def scenario(store: NoteStore) -> None:
        await store.add_note(note(1), 10)
        with redis_server.client() as redis:
            redis.config_set("maxmemory", "1")
        assert await refused(store.add_note(note(2), 10))
        assert await refused(store.update_note("note-0001", NOW + 5, x=1.0))
        assert await store.list_notes() == [note(1)]
        assert await store.delete_note("note-0001") == note(1)

    run_on(redis_server.url, scenario)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1:port", "redis://:secret@host:port"])
def test_what_is_no_url(url: str) -> None:
    """What is no URL of a Redis is refused in one line that names the setting and keeps the password."""

    async def scenario() -> None:
        with pytest.raises(SettingsError, match="redis_url") as caught:
            await RedisNotes(url).open()
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)

    asyncio.run(scenario())
