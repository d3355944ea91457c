"""Processes without processes: hubs joined in memory, by a way that loses and delays what a test wants."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from jpulse.bridge.base import (
    ALL,
    DOWN,
    FLEETING,
    UP,
    Bridge,
    BridgeEvents,
    Kind,
    Packet,
    decode,
    encode,
    own_topic,
)
from jpulse.cluster import Cluster, Owner, Snapshot
from jpulse.hub import mark_of
from jpulse.namespace import Namespace, Registry
from jpulse.settings import Settings

from .fake_transport import START, Client, World

CHAT = "/api/1/ws/chat"
GAME = "/api/1/ws/game"

#: Who is where: by path and client id, the mark of the session and the key of the user.
Truth = dict[str, dict[str, Owner]]


@dataclass
class User:
    """Who signed in."""

    username: str


class Word(NamedTuple):
    """A packet under way, with what was true when it was sent."""

    topic: str
    data: bytes
    truth: Truth


class FakeBridge(Bridge):
    """Keeps what is published until the test lets it through."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
        #: Set by `Process.begin`.
        self.events: BridgeEvents
        self.topics = {ALL, own_topic(self.instance)}
        self.out: deque[Word] = deque()
        self.published_packets: list[Packet] = []
        #: What `attend` was asked for.
        self.attended: list[str] = []
        self.forgotten: list[bytes] = []
        self._sequences: dict[str, int] = {}
        #: The last sequence number in each topic of each sender.
        self._seen: dict[tuple[str, bytes], int] = {}

    async def start(self, events: BridgeEvents) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    def publish(self, topic: str, kind: Kind, payload: bytes, target: str = "") -> None:
        if self.state == DOWN and kind in FLEETING:
            return
        sequence = self._sequences[topic] = self._sequences.get(topic, 0) + 1
        packet = Packet(topic, kind, self.instance, sequence, target, payload)
        self.published_packets.append(packet)
        self.out.append(Word(topic, encode(packet), self._process.truth()))

    def subscribe(self, topic: str) -> None:
        self.topics.add(topic)

    def unsubscribe(self, topic: str) -> None:
        self.topics.discard(topic)

    async def attend(self, topic: str) -> None:
        self.attended.append(topic)
        self.topics.add(topic)

    def hears(self, topic: str) -> bool:
        return topic in self.topics

    def forget(self, sender: bytes) -> None:
        self.forgotten.append(sender)

    def go(self, state: str) -> None:
        """Be up or down from now on, and say so."""
        self.state = state
        self.events.on_bridge(state)

    def take(self, packet: Packet) -> None:
        """Hand a packet up as a bridge does: not twice, and telling of gaps."""
        key = packet.topic, packet.sender
        last = self._seen.get(key, packet.sequence - 1)
        assert packet.sequence > last
        self._seen[key] = packet.sequence
        if packet.sequence > last + 1:
            self.events.on_gap(packet.topic, packet.sender)
        self.events.on_packet(packet)


