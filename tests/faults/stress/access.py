"""Rules of who may be where: let in, refused, closed, and gone in time."""

from __future__ import annotations

from collections import defaultdict
from math import inf

from .deliveries import PRESENCE_SECONDS
from .events import ASKED, WORKER_KILLED, Changed, Fault
from .history import History, Process, Stay, Visit
from .violations import ADMINS, CROWD, MEMBERS, Found, Violation, name_of
from .windows import (
    MONGO_FROZEN,
    MONGO_KILLED,
    SERVER_RESTARTED,
    STORE_FAULTS,
    Windows,
)

#: The documented second until sockets of an ended session are closed, and what a busy machine may add.
SESSION_SECONDS, ALLOWANCE_SECONDS = 1.0, 0.5
#: The heartbeat's settings of the run, which a silent client may outlive by a tick and what a machine adds.
PING_SECONDS, PONG_SECONDS, TICK_SECONDS = 5.0, 2.0, 2.0
#: Of the two seconds for a pong the heartbeat's sweeps may take one; who was held up for half of the
#: other may have come late.
HELD_UP_SECONDS = 0.5
#: A setting of the run: what clients have to answer a close frame.
CLOSE_SECONDS = 2.0
#: A loop that was late in three of four measurements, half a second or more each, may be so still.
OVERLOAD_SECONDS = 8.0


def forbidden(history: History) -> Found:
    """Nobody is let in who may not be, and who may no longer be is out within a second."""
    windows = Windows(history)
    for visit, process, stay in history.opened():
        why = _why_not_let_in(history, visit)
        if why:
            text = f"{name_of(visit)} was let in {why}"
            yield Violation("forbidden", text, visit.tried.at, (visit.number,), (), (process.pid,))
            continue
        for revoked, what in revocations(history, visit):
            since = max(revoked, stay.joined.at)
            late = min(stay.until, process.ended) - _deadline(history, windows, process, since)
            if late > 0 and revoked < inf:
                text = f"{name_of(visit)} was {what}, and still there {late:.2f} s after its second was over"
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
        found += [(each.done, "without the role") for each in lost if not _promoted_soon(changes, each)]
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
            why = _why_wrongly_closed(history, windows, visit)
        if why:
            at = visit.ended.at if visit.ended else visit.tried.at
            pids = (visit.opened.pid,) if visit.opened else ()
            yield Violation("expelled", f"{name_of(visit)} {why}", at, (visit.number,), (), pids)


def _why_wrongly_refused(history: History, windows: Windows, visit: Visit) -> str:
    assert visit.refused is not None
    since, until, status = visit.tried.at, visit.refused.at, visit.refused.status
    faults = [each for each in history.faults if each.at - 0.5 < until and since < each.recovered + 2]
    if status == 0:
        # A process that dies takes with it whom it is about to greet.
        gone = any(_turns_away(each) for each in faults) or _came_too_late(history, visit)
        return "" if gone else "got no answer"
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


def _came_too_late(history: History, visit: Visit) -> bool:
    """Tell whether a client slept while it asked, and the process that had accepted it ended."""
    assert visit.refused is not None
    since, until = visit.tried.at, visit.refused.at
    slept = any(each.since < until and since < each.at for each in history.sleeps)
    return slept and any(since < each.ended < until + 1 for each in history.processes.values())


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


def _why_wrongly_closed(history: History, windows: Windows, visit: Visit) -> str:
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
        case 1013:
            right = visit.path == CROWD
        case 4408:
            # Pings wait behind what such a client has not read.
            right = visit.path == CROWD or _may_have_been_silent(history, windows, process, at)
        case 4401:
            right = _may_have_ended(history, visit, at)
        case 4403:
            right = _may_have_lost_role(history, visit, at)
        case _:
            right = False
    return "" if right else f"was closed with {code} for no reason"


def _may_have_been_silent(history: History, windows: Windows, process: Process, at: float) -> bool:
    """Tell whether the clients, or the process that waited for their pongs, were held up before a close."""
    since = at - PING_SECONDS - PONG_SECONDS
    slept = sum(max(0.0, min(each.at, at) - max(each.since, since)) for each in history.sleeps)
    return slept + windows.paused(process.pid, since, at) >= HELD_UP_SECONDS


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
                text = f"{name_of(visit)} was silent for {due - stall.at:.2f} s and was still there"
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
