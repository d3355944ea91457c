"""Who is connected in this process, and how one frame reaches many of them."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from . import wire
from .activity import Entry
from .bridge.base import ALL, Bridge, Kind, Packet, namespace_topic, path_of
from .bridge.local import LocalBridge
from .connection import Connection
from .deflate import MIN_BYTES
from .errors import CloseCode
from .rates import group_of
from .stats import Figures, NamespaceStats
from .websocket import Scheduler


class Crowd:
    """
    Keys of clients or users of one namespace: with their connections here, and counted elsewhere.

    Its length is the number of keys over all processes, each counted once.
    """

    __slots__ = ("_in_both", "elsewhere", "here")

    def __init__(self) -> None:
        self.here: dict[str, set[Connection]] = {}
        #: In how many other processes a key is.
        self.elsewhere: dict[str, int] = {}
        self._in_both = 0

    def __len__(self) -> int:
        return len(self.here) + len(self.elsewhere) - self._in_both

    def __contains__(self, key: str) -> bool:
        return key in self.here or key in self.elsewhere

    def add(self, key: str, connection: Connection) -> bool:
        """Add a connection; True if it is the key's first one here."""
        connections = self.here.get(key)
        if connections is not None:
            connections.add(connection)
            return False
        self.here[key] = {connection}
        self._in_both += key in self.elsewhere
        return True

    def remove(self, key: str, connection: Connection) -> bool:
        """Remove a connection; True if it was the key's last one here."""
        connections = self.here.get(key)
        if connections is None:
            return False
        connections.discard(connection)
        if connections:
            return False
        del self.here[key]
        self._in_both -= key in self.elsewhere
        return True

    def add_elsewhere(self, key: str) -> None:
        """Learn that another process has a key."""
        count = self.elsewhere.get(key, 0)
        self.elsewhere[key] = count + 1
        if not count:
            self._in_both += key in self.here

    def remove_elsewhere(self, key: str) -> None:
        """Learn that another process has a key no more."""
        count = self.elsewhere[key] - 1
        if count:
            self.elsewhere[key] = count
        else:
            del self.elsewhere[key]
            self._in_both -= key in self.here


class Members:
    """The connections of one namespace, those of other processes by client id and user only."""

    __slots__ = ("clients", "connections", "inflating", "stats", "users")

    def __init__(self) -> None:
        self.stats = NamespaceStats()
        #: Those of this process.
        self.connections: set[Connection] = set()
        #: How many of them take compressed messages.
        self.inflating = 0
        #: A client id names a set of sockets: a browser's tabs, or a reconnect that overtook the old end.
        self.clients = Crowd()
        #: Signed-in users by the key of their name.
        self.users = Crowd()

    def add(self, connection: Connection) -> bool:
        """Let a connection get what the namespace is sent; True if it is the client's first one here."""
        self.connections.add(connection)
        self.inflating += connection.window_bits > 0
        if connection.user_key:
            self.users.add(connection.user_key, connection)
        return self.clients.add(connection.client_id, connection)

    def all_but(self, client_id: str | None) -> Collection[Connection]:
        """The connections of this process, without those of one client."""
        if not client_id or client_id not in self.clients.here:
            return self.connections
        return self.connections - self.clients.here[client_id]

    def remove(self, connection: Connection) -> bool:
        """Let go of a connection; True if it was the client's last one here."""
        if connection in self.connections:
            self.connections.remove(connection)
            self.inflating -= connection.window_bits > 0
        self.users.remove(connection.user_key, connection)
        return self.clients.remove(connection.client_id, connection)


class Neighbours(Protocol):
    """What the hub tells and asks of the other processes; `cluster` answers."""

    #: True while it is known for certain which clients are where.
    complete: bool

    def came(self, path: str, connection: Connection) -> None:
        """Learn of a client's first connection to a namespace in this process."""

    def went(self, path: str, connection: Connection) -> None:
        """Learn of the end of a client's last connection to a namespace in this process."""

    def hears(self, path: str) -> bool:
        """Tell whether a namespace's next client here need not wait for what `attend` returns."""

    def attend(self, path: str) -> Awaitable[None] | None:
        """What a namespace's first client here has to wait for, so that it misses nothing."""

    def owner_of(self, client_id: str) -> str | None:
        """The mark of the session that uses a client id in another process; None if none does."""

    def figures_of(self, path: str, now: float | None = None) -> Iterable[Figures]:
        """What the other processes have counted in a namespace."""

    def paths(self) -> Collection[str]:
        """The namespaces of which other processes have told figures."""

    def longest_uptime(self) -> float:
        """Seconds since the oldest of the other processes was started; 0 if there is none."""

    def activity(self, now: float) -> list[Entry]:
        """What others have logged in the last five minutes, newest first."""


