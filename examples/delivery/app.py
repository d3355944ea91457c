"""
Guaranteed delivery: a journal in which nothing is lost, doubled or out of order.

A message as such is sent once and forgotten. On top of that, pages number what they send and send it
again until it is acknowledged, which is after it is on disk; what comes twice is known by its number.
In the other direction each entry has a number, too, and a page that misses one asks for it.
"""

from pathlib import Path
from typing import Any

from jpulse import App, ClientError, Connection, NamespaceHandler

from ..database import Database
from . import journal

MAX_TEXTS = 20
MAX_TEXT_LENGTH = 500
MAX_NUMBER = 2**53


class Delivery(NamespaceHandler):
    """The id of a sender is known to its browser alone: who knows it can write in its name."""

    path = "/api/1/ws/delivery"
    database: Database

    async def on_message(self, conn: Connection) -> None:
        """Keep what is delivered, or tell what is kept."""
        match conn.message:
            case {"type": "deliver", "sender": str(sender), "first": int(first), "texts": list(texts)} if (
                16 <= len(sender) <= 64 and 0 < first < MAX_NUMBER and are_texts(texts)
            ):
                await self._deliver(conn, sender, first, texts)
            case {"type": "read", "after": (int() | None) as after} if (
                after is None or abs(after) < MAX_NUMBER
            ):
                conn.send({"type": "page", **await self.database.run(lambda db: journal.read(db, after))})
            case _:
                raise ClientError("type: deliver with sender, first and texts, or read with after, is needed")

    async def on_bridge(self, state: str) -> None:
        """Let the pages of this process look for what they have missed of other processes."""
        if state == "resynced":
            self.broadcast({"type": "look"}, local_only=True)

    async def _deliver(self, conn: Connection, sender: str, first: int, texts: list[str]) -> None:
        """Keep first, then tell everybody, then acknowledge: whatever fails, the page sends again."""
        now = self.app.clock()
        last, entries = await self.database.run(
            lambda db: journal.accept(db, sender, first, texts, conn.username, now)
        )
        if entries:
            self.broadcast({"type": "entries", "entries": entries})
        conn.send({"type": "ack", "sender": sender, "last": last})


def are_texts(texts: list[Any]) -> bool:
    """Tell whether a list is one that may be delivered."""
    return 0 < len(texts) <= MAX_TEXTS and all(
        isinstance(text, str) and 0 < len(text) <= MAX_TEXT_LENGTH for text in texts
    )


def setup(app: App) -> None:
    """Serve the namespace, and the page at /delivery/."""
    delivery = app.websockets.register(Delivery)
    assert isinstance(delivery, Delivery)
    delivery.database = Database(app.config.data_dir / "delivery.db", journal.SCHEMA)
    app.serve_folder("/delivery/", Path(__file__).parent, index="page.html")
