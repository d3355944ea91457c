"""Rules of what arrives: once, in order, at whom it is for; and of what does not, and may not be missing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from .events import ASKED, Did
from .history import History, Process, Stay, Visit, meant_for, pack, unpack
from .violations import Found, Violation, name_of
from .windows import (
    Windows,
)

#: What crosses has arrived by then, where nothing holds anybody up.
CROSSING_SECONDS = 2.0
#: Who is where is known in the other processes by then; clients of one that died are there for so long.
PRESENCE_SECONDS, FORGET_SECONDS = 1.0, 12.0
#: A setting of the run: what handlers have to finish when a process ends.
DRAIN_SECONDS = 2.0
#: The slowest handler of the run is done by then; who is killed leaves undone what it was at.
HANDLER_SECONDS = 0.5
#: A namespace that has been empty here for so long may not be heard any more.
LINGER_SECONDS = 1.5


# What arrives


def twice(history: History) -> Found:
    """Nothing is delivered twice on one connection."""
    for visit in history.visits.values():
        if len(set(visit.got)) == len(visit.got):
            continue
        for packed, count in Counter(visit.got).items():
            if count > 1:
                text = f"{name_of(visit)} got message {unpack(packed)} {count} times"
                yield Violation("twice", text, _got_at(visit, packed), (visit.number,), (unpack(packed),))


def order(history: History) -> Found:
    """What one process sent to a namespace arrives in the order in which it was sent."""
    for visit in history.visits.values():
        last: dict[int, tuple[int, Did]] = {}
        for packed in visit.got:
            for place, did in history.done.get(packed, ())[:1]:
                before = last.get(did.pid)
                if before is not None and place < before[0]:
                    text = (
                        f"{name_of(visit)} got {did.message} after {before[1].message}, which was sent later"
                    )
                    messages = (did.message, before[1].message)
                    at = _got_at(visit, packed)
                    yield Violation("order", text, at, (visit.number,), messages, (did.pid,))
                else:
                    last[did.pid] = place, did


def stranger(history: History) -> Found:
    """A client gets only what was sent to it, in the namespace that it is in, while it is in it."""
    for visit, process, stay in history.opened():
        for packed in visit.got:
            wrong = _what_is_strange(history, visit, process, stay, packed)
            if wrong:
                text = f"{name_of(visit)} got {unpack(packed)}, {wrong}"
                yield Violation("stranger", text, _got_at(visit, packed), (visit.number,), (unpack(packed),))


def _what_is_strange(history: History, visit: Visit, process: Process, stay: Stay, packed: int) -> str:
    done = history.done.get(packed)
    if not done:
        return "which nobody sent"
    place, did = done[0]
    if did.path != visit.path:
        return f"which was sent to {did.path}"
    if not meant_for(did, visit, stay):
        return f"which was for {did.kind} {did.target}"
    if _was_last_straw(process, stay, place, did):
        return ""
    if did.pid == process.pid and not stay.place < place < stay.left_place:
        return "which was sent while it was not there"
    if did.at > stay.until:
        return "which was sent after it had left"
    return ""


def _was_last_straw(process: Process, stay: Stay, place: int, did: Did) -> bool:
    """Tell whether a message filled the outbox of a connection, which was closed while it was sent on."""
    if stay.left is None or stay.left.code != 1013 or did.pid != process.pid or place < stay.left_place:
        return False
    # What a process does is written down when it is done, after who had to leave over it.
    done = process.done(did.path)
    first_after = bisect_right(done, stay.left_place, key=_place)
    return first_after < len(done) and done[first_after][1] == did


def unhandled(history: History) -> Found:
    """What a client sends is handled once, in order, and all of it unless its connection broke."""
    done: dict[int, list[tuple[int, Did]]] = defaultdict(list)
    for packed, times in history.done.items():
        if len(times) > 1:
            message = unpack(packed)
            pids = tuple(did.pid for _, did in times)
            yield Violation(
                "unhandled", f"{message} was handled {len(times)} times", times[0][1].at, (), (message,), pids
            )
        for place, did in times:
            visit = history.visit_of.get((did.pid, did.serial))
            if visit is not None:
                done[visit].append((place, did))
    for visit, process, _ in history.opened():
        yield from _unhandled_of(visit, process, [did for _, did in sorted(done[visit.number])])


def _unhandled_of(visit: Visit, process: Process, dids: list[Did]) -> Found:
    sent = [(each.sender, each.number) for each in visit.sent]
    handled = [did.message for did in dids]
    if handled != sent[: len(handled)]:
        wrong = next(
            message for message, right in zip(handled, [*sent, None], strict=False) if message != right
        )
        text = f"{name_of(visit)} sent {sent[:5]}..., and {wrong} was handled out of turn"
        yield Violation("unhandled", text, visit.tried.at, (visit.number,), (wrong,), (process.pid,))
    elif len(handled) < len(sent) and _was_heard_out(visit, process):
        missing = sent[len(handled)]
        text = f"{name_of(visit)} sent {missing}, which was never handled"
        at = visit.sent[len(handled)].at
        yield Violation("unhandled", text, at, (visit.number,), (missing,), (process.pid,))


def _was_heard_out(visit: Visit, process: Process) -> bool:
    """Tell whether there was time to handle all that a client sent, also when its process ended then."""
    if visit.ended is None:
        return visit.is_complete and not process.was_killed
    if visit.ended.how != ASKED:
        return False
    if process.was_killed:
        return visit.ended.at < process.ended - HANDLER_SECONDS
    drain = process.ended - DRAIN_SECONDS - 1
    return visit.ended.at < drain or not any(drain < end for _, end in process.pauses)


# What does not arrive


class Hole(NamedTuple):
    """A message that should have reached a visit and did not."""

    visit: Visit
    receiver: Process
    did: Did


class Owners:
    """Who has which client id, as far as it is certain that all processes know."""

    def __init__(self, history: History) -> None:
        self._stays: dict[str, list[Stay]] = defaultdict(list)
        for process in history.processes.values():
            for stay in process.stays.values():
                self._stays[stay.joined.client_id].append(stay)

    def know(self, windows: Windows, did: Did, stay: Stay) -> bool:
        """Tell whether the sender knew of a connection, where only those get something who are known."""
        if did.kind in ("all", "others"):
            return True
        pids = (did.pid, stay.joined.pid)
        if windows.working_seconds(pids, stay.joined.at, did.at) <= PRESENCE_SECONDS:
            return False
        return did.kind == "user" or self._has_one_owner(did, stay.joined.mark)

    def _has_one_owner(self, did: Did, mark: str) -> bool:
        """Tell whether no other session had an id lately: in an outage two may come to the same one."""
        return not any(
            each.joined.mark != mark and each.joined.at <= did.at <= each.until + FORGET_SECONDS
            for each in self._stays[did.target]
        )


def missing(history: History) -> Found:
    """Nothing is missing, except what crossed in an outage window."""
    windows = Windows(history)
    for hole in holes(history, windows):
        sender, receiver = hole.did.pid, hole.receiver.pid
        if sender == receiver or not windows.excuse(sender, receiver, hole.did.at):
            where = "" if sender == receiver else f" of process {sender}"
            text = f"{name_of(hole.visit)} in process {receiver} never got {hole.did.message}{where}"
            messages = (hole.did.message,)
            yield Violation("missing", text, hole.did.at, (hole.visit.number,), messages, (sender, receiver))


def uncounted(history: History) -> Found:
    """What was lost while crossing was counted as a gap by the process that missed it."""
    windows = Windows(history)
    lost: dict[tuple[int, int, str], dict[int, Hole]] = defaultdict(dict)
    for hole in holes(history, windows):
        did, receiver = hole.did, hole.receiver.pid
        excused = did.pid != receiver and windows.excuse(did.pid, receiver, did.at)
        if excused and did.sequence is not None:
            lost[receiver, did.pid, did.path][did.sequence] = hole
    heard = _sequences_heard(history) if lost else {}
    for (receiver, sender, path), by_sequence in lost.items():
        certain = _certain_gaps(history, receiver, path, by_sequence, heard.get((receiver, sender, path), []))
        counted = _gaps_counted(history.processes[receiver], history.processes[sender], path)
        if len(certain) > counted:
            first = by_sequence[certain[0]]
            missed = f"missed {len(certain)} messages of {sender} in {path}"
            text = f"process {receiver} {missed}, and counted {counted}"
            about = (first.visit.number,), (first.did.message,), (sender, receiver)
            yield Violation("uncounted", text, first.did.at, *about)


def holes(history: History, windows: Windows) -> Iterator[Hole]:
    """Every message that should have reached a visit if nothing had ever been broken, and did not."""
    owners = Owners(history)
    for visit, process, stay in history.opened():
        got = set(visit.got)
        yield from _local_holes(visit, process, stay, got)
        for sender in history.processes.values():
            if sender is not process and sender.ended > stay.joined.at and sender.began < stay.until:
                yield from _crossing_holes(windows, owners, visit, process, stay, sender, got)


def _local_holes(visit: Visit, process: Process, stay: Stay, got: set[int]) -> Iterator[Hole]:
    """Within a process a connection gets all between its coming and going, to the last that it read."""
    done = process.done(visit.path)
    begin = bisect_right(done, stay.place, key=_place)
    end = bisect_left(done, stay.left_place, key=_place)
    due = [did for _, did in done[begin:end] if meant_for(did, visit, stay)]
    if not (visit.is_complete and not process.was_killed):
        due = due[: _last_heard(due, got) + 1]
    for did in due:
        if pack(*did.message) not in got:
            yield Hole(visit, process, did)


def _crossing_holes(
    windows: Windows,
    owners: Owners,
    visit: Visit,
    process: Process,
    stay: Stay,
    sender: Process,
    got: set[int],
) -> Iterator[Hole]:
    """From other processes it gets what they send after its coming; the last may still be under way."""
    done = sender.done(visit.path)
    begin = bisect_right(done, stay.joined.at, key=_at)
    end = bisect_left(done, min(stay.until, process.ended), key=_at)
    due = [
        did for _, did in done[begin:end] if meant_for(did, visit, stay) and owners.know(windows, did, stay)
    ]
    heard = _last_heard(due, got) + 1
    if visit.is_complete and not process.was_killed:
        until = min(stay.until, process.ended)
        while heard < len(due) and _has_arrived(windows, due[heard], process, until):
            heard += 1
    for did in due[:heard]:
        if pack(*did.message) not in got:
            yield Hole(visit, process, did)


def _has_arrived(windows: Windows, did: Did, process: Process, until: float) -> bool:
    return did.at + CROSSING_SECONDS < until and (
        until == inf or windows.calm((did.pid, process.pid), did.at, until)
    )


def _last_heard(due: list[Did], got: set[int]) -> int:
    return next((i for i in range(len(due) - 1, -1, -1) if pack(*due[i].message) in got), -1)


def _sequences_heard(history: History) -> dict[tuple[int, int, str], list[tuple[int, float]]]:
    """By receiver, sender and namespace, what the receiver certainly heard: numbers and times, in order."""
    found: dict[tuple[int, int, str], set[tuple[int, float]]] = defaultdict(set)
    for visit, process, _ in history.opened():
        for packed in visit.got:
            for _, did in history.done.get(packed, ())[:1]:
                if did.pid != process.pid and did.sequence is not None:
                    found[process.pid, did.pid, did.path].add((did.sequence, did.at))
    return {key: sorted(each) for key, each in found.items()}


def _certain_gaps(
    history: History, receiver: int, path: str, lost: dict[int, Hole], heard: list[tuple[int, float]]
) -> list[int]:
    """Of what was lost, what lies between two that were heard, while there was somebody to hear for."""
    numbers = [number for number, _ in heard]
    certain = []
    for sequence in sorted(lost):
        place = bisect_left(numbers, sequence)
        if 0 < place < len(heard) and numbers[place] != sequence:
            since, until = heard[place - 1][1], heard[place][1]
            if _was_inhabited(history.processes[receiver], path, since, until):
                certain.append(sequence)
    return certain


def _was_inhabited(process: Process, path: str, since: float, until: float) -> bool:
    """Tell whether a namespace had clients in a process all the while, short absences apart."""
    reached = since
    for stay in sorted(process.stays.values(), key=lambda each: each.joined.at):
        if stay.joined.path == path and stay.joined.at <= reached + LINGER_SECONDS:
            reached = max(reached, stay.until)
    return reached >= until


def _gaps_counted(receiver: Process, sender: Process, path: str) -> int:
    return sum(gap.count for gap in receiver.gaps if gap.path == path and gap.instance == sender.instance)


def _place(entry: tuple[int, Did]) -> int:
    return entry[0]


def _at(entry: tuple[int, Did]) -> float:
    return entry[1].at


def _got_at(visit: Visit, packed: int) -> float:
    return visit.got_at[visit.got.index(packed)]