class NoNeighbours:
    """Stands in where there is one process."""

    complete = True

    def came(self, path: str, connection: Connection) -> None:
        """Do nothing."""

    def went(self, path: str, connection: Connection) -> None:
        """Do nothing."""

    def hears(self, path: str) -> bool:
        """There is nothing to hear."""
        return True

    def attend(self, path: str) -> None:
        """There is nothing to wait for."""

    def owner_of(self, client_id: str) -> None:
        """Nobody is elsewhere."""

    def figures_of(self, path: str, now: float | None = None) -> Iterable[Figures]:
        """Nobody else counts."""
        return ()

    def paths(self) -> Collection[str]:
        """Nobody else has namespaces."""
        return ()

    def longest_uptime(self) -> float:
        """Nobody else runs."""
        return 0.0

    def activity(self, now: float) -> list[Entry]:
        """Nobody else logs."""
        return []


def mark_of(session_id: str) -> str:
    """What other processes are told of a session, to tell it from others; "" for a guest."""
    return session_id[:16]


class Hub:
    """All connections of this process by namespace, and the places that sockets take."""

    def __init__(self, scheduler: Scheduler, bridge: Bridge | None = None) -> None:
        self.scheduler = scheduler
        self.bridge = bridge or LocalBridge()
        self.neighbours: Neighbours = NoNeighbours()
        self.members: dict[str, Members] = {}
        #: Sockets that live, in any state, and how many of them each address has.
        self.sockets = 0
        self.sockets_by_address: dict[str, int] = {}
        self._by_session: dict[str, set[Connection]] = {}
        #: Whose a client id is while it is in use, and in how many connections.
        self._owners: dict[str, tuple[str, int]] = {}

    def members_of(self, path: str) -> Members:
        """The members of a namespace, made when first asked for."""
        members = self.members.get(path)
        if members is None:
            # Not setdefault(): to make what it would throw away costs 2.4 µs for every send_to_client.
            members = self.members[path] = Members()
        return members

    def connections(self) -> Iterator[Connection]:
        """Every open connection of every namespace."""
        for members in self.members.values():
            yield from members.connections

    # Identity

    def joined(self, connection: Connection) -> None:
        """Note whose connection it is."""
        owner, count = self._owners.get(connection.client_id, (connection.session_id, 0))
        self._owners[connection.client_id] = (owner, count + 1)
        if connection.session_id:
            self._by_session.setdefault(connection.session_id, set()).add(connection)

    def left(self, connection: Connection) -> None:
        """Forget whose connection it was."""
        owner, count = self._owners[connection.client_id]
        if count > 1:
            self._owners[connection.client_id] = (owner, count - 1)
        else:
            del self._owners[connection.client_id]
        sockets = self._by_session.get(connection.session_id)
        if sockets is not None:
            sockets.discard(connection)
            if not sockets:
                del self._by_session[connection.session_id]

    def may_use(self, client_id: str, session_id: str) -> bool:
        """
        Tell whether a session ("" for a guest) may use a client id.

        Ids are public, so one that is in use by a session is not given to another, nor
        to a guest, nor a guest's to a session, in whichever process it is in use. Guests
        cannot be told apart.
        """
        return self._owner_of(client_id) in (None, mark_of(session_id))

    def _owner_of(self, client_id: str) -> str | None:
        """The mark of the session that uses a client id here or elsewhere; None if none does."""
        owner = self._owners.get(client_id)
        return self.neighbours.owner_of(client_id) if owner is None else mark_of(owner[0])

    # What auth.SessionEvents asks for

    def open_sessions(self) -> Collection[str]:
        """The sessions that have sockets here."""
        return self._by_session.keys()

    def session_ended(self, id_hash: str) -> None:
        """Close the sockets of a session."""
        for connection in list(self._by_session.get(id_hash, ())):
            connection.close(CloseCode.SESSION_ENDED, "The session ended")

    def user_changed(self, id_hash: str, user: Any) -> None:
        """Let a session's sockets know the user as it is now; close those that need a role that is gone."""
        for connection in list(self._by_session.get(id_hash, ())):
            if user.has_any(connection.namespace.require_roles):
                connection.user = user
            else:
                connection.close(CloseCode.ROLE_LOST, "A role that this needs was taken away")

    def look_again(self, id_hashes: Sequence[str] | None) -> None:
        """Let the other processes look sessions up again; None means all."""
        self.bridge.publish(ALL, Kind.SESSIONS, msgspec.json.encode(id_hashes))

    def guessed(self, name: str, address: str, *, failed: bool) -> None:
        """Let the other processes count an attempt to sign in."""
        self.bridge.publish(ALL, Kind.GUESS, msgspec.json.encode((name, address, failed)))

    # To and from other processes

    def publish(self, path: str, kind: Kind, frame: bytes, target: str = "") -> None:
        """Send a frame to the other processes that have clients in a namespace."""
        self.bridge.publish(namespace_topic(path), kind, frame, target)

    def publish_to_client(self, path: str, client_id: str, frame: bytes) -> None:
        """
        Send a frame to the sockets that a client has in other processes, if it may have any.

        The owner's mark goes along, so that nobody else's sockets of that id get it.
        """
        clients = self.members_of(path).clients
        if self.neighbours.complete and client_id in clients.here and client_id not in clients.elsewhere:
            return
        owner = self._owner_of(client_id)
        target = client_id if owner is None else f"{client_id} {owner}"
        self.publish(path, Kind.TO_CLIENT, frame, target)

    def publish_to_user(self, path: str, user_key: str, frame: bytes) -> None:
        """Send a frame to the sockets that a user has in other processes, if there may be any."""
        if not self.neighbours.complete or user_key in self.members_of(path).users.elsewhere:
            self.publish(path, Kind.TO_USER, frame, user_key)

    def deliver(self, packet: Packet) -> None:
        """Give the clients of this process what another one has sent to a namespace."""
        members = self.members.get(path_of(packet.topic) or "")
        if members is None:
            return
        if packet.kind == Kind.BROADCAST:
            self.send(members, members.all_but(packet.target), packet.payload)
        elif packet.kind == Kind.TO_CLIENT:
            self.send(members, _owned(members.clients, packet.target), packet.payload)
        elif packet.kind == Kind.TO_USER:
            self.send(members, members.users.here.get(packet.target, ()), packet.payload)

    # Places

    def take_place(self, address: str) -> None:
        """Count a socket from its handshake on, for its address too."""
        self.sockets += 1
        group = group_of(address)
        self.sockets_by_address[group] = self.sockets_by_address.get(group, 0) + 1

    def sockets_of(self, address: str) -> int:
        """How many sockets an address has; of IPv6 its network, which one client has as a whole."""
        return self.sockets_by_address.get(group_of(address), 0)

    def free_place(self, address: str) -> None:
        """Count a socket no more."""
        self.sockets -= 1
        group = group_of(address)
        left = self.sockets_by_address[group] - 1
        if left:
            self.sockets_by_address[group] = left
        else:
            del self.sockets_by_address[group]

    # Sending

    def send(self, members: Members, connections: Collection[Connection], frame: bytes) -> None:
        """
        Send a frame to some of a namespace's connections, and count the deliveries.

        Who takes compressed messages gets long ones compressed: once for all, not for each.
        """
        if not connections:
            # Nothing to flush, which would need the loop: `setup(app)` is called before there is one.
            return
        if members.inflating and len(frame) >= MIN_BYTES:
            self._send_compressed(members, connections, frame)
        else:
            members.stats.delivered(len(connections), len(frame))
            self.fan_out(connections, frame)

    def _send_compressed(self, members: Members, connections: Collection[Connection], plain: bytes) -> None:
        by_window: dict[int, list[Connection]] = {}
        for connection in connections:
            by_window.setdefault(connection.window_bits, []).append(connection)
        for bits, those in by_window.items():
            frame = wire.compressed(plain, bits) if bits else plain
            members.stats.delivered(len(those), len(frame), len(plain) - len(frame))
            self.fan_out(those, frame)

    def fan_out(self, connections: Iterable[Connection], frame: bytes) -> None:
        """
        Put one frame into many outboxes.

        Never blocks and never raises: who is too slow is closed with 1013 afterwards.
        """
        scheduler, size = self.scheduler, len(frame)
        waiting = scheduler.waiting
        if not waiting:
            scheduler.plan_flush()
        overfull = []
        # send_frame() written out: a call for each would double the cost of a delivery that is batched.
        for connection in connections:
            outbox = connection.outbox
            if not outbox:
                waiting.append(connection)
            outbox.append(frame)
            connection.queued_bytes += size
            if connection.queued_bytes > connection.max_outbox_bytes:
                overfull.append(connection)
        for connection in overfull:
            connection.relieve_outbox()


def _owned(clients: Crowd, target: str) -> Collection[Connection]:
    """The connections of a client id, and of the owner that is named behind it."""
    client_id, named, owner = target.partition(" ")
    connections = clients.here.get(client_id, ())
    if not named:
        return connections
    return [each for each in connections if mark_of(each.session_id) == owner]
