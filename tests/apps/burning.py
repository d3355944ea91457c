"""A namespace whose handlers keep the event loop busy, as an overloaded process is."""

from __future__ import annotations

import asyncio
import time

from jpulse import App, Connection, NamespaceHandler

#: The loop gets a turn between two calls that take so long.
CALL_SECONDS = 0.3


class Burn(NamespaceHandler):
    """Burns the CPU for `seconds`, beside everything else; the next message ends that."""

    path = "/api/1/ws/burn"

    def __init__(self) -> None:
        self._burning: set[asyncio.Task[None]] = set()

    def on_message(self, conn: Connection) -> None:
        """Begin, and answer at once."""
        seconds = conn.message["seconds"]
        for before in self._burning:
            before.cancel()
        task = asyncio.ensure_future(_burn(seconds))
        self._burning.add(task)
        task.add_done_callback(self._burning.discard)
        conn.send({"type": "burned", "seconds": seconds})


async def _burn(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(CALL_SECONDS)  # noqa: ASYNC251 - to block is the point
        await asyncio.sleep(0)


def setup(app: App) -> None:
    """Register it."""
    app.websockets.register(Burn)
