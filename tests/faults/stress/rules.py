"""
What must hold of every history; each rule is a pure function that finds what does not.

A rule that has nothing to say of a part of the history, since it cannot be known what was
right there, says nothing; `windows` says where that is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from .history import (
    ASKED,
    WORKER_KILLED,
    Changed,
    Did,
    Fault,
    Figures,
    History,
    Memory,
    Message,
    Process,
    Stay,
    Visit,
    meant_for,
    pack,
    unpack,
)
from .windows import (
    MONGO_FROZEN,
    MONGO_KILLED,
    SERVER_RESTARTED,
    STORE_FAULTS,
    Windows,
    causes_of,
    downs,
)

#: What crosses has arrived by then, where nothing holds anybody up.
CROSSING_SECONDS = 2.0
#: Who is where is known in the other processes by then; clients of one that died are there for so long.
PRESENCE_SECONDS, FORGET_SECONDS = 1.0, 12.0
#: The documented second until sockets of an ended session are closed, and what a busy machine may add.
SESSION_SECONDS, ALLOWANCE_SECONDS = 1.0, 0.5
#: The heartbeat's settings of the run, which a silent client may outlive by a tick and what a machine adds.
PING_SECONDS, PONG_SECONDS, TICK_SECONDS = 5.0, 2.0, 2.0
#: What a process counted so long before it was killed the others may not know.
UNTOLD_SECONDS = 0.5
#: Settings of the run: what handlers have to finish when a process ends, and clients to close.
DRAIN_SECONDS, CLOSE_SECONDS = 2.0, 2.0
#: A loop that was late in three of four measurements, half a second or more each, may be so still.
OVERLOAD_SECONDS = 8.0
#: How much a process may have grown in a run, beyond a quarter.
GROWTH_BYTES = 24 * 1024 * 1024
#: Connections that the notes of the demos may keep, made when they are needed.
NOTES_POOL = 8
#: A process that is not much older has not yet all that it will keep.
GROWN_UP_SECONDS = 90.0
#: A namespace that has been empty here for so long may not be heard any more.
LINGER_SECONDS = 1.5
#: Open ones, the last of them with clients that do not read, and those that not everybody may enter.
SQUARE, DIRECT, CROWD = "/api/1/ws/square", "/api/1/ws/direct", "/api/1/ws/crowd"
MEMBERS, ADMINS = "/api/1/ws/members", "/api/1/ws/admins"
SPOKEN = (SQUARE, DIRECT, CROWD, MEMBERS, ADMINS)
#: Has a handler that blocks, and is in no statistics.
CLUMSY = "/api/1/ws/clumsy"


@dataclass(frozen=True)
class Violation:
    """Something that must not be, and what it is about."""

    rule: str
    text: str
    at: float = 0.0
    visits: tuple[int, ...] = ()
    messages: tuple[Message, ...] = ()
    pids: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[str, tuple[int, ...], tuple[Message, ...]]:
        """The same for the same violation in a shorter history."""
        return self.rule, self.visits, self.messages


Found = Iterator[Violation]


# What arrives


def twice(history: History) -> Found:
    """Nothing is delivered twice on one connection."""
    for visit in history.visits.values():
        if len(set(visit.got)) == len(visit.got):
            continue
        for packed, count in Counter(visit.got).items():
            if count > 1:
                text = f"{_name(visit)} got message {unpack(packed)} {count} times"
                yield Violation("twice", text, _got_at(visit, packed), (visit.number,), (unpack(packed),))


def order(history: History) -> Found:
    """What one process sent to a namespace arrives in the order in which it was sent."""
    for visit in history.visits.values():
        last: dict[int, tuple[int, Did]] = {}
        for packed in visit.got:
            for place, did in history.done.get(packed, ())[:1]:
                before = last.get(did.pid)
                if before is not None and place < before[0]:
                    text = f"{_name(visit)} got {did.message} after {before[1].message}, which was sent later"
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
                text = f"{_name(visit)} got {unpack(packed)}, {wrong}"
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
    if did.pid == process.pid and not stay.place < place < stay.left_place:
        return "which was sent while it was not there"
    if did.at > stay.until:
        return "which was sent after it had left"
    return ""


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
        text = f"{_name(visit)} sent {sent[:5]}..., and {wrong} was handled out of turn"
        yield Violation("unhandled", text, visit.tried.at, (visit.number,), (wrong,), (process.pid,))
    elif len(handled) < len(sent) and _was_heard_out(visit, process):
        missing = sent[len(handled)]
        text = f"{_name(visit)} sent {missing}, which was never handled"
        at = visit.sent[len(handled)].at
        yield Violation("unhandled", text, at, (visit.number,), (missing,), (process.pid,))


def _was_heard_out(visit: Visit, process: Process) -> bool:
    """Tell whether there was time to handle all that a client sent, also when its process ended then."""
    if visit.ended is None:
        return visit.is_complete and not process.was_killed
    if visit.ended.how != ASKED:
        return False
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

    def know(self, did: Did, stay: Stay) -> bool:
        """Tell whether the sender knew of a connection, where only those get something who are known."""
        if did.kind in ("all", "others"):
            return True
        if did.at <= stay.joined.at + PRESENCE_SECONDS:
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
            text = f"{_name(hole.visit)} in process {receiver} never got {hole.did.message}{where}"
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
    due = [did for _, did in done[begin:end] if meant_for(did, visit, stay) and owners.know(did, stay)]
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


# Who may be where


def forbidden(history: History) -> Found:
    """Nobody is let in who may not be, and who may no longer be is out within a second."""
    windows = Windows(history)
    for visit, process, stay in history.opened():
        why = _why_not_let_in(history, visit)
        if why:
            text = f"{_name(visit)} was let in {why}"
            yield Violation("forbidden", text, visit.tried.at, (visit.number,), (), (process.pid,))
            continue
        for revoked, what in revocations(history, visit):
            since = max(revoked, stay.joined.at)
            late = min(stay.until, process.ended) - _deadline(history, windows, process, since)
            if late > 0 and revoked < inf:
                text = (
                    f"{_name(visit)} was still there {late:.2f} s after the second in which to end it: {what}"
                )
                yield Violation("forbidden", text, since, (visit.number,), (), (process.pid,))


def _why_not_let_in(history: History, visit: Visit) -> str:
    """Why it was certain before a client tried that it may not come in; "" if it was not."""
    session, opened = visit.tried.session, visit.opened
    assert opened is not None
    if visit.path in (MEMBERS, ADMINS) and not opened.username:
        return "as a guest"
    if not opened.username:
        return ""
    ended = [what for at, what in _endings(history, session) if at < visit.tried.at]
    if ended or session not in history.signed_in:
        return f"with a session that had ended: {ended}"
    user = history.signed_in[session].user
    if visit.path == ADMINS and not _may_have_role(history, user, visit.tried.at, opened.at):
        return "without the role"
    return ""


def _endings(history: History, session: str) -> list[tuple[float, str]]:
    """When it was certain that a session had ended, and why."""
    found = []
    out, begun = history.signed_out.get(session), history.signed_in.get(session)
    if out is not None:
        found.append((out.done, "signed out"))
    if begun is not None:
        changes = history.changes.get(begun.user, ())
        found += [
            (each.done, "disabled") for each in changes if each.what == "disabled" and each.at > begun.at
        ]
    return found


def revocations(history: History, visit: Visit) -> list[tuple[float, str]]:
    """When a visit had lost its right to be there, and why."""
    assert visit.opened is not None
    if not visit.opened.username:
        return []
    found = _endings(history, visit.tried.session)
    begun = history.signed_in.get(visit.tried.session)
    if visit.path == ADMINS and begun is not None:
        changes = history.changes.get(begun.user, [])
        lost = [each for each in changes if each.what == "demoted" and each.done > visit.tried.at]
        found += [(each.done, "role lost") for each in lost if not _promoted_soon(changes, each)]
    return [(at, why) for at, why in found if at >= visit.tried.at]


def _promoted_soon(changes: list[Changed], lost: Changed) -> bool:
    return any(each.what == "promoted" and lost.at < each.at < lost.done + 3 for each in changes)


def _may_have_role(history: History, user: str, since: float, until: float) -> bool:
    """Tell whether a user had the role at some time of a while, or may have had."""
    has, may = False, False
    for each in sorted(history.changes.get(user, ()), key=lambda each: each.at):
        if each.what in ("promoted", "demoted"):
            if each.done < since:
                has = each.what == "promoted"
            elif each.at <= until:
                may = True
    return has or may


def _deadline(history: History, windows: Windows, process: Process, since: float) -> float:
    """When a connection has to be out whose right ended; while the store is away nobody can tell."""
    until = since + SESSION_SECONDS + ALLOWANCE_SECONDS
    for fault in history.faults:
        if fault.kind in (MONGO_FROZEN, MONGO_KILLED) and fault.at < until and since < fault.lifted + 6:
            until = max(until, fault.lifted + 6 + ALLOWANCE_SECONDS)
    return until + windows.paused(process.pid, since - 0.5, until + 10)


def expelled(history: History) -> Found:
    """Nobody is closed without a reason, nor refused who may come in."""
    windows = Windows(history)
    for visit in history.visits.values():
        why = ""
        if visit.refused is not None:
            why = _why_wrongly_refused(history, windows, visit)
        elif visit.ended is not None and visit.opened is not None:
            why = _why_wrongly_closed(history, visit)
        if why:
            at = visit.ended.at if visit.ended else visit.tried.at
            pids = (visit.opened.pid,) if visit.opened else ()
            yield Violation("expelled", f"{_name(visit)} {why}", at, (visit.number,), (), pids)


def _why_wrongly_refused(history: History, windows: Windows, visit: Visit) -> str:
    assert visit.refused is not None
    since, until, status = visit.tried.at, visit.refused.at, visit.refused.status
    faults = [each for each in history.faults if each.at - 0.5 < until and since < each.recovered + 2]
    if status == 0:
        # A process that dies takes with it whom it is about to greet.
        return "" if any(_turns_away(each) for each in faults) else "got no answer"
    away = any(each.kind in (*STORE_FAULTS, SERVER_RESTARTED) for each in faults)
    if status == 503 and (away or _was_overloaded(history, windows, since, until)):
        return ""
    if status in (401, 403) and not _certainly_may_enter(history, visit, since, until):
        return ""
    return f"was refused with {status}"


def _was_overloaded(history: History, windows: Windows, since: float, until: float) -> bool:
    """Tell whether the loop of a process had been late for so long that it lets nobody in."""
    return any(windows.paused(pid, since - OVERLOAD_SECONDS, until) >= 1 for pid in history.processes)


def _turns_away(fault: Fault) -> bool:
    return fault.kind in (WORKER_KILLED, SERVER_RESTARTED) or fault.pid != 0


def _certainly_may_enter(history: History, visit: Visit, since: float, until: float) -> bool:
    begun = history.signed_in.get(visit.tried.session)
    if visit.path not in (MEMBERS, ADMINS):
        return True
    if begun is None or begun.at > since:
        return False
    out = history.signed_out.get(visit.tried.session)
    if out is not None and out.at <= until:
        return False
    changes = [each for each in history.changes.get(begun.user, ()) if each.at <= until]
    if any(each.what == "disabled" and each.done >= begun.at for each in changes):
        return False
    roles = [each for each in changes if each.what in ("promoted", "demoted")]
    return visit.path == MEMBERS or (bool(roles) and roles[-1].what == "promoted" and roles[-1].done < since)


def _why_wrongly_closed(history: History, visit: Visit) -> str:
    assert visit.ended is not None
    assert visit.opened is not None
    code, at = visit.ended.code, visit.ended.at
    process = history.processes.get(visit.opened.pid)
    if visit.ended.how == ASKED or code == 0 or process is None:
        return ""
    if visit.stalls and code in (1006, 1013, 4408):
        return ""
    match code:
        case 1006:
            right = process.ended < at + 1 or (visit.path == CROWD and _was_cut(history, visit))
        case 1012:
            right = process.ended < inf
        case 1013 | 4408:
            # Pings wait behind what such a client has not read.
            right = visit.path == CROWD
        case 4401:
            right = _may_have_ended(history, visit, at)
        case 4403:
            right = _may_have_lost_role(history, visit, at)
        case _:
            right = False
    return "" if right else f"was closed with {code} for no reason"


def _was_cut(history: History, visit: Visit) -> bool:
    """Tell whether a closing connection was cut whose client read too slowly to come to the close frame."""
    stay = history.stay_of(visit)
    return stay is not None and visit.ended is not None and visit.ended.at - stay.until >= CLOSE_SECONDS


def _may_have_ended(history: History, visit: Visit, at: float) -> bool:
    out, begun = history.signed_out.get(visit.tried.session), history.signed_in.get(visit.tried.session)
    changes = history.changes.get(begun.user, ()) if begun else ()
    return (out is not None and out.at <= at) or any(
        each.what == "disabled" and each.at <= at for each in changes
    )


def _may_have_lost_role(history: History, visit: Visit, at: float) -> bool:
    begun = history.signed_in.get(visit.tried.session)
    changes = history.changes.get(begun.user, ()) if begun else ()
    return visit.path == ADMINS and any(each.what == "demoted" and each.at <= at for each in changes)


def undead(history: History) -> Found:
    """Who is silent is ended when the heartbeat's time has passed."""
    windows = Windows(history)
    for visit, process, stay in history.opened():
        for stall in visit.stalls:
            due = stall.at + PING_SECONDS + PONG_SECONDS + TICK_SECONDS
            due += windows.paused(process.pid, stall.at, due + 10)
            if stall.until > due and min(stay.until, process.ended) > due:
                text = f"{_name(visit)} was silent for {due - stall.at:.2f} s and was still there"
                yield Violation("undead", text, due, (visit.number,), (), (process.pid,))


