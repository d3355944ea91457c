"""Fixtures and records for the tests of the stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jpulse.store.base import Note, NoteStore, Session, Store, StoreUnavailable, Todo, User, new_id
from jpulse.store.mongo import MongoStore
from jpulse.store.redis_notes import RedisNotes
from jpulse.store.sqlite import SqliteStore

from ..patience import Stopwatch
from ..servers import mongo_server as mongo_server
from ..servers import mongo_url as mongo_url
from ..servers import shared_mongo as shared_mongo

T = TypeVar("T")
S = TypeVar("S", bound=NoteStore)
Scenario = Callable[[Store], Awaitable[T]]
WithStore = Callable[[Scenario[Any]], Any]
NotesScenario = Callable[[NoteStore], Awaitable[T]]
WithNotes = Callable[[NotesScenario[Any]], Any]

#: The clock of these tests, in the year 2096: MongoDB's own clock must not end their sessions.
NOW = 4_000_000_000.25
#: An answer of a store that is out of order must come so soon.
PROMISE_SECONDS = 5.0


def run_with(make: Callable[[], S], scenario: Callable[[S], Awaitable[T]]) -> T:
    """Run a scenario with an open store, which is closed after it."""

    async def main() -> T:
        store = make()
        await store.open()
        try:
            return await scenario(store)
        finally:
            await store.close()

    return asyncio.run(main())


async def refused(call: Awaitable[Any]) -> bool:
    """Wait for a call and tell whether the store was not available; either soon enough."""
    watch = Stopwatch()
    try:
        await call
    except StoreUnavailable:
        return True
    finally:
        assert not watch.is_over(PROMISE_SECONDS)
    return False


@pytest.fixture(params=["sqlite", "mongo"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Make stores, not yet open, on the same data; the test runs once for each kind."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "data" / "jpulse.sqlite")
    url = request.getfixturevalue("mongo_url")
    return lambda: MongoStore(url)


@pytest.fixture
def with_store(make_store: Callable[[], Store]) -> WithStore:
    """Run a scenario: `with_store(scenario)`, where `async def scenario(store)`."""
    return lambda scenario: run_with(make_store, scenario)


@pytest.fixture(params=["sqlite", "mongo", "redis"])
def make_notes(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], NoteStore]:
    """Make stores for notes, not yet open, on the same data; the test runs once for each kind."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "data" / "jpulse.sqlite")
    url = request.getfixturevalue(f"{request.param}_url")
    return lambda: MongoStore(url) if request.param == "mongo" else RedisNotes(url)


@pytest.fixture
def with_notes(make_notes: Callable[[], NoteStore]) -> WithNotes:
    """Run a scenario: `with_notes(scenario)`, where `async def scenario(store)`."""
    return lambda scenario: run_with(make_notes, scenario)


def user(username: str = "Ann", **values: Any) -> User:
    """A user."""
    return User(**{"username": username, "password_hash": "$2b$hash", "created_at": NOW, **values})


def session(id_hash: str, user_key: str = "ann", **values: Any) -> Session:
    """A session of Ann's that lasts ten seconds."""
    times = {"created_at": NOW, "expires_at": NOW + 10}
    return Session(**{"id_hash": id_hash, "user_key": user_key, **times, **values})


def todo(title: str = "Buy milk", **values: Any) -> Todo:
    """A todo."""
    return Todo(**{"id": new_id(), "title": title, "created_at": NOW, "updated_at": NOW, **values})


def note(number: int, **values: Any) -> Note:
    """A note that is older the smaller its number."""
    times = {"created_at": NOW + number, "updated_at": NOW + number}
    return Note(**{"id": f"note-{number:04}", "x": 12.5, "y": 99.9, **times, **values})
