"""A database for the examples that keep something: SQLite, asked in a thread of its own."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Database:
    """
    One file, one connection, one thread: the event loop never waits for the disk.

    All processes of a machine may use the same file. For several machines put a database in its place that
    all of them reach.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, "examples-database")

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work(connection)` in one transaction, which no other process comes between."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = self._open()
        # IMMEDIATE: what is read here is still true when it is written.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._connection)
            self._connection.commit()
        except BaseException:
            # COMMIT can fail, too; a transaction that stays open would be in everybody's way.
            self._connection.rollback()
            raise
        return result

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.executescript(self._schema)
        return connection
