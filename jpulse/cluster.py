"""
The other processes: which clients they have, and what they count.

Each process tells the others at once who came and went, and every second its figures,
with a checksum over its clients. Who finds that the sum does not fit what it knows asks
for the whole. Who falls silent is forgotten, so that a dead process leaves no ghosts.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from time import monotonic
from typing import Any

import msgspec
from msgspec.structs import replace

from .activity import KEPT_SECONDS, MAX_ENTRIES, Entry, iso_time
from .bridge.base import (
    ALL,
    RESYNCED,
    UP,
    Bridge,
    BridgeFigures,
    Kind,
    Packet,
    namespace_topic,
    own_topic,
    path_of,
)
from .connection import Connection
from .hub import Hub, Members, mark_of
from .stats import Figures, merge_messages

log = logging.getLogger("jpulse.cluster")

SNAPSHOT_SECONDS = 1.0
#: All figures are told this often, in between only those that changed.
WHOLE_EVERY = 30
#: Who was silent for so long is dead.
FORGET_SECONDS = 10.0
#: Comings and goings are told at once, but not more often than this.
PRESENCE_SECONDS = 0.01
#: The whole of a process's clients is asked for this often at most.
ASK_SECONDS = 1.0
#: A process that has just come up may not know all others before.
SETTLE_SECONDS = 3 * SNAPSHOT_SECONDS
#: A namespace without clients is heard for so long, since they may come back.
LINGER_SECONDS = 2.0
#: Processes that have ended whose counts are kept one by one; those of older ones are kept as one.
MAX_RETIRED = 20
#: Stands for the older ones.
FOLDED = bytes(8)
#: What a dead process has sent is recognised for so long, should it be alive after all.
REMEMBER_SECONDS = 600.0

NOTHING, NEWS, ALL_LOGGED = "nothing", "news", "all"
#: Asks also for what was logged before this process came, and what those counted who have ended.
NEWCOMER = b"newcomer"
#: Asks for the latter alone, again.
ENDED = b"ended"
#: Who was silent for longer may be dead and is not waited for.
SILENT_SECONDS = 3 * SNAPSHOT_SECONDS
#: Who is not older by so much is as old: what each knows of the other's age is not exact.
SAME_AGE_SECONDS = 0.5

#: The mark of the client's session and the key of the user, "" each for a guest.
Owner = tuple[str, str]
#: How many clients a process has in a namespace, and a checksum over them.
Census = tuple[int, int]


class Presence(msgspec.Struct, array_like=True):
    """Which clients a process has, or what has changed of it."""

    #: True: by path, all clients there are; False: those who came, and, as None, those who went.
    whole: bool
    clients: dict[str, dict[str, Owner | None]]


class Snapshot(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a process tells of itself; other versions may know fewer fields or more."""

    pid: int = 0
    host: str = ""
    #: The same after a restart: host, port and the number of the worker.
    name: str = ""
    #: Seconds since it was started.
    uptime: float = 0.0
    #: Open WebSockets, and what waits in their outboxes.
    sockets: int = 0
    outbox_bytes: int = 0
    messages_per_second: float = 0.0
    memory_bytes: int = 0
    loop_lag_seconds: float = 0.0
    #: Handshakes that were refused, by reason.
    refusals: dict[str, int] = {}
    bridge_state: str = ""
    bridge: BridgeFigures = msgspec.field(default_factory=BridgeFigures)
    #: Of namespaces that have clients.
    census: dict[str, Census] = {}
    #: Of namespaces whose figures have changed.
    figures: dict[str, Figures] = {}
    #: What was added to the activity log, newest first, and how much more was.
    activity: list[Entry] = []
    activity_skipped: int = 0


class Peer:
    """Another process, as far as it is known."""

    def __init__(self, instance: bytes, now: float) -> None:
        self.instance = instance
        self.heard_at = now
        self.asked_at = -ASK_SECONDS
        #: False until it has told the whole: figures that do not change are told with it alone.
        self.has_told_all = False
        #: True while what is known of its clients fits what it says.
        self.matches = False
        self.snapshot = Snapshot()
        self.figures: dict[str, Figures] = {}
        self.clients: dict[str, dict[str, Owner]] = {}
        #: The checksum over the clients of each namespace.
        self.checksums: dict[str, int] = {}
        #: By client id, the mark of its session and in how many namespaces it is.
        self.marks: dict[str, tuple[str, int]] = {}

    def census(self) -> dict[str, Census]:
        """How many clients are known, and the checksum over them."""
        return {path: (len(ids), self.checksums[path]) for path, ids in self.clients.items() if ids}


