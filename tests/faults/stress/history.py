"""
What happened in a run, as clients, servers and the injector of faults saw it.

A history is made of events, each with the monotonic time at which it was seen; that clock is
the same in all processes of a machine. Events of one process come in the order of its journal.
A message is known by its sender and the sender's number of it, which is used once.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

Message = tuple[int, int]


# What clients saw


class Tried(NamedTuple):
    """A client begins to connect; `session` is "" for a guest, `asked` the client id it wants."""

    visit: int
    at: float
    client: str
    path: str
    session: str = ""
    asked: str = ""


class Opened(NamedTuple):
    """A client was let in, and told by which process."""

    visit: int
    at: float
    pid: int
    serial: int
    client_id: str
    username: str = ""


class Refused(NamedTuple):
    """A handshake got another status than 101, or 0: no answer."""

    visit: int
    at: float
    status: int


class Sent(NamedTuple):
    """A client sent a message."""

    visit: int
    at: float
    sender: int
    number: int


class Got(NamedTuple):
    """A client received a message."""

    visit: int
    at: float
    sender: int
    number: int


class Stalled(NamedTuple):
    """A client reads nothing, and answers no ping, until some time; inf: never again."""

    visit: int
    at: float
    until: float


#: How a visit ended: we closed and the server answered; the server closed; the socket broke, or we broke it.
ASKED, TOLD, LOST = "asked", "told", "lost"


class Ended(NamedTuple):
    """A visit is over; `code` is the close code, 1006 for none."""

    visit: int
    at: float
    how: str
    code: int


class SignedIn(NamedTuple):
    """A session is there from `at` on."""

    session: str
    at: float
    user: str


class SignedOut(NamedTuple):
    """A session was to be ended at `at`; `done` is when the server said so, inf if it never did."""

    session: str
    at: float
    done: float


class Changed(NamedTuple):
    """A user was changed between `at` and `done`: disabled, enabled, demoted or promoted."""

    user: str
    at: float
    done: float
    what: str


# What servers wrote down


class Began(NamedTuple):
    """A process has started; `port` is its own, on which it tells its figures."""

    pid: int
    at: float
    instance: str
    port: int = 0


class Joined(NamedTuple):
    """A connection is in its namespace from now on."""

    pid: int
    at: float
    serial: int
    path: str
    client_id: str
    user: str = ""
    #: Of its session; "" for a guest.
    mark: str = ""


class Left(NamedTuple):
    """A connection is out of its namespace."""

    pid: int
    at: float
    serial: int
    code: int


class Did(NamedTuple):
    """
    A message was handled and sent on.

    `kind` is all, others, echo, client or user, `target` a client id or user; `sequence` counts
    what the process has published for the namespace, None if this did not cross.
    """

    pid: int
    at: float
    serial: int
    path: str
    sender: int
    number: int
    kind: str = "all"
    target: str = ""
    sequence: int | None = None

    @property
    def message(self) -> Message:
        """Which message it was."""
        return self.sender, self.number


class Bridge(NamedTuple):
    """The bridge of a process went up or down."""

    pid: int
    at: float
    state: str
    lost: int = 0


class Gap(NamedTuple):
    """A process noticed that `count` packets of another one did not arrive."""

    pid: int
    at: float
    path: str
    instance: str
    count: int


class ToldOthers(NamedTuple):
    """A process told the others its figures, if its bridge was up."""

    pid: int
    at: float
    state: str


class Late(NamedTuple):
    """The loop of a process was held up from `since` to `at`."""

    pid: int
    at: float
    since: float


class Finished(NamedTuple):
    """A process said goodbye."""

    pid: int
    at: float


class Fault(NamedTuple):
    """Something was broken from `at` to `lifted`, and all was well at `recovered`; `pid` 0: of no process."""

    kind: str
    at: float
    lifted: float
    recovered: float
    pid: int = 0


class Memory(NamedTuple):
    """How many bytes of a process are in RAM."""

    pid: int
    at: float
    size: int


class Figures(NamedTuple):
    """What a process says of itself: `idle` while there are no clients, else when they have fallen silent."""

    pid: int
    at: float
    idle: bool
    told: dict[str, Any]


ClientEvent = Tried | Opened | Refused | Sent | Got | Stalled | Ended
ServerEvent = Began | Joined | Left | Did | Bridge | Gap | ToldOthers | Late | Finished
Event = ClientEvent | ServerEvent | SignedIn | SignedOut | Changed | Fault | Memory | Figures

#: What the first word of a journal's line means.
JOURNAL = {
    "began": Began,
    "joined": Joined,
    "left": Left,
    "did": Did,
    "bridge": Bridge,
    "gap": Gap,
    "told": ToldOthers,
    "late": Late,
    "finished": Finished,
}


@dataclass
class Visit:
    """One connection as its client saw it."""

    tried: Tried
    opened: Opened | None = None
    refused: Refused | None = None
    ended: Ended | None = None
    sent: list[Sent] = field(default_factory=list)
    stalls: list[Stalled] = field(default_factory=list)
    #: What it received, as `pack` makes it, and when.
    got: array[int] = field(default_factory=lambda: array("q"))
    got_at: array[float] = field(default_factory=lambda: array("d"))

    @property
    def number(self) -> int:
        """The visit's own number."""
        return self.tried.visit

    @property
    def path(self) -> str:
        """The namespace."""
        return self.tried.path

    def receive(self, at: float, sender: int, number: int) -> None:
        """Note a message."""
        self.got.append(pack(sender, number))
        self.got_at.append(at)

    @property
    def is_complete(self) -> bool:
        """Tell whether all arrived that the server had sent: nothing broke, and nothing was left unread."""
        if self.ended is None:
            return not any(each.until == inf for each in self.stalls)
        orderly = self.ended.how == ASKED or (
            self.ended.how == TOLD and self.ended.code in (1012, 4401, 4403)
        )
        return orderly and not any(each.until >= self.ended.at - 1 for each in self.stalls)