def identity(history: History) -> Found:
    """A client id that is in use by one session is not given to another."""
    by_id: dict[str, list[Stay]] = defaultdict(list)
    for process in history.processes.values():
        for stay in process.stays.values():
            by_id[stay.joined.client_id].append(stay)
    windows = Windows(history)
    for client_id, stays in by_id.items():
        if len({each.joined.mark for each in stays}) > 1:
            yield from _shared_by_strangers(history, windows, client_id, stays)


def _shared_by_strangers(history: History, windows: Windows, client_id: str, stays: list[Stay]) -> Found:
    for later in stays:
        for earlier in stays:
            pids = (earlier.joined.pid, later.joined.pid)
            if earlier.joined.mark == later.joined.mark or not _overlap(history, windows, earlier, later):
                continue
            text = f"{client_id} was in use in process {pids[0]} and given to another session in {pids[1]}"
            yield Violation("identity", text, later.joined.at, (), (), pids)


def _overlap(history: History, windows: Windows, earlier: Stay, later: Stay) -> bool:
    """Tell whether it was known at the coming of one connection that the other was there."""
    a, b = earlier.joined, later.joined
    if a.pid == b.pid:
        return earlier.place < later.place < earlier.left_place
    settled = a.at + PRESENCE_SECONDS < b.at < min(earlier.until, history.processes[a.pid].ended)
    return settled and windows.calm((a.pid, b.pid), b.at - 5, b.at) and not windows.excuse(a.pid, b.pid, b.at)


