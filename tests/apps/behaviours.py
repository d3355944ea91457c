"""Namespaces that behave in every way a test needs: they echo, fail, wait and send without end."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

from jpulse import App, ClientError, Connection, NamespaceHandler

log = logging.getLogger("tests.behaviours")


class Echo(NamespaceHandler):
    """Sends a message back to its sender."""

    path = "/api/1/ws/echo"

    def on_message(self, conn: Connection) -> None:
        """Echo."""
        self.send_to_client(conn.client_id, {"type": "echo", "message": conn.message}, conn.ctx)


class Unlimited(Echo):
    """Echoes as fast as it can."""

    path = "/api/1/ws/unlimited"
    max_messages_per_second = 0


class Strict(Echo):
    """Echoes five messages a second, ten in a burst."""

    path = "/api/1/ws/strict"
    max_messages_per_second = 5


class Slow(NamespaceHandler):
    """Awaits `seconds` for every message, and tells when each began and ended."""

    path = "/api/1/ws/slow"
    max_messages_per_second = 0

    async def on_message(self, conn: Connection) -> None:
        """Work."""
        number = conn.message["number"]
        conn.send({"type": "begin", "number": number})
        await asyncio.sleep(conn.message.get("seconds", 0))
        # Whatever came meanwhile, this is still the message that this call is for.
        conn.send({"type": "end", "number": conn.message["number"]})
        log.info("slow: ended %s", conn.message["number"])

    def on_disconnect(self, conn: Connection) -> None:
        """Tell the log."""
        log.info("slow: left %s", conn.client_id)


class Stubborn(NamespaceHandler):
    """Begins to work and does not let itself be cancelled."""

    path = "/api/1/ws/stubborn"

    async def on_message(self, conn: Connection) -> None:
        """Work for ever."""
        conn.send({"type": "begin"})
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)


class Stuck(NamespaceHandler):
    """Works for ever, at once or after some steps, and tells the log how each connection ends."""

    path = "/api/1/ws/stuck"

    async def on_connect(self, conn: Connection) -> None:
        """Be stuck for who asks for it by an address of its own."""
        if conn.client_id.startswith("dead"):
            await asyncio.Event().wait()

    async def on_message(self, conn: Connection) -> None:
        """Answer, wait for ever, or do so and refuse to be cancelled, once or for as long as it can."""
        how, refusals = conn.message.get("how"), 0
        if how is not None:
            conn.send({"type": "begin"})
        while how is not None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                refusals += 1
                if how == "wait":
                    raise
                if how == "swallow":
                    break
        conn.send({"type": "handled", "refusals": refusals})

    def on_disconnect(self, conn: Connection) -> None:
        """Tell the log."""
        log.info("stuck: left %s", conn.client_id)


class Blocking(NamespaceHandler):
    """Keeps the whole process waiting, in a plain handler, before an await or after one."""

    path = "/api/1/ws/blocking"

    def on_message(self, conn: Connection) -> Any:
        """Sleep."""
        if conn.message["how"] == "async":
            return self._block_later(conn)
        time.sleep(conn.message["seconds"])
        conn.send({"type": "done"})
        return None

    async def _block_later(self, conn: Connection) -> None:
        await asyncio.sleep(0)
        time.sleep(conn.message["seconds"])  # noqa: ASYNC251 - this is what it is for
        await asyncio.sleep(0)
        conn.send({"type": "done"})


class Gate(NamespaceHandler):
    """Keeps its handlers at work until another connection opens the gate."""

    path = "/api/1/ws/gate"
    max_messages_per_second = 0

    def __init__(self) -> None:
        self.opened: asyncio.Event | None = None

    async def on_message(self, conn: Connection) -> None:
        """Wait at the gate, or open it."""
        if self.opened is None or self.opened.is_set():
            self.opened = asyncio.Event()
        if conn.message.get("type") == "open":
            self.opened.set()
        elif conn.message.get("type") == "wait":
            conn.send({"type": "waiting"})
            await self.opened.wait()
        conn.send({"type": "handled", "number": conn.message.get("number")})


class Failing(NamespaceHandler):
    """Raises what it is told to, where it is told to."""

    path = "/api/1/ws/failing"

    def on_connect(self, conn: Connection) -> None:
        """Always fail."""
        raise RuntimeError("secret of on_connect")

    def on_message(self, conn: Connection) -> Any:
        """Fail at once or in a coroutine."""
        if conn.message.get("how") == "async":
            return self._fail_later(conn)
        self._fail(conn)
        return None

    async def _fail_later(self, conn: Connection) -> None:
        await asyncio.sleep(0)
        self._fail(conn)

    def _fail(self, conn: Connection) -> None:
        what, text = conn.message.get("what"), conn.message.get("text")
        if what == "client error":
            raise ClientError(text or "title: is empty", 422)
        if what == "client error that is no text":
            raise ClientError("name: \ud800 is half a character", 422)
        if what == "not json":
            self.broadcast({"type": "x", "value": object()})
        if what == "error":
            raise RuntimeError(text or "secret of on_message")
        if what == "unprintable":
            raise Unprintable
        if what == "half a character":
            raise RuntimeError("no file \udcff")
        if what == "cancelled":
            raise asyncio.CancelledError
        if what == "exit":
            raise SystemExit(3)
        if what == "generator exit":
            raise GeneratorExit
        conn.send({"type": "fine"})

    async def on_disconnect(self, conn: Connection) -> None:
        """Always fail."""
        raise RuntimeError("secret of on_disconnect")


class FailingLater(NamespaceHandler):
    """Raises in those handlers of which `Failing` has the other kind."""

    path = "/api/1/ws/failing-later"

    async def on_connect(self, conn: Connection) -> None:
        """Fail after awaiting."""
        await asyncio.sleep(0)
        raise RuntimeError("secret of a late on_connect")

    def on_message(self, conn: Connection) -> None:
        """Answer."""
        conn.send({"type": "fine"})

    def on_disconnect(self, conn: Connection) -> None:
        """Fail at once."""
        raise RuntimeError("secret of a plain on_disconnect")


class Unprintable(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise ValueError("this exception has no text")


class Diary(NamespaceHandler):
    """Tells everybody else in the namespace what happens to each connection."""

    path = "/api/1/ws/diary"

    async def on_connect(self, conn: Connection) -> None:
        """Join slowly, so that a message may come before this has ended."""
        await asyncio.sleep(0.05)
        self.broadcast({"type": "joined", "clientId": conn.client_id})

    async def on_message(self, conn: Connection) -> None:
        """Answer slowly."""
        await asyncio.sleep(0.01)
        self.broadcast({"type": "said", "clientId": conn.client_id, "message": conn.message}, conn.ctx)

    def on_disconnect(self, conn: Connection) -> None:
        """Tell that it is over."""
        self.broadcast({"type": "left", "clientId": conn.client_id, "count": self.client_count})


class Flood(NamespaceHandler):
    """Broadcasts `count` messages of `size` bytes when asked to, and closes if it is told a code."""

    path = "/api/1/ws/flood"
    max_messages_per_second = 0

    def on_message(self, conn: Connection) -> None:
        """Send a lot at once, or answer."""
        for number in range(conn.message.get("count", 0)):
            self.broadcast({"type": "flood", "number": number, "pad": "x" * conn.message.get("size", 0)})
        if conn.message.get("type") == "ask":
            conn.send({"type": "answer"})
        if "close" in conn.message:
            conn.close(conn.message["close"])


class Narrow(Flood):
    """Floods with an outbox of 16 KiB, and on_disconnect sends to those who are left."""

    path = "/api/1/ws/narrow"
    max_outbox_bytes = 16384

    def on_disconnect(self, conn: Connection) -> None:
        """Tell that it is over."""
        self.broadcast({"type": "left", "clientId": conn.client_id})


class Closer(NamespaceHandler):
    """Closes the connection with the code that it is told."""

    path = "/api/1/ws/closer"

    def on_message(self, conn: Connection) -> None:
        """Close."""
        conn.send({"type": "closing"})
        conn.close(conn.message["code"], conn.message.get("reason", ""))


class Packed(NamespaceHandler):
    """Sends each message to everybody, its sender twice, compressed for those who agreed to it."""

    path = "/api/1/ws/packed"
    compress = True

    def on_message(self, conn: Connection) -> None:
        """Send it in both ways, or to one client."""
        if "to" in conn.message:
            self.send_to_client(conn.message["to"], {"type": "told", "message": conn.message}, conn.ctx)
            return
        conn.send({"type": "yours", "message": conn.message})
        self.broadcast({"type": "said", "message": conn.message}, conn.ctx)


class PackedMembers(Packed):
    """The same for signed-in users only."""

    path = "/api/1/ws/packed-members"
    require_auth = True


class Members(NamespaceHandler):
    """For signed-in users only."""

    path = "/api/1/ws/members"
    require_auth = True


class Admins(NamespaceHandler):
    """For admins only, which implies signing in."""

    path = "/api/1/ws/admins"
    require_roles = ("admin",)


HANDLERS = (
    Echo,
    Unlimited,
    Strict,
    Slow,
    Stubborn,
    Stuck,
    Blocking,
    Gate,
    Failing,
    FailingLater,
    Diary,
    Flood,
    Narrow,
    Closer,
    Packed,
    PackedMembers,
    Members,
    Admins,
)


def statistics(app: App) -> dict[str, Any]:
    """What tests look at: the public figures, and the places that sockets take."""
    return {
        "type": "stats",
        "stats": app.websockets.get_stats(),
        "sockets": app.hub.sockets,
        "dropped": {each.path: each.stats.dropped for each in app.websockets},
        "drops": {each.path: each.stats.drops for each in app.websockets},
        "closes": {each.path: each.stats.closes for each in app.websockets},
    }


def setup(app: App) -> None:
    """Register all of them, one by chaining, and a namespace that tells the statistics."""
    for handler in HANDLERS:
        app.websockets.register(handler)
    chained = app.websockets.create_namespace("/api/1/ws/chained")
    chained.on_connect(lambda conn: conn.send({"type": "hello"})).on_message(
        lambda conn: chained.broadcast({"type": "said", "text": conn.message.get("text")}, conn.ctx)
    ).on_disconnect(lambda conn: chained.broadcast({"type": "bye"}))
    stats = app.websockets.create_namespace("/api/1/ws/stats", max_messages_per_second=0)
    stats.on_message(lambda conn: conn.send(statistics(app)))
