"""
What a developer writes: a namespace, as a subclass of `NamespaceHandler` or by chaining.

    class Chat(NamespaceHandler):
        path = "/api/1/ws/chat"

        def on_message(self, conn):
            self.broadcast({"type": "said", "text": conn.message["text"]}, conn.ctx)

    app.websockets.register(Chat)
"""

from __future__ import annotations

import heapq
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from inspect import isawaitable
from itertools import islice
from typing import Any, Self, TypeVar

from . import wire
from .activity import MAX_KEPT_BYTES, ActivityLog, Entry, iso_time, to_keep
from .bridge.base import Kind
from .connection import Connection, Handler, Limits
from .hub import Hub, Members
from .names import ROLES, name_key
from .settings import Settings
from .stats import Figures, merge_messages

log = logging.getLogger("jpulse.namespace")

#: Every namespace lives under this prefix.
PREFIX = "/api/1/ws/"
_PATH = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")

Data = Mapping[str, Any]
Context = wire.Context


def _nothing(conn: Connection) -> None:
    """Stand in for a handler that was not given."""


def _ignore_bridge(state: str) -> None:
    """Stand in for a handler that was not given."""


F = TypeVar("F")


def _callable(handler: F) -> F:
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
        compress: bool = False,
        hidden: bool = False,
    ) -> None:
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise ValueError(
                f"a namespace's path is {PREFIX} and a name of letters, digits and ._~-, not {path!r}"
            )
        if isinstance(require_roles, str):
            raise ValueError(f"require_roles is a sequence of roles: ({require_roles!r},)")
        for role in set(require_roles) - set(ROLES):
            log.warning("%s: require_roles: no user can be %r; there are %s", path, role, ", ".join(ROLES))
        self.path = path
        self.hub = hub
        self.limits = limits
        self.require_roles = tuple(require_roles)
        #: A role can only be had by somebody who is signed in.
        self.require_auth = require_auth or bool(self.require_roles)
        self.debug = debug
        #: Agree on permessage-deflate with clients that offer it.
        self.compress = compress
        #: Left out of statistics and log, as a page is that shows them.
        self.hidden = hidden
        self.members = hub.members_of(path)
        self.stats = self.members.stats
        self.activity = activity if activity is not None else ActivityLog()
        self.connect_handler: Handler = _nothing
        self.message_handler: Handler = _nothing
        self.disconnect_handler: Handler = _nothing
        self.bridge_handler: Callable[[str], Any] = _ignore_bridge

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

    def on_bridge(self, handler: Callable[[str], Any]) -> Self:
        """
        Call `handler(state)`, plain or async, when the way to the other processes changes.

        `"down"`: it is lost, and only the clients of this process are reached; `"up"`: what is
        sent crosses again; `"resynced"`: it is known again who is connected to the others, or,
        without an outage, something that another process sent here did not arrive. Either way
        read the state again where clients have one.
        """
        self.bridge_handler = _callable(handler)
        return self

    # Sending

    def broadcast(
        self,
        data: Data,
        ctx: Context | None = None,
        *,
        exclude: str | None = None,
        local_only: bool = False,
    ) -> None:
        """
        Send to every client of the namespace, in all processes, but the client id `exclude`.

        `local_only` leaves out the other processes, for what each of them does by itself.
        Local clients come first, so that a lost Redis degrades to one process. Never blocks
        and never raises for a client: one whose outbox is full is closed with 1013.
        TypeError if JSON cannot carry `data`; then nobody is sent anything.
        """
        if exclude is not None and not isinstance(exclude, str):
            raise TypeError(f"exclude is a client id, not {exclude!r}")
        frame = wire.frame(wire.success(data, ctx))
        self.count_sent(data, ctx, frame)
        self.hub.send(self.members, self.members.all_but(exclude), frame)
        if not local_only:
            self.hub.publish(self.path, Kind.BROADCAST, frame, exclude or "")

    def send_to_client(self, client_id: str, data: Data, ctx: Context | None = None) -> None:
        """
        Send to all sockets of one client id, in all processes; without effect if there are none.

        Never blocks; TypeError if JSON cannot carry `data`.
        """
        frame = wire.frame(wire.success(data, ctx))
        self.count_sent(data, ctx, frame)
        self.hub.send(self.members, self.members.clients.here.get(client_id, ()), frame)
        self.hub.publish_to_client(self.path, client_id, frame)

    def send_to_user(self, username: str, data: Data, ctx: Context | None = None) -> None:
        """
        Send to all sockets of a signed-in user, in all processes; without effect if there are none.

        Any spelling of the name will do. Never blocks; TypeError if JSON cannot carry `data`.
        """
        key = name_key(username)
        frame = wire.frame(wire.success(data, ctx))
        self.count_sent(data, ctx, frame)
        self.hub.send(self.members, self.members.users.here.get(key, ()), frame)
        self.hub.publish_to_user(self.path, key, frame)

    def count_sent(self, data: Data, ctx: Context | None, frame: bytes) -> None:
        """Count a message that goes out, once however many get it."""
        if self.hidden:
            return
        now = time.time()
        self.stats.count(now)
        username = ctx.get("username", "") if ctx else ""
        kept = data if len(frame) <= MAX_KEPT_BYTES else to_keep(data, frame, wire.data_start(frame))
        self.activity.add(now, self.path, "out", username, kept)

    # Statistics

    @property
    def client_count(self) -> int:
        """Clients in all processes, each browser counted once however many tabs it has."""
        return len(self.members.clients)

    def has_client(self, client_id: str) -> bool:
        """Tell whether a client has a connection in any process."""
        return client_id in self.members.clients

    def get_stats(self, now: float | None = None) -> dict[str, Any]:
        """
        Tell the namespace's figures, over all processes.

        Returns path, status (green, yellow, red), clientCount, activeUsers,
        messagesPerHour, totalMessages and lastActivity (ISO 8601, None if never).
        """
        now = time.time() if now is None else now
        stats = self.stats
        own = Figures(
            total=stats.total, per_hour=stats.messages_per_hour(now), last_activity=stats.last_activity
        )
        return describe(self.path, [own, *self.hub.neighbours.figures_of(self.path, now)], self.members, now)

    def tell_bridge(self, state: str) -> None:
        """Call `on_bridge`; what it raises is logged."""
        try:
            result = self.bridge_handler(state)
        except Exception:
            log.exception("%s: on_bridge failed", self.path)
            return
        if isawaitable(result):
            self.hub.scheduler.spawn(self._await_bridge(result))

    async def _await_bridge(self, pending: Awaitable[Any]) -> None:
        try:
            await pending
        except Exception:
            log.exception("%s: on_bridge failed", self.path)

    # Called by connections

    def join(self, connection: Connection) -> None:
        """Let a connection get broadcasts."""
        self.stats.connected()
        is_first = self.members.add(connection)
        self.hub.joined(connection)
        if is_first:
            self.hub.neighbours.came(self.path, connection)

    def leave(self, connection: Connection) -> None:
        """Let go of a connection that ended."""
        self.stats.closed(connection.close_code)
        was_last = self.members.remove(connection)
        self.hub.left(connection)
        if was_last:
            self.hub.neighbours.went(self.path, connection)

    def on_socket_closed(self, connection: Connection) -> None:
        """Free the place of a socket that is gone."""
        self.hub.free_place(connection.address)

    def on_received(self, connection: Connection, message: dict[str, Any], payload: bytes) -> None:
        """Count a message that is going to be handled."""
        if self.hidden:
            return
        now = time.time()
        self.stats.received(now, len(payload))
        kept = message if len(payload) <= MAX_KEPT_BYTES else to_keep(message, payload)
        self.activity.add(now, self.path, "in", connection.username, kept)

    def on_dropped(self, reason: str) -> None:
        """Count a message that was dropped."""
        self.stats.drop(reason)


