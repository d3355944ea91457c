"""The journal on disk: entries under growing numbers, and what has come of each sender."""

import sqlite3
from collections.abc import Sequence
from typing import Any

SCHEMA = """
    CREATE TABLE IF NOT EXISTS entry (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, text TEXT NOT NULL, at REAL NOT NULL
    );
    CREATE TABLE IF NOT EXISTS sender (id TEXT PRIMARY KEY, last INTEGER NOT NULL, at REAL NOT NULL);
"""
MAX_ENTRIES = 1000
#: What was sent again after so long would be taken for new.
REMEMBER_SENDERS_SECONDS = 90 * 86400
#: Entries in one answer.
PAGE = 100

Entry = dict[str, Any]


def accept(
    db: sqlite3.Connection, sender: str, first: int, texts: Sequence[str], name: str, now: float
) -> tuple[int, list[Entry]]:
    """
    Keep those of the texts, numbered from `first` on, that are not kept yet.

    Returns up to which number all are kept, and the new entries. All that in one transaction: an entry
    and the knowledge that it has come are never without each other.
    """
    known = db.execute("SELECT last FROM sender WHERE id = ?", (sender,)).fetchone()
    last: int = known["last"] if known else 0
    new = []
    for number, text in enumerate(texts, first):
        if number > last:
            last = number
            insert = "INSERT INTO entry (name, text, at) VALUES (?, ?, ?) RETURNING *"
            new.append(dict(db.execute(insert, (name, text, now)).fetchone()))
    db.execute("INSERT OR REPLACE INTO sender VALUES (?, ?, ?)", (sender, last, now))
    db.execute("DELETE FROM sender WHERE at < ?", (now - REMEMBER_SENDERS_SECONDS,))
    db.execute("DELETE FROM entry WHERE seq <= (SELECT max(seq) FROM entry) - ?", (MAX_ENTRIES,))
    return last, new


def read(db: sqlite3.Connection, after: int | None) -> dict[str, Any]:
    """A page of the entries that follow `after`, without it the newest; and the newest number of all."""
    newest = db.execute("SELECT coalesce(max(seq), 0) FROM entry").fetchone()[0]
    begin = newest - PAGE if after is None else after
    rows = db.execute("SELECT * FROM entry WHERE seq > ? ORDER BY seq LIMIT ?", (begin, PAGE))
    return {"entries": [dict(row) for row in rows], "newest": newest}
