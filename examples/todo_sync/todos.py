"""The todos on disk: each change gets the next number of one clock, in the same transaction."""

import sqlite3
from typing import Any

SCHEMA = """
    CREATE TABLE IF NOT EXISTS clock (only INTEGER PRIMARY KEY CHECK (only = 1), now INTEGER NOT NULL);
    INSERT OR IGNORE INTO clock VALUES (1, 0);
    CREATE TABLE IF NOT EXISTS todo (
        id TEXT PRIMARY KEY, title TEXT NOT NULL, done INTEGER NOT NULL,
        made INTEGER NOT NULL, changed INTEGER NOT NULL
    );
"""
MAX_TODOS = 500


def tick(db: sqlite3.Connection) -> int:
    """Number a change."""
    now: int = db.execute("UPDATE clock SET now = now + 1 RETURNING now").fetchone()[0]
    return now


def read_all(db: sqlite3.Connection) -> dict[str, Any]:
    """All todos, oldest first, and the number of the last change that they show."""
    todos = [as_json(row) for row in db.execute("SELECT * FROM todo ORDER BY made")]
    return {"todos": todos, "clock": db.execute("SELECT now FROM clock").fetchone()[0]}


def add(db: sqlite3.Connection, todo_id: str, title: str) -> dict[str, Any] | None:
    """Keep a new todo; None if there are too many. One that is there already is returned as it is."""
    if db.execute("SELECT count(*) FROM todo").fetchone()[0] >= MAX_TODOS:
        return None
    now = tick(db)
    db.execute("INSERT OR IGNORE INTO todo VALUES (?, ?, 0, ?, ?)", (todo_id, title, now, now))
    return as_json(db.execute("SELECT * FROM todo WHERE id = ?", (todo_id,)).fetchone())


def set_done(db: sqlite3.Connection, todo_id: str, done: bool) -> dict[str, Any] | None:
    """Complete or reopen a todo; None if there is none."""
    change = "UPDATE todo SET done = ?, changed = ? WHERE id = ? RETURNING *"
    row = db.execute(change, (done, tick(db), todo_id)).fetchone()
    return as_json(row) if row else None


def delete(db: sqlite3.Connection, todo_id: str) -> dict[str, Any] | None:
    """Remove a todo; what is left of it is when that was. None if there is none."""
    gone = db.execute("DELETE FROM todo WHERE id = ?", (todo_id,)).rowcount
    return {"id": todo_id, "changed": tick(db), "gone": True} if gone else None


def as_json(row: sqlite3.Row) -> dict[str, Any]:
    """What clients see of a todo."""
    return {**dict(row), "done": bool(row["done"]), "gone": False}