def describe(path: str, figures: Iterable[Figures], members: Members, now: float) -> dict[str, Any]:
    """What `get_stats` tells of a namespace, from what each process has counted."""
    merged = merge_messages(figures)
    last = merged.last_activity
    return {
        "path": path,
        "status": merged.colour(now, len(members.clients)),
        "clientCount": len(members.clients),
        "activeUsers": len(members.users),
        "messagesPerHour": merged.per_hour,
        "totalMessages": merged.total,
        "lastActivity": None if last is None else iso_time(last),
    }


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
    #: Compress messages of 256 bytes and more for clients that offer it, as browsers do; text
    #: that a client chooses beside a secret can then be told from the length of what is sent.
    compress: bool = False
    #: Leave the namespace out of statistics and log, as the page that shows them is.
    hidden: bool = False

    #: Set when the class is registered.
    namespace: Namespace
    #: The application; set when the class is registered.
    app: Any

    def on_connect(self, conn: Connection) -> Any:
        """Called when a client has connected; `conn` has client_id, user and ctx."""

    def on_message(self, conn: Connection) -> Any:
        """Called for every message; `conn.message` is the object that the client sent."""

    def on_disconnect(self, conn: Connection) -> Any:
        """Called once when a connection has ended; nothing can be sent to it any more."""

    def on_bridge(self, state: str) -> Any:
        """Called with "down", "up" and "resynced"; see `Namespace.on_bridge`."""

    def broadcast(
        self,
        data: Data,
        ctx: Context | None = None,
        *,
        exclude: str | None = None,
        local_only: bool = False,
    ) -> None:
        """Send to every client of the namespace; see `Namespace.broadcast`."""
        self.namespace.broadcast(data, ctx, exclude=exclude, local_only=local_only)

    def send_to_client(self, client_id: str, data: Data, ctx: Context | None = None) -> None:
        """Send to all sockets of one client id; see `Namespace.send_to_client`."""
        self.namespace.send_to_client(client_id, data, ctx)

    def send_to_user(self, username: str, data: Data, ctx: Context | None = None) -> None:
        """Send to all sockets of a signed-in user; see `Namespace.send_to_user`."""
        self.namespace.send_to_user(username, data, ctx)

    def has_client(self, client_id: str) -> bool:
        """Tell whether a client has a connection in any process."""
        return self.namespace.has_client(client_id)

    @property
    def client_count(self) -> int:
        """Clients in all processes, each browser counted once."""
        return self.namespace.client_count

    def get_stats(self) -> dict[str, Any]:
        """Tell the namespace's figures; see `Namespace.get_stats`."""
        return self.namespace.get_stats()


