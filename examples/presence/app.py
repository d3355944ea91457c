"""
Presence: who is online, who is away, who is typing. All tabs and devices of a person are one person.

Every process writes down its own tabs and renews that every few seconds; what a dead process has
written runs out. Typing is only told, never kept.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from jpulse import App, ClientError, CloseCode, Connection, NamespaceHandler

from ..database import Database
from . import people
from .people import Person, Tab

log = logging.getLogger("examples.presence")

RENEW_SECONDS = 5.0
MAX_NAME_LENGTH = 40
MAX_TEXT_LENGTH = 500


class Presence(NamespaceHandler):
    """A person is a user who is signed in, or else a browser."""

    path = "/api/1/ws/presence"
    database: Database

    def __init__(self) -> None:
        #: The tabs at this process.
        self.tabs: dict[Connection, Tab] = {}
        self.renewing: asyncio.Task[None] | None = None

    async def on_connect(self, conn: Connection) -> None:
        """Write the tab down, tell everybody, and tell the newcomer who is here."""
        tab = self.tabs[conn] = Tab(person_id(conn))
        if self.renewing is None:
            self.renewing = asyncio.create_task(self._renew())
        name = conn.user.display_name or conn.username if conn.user else f"Guest {conn.client_id[:4]}"
        try:
            await self.database.run(lambda db: people.call(db, tab.person, name, anew=conn.user is not None))
            await self._tell(lambda db: people.put(db, tab, self.app.clock()))
            here = await self.database.run(lambda db: people.everybody(db, self.app.clock()))
        except sqlite3.Error as error:
            log.warning("who is here cannot be written down: %s", error)
            # The page comes back by itself, a little later.
            conn.close(CloseCode.TRY_AGAIN_LATER, "Who is here is not known right now")
        else:
            conn.send({"type": "everybody", "you": tab.person, "isGuest": conn.user is None, **here})

    async def on_message(self, conn: Connection) -> None:
        """Take what somebody does."""
        tab = self.tabs[conn]
        match conn.message:
            case {"type": "away", "away": bool(away)}:
                tab.away = away
                await self._tell(lambda db: people.put(db, tab, self.app.clock()))
            case {"type": "name", "name": str(name)} if not conn.user and 0 < len(name) <= MAX_NAME_LENGTH:
                # A guest is marked as one, so that nobody passes for a user.
                await self.database.run(lambda db: people.call(db, tab.person, f"{name} (guest)"))
                await self._tell(lambda db: people.put(db, tab, self.app.clock()))
            case {"type": "typing"}:
                self.broadcast({"type": "typing", "id": tab.person}, exclude=conn.client_id)
            case {"type": "say", "text": str(text)} if 0 < len(text) <= MAX_TEXT_LENGTH:
                self.broadcast({"type": "said", "id": tab.person, "text": text})
            case _:
                raise ClientError("type: away, name (of a guest), typing or say is needed, with what it says")

    async def on_disconnect(self, conn: Connection) -> None:
        """Strike the tab out; its person may have others."""
        tab = self.tabs.pop(conn, None)
        if not self.tabs and self.renewing is not None:
            self.renewing.cancel()
            self.renewing = None
        if tab is not None:
            await self._tell(lambda db: people.remove(db, tab, self.app.clock()))

    async def on_bridge(self, state: str) -> None:
        """Tell the tabs of this process everything anew when other processes were out of reach."""
        if state == "resynced":
            here = await self.database.run(lambda db: people.everybody(db, self.app.clock()))
            self.broadcast({"type": "everybody", **here}, local_only=True)

    async def _tell(self, change: Callable[[sqlite3.Connection], Person]) -> None:
        """Write a change down, then tell everybody how the person is now."""
        self.broadcast({"type": "person", "person": await self.database.run(change)})

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._renew_once(list(self.tabs.values()))
            except sqlite3.Error as error:
                log.warning("who is here cannot be written down: %s", error)

    async def _renew_once(self, tabs: list[Tab]) -> None:
        for person in await self.database.run(lambda db: people.renew(db, tabs, self.app.clock())):
            self.broadcast({"type": "person", "person": person})


def person_id(conn: Connection) -> str:
    """Who it is, at whichever tab."""
    return f"user {conn.user.key}" if conn.user else f"guest {conn.client_id}"


def setup(app: App) -> None:
    """Serve the namespace, and the page at /presence/."""
    presence = app.websockets.register(Presence)
    assert isinstance(presence, Presence)
    presence.database = Database(app.config.data_dir / "presence.db", people.SCHEMA)
    app.serve_folder("/presence/", Path(__file__).parent, index="page.html")
