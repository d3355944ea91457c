"""
Who is here, on disk: a row for each tab, and what the tabs of one person make together.

Each change gets the next number of one clock, so that everybody can tell which of two is newer.
"""

import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SCHEMA = """
    CREATE TABLE IF NOT EXISTS clock (only INTEGER PRIMARY KEY CHECK (only = 1), now INTEGER NOT NULL);
    INSERT OR IGNORE INTO clock VALUES (1, 0);
    CREATE TABLE IF NOT EXISTS person (id TEXT PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS tab (
        id TEXT PRIMARY KEY, person TEXT NOT NULL, away INTEGER NOT NULL, seen REAL NOT NULL
    );
    CREATE INDEX IF NOT EXISTS tab_person ON tab (person);
"""
#: A tab of which its process says nothing for so long is gone: the process has died.
LEASE_SECONDS = 15.0
#: A person is here while one tab is, and online while one tab is not away.
PEOPLE = """SELECT person.id, name, min(away) AS away FROM tab JOIN person ON person.id = tab.person
    WHERE seen > :since {only} GROUP BY person.id ORDER BY name, person.id"""

Person = dict[str, Any]


@dataclass
class Tab:
    """A connection, as its own process knows it."""

    person: str
    away: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


def put(db: sqlite3.Connection, tab: Tab, now: float) -> Person:
    """Write a tab as it is now; returns how its person is then."""
    db.execute("INSERT OR REPLACE INTO tab VALUES (?, ?, ?, ?)", (tab.id, tab.person, tab.away, now))
    return person_now(db, tab.person, now)


def remove(db: sqlite3.Connection, tab: Tab, now: float) -> Person:
    """Strike a tab out; returns how its person is then."""
    db.execute("DELETE FROM tab WHERE id = ?", (tab.id,))
    return person_now(db, tab.person, now)


def call(db: sqlite3.Connection, person: str, name: str, *, anew: bool = True) -> None:
    """Give a person a name; with `anew` false only if there is none yet."""
    db.execute(f"INSERT OR {'REPLACE' if anew else 'IGNORE'} INTO person VALUES (?, ?)", (person, name))


def renew(db: sqlite3.Connection, tabs: Iterable[Tab], now: float) -> list[Person]:
    """Say that these tabs are still there, and strike those of dead processes out; returns who changed."""
    changed = set()
    for tab in tabs:
        if not db.execute("UPDATE tab SET seen = ? WHERE id = ?", (now, tab.id)).rowcount:
            # This process had stood still for so long that another one took it for dead.
            db.execute("INSERT INTO tab VALUES (?, ?, ?, ?)", (tab.id, tab.person, tab.away, now))
            changed.add(tab.person)
    dead = db.execute("DELETE FROM tab WHERE seen <= ? RETURNING person", (now - LEASE_SECONDS,))
    changed |= {row["person"] for row in dead.fetchall()}
    return [person_now(db, person, now) for person in changed]


def everybody(db: sqlite3.Connection, now: float) -> dict[str, Any]:
    """Who is here, and the number of the last change that this shows."""
    rows = db.execute(PEOPLE.format(only=""), {"since": now - LEASE_SECONDS}).fetchall()
    clock = db.execute("SELECT now FROM clock").fetchone()[0]
    return {"people": [as_json(row, clock) for row in rows], "changed": clock}


def person_now(db: sqlite3.Connection, person: str, now: float) -> Person:
    """How a person is, under the next number; without any tab the person is gone."""
    changed = db.execute("UPDATE clock SET now = now + 1 RETURNING now").fetchone()[0]
    query = PEOPLE.format(only="AND person.id = :person")
    row = db.execute(query, {"since": now - LEASE_SECONDS, "person": person}).fetchone()
    if row is None:
        db.execute("DELETE FROM person WHERE id = ?", (person,))
        return {"id": person, "state": "gone", "changed": changed}
    return as_json(row, changed)


def as_json(row: sqlite3.Row, changed: int) -> Person:
    """What everybody sees of a person."""
    state = "away" if row["away"] else "online"
    return {"id": row["id"], "name": row["name"], "state": state, "changed": changed}
