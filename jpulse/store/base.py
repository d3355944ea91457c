"""
The store's interface and its records.

Times are seconds since 1970. Names of users are looked up by their key, which is the
same for every spelling of a name; see `name_key`. Every change of one record is
atomic: two at once lose nothing.

Every change of a todo or a note makes its `updated_at` later, by a millisecond at least,
whatever the clocks of the processes say: max(now, old + 1 ms), in whole milliseconds. So
who hears of two changes in the wrong order can tell, and ids are never used again.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import msgspec

from ..errors import JPulseError, SettingsError, StartError
from ..names import name_key


class StoreError(JPulseError):
    """What every store raises, whichever it is."""


class Conflict(StoreError):
    """Another record has this name already."""


class NoActiveUser(StoreError):
    """A session was asked for a user who does not exist or is disabled."""


class StoreUnavailable(StoreError):
    """The store does not answer right now; whoever asked may try again."""


class StoreStartError(StoreError, StartError):
    """The store cannot be used at all; the text is one line that says why and names the fix."""


class StoreSettingsError(StoreStartError, SettingsError):
    """What the setting names cannot be a store, and trying again does not mend it."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can sign in."""

    #: As it was typed when the user was made, normalised to NFKC.
    username: str
    #: What bcrypt made of the password; it never leaves the server.
    password_hash: str
    roles: tuple[str, ...] = ("user",)
    display_name: str = ""
    #: False: disabled; such a user cannot sign in and has no sessions.
    active: bool = True
    created_at: float = 0.0

    @property
    def key(self) -> str:
        """What the user is found by."""
        return name_key(self.username)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in that lasts until `expires_at`."""

    #: SHA-256 of the id in the cookie, in hex: who reads the store cannot take over a session.
    id_hash: str
    #: The key of the user.
    user_key: str
    created_at: float
    expires_at: float


class Todo(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the collaborative list."""

    id: str
    title: str
    completed: bool = False
    #: Who made it; "" for a guest.
    username: str = ""
    created_at: float
    updated_at: float


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A sticky note; x and y are percent of the canvas."""

    id: str
    x: float
    y: float
    text: str = ""
    color: str = "#fff475"
    created_by: str = ""
    created_at: float
    updated_at: float


def new_id() -> str:
    """Make an id for a todo or a note."""
    return uuid.uuid4().hex


def milliseconds(seconds: float) -> int:
    """The whole milliseconds of a time; what is kept is this number divided by 1000."""
    return round(1000 * seconds)


class NoteStore(ABC):
    """
    Where the notes are kept: in the store, or in Redis when there is one.

    Any method may raise StoreUnavailable, within five seconds. Methods that look for
    one record return None when there is none; ids that cannot exist are such a case.
    """

    @abstractmethod
    async def open(self) -> None:
        """Connect and make what is missing: tables, indexes. StoreStartError if that cannot be."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is under way and let go; may be called again."""

    @abstractmethod
    async def add_note(self, note: Note, max_notes: int) -> list[str]:
        """
        Keep a new note, and of all the `max_notes` last updated; returns the ids of those that went.

        Conflict if the id is taken.
        """

    @abstractmethod
    async def list_notes(self) -> list[Note]:
        """All notes, oldest first."""

    @abstractmethod
    async def update_note(self, note_id: str, now: float, **changes: Any) -> Note | None:
        """Change x, y, text or color, each by itself; updated_at grows; returns the note as it is then."""

    @abstractmethod
    async def delete_note(self, note_id: str) -> Note | None:
        """Remove a note and return what it was."""


class Store(NoteStore):
    """What the server asks of its store."""

    @abstractmethod
    async def check(self) -> None:
        """Ask the store for a sign of life; StoreUnavailable if there is none."""

    # Users

    @abstractmethod
    async def add_user(self, user: User) -> None:
        """Keep a new user; Conflict if the name's key is taken."""

    @abstractmethod
    async def get_user(self, username: str) -> User | None:
        """Find a user by any spelling of the name."""

    @abstractmethod
    async def list_users(self) -> list[User]:
        """All users, by key."""

    @abstractmethod
    async def count_users(self) -> int:
        """How many users there are."""

    @abstractmethod
    async def update_user(self, username: str, **changes: Any) -> User | None:
        """Change password_hash, roles, display_name or active; returns the user as it is then."""

    # Sessions

    @abstractmethod
    async def add_session(self, session: Session) -> None:
        """Keep a new session; StoreError if there is no such user, or the user is disabled."""

    @abstractmethod
    async def get_session(self, id_hash: str, now: float) -> Session | None:
        """Find a session that has not expired at `now`."""

    @abstractmethod
    async def extend_session(self, id_hash: str, expires_at: float) -> bool:
        """Let a session last longer; False if it is gone. Never makes it shorter."""

    @abstractmethod
    async def delete_session(self, id_hash: str) -> bool:
        """End a session; False if it was gone."""

    @abstractmethod
    async def delete_sessions_of(self, user_key: str, keep: str | None = None) -> list[str]:
        """End all sessions of a user but the one whose id_hash is `keep`; returns the ended id_hashes."""

    @abstractmethod
    async def delete_expired_sessions(self, now: float) -> int:
        """Forget sessions that have expired at `now`; returns their number."""

    async def get_session_user(self, id_hash: str, now: float) -> tuple[Session, User] | None:
        """Find a session that has not expired at `now`, and its user."""
        session = await self.get_session(id_hash, now)
        user = await self.get_user(session.user_key) if session else None
        return (session, user) if session and user else None

    async def get_session_users(self, id_hashes: Collection[str], now: float) -> dict[str, User]:
        """The users of those of the sessions that have not expired at `now`, by id_hash."""
        found = {id_hash: await self.get_session_user(id_hash, now) for id_hash in id_hashes}
        return {id_hash: pair[1] for id_hash, pair in found.items() if pair}

    # Todos

    @abstractmethod
    async def add_todo(self, todo: Todo) -> None:
        """Keep a new todo; Conflict if the id is taken."""

    @abstractmethod
    async def get_todo(self, todo_id: str) -> Todo | None:
        """Find a todo."""

    @abstractmethod
    async def list_todos(self, limit: int = 1000) -> list[Todo]:
        """The newest `limit` todos, oldest of them first."""

    @abstractmethod
    async def count_todos(self) -> int:
        """How many todos there are."""

    @abstractmethod
    async def update_todo(self, todo_id: str, now: float, **changes: Any) -> Todo | None:
        """Change title or completed, nothing else; updated_at grows; returns the todo as it is then."""

    @abstractmethod
    async def toggle_todo(self, todo_id: str, now: float) -> Todo | None:
        """Turn completed into its opposite, in one step; updated_at grows; returns the todo as it is then."""

    @abstractmethod
    async def delete_todo(self, todo_id: str) -> Todo | None:
        """Remove a todo and return what it was."""