class Process:
    """A hub, its namespaces and what it knows of the other processes."""

    def __init__(self, net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
        self.net = net
        self.bridge = FakeBridge(self)
        self.world = World(monkeypatch, self.bridge)
        self.hub = self.world.hub
        self.registry = Registry(self.hub, Settings())
        self.cluster = Cluster(
            self.hub, self.bridge, self._report, clock=lambda: net.now, call_later=self._call_later
        )
        self.hub.neighbours = self.cluster
        self.cluster.on_state = self._on_state
        self.cluster.on_other = self._on_other
        self.states: list[str] = []
        self.others: list[Packet] = []
        self.chat = self.registry.create_namespace(CHAT)
        self.game = self.registry.create_namespace(GAME)
        self.uptime = 0.0
        self.clients: list[Client] = []
        #: A paused process neither hears nor ticks; what comes waits.
        self.paused = False
        self.inbox: deque[tuple[Word, Packet]] = deque()
        #: Calls that were planned, by the time at which they are due.
        self._planned: list[tuple[float, Callable[[], None]]] = []
        self._began_at = net.now
        #: True when it will never say anything again.
        self.dead = False

    def begin(self) -> None:
        """Let the bridge come up for the first time."""
        self.bridge.events = self.cluster
        self._began_at = self.net.now
        self.bridge.go(UP)

    def _report(self, whole: bool, *_: object) -> Snapshot:
        uptime = self.uptime or self.net.now - self._began_at
        return Snapshot(uptime=uptime, figures=self.registry.figures(whole=whole))

    def _call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self._planned.append((self.net.now + seconds, callback))

    def _on_state(self, state: str) -> None:
        self.states.append(state)

    def _on_other(self, packet: Packet) -> None:
        self.others.append(packet)

    # What happens here

    def connect(
        self,
        client_id: str,
        user: str = "",
        session: str = "",
        namespace: Namespace | None = None,
        window_bits: int = 0,
    ) -> Client:
        """A client that has connected; a user without a session named has one of its own name."""
        session = session or f"session-of-{user}" if user else ""
        client = self.world.connect(
            client_id,
            user=User(user) if user else None,
            session_id=session,
            namespace=namespace or self.chat,
            window_bits=window_bits,
        )
        self.clients.append(client)
        return client

    def leave(self, client: Client) -> None:
        """Let a client's socket break."""
        self.clients.remove(client)
        client.connection.connection_lost()
        self.world.end_turn()

    def kill(self) -> None:
        """End without a word."""
        self.dead = True
        self.bridge.out.clear()

    def run_due(self) -> bool:
        """Do what was planned for now or before; tell whether there was something."""
        due = [call for when, call in self._planned if when <= self.net.now]
        self._planned = [each for each in self._planned if each[0] > self.net.now]
        for call in due:
            call()
        return bool(due)

    def planned_times(self) -> list[float]:
        """When something is due that was planned."""
        return [when for when, _ in self._planned]

    # What is true, and what is known

    def truth(self) -> Truth:
        """Who is here."""
        found: Truth = {}
        for connection in self.hub.connections():
            owner = mark_of(connection.session_id), connection.user_key
            found.setdefault(connection.namespace.path, {})[connection.client_id] = owner
        return found

    def knows_of(self, other: Process) -> Truth | None:
        """Who is in another process as far as is known here; None if that process is not known."""
        peer = self.cluster.peers.get(other.bridge.instance)
        return peer and {path: dict(clients) for path, clients in peer.clients.items() if clients}

    def is_sure_of(self, other: Process) -> bool:
        """Tell whether what is known of another process fits what it said last."""
        peer = self.cluster.peers.get(other.bridge.instance)
        return peer is not None and peer.matches

    def sent(self, kind: Kind) -> int:
        """How many packets of a kind were published here."""
        return sum(packet.kind == kind for packet in self.bridge.published_packets)


class Net:
    """Processes, the clock of all, and the way between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        self.monkeypatch = monkeypatch
        self.processes: list[Process] = []
        #: Tells which packets get lost on the way to a process.
        self.loses: Callable[[Process, Packet], bool] = lambda receiver, packet: False

    def process(self) -> Process:
        """A process that has just come up."""
        process = Process(self, self.monkeypatch)
        self.processes.append(process)
        process.begin()
        return process

    def settled(self, count: int) -> list[Process]:
        """So many processes that have found each other and are sure."""
        made = [self.process() for _ in range(count)]
        self.settle()
        self.pass_seconds(4)
        assert all(each.cluster.complete for each in made)
        return made

    @property
    def alive(self) -> list[Process]:
        """The processes that have not ended."""
        return [each for each in self.processes if not each.dead]

    def deliver(self, sender: Process) -> bool:
        """Let the oldest word of a process through; tell whether there was one."""
        if not sender.bridge.out or sender.bridge.state == DOWN:
            return False
        word = sender.bridge.out.popleft()
        packet = decode(word.topic, word.data)
        for receiver in self.alive:
            hears = receiver.bridge.state == UP and word.topic in receiver.bridge.topics
            if receiver is not sender and hears and not self.loses(receiver, packet):
                receiver.inbox.append((word, packet))
                self._read(receiver)
        return True

    def _read(self, receiver: Process) -> None:
        while receiver.inbox and not receiver.paused:
            word, packet = receiver.inbox.popleft()
            receiver.bridge.take(packet)
            author = next(each for each in self.processes if each.bridge.instance == packet.sender)
            if packet.kind == Kind.SNAPSHOT and receiver.is_sure_of(author):
                assert receiver.knows_of(author) == word.truth, "the checksum lied"
        receiver.world.end_turn()

    def settle(self) -> None:
        """Let everything through, what is planned for the next moment too, and what follows from it."""
        while self._moves() or self._turns_to_what_is_planned():
            pass

    def _moves(self) -> bool:
        moved = False
        for process in self.alive:
            self._read(process)
            moved |= not process.paused and process.run_due()
            while self.deliver(process):
                moved = True
        return moved

    def _turns_to_what_is_planned(self) -> bool:
        due = [when for process in self.alive if not process.paused for when in process.planned_times()]
        self.now = max(self.now, min(due, default=self.now))
        return bool(due)

    def pass_seconds(self, seconds: int, settle: bool = True) -> None:
        """Let time pass, with a tick in every second."""
        for _ in range(seconds):
            self.now += 1.0
            for process in self.alive:
                if not process.paused:
                    process.cluster.tick()
            if settle:
                self.settle()
