"""The notifications on disk: each user's own, and up to which one the user has seen them."""

import sqlite3
from typing import Any

SCHEMA = """
    CREATE TABLE IF NOT EXISTS note (
        id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, sender TEXT NOT NULL, text TEXT NOT NULL,
        sent_at REAL NOT NULL
    );
    CREATE INDEX IF NOT EXISTS note_user ON note (user, id);
    CREATE TABLE IF NOT EXISTS seen (user TEXT PRIMARY KEY, up_to INTEGER NOT NULL);
"""
#: Of each user the newest so many are kept.
MAX_NOTES = 100


def add(db: sqlite3.Connection, user: str, sender: str, text: str, now: float) -> dict[str, Any]:
    """Keep a notification for a user."""
    values = (user, sender, text, now)
    row = db.execute("INSERT INTO note (user, sender, text, sent_at) VALUES (?, ?, ?, ?) RETURNING *", values)
    note = as_json(row.fetchone())
    too_old = "SELECT id FROM note WHERE user = ? ORDER BY id DESC LIMIT -1 OFFSET ?"
    db.execute(f"DELETE FROM note WHERE id IN ({too_old})", (user, MAX_NOTES))
    return note


def read(db: sqlite3.Connection, user: str) -> dict[str, Any]:
    """All notifications of a user, oldest first, and up to which one they were seen."""
    rows = db.execute("SELECT * FROM note WHERE user = ? ORDER BY id", (user,))
    seen = db.execute("SELECT up_to FROM seen WHERE user = ?", (user,)).fetchone()
    return {"notes": [as_json(row) for row in rows], "upTo": seen["up_to"] if seen else 0}


def mark_seen(db: sqlite3.Connection, user: str, up_to: int) -> int:
    """Remember up to which one a user has seen them; never takes back, never runs ahead."""
    newest = db.execute("SELECT coalesce(max(id), 0) FROM note WHERE user = ?", (user,)).fetchone()[0]
    upsert = """INSERT INTO seen VALUES (?, ?) ON CONFLICT (user)
        DO UPDATE SET up_to = max(up_to, excluded.up_to) RETURNING up_to"""
    seen: int = db.execute(upsert, (user, min(up_to, newest))).fetchone()[0]
    return seen


def as_json(row: sqlite3.Row) -> dict[str, Any]:
    """What its receiver sees of a notification."""
    return {"id": row["id"], "sender": row["sender"], "text": row["text"], "sentAt": row["sent_at"]}