# Figures


def statistics(history: History) -> Found:
    """At the end every process tells the same figures as the histories."""
    windows = Windows(history)
    for each in history.figures:
        if not each.idle:
            yield from _wrong_totals(history, windows, each)
            yield from _wrong_counts(history, each)


def _wrong_totals(history: History, windows: Windows, figures: Figures) -> Found:
    for path in SPOKEN:
        told = figures.told["namespaces"][path]
        bounds = [_counted(history, windows, each, figures, path) for each in history.processes.values()]
        least, most = sum(low for low, _ in bounds), sum(high for _, high in bounds)
        if not least <= told["totalMessages"] <= most:
            wanted = str(most) if least == most else f"{least} to {most}"
            text = f"process {figures.pid} tells {told['totalMessages']} messages in {path}, not {wanted}"
            yield Violation("statistics", text, figures.at, (), (), (figures.pid,))


def _counted(
    history: History, windows: Windows, process: Process, reader: Figures, path: str
) -> tuple[int, int]:
    """What one process has to know at least of another's messages, and what it may know."""
    places = [each.place for each in process.stays.values() if each.joined.path == path]
    # A message counts when it comes in and when it goes out; who joins is greeted.
    weights = [(place, 1) for place in places] + [(place, 2) for place, _ in process.done(path)]
    most = sum(weight for _, weight in weights)
    if process.ended > reader.at:
        return most, most
    told_at = _last_told(history, windows, process)
    return sum(weight for place, weight in weights if place <= told_at), most


