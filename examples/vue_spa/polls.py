"""The polls on disk: each change gets the next number of one clock, in the same transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Any

SCHEMA = """
    CREATE TABLE IF NOT EXISTS poll (
        id INTEGER PRIMARY KEY AUTOINCREMENT, question TEXT NOT NULL, changed INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS choice (
        poll INTEGER NOT NULL, place INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (poll, place)
    );
    CREATE TABLE IF NOT EXISTS vote (
        poll INTEGER NOT NULL, voter TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (poll, voter)
    );
    CREATE TABLE IF NOT EXISTS clock (only INTEGER PRIMARY KEY CHECK (only = 1), now INTEGER NOT NULL);
    INSERT OR IGNORE INTO clock VALUES (1, 0);
"""
#: The newest so many are kept.
MAX_POLLS = 100

Poll = dict[str, Any]


def tick(db: sqlite3.Connection) -> int:
    """Number a change."""
    now: int = db.execute("UPDATE clock SET now = now + 1 RETURNING now").fetchone()[0]
    return now


def read_all(db: sqlite3.Connection) -> list[Poll]:
    """All polls, newest first."""
    return [read(db, row["id"]) for row in db.execute("SELECT id FROM poll ORDER BY id DESC").fetchall()]


def read(db: sqlite3.Connection, poll_id: int) -> Poll:
    """A poll that there is, with its choices and how many chose each."""
    poll = db.execute("SELECT * FROM poll WHERE id = ?", (poll_id,)).fetchone()
    votes = "SELECT count(*) FROM vote WHERE vote.poll = choice.poll AND vote.place = choice.place"
    query = f"SELECT text, ({votes}) AS votes FROM choice WHERE poll = ? ORDER BY place"
    choices = db.execute(query, (poll_id,))
    return {**dict(poll), "choices": [dict(row) for row in choices]}


def add(db: sqlite3.Connection, question: str, choices: Sequence[str]) -> Poll:
    """Keep a new poll; of too many the oldest goes."""
    insert = "INSERT INTO poll (question, changed) VALUES (?, ?) RETURNING id"
    poll_id = db.execute(insert, (question, tick(db))).fetchone()["id"]
    db.executemany("INSERT INTO choice VALUES (?, ?, ?)", [(poll_id, *each) for each in enumerate(choices)])
    for table, column in (("poll", "id"), ("choice", "poll"), ("vote", "poll")):
        db.execute(f"DELETE FROM {table} WHERE {column} <= ?", (poll_id - MAX_POLLS,))
    return read(db, poll_id)


def vote(db: sqlite3.Connection, poll_id: int, voter: str, place: int) -> Poll | None:
    """Count a voter's choice in place of an earlier one; None if there is no such choice."""
    chosen = db.execute("SELECT 1 FROM choice WHERE poll = ? AND place = ?", (poll_id, place)).fetchone()
    if chosen is None:
        return None
    db.execute("INSERT OR REPLACE INTO vote VALUES (?, ?, ?)", (poll_id, voter, place))
    db.execute("UPDATE poll SET changed = ? WHERE id = ?", (tick(db), poll_id))
    return read(db, poll_id)
