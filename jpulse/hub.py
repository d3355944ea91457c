"""Who is connected in this process, and how one frame reaches many of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .connection import Connection, Scheduler


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

    def members_of(self, path: str) -> Members:
        """The members of a namespace, made when first asked for."""
        return self.members.setdefault(path, Members())

    def connections(self) -> Iterator[Connection]:
        """Every open connection of every namespace."""
        for members in self.members.values():
            yield from members.connections

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