class Registry:
    """`app.websockets`: every namespace of an application, by path."""

    def __init__(self, hub: Hub, settings: Settings, app: Any = None) -> None:
        self._hub = hub
        self._settings = settings
        self._app = app
        #: What the other processes were told last of each namespace, so that they are told what changed.
        self._told: dict[str, tuple[int, ...]] = {}
        self._namespaces: dict[str, Namespace] = {}
        self.activity = ActivityLog(settings.max_log_entries)
        #: Monotonic time; a server with several processes sets it to its own start.
        self.started = time.monotonic()

    def register(self, handler_class: type[NamespaceHandler]) -> NamespaceHandler:
        """
        Serve a namespace class and return its one instance.

        ValueError if its path is taken or not under /api/1/ws/.
        """
        if not (isinstance(handler_class, type) and issubclass(handler_class, NamespaceHandler)):
            raise TypeError(f"register() takes a subclass of NamespaceHandler, not {handler_class!r}")
        handler = handler_class()
        handler.app = self._app
        handler.namespace = (
            self.create_namespace(
                handler.path,
                require_auth=handler.require_auth,
                require_roles=handler.require_roles,
                max_message_bytes=handler.max_message_bytes,
                max_messages_per_second=handler.max_messages_per_second,
                max_outbox_bytes=handler.max_outbox_bytes,
                compress=handler.compress,
                hidden=handler.hidden,
            )
            .on_connect(handler.on_connect)
            .on_message(handler.on_message)
            .on_disconnect(handler.on_disconnect)
            .on_bridge(handler.on_bridge)
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
        compress: bool = False,
        hidden: bool = False,
    ) -> Namespace:
        """
        Serve a namespace whose handlers are chained to what this returns.

        `compress`: with permessage-deflate (RFC 7692), for clients that offer it.
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
            activity=self.activity,
            debug=self._settings.debug,
            compress=compress,
            hidden=hidden,
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
            max_json_depth=settings.max_json_depth,
            message_seconds=settings.message_seconds,
            handler_seconds=settings.handler_seconds,
            blocking_seconds=settings.blocking_seconds,
        )

    def find(self, path: str) -> Namespace | None:
        """The namespace that serves an address."""
        return self._namespaces.get(path)

    def __iter__(self) -> Iterator[Namespace]:
        return iter(self._namespaces.values())

    def tell_bridge(self, state: str) -> None:
        """Call every namespace's `on_bridge`."""
        for namespace in list(self._namespaces.values()):
            namespace.tell_bridge(state)

    @property
    def uptime(self) -> float:
        """Seconds since the server was started."""
        return time.monotonic() - self.started

    def figures(self, *, whole: bool) -> dict[str, Figures]:
        """
        What this process has counted: of all namespaces, or of those where something happened since.

        The latter is told to all; the whole may be told to one alone, and counts as told to nobody.
        """
        now, result = time.time(), {}
        for path, namespace in self._namespaces.items():
            if namespace.hidden:
                continue
            stats = namespace.stats
            mark = (stats.total, stats.connects, stats.deliveries, sum(stats.closes.values()), stats.dropped)
            if whole or self._told.get(path) != mark:
                result[path] = stats.figures(now)
            if not whole:
                self._told[path] = mark
        return result

    def get_stats(self, now: float | None = None) -> dict[str, Any]:
        """
        Tell all figures, over all processes.

        uptime in seconds (of the oldest), totalMessages, namespaces, activityLog (newest first).
        """
        now = time.time() if now is None else now
        neighbours = self._hub.neighbours
        namespaces = [each.get_stats(now) for each in self._namespaces.values() if not each.hidden]
        for path in sorted(set(neighbours.paths()) - self._namespaces.keys()):
            namespaces.append(
                describe(path, neighbours.figures_of(path, now), self._hub.members_of(path), now)
            )
        return {
            "uptime": round(max(self.uptime, neighbours.longest_uptime()), 3),
            "totalMessages": sum(each["totalMessages"] for each in namespaces),
            "namespaces": namespaces,
            "activityLog": self._logged(now),
        }

    def _logged(self, now: float) -> list[Entry]:
        """The newest of what all processes have logged."""
        own, others = self.activity.entries(now), self._hub.neighbours.activity(now)
        if not others:
            return own
        both = heapq.merge(own, others, key=lambda entry: entry["timestamp"], reverse=True)
        return list(islice(both, self.activity.max_entries))
