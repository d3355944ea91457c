"""Who is connected in this process, and how one frame reaches many of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from .connection import Connection
from .errors import CloseCode
from .websocket import Scheduler


class Members:
    """The connections of one namespace in this process, also by client id."""

    __slots__ = ("clients", "connections")

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        #: A client id names a set of sockets: a browser's tabs, or a reconnect that overtook the old end.
        self.clients: dict[str, set[Connection]] = {}

    def add(self, connection: Connection) -> None:
        """Let a connection get what the namespace is sent."""
        self.connections.add(connection)
        self.clients.setdefault(connection.client_id, set()).add(connection)

    def remove(self, connection: Connection) -> None:
        """Let go of a connection; without effect if it is not there."""
        self.connections.discard(connection)
        sockets = self.clients.get(connection.client_id)
        if sockets is not None:
            sockets.discard(connection)
            if not sockets:
                del self.clients[connection.client_id]

    def active_users(self) -> int:
        """Count the signed-in users."""
        return len({connection.username for connection in self.connections if connection.username})


class Hub:
    """All connections of this process by namespace, and the places that sockets take."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.members: dict[str, Members] = {}
        #: Sockets that live, in any state, and how many of them each address has.
        self.sockets = 0
        self.sockets_by_address: dict[str, int] = {}
        self._by_session: dict[str, set[Connection]] = {}
        #: Whose a client id is while it is in use, and in how many connections.
        self._owners: dict[str, tuple[str, int]] = {}

    def members_of(self, path: str) -> Members:
        """The members of a namespace, made when first asked for."""
        return self.members.setdefault(path, Members())

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
        to a guest, nor a guest's to a session. Guests cannot be told apart.
        """
        return self._owners.get(client_id, (session_id, 0))[0] == session_id

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

    # Places

    def take_place(self, address: str) -> None:
        """Count a socket from its handshake on."""
        self.sockets += 1
        self.sockets_by_address[address] = self.sockets_by_address.get(address, 0) + 1

    def free_place(self, address: str) -> None:
        """Count a socket no more."""
        self.sockets -= 1
        left = self.sockets_by_address[address] - 1
        if left:
            self.sockets_by_address[address] = left
        else:
            del self.sockets_by_address[address]

    # Sending

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