def _last_told(history: History, windows: Windows, process: Process) -> int:
    """The place of the last word on its figures that certainly reached all others that were there."""
    until = process.ended - UNTOLD_SECONDS if process.was_killed else inf
    for place, told in reversed(process.told):
        others = [each for each in history.processes.values() if each.began < told.at < each.ended]
        may_be_lost = any(windows.excuse(process.pid, each.pid, told.at) for each in others)
        if told.state == "up" and told.at <= until and not may_be_lost:
            return place
    return 0


def _wrong_counts(history: History, figures: Figures) -> Found:
    present = [stay.joined for stay in _present(history, figures.at)]
    for path in SPOKEN:
        told = figures.told["namespaces"][path]
        there = [each for each in present if each.path == path]
        wanted = {
            "clientCount": len({each.client_id for each in there}),
            "activeUsers": len({each.user for each in there if each.user}),
        }
        for name, count in wanted.items():
            if told[name] != count:
                text = f"process {figures.pid} tells {name} {told[name]} in {path}, not {count}"
                yield Violation("statistics", text, figures.at, (), (), (figures.pid,))
    sockets = sum(each.pid == figures.pid for each in present)
    if figures.told["sockets"] != sockets:
        text = f"process {figures.pid} has {figures.told['sockets']} sockets, not {sockets}"
        yield Violation("statistics", text, figures.at, (), (), (figures.pid,))


