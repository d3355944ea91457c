"""
What a developer writes: a namespace, as a subclass of `NamespaceHandler` or by chaining.

    class Chat(NamespaceHandler):
        path = "/api/1/ws/chat"

        def on_message(self, conn):
            self.broadcast({"type": "said", "text": conn.message["text"]}, conn.ctx)

    app.websockets.register(Chat)
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from . import wire
from .activity import ActivityLog, iso_time, to_keep
from .connection import Connection, Handler, Limits
from .hub import Hub
from .settings import Settings
from .stats import NamespaceStats

#: Every namespace lives under this prefix.
PREFIX = "/api/1/ws/"
_PATH = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")

Data = Mapping[str, Any]
Context = wire.Context


def _nothing(conn: Connection) -> None:
    """Stand in for a handler that was not given."""


def _callable(handler: Handler) -> Handler:
    if not callable(handler):
        raise TypeError(f"a handler is a function of one argument, not {handler!r}")
    return handler


class Namespace:
    """
    One address with its clients; made by `app.websockets`, completed by chaining.

        app.websockets.create_namespace("/api/1/ws/echo").on_message(
            lambda conn: conn.send(conn.message)
        )
    """

    def __init__(
        self,
        path: str,
        hub: Hub,
        limits: Limits,
        *,
        require_auth: bool = False,
        require_roles: Sequence[str] = (),
        activity: ActivityLog | None = None,
        debug: bool = False,
    ) -> None:
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise ValueError(
                f"a namespace's path is {PREFIX} and a name of letters, digits and ._~-, not {path!r}"
            )
        if isinstance(require_roles, str):
            raise ValueError(f"require_roles is a sequence of roles: ({require_roles!r},)")
        self.path = path
        self.hub = hub
        self.limits = limits
        self.require_roles = tuple(require_roles)
        #: A role can only be had by somebody who is signed in.
        self.require_auth = require_auth or bool(self.require_roles)
        self.debug = debug
        self.members = hub.members_of(path)
        self.stats = NamespaceStats()
        self.activity = activity if activity is not None else ActivityLog()
        self.connect_handler: Handler = _nothing
        self.message_handler: Handler = _nothing
        self.disconnect_handler: Handler = _nothing

    # Chaining

    def on_connect(self, handler: Handler) -> Self:
        """Call `handler(conn)`, plain or async, for every new connection."""
        self.connect_handler = _callable(handler)
        return self

    def on_message(self, handler: Handler) -> Self:
        """Call `handler(conn)`, plain or async, for every message, in order, one at a time."""
        self.message_handler = _callable(handler)
        return self

    def on_disconnect(self, handler: Handler) -> Self:
        """Call `handler(conn)`, plain or async, once for every connection that ended."""
        self.disconnect_handler = _callable(handler)
        return self

    # Sending

    def broadcast(self, data: Data, ctx: Context | None = None) -> None:
        """
        Send to every client of the namespace.

        Never blocks and never raises for a client: one whose outbox is full is closed
        with 1013. TypeError if JSON cannot carry `data`; then nobody is sent anything.
        """
        frame = wire.frame(wire.success(data, ctx))
        self.count_sent(data, ctx, frame)
        self.hub.fan_out(self.members.connections, frame)

    def send_to_client(self, client_id: str, data: Data, ctx: Context | None = None) -> None:
        """
        Send to all sockets of one client id; without effect if there are none.

        Never blocks; TypeError if JSON cannot carry `data`.
        """
        frame = wire.frame(wire.success(data, ctx))
        self.count_sent(data, ctx, frame)
        sockets = self.members.clients.get(client_id)
        if sockets is not None:
            self.hub.fan_out(sockets, frame)

    def count_sent(self, data: Data, ctx: Context | None, frame: bytes) -> None:
        """Count a message that goes out, once however many get it."""
        now = time.time()
        self.stats.count(now)
        username = ctx.get("username", "") if ctx else ""
        kept = to_keep(data, frame, wire.data_start(frame))
        self.activity.add(now, self.path, "out", username, kept)

    # Statistics

    @property
    def client_count(self) -> int:
        """Clients that are here, each browser counted once however many tabs it has."""
        return len(self.members.clients)

    def get_stats(self, now: float | None = None) -> dict[str, Any]:
        """
        Tell the namespace's figures.

        Returns path, status (green, yellow, red), clientCount, activeUsers,
        messagesPerHour, totalMessages and lastActivity (ISO 8601, None if never).
        """
        now = time.time() if now is None else now
        last = self.stats.last_activity
        return {
            "path": self.path,
            "status": self.stats.colour(now, self.client_count),
            "clientCount": self.client_count,
            "activeUsers": self.members.active_users(),
            "messagesPerHour": self.stats.messages_per_hour(now),
            "totalMessages": self.stats.total,
            "lastActivity": None if last is None else iso_time(last),
        }

    # Called by connections

    def join(self, connection: Connection) -> None:
        """Let a connection get broadcasts."""
        self.members.add(connection)
        self.hub.joined(connection)

    def leave(self, connection: Connection) -> None:
        """Let go of a connection that ended."""
        self.members.remove(connection)
        self.hub.left(connection)

    def on_socket_closed(self, connection: Connection) -> None:
        """Free the place of a socket that is gone."""
        self.hub.free_place(connection.address)

    def on_received(self, connection: Connection, message: dict[str, Any], payload: bytes) -> None:
        """Count a message that is going to be handled."""
        now = time.time()
        self.stats.count(now)
        self.activity.add(now, self.path, "in", connection.username, to_keep(message, payload))

    def on_dropped(self, connection: Connection) -> None:
        """Count a message over the rate."""
        self.stats.dropped += 1

    def on_invalid(self, connection: Connection) -> None:
        """Count what was no message."""
        self.stats.dropped += 1


class NamespaceHandler:
    """
    Subclass it, set `path`, write any of the three handlers, and register the class.

    There is one instance of a class, so what it keeps in attributes is shared by all
    its connections. Handlers may be plain or async functions; what they raise is
    logged, and told to the client if it was `on_message` (see `ClientError`).
    """

    #: Must start with /api/1/ws/.
    path: str = ""
    require_auth: bool = False
    #: Any one of them is enough.
    require_roles: Sequence[str] = ()
    #: Limits that differ from the settings of the same names; None means the setting.
    max_message_bytes: int | None = None
    #: 0: no limit.
    max_messages_per_second: int | None = None
    max_outbox_bytes: int | None = None

    #: Set when the class is registered.
    namespace: Namespace

    def on_connect(self, conn: Connection) -> Any:
        """Called when a client has connected; `conn` has client_id, user and ctx."""

    def on_message(self, conn: Connection) -> Any:
        """Called for every message; `conn.message` is the object that the client sent."""

    def on_disconnect(self, conn: Connection) -> Any:
        """Called once when a connection has ended; nothing can be sent to it any more."""

    def broadcast(self, data: Data, ctx: Context | None = None) -> None:
        """Send to every client of the namespace; see `Namespace.broadcast`."""
        self.namespace.broadcast(data, ctx)

    def send_to_client(self, client_id: str, data: Data, ctx: Context | None = None) -> None:
        """Send to all sockets of one client id; see `Namespace.send_to_client`."""
        self.namespace.send_to_client(client_id, data, ctx)

    @property
    def client_count(self) -> int:
        """Clients that are here, each browser counted once."""
        return self.namespace.client_count

    def get_stats(self) -> dict[str, Any]:
        """Tell the namespace's figures; see `Namespace.get_stats`."""
        return self.namespace.get_stats()


