"""The database that examples share: a transaction is whole or has not been, and is never left open."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from examples.database import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS entry (text TEXT NOT NULL)"


def add(db: sqlite3.Connection) -> None:
    """Write something."""
    db.execute("INSERT INTO entry VALUES ('x')")


def count(db: sqlite3.Connection) -> int:
    """How much is there."""
    found: int = db.execute("SELECT count(*) FROM entry").fetchone()[0]
    return found


def add_and_fail(db: sqlite3.Connection) -> None:
    """Write something, and fail."""
    add(db)
    raise LookupError


def with_database(path: Path, use: Callable[[Database], Awaitable[None]]) -> None:
    """Use a database in a loop of its own."""

    async def run() -> None:
        database = Database(path, SCHEMA)
        try:
            await use(database)
        finally:
            assert database._connection is not None
            # By the one thread that may.
            database._thread.submit(database._connection.close).result(10)

    asyncio.run(run())


def test_work_that_fails(tmp_path: Path) -> None:
    """What was written before a failure is not kept, and the next one has the database."""

    async def use(database: Database) -> None:
        with pytest.raises(LookupError):
            await database.run(add_and_fail)
        await database.run(add)
        assert await database.run(count) == 1

    with_database(tmp_path / "some.db", use)


def test_end_that_fails(tmp_path: Path) -> None:
    """What could not be kept in the end is given up, so that the next one has the database."""
    path = tmp_path / "some.db"

    async def use(database: Database) -> None:
        await database.run(lambda db: db.execute("PRAGMA busy_timeout = 50"))
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert count(reader) == 0
            # Who reads keeps others from writing it into the file, and from nothing before.
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                await database.run(add)
        await database.run(add)
        assert await database.run(count) == 1

    with_database(path, use)
