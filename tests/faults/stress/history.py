"""
A history: all events of a run, found by what they are about.

Events of one process come in the order of its journal, whose lines are its places.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from .events import (
    ASKED,
    JOURNAL,
    TOLD,
    WORKER_KILLED,
    Began,
    Bridge,
    Changed,
    ClientEvent,
    Did,
    Ended,
    Event,
    Fault,
    Figures,
    Finished,
    Gap,
    Got,
    Joined,
    Late,
    Left,
    Memory,
    Message,
    Opened,
    Refused,
    Sent,
    ServerEvent,
    SignedIn,
    SignedOut,
    Slept,
    Stalled,
    ToldOthers,
    Tried,
)


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
        self.sleeps: list[Slept] = []
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
            case Slept():
                self.sleeps.append(event)
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
