"""
The shortest history that shows a violation.

First everything is left out that the violation does not name; then one part of the events
after the other, smaller and smaller parts, as long as the same rule finds the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import monotonic

from .events import Began, Bridge, Event, Gap, Got, Late
from .history import History, Process, Visit, pack, unpack
from .rules import RULES
from .violations import Violation

#: What is not shorter by then stays as it is.
SHRINK_SECONDS = 20.0
#: Messages so long before and after a violation may have to do with it.
AROUND_SECONDS = 30.0
#: Faults and bridges are told so long before and after.
CONTEXT_SECONDS = 12.0


def shortest(history: History, violation: Violation, seconds: float = SHRINK_SECONDS) -> list[Event]:
    """The fewest events found that show a violation; all that it names if fewer do not show it."""
    rule = next((each for each in RULES if each.__name__ == violation.rule), None)
    if rule is None:
        return []
    events = list(about(history, violation))

    def shows(part: Sequence[Event]) -> bool:
        return any(each.key == violation.key for each in rule(History(part)))

    return _minimised(events, shows, monotonic() + seconds) if shows(events) else events


def _minimised(events: list[Event], shows: Callable[[Sequence[Event]], bool], deadline: float) -> list[Event]:
    """Leave out parts (Zeller's ddmin): first halves, at last single events."""
    size = max(1, len(events) // 2)
    while True:
        place, shorter = 0, False
        while place < len(events) and monotonic() < deadline:
            part = events[:place] + events[place + size :]
            if shows(part):
                events, shorter = part, True
            else:
                place += size
        if monotonic() >= deadline or (size == 1 and not shorter):
            return events
        size = max(1, size // 2)


def about(history: History, violation: Violation) -> Iterator[Event]:
    """Every event that has to do with what a violation names, those of a process in order."""
    visits = set(violation.visits) | _senders(history, violation)
    serials = {
        (visit.opened.pid, visit.opened.serial)
        for number in visits
        if (visit := history.visits[number]).opened is not None
    }
    pids = set(violation.pids) | {pid for pid, _ in serials}
    yield from sorted(history.faults, key=lambda each: each.at)
    for session in {history.visits[number].tried.session for number in visits}:
        yield from _of_session(history, session)
    for pid in sorted(pids & history.processes.keys()):
        yield from _of_process(history, history.processes[pid], serials, violation)
    for number in sorted(visits):
        yield from _of_visit(history.visits[number])
    if not visits:
        yield from (each for each in history.figures if each.pid in pids)
        yield from (each for each in history.memory if each.pid in pids)


def _senders(history: History, violation: Violation) -> set[int]:
    """The visits that sent the messages."""
    dids = [did for each in violation.messages for _, did in history.done.get(pack(*each), ())]
    return {
        history.visit_of[did.pid, did.serial] for did in dids if (did.pid, did.serial) in history.visit_of
    }


def _of_session(history: History, session: str) -> Iterator[Event]:
    if session in history.signed_in:
        yield history.signed_in[session]
        yield from history.changes.get(history.signed_in[session].user, ())
    if session in history.signed_out:
        yield history.signed_out[session]


def _of_process(
    history: History, process: Process, serials: set[tuple[int, int]], violation: Violation
) -> Iterator[Event]:
    """What a process wrote of those connections, and what it did for them."""
    yield Began(process.pid, process.began, process.instance, process.port)
    everything = violation.rule in ("statistics", "identity", "uncounted")
    heard = {packed for number in violation.visits for packed in history.visits[number].got}
    heard |= {pack(*message) for message in violation.messages}
    lines: list[tuple[int, Event]] = list(process.told) if violation.rule == "statistics" else []
    for serial, stay in process.stays.items():
        if everything or (process.pid, serial) in serials:
            lines.append((stay.place, stay.joined))
            if stay.left is not None:
                lines.append((int(stay.left_place), stay.left))
    for dids in process.dids.values():
        for place, did in dids:
            is_near = abs(did.at - violation.at) < AROUND_SECONDS and pack(*did.message) in heard
            if everything or is_near or (process.pid, did.serial) in serials:
                lines.append((place, did))
    yield from (event for _, event in sorted(lines, key=lambda each: each[0]))
    yield from process.states
    yield from process.gaps
    yield from (Late(process.pid, end, begin) for begin, end in process.pauses)


def _of_visit(visit: Visit) -> Iterator[Event]:
    yield visit.tried
    yield from (each for each in (visit.opened, visit.refused) if each is not None)
    yield from visit.sent
    yield from visit.stalls
    for packed, at in zip(visit.got, visit.got_at, strict=True):
        yield Got(visit.number, at, *unpack(packed))
    if visit.ended is not None:
        yield visit.ended


def told(events: Sequence[Event], begin: float) -> Iterator[str]:
    """Events as lines, in order of time, seconds from the beginning of the run."""
    for event in sorted(events, key=lambda each: _when(each, begin)):
        fields = event._asdict()
        at = max(fields.pop("at", begin), begin)
        shown = ", ".join(f"{name} {_shown(value, begin)}" for name, value in fields.items())
        yield f"  {at - begin:9.3f}  {type(event).__name__.lower():<10} {shown}"


def _when(event: Event, begin: float) -> float:
    return max(getattr(event, "at", begin), begin)


def _shown(value: object, begin: float) -> str:
    """A value; what is a time, as seconds from the beginning."""
    if isinstance(value, dict):
        namespaces = value.get("namespaces", {}).items()
        value = {path: each["totalMessages"] for path, each in namespaces if each["totalMessages"]}
    if isinstance(value, float) and value > begin / 2:
        return f"{value - begin:.3f}"
    return repr(value) if isinstance(value, str) else str(value)


def context(history: History, violation: Violation) -> list[Event]:
    """The faults, what held up the clients, and what the processes went through, near a violation."""
    since, until = violation.at - CONTEXT_SECONDS, violation.at + CONTEXT_SECONDS
    found: list[Event] = [each for each in history.faults if each.at < until and each.recovered > since]
    found += [each for each in history.sleeps if since < each.at < until]
    for pid in violation.pids:
        process = history.processes.get(pid)
        if process is not None:
            states: list[Bridge | Gap] = [*process.states, *process.gaps]
            found += [each for each in states if since < each.at < until]
            found += [Late(pid, end, begin) for begin, end in process.pauses if since < end < until]
    return found


def explained(history: History, violation: Violation, begin: float) -> str:
    """A violation with its shortest history, and what was going on at the time."""
    shown = shortest(history, violation)
    lines = [f"{violation.rule}: {violation.text} (at {violation.at - begin:.3f} s)", " shown by:"]
    lines += told(shown[:400], begin)
    near = [each for each in context(history, violation) if each not in shown]
    if near:
        lines += [" meanwhile:", *told(near, begin)]
    return "\n".join(lines)