class Registry:
    """`app.websockets`: every namespace of an application, by path."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._hub = hub
        self._settings = settings
        self._namespaces: dict[str, Namespace] = {}
        self._activity = ActivityLog()
        self._started = time.monotonic()

    def register(self, handler_class: type[NamespaceHandler]) -> NamespaceHandler:
        """
        Serve a namespace class and return its one instance.

        ValueError if its path is taken or not under /api/1/ws/.
        """
        if not (isinstance(handler_class, type) and issubclass(handler_class, NamespaceHandler)):
            raise TypeError(f"register() takes a subclass of NamespaceHandler, not {handler_class!r}")
        handler = handler_class()
        handler.namespace = (
            self.create_namespace(
                handler.path,
                require_auth=handler.require_auth,
                require_roles=handler.require_roles,
                max_message_bytes=handler.max_message_bytes,
                max_messages_per_second=handler.max_messages_per_second,
                max_outbox_bytes=handler.max_outbox_bytes,
            )
            .on_connect(handler.on_connect)
            .on_message(handler.on_message)
            .on_disconnect(handler.on_disconnect)
        )
        return handler

    def create_namespace(
        self,
        path: str,
        *,
        require_auth: bool = False,
        require_roles: Sequence[str] = (),
        max_message_bytes: int | None = None,
        max_messages_per_second: int | None = None,
        max_outbox_bytes: int | None = None,
    ) -> Namespace:
        """
        Serve a namespace whose handlers are chained to what this returns.

        ValueError if the path is taken or not under /api/1/ws/.
        """
        if path in self._namespaces:
            raise ValueError(f"there is a namespace at {path} already")
        namespace = Namespace(
            path,
            self._hub,
            self._limits(max_message_bytes, max_messages_per_second, max_outbox_bytes),
            require_auth=require_auth,
            require_roles=require_roles,
            activity=self._activity,
            debug=self._settings.debug,
        )
        self._namespaces[path] = namespace
        return namespace

    def _limits(self, message_bytes: int | None, per_second: int | None, outbox_bytes: int | None) -> Limits:
        settings = self._settings
        return Limits(
            max_message_bytes=settings.max_message_bytes if message_bytes is None else message_bytes,
            max_messages_per_second=settings.max_messages_per_second if per_second is None else per_second,
            max_outbox_bytes=settings.max_outbox_bytes if outbox_bytes is None else outbox_bytes,
            max_inbox_messages=settings.max_inbox_messages,
        )

    def find(self, path: str) -> Namespace | None:
        """The namespace that serves an address."""
        return self._namespaces.get(path)

    def __iter__(self) -> Iterator[Namespace]:
        return iter(self._namespaces.values())

    def get_stats(self, now: float | None = None) -> dict[str, Any]:
        """Tell all figures: uptime in seconds, totalMessages, namespaces, activityLog (newest first)."""
        now = time.time() if now is None else now
        namespaces = [namespace.get_stats(now) for namespace in self._namespaces.values()]
        return {
            "uptime": round(time.monotonic() - self._started, 3),
            "totalMessages": sum(each["totalMessages"] for each in namespaces),
            "namespaces": namespaces,
            "activityLog": self._activity.entries(now),
        }