def _present(history: History, at: float) -> Iterator[Stay]:
    """The connections that are there at some time."""
    for process in history.processes.values():
        if process.ended > at:
            yield from (stay for stay in process.stays.values() if stay.joined.at < at < stay.until)


def leak(history: History) -> Found:
    """When all have left, nothing of them is left: connections, sessions, tasks, files."""
    idle = [each for each in history.figures if each.idle]
    busy_until = max((each.at for each in history.figures if not each.idle), default=inf)
    before = [each for each in idle if each.at < busy_until]
    for figures in idle:
        if before and figures.at > busy_until:
            for what, text in _left_over(before, figures).items():
                text = f"process {figures.pid}: {what} {text}"
                yield Violation("leak", text, figures.at, (), (), (figures.pid,))


def _left_over(before: list[Figures], end: Figures) -> dict[str, str]:
    """What a process has that none had before there were clients; most processes came later."""
    found = {
        what: f"is {end.told[what]}, not 0"
        for what in ("sockets", "connections", "sessions", "handlers")
        if end.told[what]
    }
    for what in ("tasks", "files"):
        usual: Counter[str] = Counter()
        for each in before:
            usual |= Counter(each.told[what])
        more = Counter(end.told[what]) - usual
        if what == "files" and more["socket"] < NOTES_POOL:
            del more["socket"]
        if more:
            found[what] = f"grew by {dict(more)}"
    return found


def growth(history: History) -> Found:
    """A process that serves long does not grow."""
    by_pid: dict[int, list[Memory]] = defaultdict(list)
    for each in history.memory:
        if each.at - history.process(each.pid).began >= GROWN_UP_SECONDS:
            by_pid[each.pid].append(each)
    for pid, grown in by_pid.items():
        begin, end = grown[0].size, grown[-1].size
        if end > 1.25 * begin + GROWTH_BYTES:
            text = f"process {pid} grew from {begin >> 20} to {end >> 20} MiB"
            yield Violation("growth", text, grown[-1].at, (), (), (pid,))


def outage(history: History) -> Found:
    """A bridge goes down for a fault alone."""
    for process in history.processes.values():
        for begin, _ in downs(process):
            held_up = any(end - since > 1 and begin - 10 < end for since, end in process.pauses)
            if begin > process.began and not causes_of(history.faults, begin) and not held_up:
                text = f"the bridge of process {process.pid} went down for no reason"
                yield Violation("outage", text, begin, (), (), (process.pid,))


RULES: tuple[Callable[[History], Found], ...] = (
    *(twice, order, stranger, unhandled, missing, uncounted),
    *(forbidden, expelled, undead, identity),
    *(statistics, leak, growth, outage),
)


def check(history: History) -> list[Violation]:
    """Everything that any rule finds, the earliest first."""
    return sorted((each for rule in RULES for each in rule(history)), key=lambda each: each.at)


def _place(entry: tuple[int, Did]) -> int:
    return entry[0]


def _at(entry: tuple[int, Did]) -> float:
    return entry[1].at


def _got_at(visit: Visit, packed: int) -> float:
    return visit.got_at[visit.got.index(packed)]


def _name(visit: Visit) -> str:
    return f"{visit.tried.client} (visit {visit.number})"