@dataclass
class Stay:
    """One connection as its process saw it; places are those of the lines in the journal."""

    joined: Joined
    place: int
    left: Left | None = None
    left_place: float = inf

    @property
    def until(self) -> float:
        """When it ended; inf if it has not."""
        return inf if self.left is None else self.left.at


@dataclass
class Process:
    """A server process and what its journal has."""

    pid: int
    began: float = -inf
    instance: str = ""
    port: int = 0
    #: When it said goodbye, or was killed.
    ended: float = inf
    was_killed: bool = False
    lines: int = 0
    #: By namespace, what it did, each with its place in the journal.
    dids: dict[str, list[tuple[int, Did]]] = field(default_factory=dict)
    stays: dict[int, Stay] = field(default_factory=dict)
    states: list[Bridge] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    told: list[tuple[int, ToldOthers]] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)

    def add(self, event: ServerEvent) -> None:
        """Take the next line of the journal."""
        self.lines += 1
        match event:
            case Began():
                self.began, self.instance, self.port = event.at, event.instance, event.port
            case Joined():
                self.stays[event.serial] = Stay(event, self.lines)
            case Left():
                self._left(event)
            case Did():
                self.dids.setdefault(event.path, []).append((self.lines, event))
            case Bridge():
                self.states.append(event)
            case Gap():
                self.gaps.append(event)
            case ToldOthers():
                self.told.append((self.lines, event))
            case Late():
                self.pauses.append((event.since, event.at))
            case Finished():
                self.ended = event.at

    def _left(self, event: Left) -> None:
        stay = self.stays.get(event.serial)
        if stay is not None:
            stay.left, stay.left_place = event, self.lines

    def done(self, path: str) -> list[tuple[int, Did]]:
        """What it did in a namespace, in order."""
        return self.dids.get(path, [])


def pack(sender: int, number: int) -> int:
    """A message as one integer."""
    return sender << 32 | number


def unpack(packed: int) -> Message:
    """The message of an integer."""
    return packed >> 32, packed & 0xFFFFFFFF


