"""Namespaces that behave in every way a test needs: they echo, fail, wait and send without end."""

from __future__ import annotations

import asyncio
from typing import Any

from jpulse import App, ClientError, Connection, NamespaceHandler


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
        what = conn.message.get("what")
        if what == "client error":
            raise ClientError("title: is empty", 422)
        if what == "not json":
            self.broadcast({"type": "x", "value": object()})
        if what == "error":
            raise RuntimeError("secret of on_message")
        conn.send({"type": "fine"})

    async def on_disconnect(self, conn: Connection) -> None:
        """Always fail."""
        raise RuntimeError("secret of on_disconnect")


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
    """Broadcasts `count` messages of `size` bytes when asked to."""

    path = "/api/1/ws/flood"
    max_messages_per_second = 0

    def on_message(self, conn: Connection) -> None:
        """Send a lot at once, or answer."""
        for number in range(conn.message.get("count", 0)):
            self.broadcast({"type": "flood", "number": number, "pad": "x" * conn.message.get("size", 0)})
        if conn.message.get("type") == "ask":
            conn.send({"type": "answer"})


class Closer(NamespaceHandler):
    """Closes the connection with the code that it is told."""

    path = "/api/1/ws/closer"

    def on_message(self, conn: Connection) -> None:
        """Close."""
        conn.send({"type": "closing"})
        conn.close(conn.message["code"], conn.message.get("reason", ""))


class Members(NamespaceHandler):
    """For signed-in users only."""

    path = "/api/1/ws/members"
    require_auth = True


class Admins(NamespaceHandler):
    """For admins only, which implies signing in."""

    path = "/api/1/ws/admins"
    require_roles = ("admin",)


def setup(app: App) -> None:
    """Register all of them, one by chaining, and a namespace that tells the statistics."""
    for handler in (Echo, Unlimited, Slow, Failing, Diary, Flood, Closer, Members, Admins):
        app.websockets.register(handler)
    chained = app.websockets.create_namespace("/api/1/ws/chained")
    chained.on_connect(lambda conn: conn.send({"type": "hello"})).on_message(
        lambda conn: chained.broadcast({"type": "said", "text": conn.message.get("text")}, conn.ctx)
    ).on_disconnect(lambda conn: chained.broadcast({"type": "bye"}))
    stats = app.websockets.create_namespace("/api/1/ws/stats")
    stats.on_message(lambda conn: conn.send({"type": "stats", "stats": app.websockets.get_stats()}))
