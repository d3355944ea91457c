"""
Sticky notes: the WebSocket itself changes them.

Each change is kept first and told second, to everybody, the sender included: for the sender
that is the answer. What cannot be done is answered to the sender alone.

At most 200 notes are kept. A new one beyond that takes the place of the one that nobody has
changed for the longest time.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from jpulse import ClientError, CloseCode, Connection, NamespaceHandler
from jpulse.activity import iso_time
from jpulse.store.base import Note, StoreUnavailable, new_id

from .turns import turn

log = logging.getLogger("demos.notes")

MAX_NOTES = 200
MAX_TEXT_LENGTH = 500
#: After other processes were out of reach, how often and after which pauses the list is asked for.
LIST_ATTEMPTS = 10
LIST_PAUSE_SECONDS = 1.0


class Notes(NamespaceHandler):
    """
    Positions are percent of the room that a note has, 0 to 100: at 100 it touches the far edge.

    Last writer wins, field by field: two who change different fields of a note at once lose nothing.
    """

    path = "/api/1/ws/hello-notes"

    async def on_connect(self, conn: Connection) -> None:
        """
        Greet, then tell the notes. The list is read after the greeting: what is told between them is newer.

        Without a list there is nothing to work on: the client comes back by itself, a little later.
        """
        conn.send(self._welcome(), conn.ctx)
        try:
            conn.send(await self._list(), conn.ctx)
        except StoreUnavailable as error:
            log.warning("the notes cannot be read: %s", error)
            conn.close(CloseCode.TRY_AGAIN_LATER, "The notes cannot be read right now")

    async def on_message(self, conn: Connection) -> None:
        """Change the notes, and tell everybody."""
        async with refusing_in_trouble():
            match conn.message.get("type"):
                case "note-create":
                    await self._create(conn)
                case "note-update":
                    await self._update(conn)
                case "note-delete":
                    await self._delete(conn)
                case other:
                    raise ClientError(
                        f"type: {other!r:.60} is not one of note-create, note-update, note-delete"
                    )

    async def on_bridge(self, state: str) -> None:
        """Tell the clients of this process all notes anew when other processes were out of reach."""
        if state != "resynced":
            return
        self.broadcast(self._welcome(), local_only=True)
        for _ in range(LIST_ATTEMPTS):
            try:
                self.broadcast(await self._list(), local_only=True)
                return
            except StoreUnavailable as error:
                log.warning("the notes cannot be read: %s", error)
                await asyncio.sleep(LIST_PAUSE_SECONDS)

    async def _create(self, conn: Connection) -> None:
        """x and y are needed; without text the note is empty, without color it is yellow."""
        fields = checked(conn.message, required=("x", "y"))
        now = self.app.clock()
        note = Note(id=new_id(), created_by=conn.username, created_at=now, updated_at=now, **fields)
        gone = await self.app.notes.add_note(note, MAX_NOTES)
        self._tell(conn, "note-created", note=as_json(note))
        for note_id in gone:
            self._tell(conn, "note-deleted", noteId=note_id)

    async def _update(self, conn: Connection) -> None:
        """Any of x, y, text and color."""
        fields = checked(conn.message, required=("id",))
        note_id = fields.pop("id")
        if not fields:
            raise ClientError("x: this, y, text or color is needed")
        async with turn(note_id):
            note = found(await self.app.notes.update_note(note_id, self.app.clock(), **fields))
            self._tell(conn, "note-updated", note=as_json(note))

    async def _delete(self, conn: Connection) -> None:
        fields = checked(conn.message, required=("id",), allowed=("id",))
        async with turn(fields["id"]):
            note = found(await self.app.notes.delete_note(fields["id"]))
            self._tell(conn, "note-deleted", noteId=note.id)

    def _tell(self, conn: Connection, kind: str, **what: Any) -> None:
        self.broadcast({"type": kind, **what, "username": conn.username}, conn.ctx)

    def _welcome(self) -> dict[str, Any]:
        return {"type": "welcome", "userCount": self.client_count}

    async def _list(self) -> dict[str, Any]:
        return {"type": "notes-init", "notes": [as_json(note) for note in await self.app.notes.list_notes()]}


@asynccontextmanager
async def refusing_in_trouble() -> AsyncIterator[None]:
    """Tell the sender when the store is in trouble: whether the change was kept is not known then."""
    try:
        yield
    except StoreUnavailable as error:
        log.warning("a note cannot be changed: %s", error)
        raise ClientError("The notes cannot be changed right now; try again in a moment", 503) from None


def found(note: Note | None) -> Note:
    """Refuse with 404 what is not there."""
    if note is None:
        raise ClientError("There is no such note; somebody may have deleted it", 404)
    return note


def as_json(note: Note) -> dict[str, Any]:
    """What clients see of a note."""
    return {
        "id": note.id,
        "x": note.x,
        "y": note.y,
        "text": note.text,
        "color": note.color,
        "createdAt": iso_time(note.created_at),
        "createdBy": note.created_by,
        "updatedAt": iso_time(note.updated_at),
    }


# What clients may say


def percent(value: Any) -> float:
    """A coordinate."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ValueError("a number from 0 to 100 is needed")
    return float(value)


def text(value: Any) -> str:
    """What is written on a note; it may be empty."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_LENGTH:
        raise ValueError(f"a text of at most {MAX_TEXT_LENGTH} characters is needed")
    if any(0xD800 <= ord(char) <= 0xDFFF or char == "\0" for char in value):
        raise ValueError("it has characters that do not exist")
    return value


def color(value: Any) -> str:
    """A colour as #rrggbb, in small letters."""
    if not isinstance(value, str) or not re.fullmatch("#[0-9a-fA-F]{6}", value):
        raise ValueError("a colour such as #ffe08a is needed")
    return value.lower()


def identifier(value: Any) -> str:
    """The id of a note, whether there is one or not."""
    if not isinstance(value, str):
        raise ValueError("the id of a note is needed")
    return value


CHECKS: dict[str, Callable[[Any], Any]] = {
    "id": identifier,
    "x": percent,
    "y": percent,
    "text": text,
    "color": color,
}
NOTE_FIELDS = ("x", "y", "text", "color")


def checked(
    message: dict[str, Any], required: tuple[str, ...], allowed: tuple[str, ...] = NOTE_FIELDS
) -> dict[str, Any]:
    """The fields of a message; ClientError naming the first that is missing, wrong or not known here."""
    given = {name: value for name, value in message.items() if name not in ("type", "username")}
    for name in required:
        if name not in given:
            raise ClientError(f"{name}: is missing")
    for name in given:
        if name not in (*required, *allowed):
            raise ClientError(f"{name:.60}: is not known here")
    return {name: _checked(name, value) for name, value in given.items()}


def _checked(name: str, value: Any) -> Any:
    try:
        return CHECKS[name](value)
    except ValueError as error:
        raise ClientError(f"{name}: {error}") from None
