"""
A process that writes: `python -m tests.store.writer PATH NAME NUMBER`.

Adds todos to the SQLite store, several at once, and says of each that it was acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from jpulse.store.base import Todo
from jpulse.store.sqlite import SqliteStore

AT_ONCE = 5


async def write(path: Path, name: str, number: int) -> None:
    """Add `number` todos, whose titles and ids are the same."""
    store = SqliteStore(path)
    await store.open()
    ids = (f"{name}-{index}" for index in range(number))
    await asyncio.gather(*(add(store, ids) for _ in range(AT_ONCE)))
    await store.close()


async def add(store: SqliteStore, ids: Iterator[str]) -> None:
    """Add a todo for each id that nobody else took."""
    for each in ids:
        await store.add_todo(Todo(id=each, title=each, created_at=1.0, updated_at=1.0))
        print(each, flush=True)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