def checksum(client_id: str, owner: Owner) -> int:
    """What one client adds to the checksum, by XOR."""
    return zlib.crc32("\0".join((client_id, *owner)).encode())


class Cluster:
    """
    Implements what the hub asks (`Neighbours`) and what the bridge tells (`BridgeEvents`).

    `report` makes this process's snapshot, with all figures or those that changed, and with
    what it has logged: NOTHING, the NEWS since the last report of them, or ALL_LOGGED.
    """

    def __init__(
        self,
        hub: Hub,
        bridge: Bridge,
        report: Callable[[bool, str], Snapshot],
        *,
        clock: Callable[[], float] = monotonic,
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        self._hub = hub
        self._bridge = bridge
        self._report = report
        self._clock = clock
        self._call_later = call_later or _call_later
        self._since = clock()
        self.peers: dict[bytes, Peer] = {}
        #: True while it is known for certain which clients are where.
        self.complete = False
        #: Called with UP, DOWN and RESYNCED when that changes.
        self.on_state: Callable[[str], None] = _ignore
        #: Called with the path of a namespace that has missed messages of other processes.
        self.on_missed: Callable[[str], None] = _ignore
        self._missed: set[str] = set()
        #: Called for packets that are about neither clients nor figures.
        self.on_other: Callable[[Packet], None] = _ignore
        #: By path, who came (with the owner) and who went (None) since the last word of it.
        self._changes: dict[str, dict[str, Owner | None]] = {}
        self._planned = False
        self._told_at = -PRESENCE_SECONDS
        self._own_checksums: dict[str, int] = {}
        self._snapshots = 0
        self._up_at: float | None = None
        self._was_up = False
        #: So many processes have to be known again until all is well; None while it is.
        self._missing: int | None = None
        self._ticked_at: float | None = None
        #: True if that was later than it should have been.
        self._was_late = False
        self._departed: dict[bytes, float] = {}
        #: What processes had counted when they ended: their clients are gone, what they said was said.
        #: By instance, the oldest first, so that nobody is counted twice.
        self._retired: dict[bytes, dict[str, Figures]] = {}
        #: Everybody in it, those among the older ones too.
        self._counted: set[bytes] = set()
        #: The sum of their counts by path, and the minute for which it was made.
        self._ended_sums: dict[str, Figures] = {}
        self._ended_minute: int | None = None
        #: True from the first question for them until it is answered.
        self._wants_ended = False
        #: True when the goodbye is said: who heard it would take another word for a new process.
        self._ended = False
        #: What others' activity logs have, newest first, also of processes that have ended.
        self._activity: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        #: When others have left out how much of theirs.
        self._skipped: deque[tuple[float, int]] = deque()
        #: When a namespace that we hear last had a client here.
        self._needed: dict[str, float] = {}

    # What the hub tells and asks

    def came(self, path: str, connection: Connection) -> None:
        """Tell the others of a client."""
        owner = _owner_of(connection)
        self._own_checksums[path] = self._own_checksums.get(path, 0) ^ checksum(connection.client_id, owner)
        self._need(path)
        self._change(path, connection.client_id, owner)

    def went(self, path: str, connection: Connection) -> None:
        """Tell the others that a client is here no more."""
        owner = _owner_of(connection)
        self._own_checksums[path] ^= checksum(connection.client_id, owner)
        self._change(path, connection.client_id, None)

    def hears(self, path: str) -> bool:
        """Tell whether what others send to a namespace is heard, and goes on being heard."""
        return path in self._needed and self._bridge.hears(namespace_topic(path))

    def attend(self, path: str) -> Awaitable[None] | None:
        """Let a namespace's first client here wait until what others send there is heard."""
        self._need(path)
        topic = namespace_topic(path)
        return None if self._bridge.hears(topic) else self._bridge.attend(topic)

    def _need(self, path: str) -> None:
        if path not in self._needed:
            self._bridge.subscribe(namespace_topic(path))
        self._needed[path] = self._clock()

    def owner_of(self, client_id: str) -> str | None:
        """The mark of the session that uses a client id in another process; None if none does."""
        for peer in self.peers.values():
            mark = peer.marks.get(client_id)
            if mark is not None:
                return mark[0]
        return None

    def _change(self, path: str, client_id: str, owner: Owner | None) -> None:
        self._changes.setdefault(path, {})[client_id] = owner
        if not self._planned:
            self._planned = True
            self._call_later(max(0.0, self._told_at + PRESENCE_SECONDS - self._clock()), self.tell_changes)

    def tell_changes(self) -> None:
        """Tell the others who came and went."""
        self._planned = False
        changes, self._changes = self._changes, {}
        if changes:
            self._told_at = self._clock()
            self._publish(ALL, Kind.PRESENCE, Presence(False, changes))

    def _tell_all(self, topic: str, log: str = NOTHING) -> None:
        """Tell all clients of this process, and its figures."""
        self.tell_changes()
        clients: dict[str, dict[str, Owner | None]] = {
            path: {client_id: _owner_of(next(iter(here))) for client_id, here in members.clients.here.items()}
            for path, members in self._hub.members.items()
            if members.clients.here
        }
        self._publish(topic, Kind.PRESENCE, Presence(True, clients))
        self._publish(topic, Kind.SNAPSHOT, self._snapshot(whole=True, log=log))

    def _snapshot(self, *, whole: bool, log: str) -> Snapshot:
        snapshot = self._report(whole, log)
        snapshot.census = {
            path: (len(members.clients.here), self._own_checksums.get(path, 0))
            for path, members in self._hub.members.items()
            if members.clients.here
        }
        return snapshot

    def _publish(self, topic: str, kind: Kind, message: msgspec.Struct) -> None:
        if not self._ended:
            self._bridge.publish(topic, kind, msgspec.msgpack.encode(message))

    # What the bridge tells

    def others(self) -> int:
        """How many other processes are known."""
        return len(self.peers)

    def on_bridge(self, state: str) -> None:
        """Ask everybody for everything when the others can be reached, and count on nothing while not."""
        self.complete = False
        if state == UP:
            self._up_at = self._clock()
            # Word of those that ended during an outage is lost.
            self._wants_ended = True
            self._tell_all(ALL)
            if not self._was_up:
                self._was_up = True
                self._bridge.publish(ALL, Kind.WANTED, NEWCOMER, own_topic(self._bridge.instance))
            if self._missing is None:
                return
        else:
            self._up_at = None
            self._missing = len(self.peers)
            for peer in self.peers.values():
                peer.matches = False
        self.on_state(state)

    def on_packet(self, packet: Packet) -> None:
        """Take what another process sent."""
        if packet.kind in (Kind.BROADCAST, Kind.TO_CLIENT, Kind.TO_USER):
            self._hub.deliver(packet)
        elif packet.kind == Kind.PRESENCE:
            self._on_presence(packet.sender, msgspec.msgpack.decode(packet.payload, type=Presence))
        elif packet.kind == Kind.SNAPSHOT:
            self._on_snapshot(packet.sender, msgspec.msgpack.decode(packet.payload, type=Snapshot))
        elif packet.kind == Kind.WANTED:
            self._on_wanted(packet)
        elif packet.kind == Kind.RETIRED:
            self._on_retired(packet)
        elif packet.kind == Kind.GOODBYE:
            self._forget(packet.sender)
        else:
            self.on_other(packet)

    def _on_wanted(self, packet: Packet) -> None:
        """Tell somebody what it asks for."""
        if packet.payload != ENDED:
            self._tell_all(packet.target, ALL_LOGGED if packet.payload == NEWCOMER else NOTHING)
        # One of all that are asked is enough: the oldest, who knows most of those before.
        if packet.payload in (NEWCOMER, ENDED) and self._lead(SILENT_SECONDS) >= -SAME_AGE_SECONDS:
            self._tell_retired(packet.target, self._retired)

    def _on_presence(self, sender: bytes, presence: Presence) -> None:
        peer = self._peer(sender)
        if presence.whole:
            peer.has_told_all = True
            self._empty(peer)
        for path, clients in presence.clients.items():
            members = self._hub.members_of(path)
            for client_id, owner in clients.items():
                self._remove(peer, path, members, client_id)
                if owner is not None:
                    self._add(peer, path, members, client_id, owner)

    def _on_snapshot(self, sender: bytes, snapshot: Snapshot) -> None:
        peer = self._peer(sender)
        peer.snapshot = snapshot
        peer.figures.update(snapshot.figures)
        self._take_activity(snapshot)
        peer.matches = peer.has_told_all and snapshot.census == peer.census()
        if not peer.matches:
            self._ask(peer)
        self._look_whether_complete()

    def on_gap(self, topic: str, sender: bytes) -> None:
        """
        Do what is due when something did not arrive.

        Figures have no checksum, so the whole of that process is asked for. A namespace
        that missed messages is told `resynced`, at the next tick and once however many.
        """
        if topic == ALL and sender in self.peers:
            self._ask(self.peers[sender])
        path = path_of(topic)
        if path is not None:
            self._missed.add(path)

    def _ask(self, peer: Peer) -> None:
        if self._clock() - peer.asked_at >= ASK_SECONDS:
            peer.asked_at = self._clock()
            self._bridge.publish(own_topic(peer.instance), Kind.WANTED, b"", own_topic(self._bridge.instance))

    def _look_whether_complete(self) -> None:
        """See whether it is known again which clients are where."""
        if self._up_at is None:
            return
        up_for = self._clock() - self._up_at
        matching = sum(peer.matches for peer in self.peers.values())
        self.complete = up_for >= SETTLE_SECONDS and matching == len(self.peers)
        if self._missing is not None and (0 < self._missing <= matching or up_for >= SETTLE_SECONDS):
            self._missing = None
            self.on_state(RESYNCED)

    # Peers

    def _peer(self, instance: bytes) -> Peer:
        peer = self.peers.get(instance)
        if peer is None:
            peer = self.peers[instance] = Peer(instance, self._clock())
            self._departed.pop(instance, None)
            # Silent, but not dead: it counts for itself.
            if self._retired.pop(instance, None) is not None:
                self._counted.discard(instance)
                self._ended_minute = None
            self.complete = False
            log.debug("process %s is there", instance.hex())
        peer.heard_at = self._clock()
        return peer

    def _forget(self, instance: bytes) -> None:
        peer = self.peers.pop(instance, None)
        if peer is not None:
            self._empty(peer)
            self._departed[instance] = self._clock()
            self._retire(instance, peer.figures)

    def _retire(self, instance: bytes, figures: dict[str, Figures]) -> None:
        """Keep how many messages a process had, of all that it counted."""
        self._retired[instance] = _messages_of(figures)
        self._counted.add(instance)
        self._ended_minute = None
        if len(self._retired) > MAX_RETIRED:
            self._fold()

    def _fold(self) -> None:
        """Keep what the oldest of the ended has counted together with that of still older ones."""
        folded = self._retired.pop(FOLDED, {})
        oldest = self._retired.pop(next(iter(self._retired)))
        # First again, and so told first.
        self._retired = {FOLDED: _merged([folded, oldest]), **self._retired}

    def _ended_figures(self, now: float) -> dict[str, Figures]:
        """What those have counted who have ended, by path; added up once a minute, or when one more has."""
        minute = int(now // 60)
        if self._ended_minute != minute:
            self._ended_sums = _merged(
                {path: replace(each, per_hour=each.hour_until(now)) for path, each in retired.items()}
                for retired in self._retired.values()
            )
            self._ended_minute = minute
        return self._ended_sums

    def _tell_retired(self, topic: str, retired: dict[bytes, dict[str, Figures]]) -> None:
        """Tell what those had counted who have ended, for who came after that, or never heard of them."""
        told = {instance.hex(): figures for instance, figures in retired.items()}
        self._bridge.publish(topic, Kind.RETIRED, msgspec.msgpack.encode(told))

    def _lead(self, heard_within: float) -> float:
        """By how many seconds this process is older than every other one that was heard lately."""
        now = self._clock()
        ages = (
            peer.snapshot.uptime + now - peer.heard_at
            for peer in self.peers.values()
            if now - peer.heard_at <= heard_within
        )
        return now - self._since - max(ages, default=0.0)

    def _on_retired(self, packet: Packet) -> None:
        told = msgspec.msgpack.decode(packet.payload, type=dict[str, dict[str, Figures]])
        for name, figures in told.items():
            self._take_retired(bytes.fromhex(name), figures)
        if packet.topic == own_topic(self._bridge.instance):
            self._wants_ended = False
            # Those that another process adds up later have been told one by one.
            self._counted.add(FOLDED)

    def _take_retired(self, instance: bytes, figures: dict[str, Figures]) -> None:
        """Keep what another process knows of one that has ended, and that this one does not."""
        if instance in self.peers:
            # Alive, or not yet found dead; what it said last may not have come here.
            _take_later(self.peers[instance].figures, figures)
        elif instance in self._retired and instance != FOLDED:
            _take_later(self._retired[instance], figures)
            self._ended_minute = None
        # This process itself, if it was silent and thought dead.
        elif instance != self._bridge.instance and instance not in self._counted:
            self._retire(instance, figures)

    def _ask_for_ended(self) -> None:
        """Ask again until somebody has answered: the oldest may have died just before."""
        if self._wants_ended and self.peers:
            # Who is the oldest itself gets no answer; before all have spoken nobody knows that it is.
            has_settled = self._up_at is not None and self._clock() - self._up_at >= SETTLE_SECONDS
            self._wants_ended = not has_settled or self._lead(FORGET_SECONDS) <= SAME_AGE_SECONDS
            if self._wants_ended:
                self._bridge.publish(ALL, Kind.WANTED, ENDED, own_topic(self._bridge.instance))

    def _empty(self, peer: Peer) -> None:
        for path, clients in peer.clients.items():
            members = self._hub.members_of(path)
            for client_id in list(clients):
                self._remove(peer, path, members, client_id)
        peer.clients.clear()
        peer.checksums.clear()

    def _add(self, peer: Peer, path: str, members: Members, client_id: str, owner: Owner) -> None:
        peer.clients.setdefault(path, {})[client_id] = owner
        peer.checksums[path] = peer.checksums.get(path, 0) ^ checksum(client_id, owner)
        # The latest: one word may tell of the new owner in one namespace before the old one left another.
        _, count = peer.marks.get(client_id, ("", 0))
        peer.marks[client_id] = (owner[0], count + 1)
        members.clients.add_elsewhere(client_id)
        if owner[1]:
            members.users.add_elsewhere(owner[1])

    def _remove(self, peer: Peer, path: str, members: Members, client_id: str) -> None:
        owner = peer.clients.get(path, {}).pop(client_id, None)
        if owner is None:
            return
        peer.checksums[path] ^= checksum(client_id, owner)
        mark, count = peer.marks.pop(client_id)
        if count > 1:
            peer.marks[client_id] = (mark, count - 1)
        members.clients.remove_elsewhere(client_id)
        if owner[1]:
            members.users.remove_elsewhere(owner[1])

    # By the clock

    def tick(self) -> None:
        """Tell what is new, and forget who is silent; to be called every SNAPSHOT_SECONDS."""
        now = self._clock()
        if self._bridge.state == UP:
            self._tell_news()
            self._ask_for_ended()
            missed, self._missed = self._missed, set()
            for path in missed:
                self.on_missed(path)
        late = self._ticked_at is not None and now - self._ticked_at > SNAPSHOT_SECONDS + 2.0
        self._ticked_at = now
        # After a pause of this process the others' words wait unread: hear them first. By the next
        # tick they are heard, even of a process that is always late.
        if not late or self._was_late:
            self._forget_silent(now)
        self._was_late = late
        self._leave_empty_namespaces(now)
        self._look_whether_complete()

    def _tell_news(self) -> None:
        self.tell_changes()
        self._snapshots += 1
        whole = self._snapshots % WHOLE_EVERY == 0
        self._publish(ALL, Kind.SNAPSHOT, self._snapshot(whole=whole, log=NEWS))

    def _forget_silent(self, now: float) -> None:
        for peer in [each for each in self.peers.values() if now - each.heard_at >= FORGET_SECONDS]:
            # In an outage of Redis all are silent, which the bridge has told already.
            level = logging.WARNING if self._bridge.state == UP else logging.INFO
            log.log(
                level, "process %s is silent and counts no more", peer.snapshot.name or peer.instance.hex()
            )
            self._forget(peer.instance)
            # Its successor came before that, and was not told of it as one that has ended.
            self._tell_retired(ALL, {peer.instance: self._retired[peer.instance]})
        for instance in [each for each, when in self._departed.items() if now - when >= REMEMBER_SECONDS]:
            del self._departed[instance]
            self._bridge.forget(instance)

    def _leave_empty_namespaces(self, now: float) -> None:
        """Hear no more of namespaces that have had no clients here for a while."""
        for path, when in list(self._needed.items()):
            if self._hub.members_of(path).connections:
                self._needed[path] = now
            elif now - when > LINGER_SECONDS:
                del self._needed[path]
                self._bridge.unsubscribe(namespace_topic(path))

    def say_goodbye(self) -> None:
        """Tell the others what this process has counted in the end, and that it ends."""
        self._publish(ALL, Kind.SNAPSHOT, self._snapshot(whole=True, log=NEWS))
        self._hand_over_silent()
        self._bridge.publish(ALL, Kind.GOODBYE, b"")
        self._ended = True

    def _hand_over_silent(self) -> None:
        """Tell what those had counted who may be dead: this may be the last process that knows."""
        silent = {
            peer.instance: _messages_of(peer.figures)
            for peer in self.peers.values()
            if self._clock() - peer.heard_at > 1.5 * SNAPSHOT_SECONDS
        }
        if silent:
            self._tell_retired(ALL, silent)

    # Activity

    def _take_activity(self, snapshot: Snapshot) -> None:
        """Add what another process has logged, in order of time."""
        overflow = max(0, len(self._activity) + len(snapshot.activity) - MAX_ENTRIES)
        self._activity.extendleft(reversed(snapshot.activity))
        skipped = snapshot.activity_skipped + overflow
        if skipped:
            self._skipped.append((self._clock(), skipped))

    def activity(self, now: float) -> list[Entry]:
        """What others have logged in the last five minutes, newest first; `now` is in seconds since 1970."""
        since = iso_time(now - KEPT_SECONDS)
        return sorted(
            (entry for entry in self._activity if entry["timestamp"] > since),
            key=lambda entry: entry["timestamp"],
            reverse=True,
        )

    def activity_skipped(self) -> int:
        """How much of the last five minutes others have left out of what they told."""
        since = self._clock() - KEPT_SECONDS
        while self._skipped and self._skipped[0][0] < since:
            self._skipped.popleft()
        return sum(count for _, count in self._skipped)

    # Figures

    def figures_of(self, path: str, now: float | None = None) -> Iterator[Figures]:
        """What the others have counted in a namespace, those that have ended too; `now` is since 1970."""
        for peer in self.peers.values():
            figures = peer.figures.get(path)
            if figures is not None:
                yield figures
        ended = self._ended_figures(time.time() if now is None else now).get(path)
        if ended is not None:
            yield ended

    def paths(self) -> set[str]:
        """The namespaces of which other processes have told figures."""
        living = {path for peer in self.peers.values() for path in peer.figures}
        return living | self._ended_figures(time.time()).keys()

    def snapshots(self) -> Iterator[tuple[bytes, Snapshot, float]]:
        """The last snapshot of each other process, with its instance id and its age in seconds."""
        now = self._clock()
        for peer in self.peers.values():
            yield peer.instance, peer.snapshot, now - peer.heard_at

    def longest_uptime(self) -> float:
        """Seconds since the oldest of the other processes was started; 0 if there is none."""
        now = self._clock()
        return max((each.snapshot.uptime + now - each.heard_at for each in self.peers.values()), default=0.0)

    def bridge_figures(self) -> dict[str, Any]:
        """The state of the bridge and what it has counted, by camel-case names."""
        counted: dict[str, Any] = msgspec.to_builtins(self._bridge.figures)
        return {
            "kind": self._bridge.kind,
            "state": self._bridge.state,
            "queued": self._bridge.queued,
            **counted,
        }


def _owner_of(connection: Connection) -> Owner:
    return mark_of(connection.session_id), connection.user_key


def _messages_of(figures: dict[str, Figures]) -> dict[str, Figures]:
    """What is kept of a process's figures when it has ended."""
    return {
        path: Figures(
            total=each.total,
            minutes=each.minutes,
            minutes_end=each.minutes_end,
            last_activity=each.last_activity,
        )
        for path, each in figures.items()
        if each.total
    }


def _take_later(known: dict[str, Figures], told: dict[str, Figures]) -> None:
    """Of what a process has counted keep what it told later: its totals never fall."""
    for path, each in told.items():
        ours = known.get(path, Figures())
        if each.total > ours.total:
            known[path] = replace(
                ours,
                total=each.total,
                minutes=each.minutes,
                minutes_end=each.minutes_end,
                last_activity=each.last_activity,
            )


def _merged(parts: Iterable[dict[str, Figures]]) -> dict[str, Figures]:
    """Add up the messages of each namespace."""
    by_path: dict[str, list[Figures]] = {}
    for part in parts:
        for path, figures in part.items():
            by_path.setdefault(path, []).append(figures)
    return {path: merge_messages(each) for path, each in by_path.items()}


def _call_later(seconds: float, callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, callback)


def _ignore(_: object) -> None:
    """Stand in for a callback that was not given."""