class History:
    """All events of a run, found by what they are about."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.visits: dict[int, Visit] = {}
        self.processes: dict[int, Process] = {}
        self.signed_in: dict[str, SignedIn] = {}
        self.signed_out: dict[str, SignedOut] = {}
        self.changes: dict[str, list[Changed]] = {}
        self.faults: list[Fault] = []
        self.memory: list[Memory] = []
        self.figures: list[Figures] = []
        #: By packed message, every time it was handled.
        self.done: dict[int, list[tuple[int, Did]]] = {}
        #: By process and serial, the visit.
        self.visit_of: dict[tuple[int, int], int] = {}
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take one event; those of a visit after its `Tried`, those of a process in order."""
        match event:
            case Tried() | Opened() | Refused() | Sent() | Got() | Stalled() | Ended():
                self._add_to_visit(event)
            case SignedIn():
                self.signed_in[event.session] = event
            case SignedOut():
                self.signed_out[event.session] = event
            case Changed():
                self.changes.setdefault(event.user, []).append(event)
            case Fault():
                self._add_fault(event)
            case Memory():
                self.memory.append(event)
            case Figures():
                self.figures.append(event)
            case _:
                self._add_to_process(event)

    def _add_to_visit(self, event: ClientEvent) -> None:
        if isinstance(event, Tried):
            self.visits[event.visit] = Visit(event)
            return
        visit = self.visits.get(event.visit)
        if visit is None:
            return
        match event:
            case Opened():
                visit.opened = event
                self.visit_of[event.pid, event.serial] = event.visit
            case Refused():
                visit.refused = event
            case Sent():
                visit.sent.append(event)
            case Got():
                visit.receive(event.at, event.sender, event.number)
            case Stalled():
                visit.stalls.append(event)
            case Ended():
                visit.ended = event

    def _add_to_process(self, event: ServerEvent) -> None:
        process = self.process(event.pid)
        process.add(event)
        if isinstance(event, Did):
            self.done.setdefault(pack(event.sender, event.number), []).append((process.lines, event))

    def _add_fault(self, fault: Fault) -> None:
        self.faults.append(fault)
        if fault.kind == WORKER_KILLED:
            process = self.process(fault.pid)
            process.ended, process.was_killed = fault.at, True

    def process(self, pid: int) -> Process:
        """A process, made when it is first heard of."""
        if pid not in self.processes:
            self.processes[pid] = Process(pid)
        return self.processes[pid]

    def stay_of(self, visit: Visit) -> Stay | None:
        """What the server wrote of a visit; None if it was never let in, or nobody knows by whom."""
        if visit.opened is None or visit.opened.pid not in self.processes:
            return None
        return self.processes[visit.opened.pid].stays.get(visit.opened.serial)

    def opened(self) -> Iterator[tuple[Visit, Process, Stay]]:
        """Every visit that was let in, with its process and what that wrote of it."""
        for visit in self.visits.values():
            stay = self.stay_of(visit)
            if stay is not None:
                yield visit, self.processes[stay.joined.pid], stay

    def by_instance(self, instance: str) -> Process | None:
        """The process of an instance id."""
        return next((each for each in self.processes.values() if each.instance == instance), None)


#: Kinds of faults that rules know.
WORKER_KILLED = "worker killed"


def read_journals(folder: Path) -> Iterator[ServerEvent]:
    """The events of all journals in a folder; a line that a kill cut short is left out."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                what, at, *fields = json.loads(line)
                yield JOURNAL[what](int(path.stem), at, *fields)


def meant_for(did: Did, visit: Visit, stay: Stay) -> bool:
    """Tell whether a message that was handled is for a visit to the same namespace."""
    match did.kind:
        case "all":
            return True
        case "others":
            return did.target != stay.joined.client_id
        case "client":
            return did.target == stay.joined.client_id
        case "user":
            return did.target == stay.joined.user
    # An echo goes to one connection.
    return (did.pid, did.serial) == (stay.joined.pid, stay.joined.serial)
